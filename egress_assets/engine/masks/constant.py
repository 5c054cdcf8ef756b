"""Replace every value by the same one."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

from psycopg import sql
from pydantic import Field

from egress_assets.engine.masks.seam import TEXT_TYPES, Keys, MaskParams, Site, raw, too_long


def _integer(bits: int) -> Callable[[str], Any]:
    def parse(text: str) -> int:
        value = int(text)
        if not -(2 ** (bits - 1)) <= value < 2 ** (bits - 1):
            raise ValueError(text)
        return value

    return parse


def _array(text: str) -> None:
    if not (text.startswith("{") and text.endswith("}")):
        raise ValueError(text)


PARSERS: Mapping[str, Callable[[str], Any]] = {
    "int2": _integer(16),
    "int4": _integer(32),
    "int8": _integer(64),
    "float4": float,
    "float8": float,
    "numeric": Decimal,
    "date": date.fromisoformat,
    "timestamp": datetime.fromisoformat,
    "timestamptz": datetime.fromisoformat,
    "uuid": UUID,
    "bool": {"true": True, "false": False}.__getitem__,
    "json": json.loads,
    "jsonb": json.loads,
    "inet": ipaddress.ip_interface,
    "cidr": ipaddress.ip_network,
    "bytea": lambda text: bytes.fromhex(text.removeprefix("\\x")),
}
"""Types whose literals are checked before anything runs; the server refuses others before the first row."""


class ConstantParams(MaskParams):
    value: str | int | bool = Field(description="what stands in every row that is not NULL; write decimals in quotes")

    @property
    def text(self) -> str:
        return str(self.value).lower() if isinstance(self.value, bool) else str(self.value)


class Constant:
    name: ClassVar[str] = "constant"
    help: ClassVar[str] = "the same value in every row that is not NULL"
    version: ClassVar[int] = 1
    removes: ClassVar[bool] = False  # a row may hold the constant already
    Params: ClassVar[type[MaskParams]] = ConstantParams
    examples: ClassVar[Sequence[Mapping[str, Any]]] = (
        {"value": "removed"},
        {"value": 0},
        {"value": True},
        {"value": "2000-01-01"},
        {"value": "{}"},
    )

    def check(self, site: Site, params: ConstantParams) -> Sequence[str]:
        column = site.column
        if "\x00" in params.text:
            return ("the constant holds a zero byte, which Postgres can't store",)
        if column.base in TEXT_TYPES:
            return too_long(site, len(params.text), self.name)
        try:
            PARSERS.get(column.base, _array if column.base.startswith("_") else str)(params.text)
        except (ValueError, KeyError, ArithmeticError):
            return (f"the constant {params.text!r} is no {column.type}",)
        return ()

    def domains(self, params: ConstantParams) -> frozenset[str]:
        return frozenset()

    def compile(self, site: Site, params: ConstantParams, keys: Keys) -> sql.Composable:
        # The cast is done while the statement is parsed: a constant that the type refuses stops it before any row. What
        # is written is the text itself, not the type's spelling of it (0 for numeric(12,2), not 0.00).
        template = sql.SQL("CASE WHEN {} IS NOT NULL AND CAST({value} AS {}) IS NOT NULL THEN {value} END")
        return template.format(site.identifier, raw(site.column.type), value=sql.Literal(params.text))

    def reference(
        self, value: str | None, params: ConstantParams, keys: Keys, *, row: Mapping[str, str | None]
    ) -> str | None:
        return None if value is None else params.text


MASK = Constant()
