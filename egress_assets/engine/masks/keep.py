"""Pass the value on as it is: for columns that name nobody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from egress_assets.engine.masks.seam import Keys, MaskParams, Site

if TYPE_CHECKING:
    from psycopg import sql


class KeepParams(MaskParams):
    """None."""


class Keep:
    name: ClassVar[str] = "keep"
    help: ClassVar[str] = "the value as it is; the gate still scans it"
    version: ClassVar[int] = 1
    removes: ClassVar[bool] = False
    Params: ClassVar[type[MaskParams]] = KeepParams
    examples: ClassVar[Sequence[Mapping[str, Any]]] = ({},)

    def check(self, site: Site, params: KeepParams) -> Sequence[str]:
        return ()

    def domains(self, params: KeepParams) -> frozenset[str]:
        return frozenset()

    def compile(self, site: Site, params: KeepParams, keys: Keys) -> sql.Composable:
        return site.identifier

    def reference(
        self, value: str | None, params: KeepParams, keys: Keys, *, row: Mapping[str, str | None]
    ) -> str | None:
        return value


MASK = Keep()
