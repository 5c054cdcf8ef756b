"""Replace a person's name by an invented one, chosen by key: the same name gives the same one.

The given names are plants, stones and colours, the family names compounds that nobody bears (Samplewick, Mockbridge):
readable in a screenshot, and plainly not a real person.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal

from psycopg import sql
from pydantic import Field

from egress_assets.engine.masks.seam import TEXT_TYPES, Domain, Keys, MaskParams, Site, too_long, wrong_type

CHOICES = 128
"""Entries of each list: one byte picks one without bias, and Postgres walks an array of text to its entry."""

NAMES = Path(__file__).with_name("names.json")


class NameParams(MaskParams):
    part: Literal["full", "given", "family"] = Field(default="full", description="full | given | family")
    domain: Domain = Field(default="name", description="columns of one domain give equal pseudonyms for equal values")


class Name:
    name: ClassVar[str] = "name"
    help: ClassVar[str] = "an invented name, the same for the same name; different people may share one"
    version: ClassVar[int] = 1
    removes: ClassVar[bool] = False  # an invented name maps to another one only by chance
    Params: ClassVar[type[MaskParams]] = NameParams
    examples: ClassVar[Sequence[Mapping[str, Any]]] = ({}, {"part": "given"}, {"part": "family", "domain": "payer"})

    def check(self, site: Site, params: NameParams) -> Sequence[str]:
        longest = sum(max(map(len, names)) for names in _lists(params)) + len(_lists(params)) - 1
        return [*wrong_type(site, TEXT_TYPES, self.name), *too_long(site, longest, self.name)]

    def domains(self, params: NameParams) -> frozenset[str]:
        return frozenset({params.domain})

    def compile(self, site: Site, params: NameParams, keys: Keys) -> sql.Composable:
        digest = keys.expression(params.domain, site.text)
        picks = [
            sql.SQL("({}::text[])[1 + (get_byte(k.h, {}) & {})]").format(
                sql.Literal("{" + ",".join(names) + "}"), byte, CHOICES - 1
            )
            for byte, names in enumerate(_lists(params))
        ]
        # OFFSET 0 keeps the planner from pulling the digest up and computing it once a list.
        chosen = sql.SQL(" || ' ' || ").join(picks)
        return sql.SQL("(SELECT {} FROM (SELECT {} AS h OFFSET 0) k)").format(chosen, digest)

    def reference(
        self, value: str | None, params: NameParams, keys: Keys, *, row: Mapping[str, str | None]
    ) -> str | None:
        if value is None:
            return None
        digest = keys.digest(params.domain, value)
        return " ".join(names[digest[byte] & (CHOICES - 1)] for byte, names in enumerate(_lists(params)))


@cache
def _all() -> Mapping[str, Sequence[str]]:
    return json.loads(NAMES.read_text(encoding="utf-8"))


def _lists(params: NameParams) -> list[Sequence[str]]:
    return [_all()[part] for part in ("given", "family") if params.part in ("full", part)]


MASK = Name()
