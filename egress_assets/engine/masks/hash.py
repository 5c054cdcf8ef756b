"""Replace a value by a keyed digest, so that joins survive and values can't be guessed without the key.

`algorithm: sha256` is the plain digest that Spark calls sha2(column, 256): whoever can list the possible values (phone
numbers, email addresses) can undo it. It exists for consumers that already hold such digests.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, ClassVar, Literal

from psycopg import sql
from pydantic import Field, model_validator

from egress_assets.engine.masks.seam import TEXT_TYPES, Domain, Keys, MaskParams, Site, too_long, wrong_type

FULL = {"hex": 64, "base64url": 43, "uuid": 36}
"""Characters of a whole digest by encoding."""

SHORTEST = 16
"""16 hex characters are 64 bits: 1 million values collide with probability 3e-8."""


class HashParams(MaskParams):
    algorithm: Literal["hmac", "sha256"] = Field(default="hmac", description="hmac (keyed) | sha256 (plain, guessable)")
    encoding: Literal["hex", "base64url", "uuid"] = Field(default="hex", description="hex | base64url | uuid")
    length: int | None = Field(
        default=None, ge=SHORTEST, le=64, description="characters of the output; None is the whole digest"
    )
    normalise: Literal["none", "lower"] = Field(default="none", description="none | lower (ASCII) before the digest")
    domain: Domain = Field(default="hash", description="columns of one domain give equal pseudonyms for equal values")

    @property
    def width(self) -> int:
        return self.length or FULL[self.encoding]

    @model_validator(mode="after")
    def _fits(self) -> HashParams:
        if self.length and (self.encoding == "uuid" or self.length > FULL[self.encoding]):
            raise ValueError(f"length {self.length} does not suit {self.encoding}, which has {FULL[self.encoding]}")
        return self


class Hash:
    name: ClassVar[str] = "hash"
    help: ClassVar[str] = "a keyed digest of the value; equal values of one domain stay equal"
    version: ClassVar[int] = 1
    removes: ClassVar[bool] = True
    Params: ClassVar[type[MaskParams]] = HashParams
    examples: ClassVar[Sequence[Mapping[str, Any]]] = (
        {},
        {"domain": "customer", "length": 24, "normalise": "lower"},
        {"encoding": "base64url"},
        {"encoding": "uuid"},
        {"algorithm": "sha256"},
    )

    def check(self, site: Site, params: HashParams) -> Sequence[str]:
        accepted = TEXT_TYPES | {"uuid"} if params.encoding == "uuid" else TEXT_TYPES
        return [*wrong_type(site, accepted, self.name), *too_long(site, params.width, self.name)]

    def domains(self, params: HashParams) -> frozenset[str]:
        return frozenset({params.domain}) if params.algorithm == "hmac" else frozenset()

    def compile(self, site: Site, params: HashParams, keys: Keys) -> sql.Composable:
        text = site.text
        if params.normalise == "lower":
            text = sql.SQL('lower({} COLLATE "C")').format(text)  # ASCII only, whatever the database's locale
        if params.algorithm == "hmac":
            digest = keys.expression(params.domain, text)
        else:
            digest = sql.SQL("sha256(convert_to({}, 'UTF8'))").format(text)
        return _encode_sql(digest, params)

    def reference(
        self, value: str | None, params: HashParams, keys: Keys, *, row: Mapping[str, str | None]
    ) -> str | None:
        if value is None:
            return None
        text = value.encode().lower().decode() if params.normalise == "lower" else value
        digest = keys.digest(params.domain, text) if params.algorithm == "hmac" else sha256(text.encode()).digest()
        return _encode(digest, params)


def _encode_sql(digest: sql.Composable, params: HashParams) -> sql.Composable:
    if params.encoding == "base64url":  # encode() breaks lines after 76 characters, a digest has 44
        text = sql.SQL("translate(encode({}, 'base64'), '+/=', '-_')").format(digest)
    else:
        text = sql.SQL("encode({}, 'hex')").format(digest)
    if params.encoding == "uuid":
        marked = sql.SQL("overlay(overlay(left({}, 32) placing '8' from 13) placing '8' from 17)").format(text)
        return sql.SQL("CAST({} AS uuid)").format(marked)
    return text if params.width == FULL[params.encoding] else sql.SQL("left({}, {})").format(text, params.width)


def _encode(digest: bytes, params: HashParams) -> str:
    if params.encoding == "base64url":
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")[: params.width]
    text = digest.hex()
    if params.encoding == "uuid":  # version 8 (RFC 9562: custom), variant 10
        text = f"{text[:12]}8{text[13:16]}8{text[17:32]}"
        return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
    return text[: params.width]


MASK = Hash()
