"""The table that a person opens in the morning: dataset x date x stage, and what is the matter with each.

`look` reads evidence, `judge` decides; the judgement is a pure function of what was seen, the catalog and the time.
Dagster is not asked: what it recorded is not what is true.

    done        the pointer names every table of the catalog, of one snapshot
    partial     it names fewer, or of several snapshots
    delivered   receipts of the date are there
    held        a hold is on the recipient or the dataset
    failed      the last run ended with an error, and no later one succeeded
    not sealed  nothing yet; an attempt has begun and has not ended: it runs, or it was killed
    due         nothing yet, and the hour has not come
    missing     nothing, and the hour has come; or before the dataset's first run
    late        nothing, an hour after the schedule, or past the SLA of the recipient or the dataset
    missed      nothing, and the date can't be made any more
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from egress_assets.engine import hours
from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.catalog.units import units_of
from egress_assets.engine.evidence.driver import Evidence
from egress_assets.engine.evidence.here import is_gone
from egress_assets.engine.layout import Unit
from egress_assets.engine.partition import Calendar, parse_date
from egress_assets.engine.seen import Seen, Truth, look

State = Literal["done", "partial", "delivered", "held", "failed", "not sealed", "due", "missing", "late", "missed"]
GOOD: frozenset[State] = frozenset({"done", "delivered", "due"})
WORST: tuple[State, ...] = (
    "failed", "missed", "late", "partial", "held", "not sealed", "missing", "due", "done", "delivered",
)  # fmt: skip
"""All states, the one to look at first in front."""
_NAMED = 3  # tables in a detail


@dataclass(frozen=True, slots=True)
class Row:
    """One unit and date. `rows` and `bytes` are of what the pointer names; None when nothing is there."""

    dataset: str
    date: str
    unit: Unit
    state: State
    detail: str = ""
    generation: int = 0
    tables: int = 0
    rows: int | None = None
    bytes: int | None = None
    receipts: int = 0


def status(catalog: Catalog, evidence: Evidence, *, days: int, at: datetime) -> list[Row]:
    """The newest `days` dates of every dataset. Memory: their pointers. Raises as `seen.look`."""
    dates = newest(catalog, days, at)
    return list(judge(catalog, look(catalog, evidence, dates), dates, at))


def newest(catalog: Catalog, days: int, at: datetime) -> dict[str, list[str]]:
    """The newest dates of every dataset that are complete at `at`, by dataset, the oldest first."""
    return {name: _dates(catalog.calendar(name), days, at) for name in catalog.datasets}


def _dates(calendar: Calendar, days: int, at: datetime) -> list[str]:
    last = parse_date(calendar.last_complete(at))
    first = max(calendar.start, last - timedelta(days=days - 1))
    return calendar.dates(first.isoformat(), last.isoformat())


# ------------------------------------------------------------------------------------------------------------ judgement
def judge(catalog: Catalog, seen: Seen, dates: Mapping[str, list[str]], at: datetime) -> Iterator[Row]:
    """One row a dataset, date (the newest first) and unit. Pure.

    A dataset's dates count from the first that something is known of; nobody waits for those before it.
    """
    for dataset, days in dates.items():
        units = list(units_of(catalog, dataset))
        first = next((date for date in days if _is_known(seen, units, date)), days[-1] if days else "")
        for date in reversed(days):
            for unit in units:
                row = Row(dataset, date, unit, "missing", "before the first run" if date < first else "")
                make = _delivery if unit.stage == "delivery" else _stage
                yield row if row.detail else make(catalog, seen, row, at)


def _is_known(seen: Seen, units: list[Unit], date: str) -> bool:
    kept = (seen.truths, seen.failures, seen.missed, seen.unsealed)
    return any((unit, date) in each for unit in units for each in kept)


def _stage(catalog: Catalog, seen: Seen, row: Row, at: datetime) -> Row:
    truth = seen.truths.get((row.unit, row.date))
    if truth is None:
        held = _held(seen, row, f"dataset/{row.dataset}") if _leaves(catalog, row) else None
        return held or _absent(catalog, seen, row, at)
    row = _told(row, truth)
    if failure := seen.failures.get((row.unit, row.date)):
        return replace(row, state="failed", detail=f"{failure.code}: {failure.message}")
    if row.unit.stage not in ("dump", "scrub"):
        return replace(row, state="done")
    return _tables(row, truth, frozenset(catalog.dataset(row.dataset).tables))


def _tables(row: Row, truth: Truth, wanted: frozenset[str]) -> Row:
    """done, or partial. Tables that the catalog names no more don't matter; they are told."""
    entries = truth.pointer.entries
    if lacking := len(wanted - entries.keys()):
        return replace(row, state="partial", detail=f"{lacking} of {len(wanted)} tables lacking")
    if len({entry.snapshot for table, entry in entries.items() if table in wanted}) > 1:
        return replace(row, state="partial", detail="tables of several snapshots")
    gone = sorted(entries.keys() - wanted)
    more = f" and {len(gone) - _NAMED} more" if len(gone) > _NAMED else ""
    detail = f"holds {', '.join(gone[:_NAMED])}{more}, not in the catalog any more" if gone else ""
    return replace(row, state="done", detail=detail)


def _delivery(catalog: Catalog, seen: Seen, row: Row, at: datetime) -> Row:
    recipient, pipeline = row.unit.names
    receipts = seen.receipts.get((recipient, pipeline, row.date), [])
    if truth := seen.truths.get((row.unit, row.date)):
        row = _told(row, truth)
    if receipts:
        row = replace(row, receipts=len(receipts), bytes=sum(receipt.bytes for receipt in receipts))
    if failure := seen.failures.get((row.unit, row.date)):
        return replace(row, state="failed", detail=f"{failure.code}: {failure.message}")
    if receipts:
        return replace(
            row, state="delivered", detail="1 receipt" if len(receipts) == 1 else f"{len(receipts)} receipts"
        )
    return _held(seen, row, f"recipient/{recipient}", f"dataset/{row.dataset}") or _absent(catalog, seen, row, at)


def _held(seen: Seen, row: Row, *names: str) -> Row | None:
    for name in names:
        if hold := seen.holds.get(name):
            return replace(row, state="held", detail=f"{name} by {hold.event.by}: {hold.event.reason}")
    return None


def _leaves(catalog: Catalog, row: Row) -> bool:
    """Whether the unit is a mirror to an external store, which a hold on its dataset stops."""
    mirrors = catalog.dataset(row.dataset).mirrors if row.unit.stage == "mirror" else {}
    stores = catalog.endpoints.stores
    return any(stores[mirror.to].zone != "trusted" for name, mirror in mirrors.items() if (name,) == row.unit.names)


def _absent(catalog: Catalog, seen: Seen, row: Row, at: datetime) -> Row:
    if missed := seen.missed.get((row.unit, row.date)):
        return replace(row, state="missed", detail=missed.reason)
    if failure := seen.failures.get((row.unit, row.date)):
        return replace(row, state="failed", detail=f"{failure.code}: {failure.message}")
    if note := seen.unsealed.get((row.unit, row.date)):
        end = ", its process is gone" if is_gone(note) else ""
        return replace(row, state="not sealed", detail=f"{note.attempt} on {note.host}{end}")
    for unit in units_of(catalog, row.dataset):
        if (unit, row.date) in seen.missed and (unit, row.date) not in seen.truths:
            return replace(row, state="missed", detail=f"{unit.title} was missed")
    return _by_the_hour(catalog, row, at)


def _by_the_hour(catalog: Catalog, row: Row, at: datetime) -> Row:
    late = hours.late(catalog, row.dataset, row.date, row.unit)
    if late is not None and at > late:
        since = late.astimezone(catalog.calendar(row.dataset).zone)
        return replace(row, state="late", detail=f"since {since:%Y-%m-%d %H:%M}")
    due = hours.due(catalog, row.dataset, row.date)
    return replace(row, state="due" if due is not None and at < due else "missing")


def _told(row: Row, truth: Truth) -> Row:
    pointer = truth.pointer
    told = replace(row, generation=pointer.generation, tables=len(pointer.entries))
    return replace(told, rows=truth.rows, bytes=truth.bytes)
