"""Remove the value: NULL in every row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from psycopg import sql

from egress_assets.engine.masks.seam import Keys, MaskParams, Site, raw


class NullParams(MaskParams):
    """None."""


class Null:
    name: ClassVar[str] = "null"
    help: ClassVar[str] = "NULL in every row; the column must be nullable"
    version: ClassVar[int] = 1
    removes: ClassVar[bool] = True
    Params: ClassVar[type[MaskParams]] = NullParams
    examples: ClassVar[Sequence[Mapping[str, Any]]] = ({},)

    def check(self, site: Site, params: NullParams) -> Sequence[str]:
        return () if site.column.nullable else ("mask null empties the column, the column is NOT NULL",)

    def domains(self, params: NullParams) -> frozenset[str]:
        return frozenset()

    def compile(self, site: Site, params: NullParams, keys: Keys) -> sql.Composable:
        return sql.SQL("CAST(NULL AS {})").format(raw(site.column.type))

    def reference(
        self, value: str | None, params: NullParams, keys: Keys, *, row: Mapping[str, str | None]
    ) -> str | None:
        return None


MASK = Null()
