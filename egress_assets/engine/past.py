"""What a unit held on the dates before one, as evidence says it: for pictures over days and for what has changed since.

Shown to people, never decided by: what can't be read in time is left out, and `failed` says why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from itertools import islice

from egress_assets.engine.errors import EgressError
from egress_assets.engine.evidence.driver import Evidence
from egress_assets.engine.evidence.records import Column, Manifest, TableRecord
from egress_assets.engine.glance import glance
from egress_assets.engine.layout import Unit, parse_pointer_key, pointer_key, pointer_prefix
from egress_assets.engine.partition import parse_date
from egress_assets.engine.release import INVENTORY

DAYS = 30
MANY = 1000  # objects a date; their manifests take tenths of a second each to read, too much for a picture
_ATTEMPTS = 3  # a date: its tables lie in one attempt, except where single ones were made again


@dataclass(frozen=True, slots=True)
class Held:
    """One table (or object set) of one date."""

    bytes: int
    columns: tuple[Column, ...] = ()


@dataclass(slots=True)
class Past:
    """Lazy: the first question reads a listing, then one small object and up to three manifests a date, eight at once.

    Memory: columns and totals of the tables of `DAYS` dates, and eight manifests while they are read.
    """

    evidence: Evidence
    unit: Unit
    date: str
    failed: str = ""
    _days: Mapping[str, Mapping[str, Held]] | None = field(default=None, repr=False)

    def days(self, table: str) -> dict[str, int]:
        """Stored bytes of `table` by date, ascending, for those of the last `DAYS` dates that have it."""
        return {date: tables[table].bytes for date, tables in self._read().items() if table in tables}

    def before(self, table: str) -> tuple[str, Held] | None:
        """The nearest earlier date that has `table`, within `DAYS`, and what it held."""
        earlier = [date for date, tables in self._read().items() if table in tables and date < self.date]
        return (earlier[-1], self._read()[earlier[-1]][table]) if earlier else None

    def _read(self) -> Mapping[str, Mapping[str, Held]]:
        if self._days is None:
            self._days = {} if self.failed else self._look()
        return self._days

    def _look(self) -> Mapping[str, Mapping[str, Held]]:
        try:
            dates = list(self._pointed())
        except EgressError as error:
            self.failed = error.message
            return {}
        found, failed = glance({date: partial(_held, self.evidence, self.unit, date) for date in dates})
        self.failed = next((f"{date}: {why}" for date, why in failed.items()), "")
        return found

    def _pointed(self) -> Iterator[str]:
        """Dates with a pointer, ascending, by one listing."""
        first = (parse_date(self.date) - timedelta(days=DAYS - 1)).isoformat()
        after = pointer_key(self.unit, first).removesuffix(".json")
        for listed in self.evidence.store.list(f"{pointer_prefix(self.unit)}date=", start_after=after):
            _, date = parse_pointer_key(listed.key)
            if date > self.date:
                return
            yield date


def _held(evidence: Evidence, unit: Unit, date: str) -> dict[str, Held]:
    pointer = evidence.pointer(unit, date)
    if pointer is None:
        return {}
    attempts = set(islice(dict.fromkeys(entry.attempt for entry in pointer.entries.values()), _ATTEMPTS))
    near = frozenset(table for table, entry in pointer.entries.items() if entry.attempt in attempts)
    return {table: Held(_bytes(*found), found[1].columns) for table, found in evidence.tables(pointer, near).items()}


def _bytes(manifest: Manifest, record: TableRecord) -> int:
    """Of the objects; a mirrored bucket's manifest lists shards of its inventory instead, and tells the total."""
    return int(manifest.draft.facts["bytes"]) if record.format == INVENTORY else record.bytes
