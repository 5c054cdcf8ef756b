"""One op of the graph as data: what it makes, from what, through which endpoints. Factories build assets from it."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from egress_assets import partitions
from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.layout import Unit, asset_key, escape
from egress_assets.engine.partition import Calendar
from egress_assets.engine.result import StageResult
from resources.certificates import CERTIFICATES

STAGE = "egress/stage"
"""Tag of all our assets: dump, scrub, mirror, ..."""

Run = Callable[..., StageResult]
Engine = Callable[[str], Run]


def engine(stage: str) -> Run:
    """The engine's `run` of a stage, imported when it is needed: definitions load without the data plane."""
    return importlib.import_module(f"egress_assets.engine.{stage}.run").run


def certifying(catalog: Catalog) -> frozenset[str]:
    """Resources of an op that makes, or asks for, the certificate of a scrub."""
    return frozenset({CERTIFICATES}) if catalog.endpoints.certificates else frozenset()


@dataclass(frozen=True, slots=True)
class Stage:
    """One op. A dump and a scrub have an asset a table; a mirror and a delivery have one in all."""

    catalog: Catalog
    dataset: str
    unit: Unit
    endpoints: frozenset[str]  # keys of the resources that it opens
    kinds: frozenset[str]
    declared: str  # key in Catalog.lines of the line that declares it
    said: tuple[Any, ...] = ()  # what the catalog says of its content: a change makes materialised dates outdated
    tables: tuple[str, ...] = ()
    parents: Mapping[str, tuple[dg.AssetKey, ...]] = field(default_factory=dict)  # by table; "" where there is none
    store: str = ""  # where its bytes lie; "" for a delivery
    pool: str | None = None
    gated: bool = False

    @property
    def name(self) -> str:
        """The op's name. `__` can't occur inside an escaped name, so no two units share one."""
        return "__".join((self.unit.stage, *map(escape, self.unit.names)))

    def key(self, table: str = "") -> dg.AssetKey:
        return dg.AssetKey(asset_key(self.unit, table))

    @property
    def op(self) -> dict[str, Any]:
        """What every op says of itself to `multi_asset`."""
        return {
            "name": self.name,
            "required_resource_keys": set(self.endpoints),
            "pool": self.pool,
            "op_tags": {"egress/unit": str(self.unit)},
        }

    @property
    def keys(self) -> Mapping[str, dg.AssetKey]:
        """Asset keys by table."""
        return {table: self.key(table) for table in self.tables or ("",)}

    @property
    def calendar(self) -> Calendar:
        return self.catalog.calendar(self.dataset)

    @property
    def partitions(self) -> dg.DailyPartitionsDefinition:
        return partitions.daily(self.calendar)
