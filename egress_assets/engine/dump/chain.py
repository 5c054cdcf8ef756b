"""The chain of an incremental extract: which date a date continues from, and which dates may be made at all.

Each date names the entry that it continues from (`after`). Dates are made in order, without gaps, and only the newest
one is ever made again: whatever later dates hold was cut off at what this one had read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from egress_assets.engine.errors import CatalogError, HistoryUnavailable, OutOfOrder
from egress_assets.engine.evidence.driver import Evidence
from egress_assets.engine.evidence.records import Entry, TableRecord
from egress_assets.engine.layout import Unit
from egress_assets.engine.partition import parse_date


@dataclass(frozen=True, slots=True)
class Link:
    """A table's entry of the date before, as the pointer had it when it was asked."""

    date: str
    entry: Entry
    record: TableRecord
    store: str

    @property
    def name(self) -> str:
        """As `Wanted.after` and the record's `continues` have it."""
        return name_of(self.date, self.entry)


def name_of(date: str, entry: Entry) -> str:
    return f"{date}/{entry.attempt}/{entry.content_digest}"


@dataclass(frozen=True, slots=True)
class Chain:
    """Where a date of an incremental dataset stands among the others, when it was looked at.

    `links` has the tables that continue; the others begin with this date.
    """

    unit: Unit
    date: str
    first: str
    links: Mapping[str, Link]
    before: str = ""  # the newest earlier date that is made
    later: tuple[str, ...] = ()  # dates that are made
    broken: str = ""  # the date before continues from an entry that is no more
    is_made: bool = False

    def after(self, table: str) -> str:
        return self.links[table].name if table in self.links else ""

    def require_order(self, tables: Sequence[str], dataset: frozenset[str]) -> None:
        """Refuse a run over `tables` that would tear the chain; `dataset` are all tables of the catalog.

        Raises HistoryUnavailable (later dates continue from this one), OutOfOrder (another date has to be made first),
        CatalogError (the first run of a date is over all tables).
        """
        if self.later:
            raise HistoryUnavailable(
                f"{self.unit.title} {self.date} can't be made again: {self.later[0]} continues from it",
                hint="What has changed since is in later dates. To have everything once more, set the dataset's "
                "`start` to the date that shall begin anew with all rows.",
            )
        if self.links and self.before != _previous(self.date):
            raise OutOfOrder(
                f"{self.unit.title} {self.date} continues from the date before, which is not made; "
                f"{self.before} is the last one",
                hint=f"Make {_next(self.before)} first, then the dates after it in order: by the job "
                f"`{self.unit.names[0]}_range`, or one by one with `--date`.",
            )
        if self.broken:
            raise OutOfOrder(
                f"{self.unit.title} {self.date} continues from {self.before}, which continues from an entry of "
                f"{self.broken} that was replaced",
                hint=f"Make {self.before} again first.",
            )
        if not self.is_made and (left := sorted(dataset - set(tables))):
            raise CatalogError(
                f"the first run of {self.unit.title} {self.date} is over some of the tables only, "
                f"{', '.join(left)} would have a gap",
                hint="With `extract: incremental` make all tables of a date at once; single ones can be made again.",
            )

    def require_still(self, evidence: Evidence) -> None:
        """After the rows were read: what they continue from is still the truth, and nothing continues from here.

        Two runs of neighbouring dates that look at the same moment still pass; `broken` tells the date after. Raises
        OutOfOrder.
        """
        now = chain_of(evidence, self.unit, self.date, tuple(self.links), self.first)
        if now.later == self.later and all(now.after(table) == self.after(table) for table in self.links):
            return
        raise OutOfOrder(
            f"{self.unit.title}: another date than {self.date} was made at the same time",
            hint="Run again; dates of an incremental dataset are made one after the other.",
        )


def chain_of(evidence: Evidence, unit: Unit, date: str, tables: Sequence[str], first: str) -> Chain:
    """The chain as it is now. `first` is the dataset's `start`: what was made of dates before it is no part of it.

    Reads a listing of the unit's pointers, two of them and their manifests. Raises ManifestInvalid, StoreError's kinds.
    """
    made = sorted(day for _, day in evidence.pointers(unit) if day >= first)
    before = max((day for day in made if day < date), default="")
    links = _links(evidence, unit, before, tables) if before else {}
    return Chain(
        unit,
        date,
        first,
        links,
        before,
        later=tuple(day for day in made if day > date),
        broken=_broken(evidence, unit, links, first),
        is_made=date in made,
    )


def _links(evidence: Evidence, unit: Unit, before: str, tables: Sequence[str]) -> dict[str, Link]:
    """Tables that the date before has read incrementally."""
    pointer = evidence.pointer(unit, before)
    if pointer is None:
        return {}
    there = frozenset(tables) & frozenset(pointer.entries)
    found = evidence.tables(pointer, there)
    return {
        table: Link(before, pointer.entries[table], record, manifest.draft.store)
        for table, (manifest, record) in found.items()
        if record.continues
    }


def _broken(evidence: Evidence, unit: Unit, links: Mapping[str, Link], first: str) -> str:
    """The date whose entry the date before continues from, when that entry was replaced since."""
    for table, link in links.items():
        after = str(link.record.continues.get("after", ""))
        date = after.partition("/")[0]
        if not after or date < first:
            continue
        pointer = evidence.pointer(unit, date)
        entry = pointer.entries.get(table) if pointer else None
        if entry is None or name_of(date, entry) != after:
            return date
    return ""


def _previous(date: str) -> str:
    return (parse_date(date) - timedelta(days=1)).isoformat()


def _next(date: str) -> str:
    return (parse_date(date) + timedelta(days=1)).isoformat()
