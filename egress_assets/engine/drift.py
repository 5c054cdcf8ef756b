"""What evidence has and the catalog does not name any more: units and tables that were removed or renamed.

Nothing is done about it: their dates stay as true as they were. It is shown, because a table that silently is no longer
dumped looks the same as one that never was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.catalog.units import units_of
from egress_assets.engine.layout import Unit
from egress_assets.engine.seen import Slot, Truth


@dataclass(frozen=True, slots=True)
class Drift:
    """One thing that left the catalog. `table` is '' for a whole unit, `dataset` '' when nothing says whose it was."""

    unit: Unit
    table: str
    dataset: str
    dates: int
    first: str
    last: str

    @property
    def title(self) -> str:
        return f"{self.table} of {self.unit.title}" if self.table else self.unit.title

    def also(self, date: str) -> Drift:
        """With one date more."""
        return replace(self, dates=self.dates + 1, first=min(self.first, date), last=max(self.last, date))


def units_gone(catalog: Catalog, pointers: Iterable[Slot], known: Iterable[Drift] = ()) -> list[Drift]:
    """Units with pointers that the catalog has no more, added to `known`. Memory: one record a unit that is gone."""
    named = {unit for dataset in catalog.datasets for unit in units_of(catalog, dataset)}
    found = {drift.unit: drift for drift in known}
    for unit, date in pointers:
        if unit not in named:
            before = found.get(unit)
            found[unit] = before.also(date) if before else Drift(unit, "", _dataset(catalog, unit), 1, date, date)
    return sorted(found.values(), key=lambda drift: drift.unit)


def tables_gone(catalog: Catalog, truths: Mapping[Slot, Truth]) -> list[Drift]:
    """Tables of dumps and scrubs that a pointer holds and the catalog names no more."""
    found: dict[tuple[Unit, str], Drift] = {}
    for (unit, date), truth in truths.items():
        if unit.stage not in ("dump", "scrub") or unit.names[0] not in catalog.datasets:
            continue
        for table in truth.pointer.entries.keys() - catalog.dataset(unit.names[0]).tables.keys():
            before = found.get((unit, table))
            found[unit, table] = before.also(date) if before else Drift(unit, table, unit.names[0], 1, date, date)
    return [found[key] for key in sorted(found)]


def _dataset(catalog: Catalog, unit: Unit) -> str:
    """Dumps and scrubs are named by their dataset; a mirror's or delivery's name tells nothing."""
    return unit.names[0] if unit.stage in ("dump", "scrub") and unit.names[0] in catalog.datasets else ""
