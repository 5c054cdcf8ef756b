"""Replace an email address by one that can't be delivered: a keyed pseudonym at example.invalid (RFC 2606)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from psycopg import sql
from pydantic import Field

from egress_assets.engine.masks.seam import TEXT_TYPES, Domain, Keys, MaskParams, Site, too_long, wrong_type

HOST = "@example.invalid"
LOCAL = 22
"""Hex characters before the at sign, 88 bits: 1 billion addresses collide with probability 2e-9.

Lower-case hex, because recipients fold the case of addresses, and because it can hold no phone or insurance number.
"""


class EmailParams(MaskParams):
    normalise: Literal["none", "lower"] = Field(
        default="lower", description="lower (ASCII) | none: whether Ann@x and ann@x are one person"
    )
    domain: Domain = Field(default="email", description="columns of one domain give equal pseudonyms for equal values")


class Email:
    name: ClassVar[str] = "email"
    help: ClassVar[str] = "<22 hex characters>@example.invalid, the same for the same address"
    version: ClassVar[int] = 1
    removes: ClassVar[bool] = True
    Params: ClassVar[type[MaskParams]] = EmailParams
    examples: ClassVar[Sequence[Mapping[str, Any]]] = ({}, {"normalise": "none", "domain": "login"})

    def check(self, site: Site, params: EmailParams) -> Sequence[str]:
        return [*wrong_type(site, TEXT_TYPES, self.name), *too_long(site, LOCAL + len(HOST), self.name)]

    def domains(self, params: EmailParams) -> frozenset[str]:
        return frozenset({params.domain})

    def compile(self, site: Site, params: EmailParams, keys: Keys) -> sql.Composable:
        text = site.text
        if params.normalise == "lower":
            text = sql.SQL('lower({} COLLATE "C")').format(text)  # ASCII only, whatever the database's locale
        digest = keys.expression(params.domain, text)
        return sql.SQL("left(encode({}, 'hex'), {}) || {}").format(digest, LOCAL, sql.Literal(HOST))

    def reference(
        self, value: str | None, params: EmailParams, keys: Keys, *, row: Mapping[str, str | None]
    ) -> str | None:
        if value is None:
            return None
        text = value.encode().lower().decode() if params.normalise == "lower" else value
        return keys.digest(params.domain, text).hex()[:LOCAL] + HOST


MASK = Email()
