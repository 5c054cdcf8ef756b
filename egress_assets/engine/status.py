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
    missing     nothing, and the hour has come
    late        nothing, an hour after the schedule, or past the recipient's SLA
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, time, timedelta
from typing import Literal

from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.catalog.units import units_of
from egress_assets.engine.evidence.driver import Evidence
from egress_assets.engine.evidence.failures import Failure, failed
from egress_assets.engine.evidence.here import is_gone
from egress_assets.engine.evidence.proofs import Hold, Receipt
from egress_assets.engine.evidence.records import Note, Pointer
from egress_assets.engine.layout import (
    NOTES,
    Unit,
    manifest_key,
    note_key,
    parse_note_key,
    parse_pointer_key,
    pointer_key,
    pointer_prefix,
)
from egress_assets.engine.partition import Calendar, instant, parse_date

State = Literal["done", "partial", "delivered", "held", "failed", "not sealed", "due", "missing", "late"]
GOOD: frozenset[State] = frozenset({"done", "delivered", "due"})
_LATE_AFTER = timedelta(hours=1)  # of the schedule, where no SLA says more
_READERS = 8  # evidence is small objects: the time is round trips


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
    """The newest `days` dates of every dataset. Memory: their pointers. Raises StoreError's kinds, ManifestInvalid."""
    dates = {name: _dates(catalog.calendar(name), days, at) for name in catalog.datasets}
    return list(judge(catalog, look(catalog, evidence, dates), dates, at))


def _dates(calendar: Calendar, days: int, at: datetime) -> list[str]:
    last = parse_date(calendar.last_complete(at))
    first = max(calendar.start, last - timedelta(days=days - 1))
    return calendar.dates(first.isoformat(), last.isoformat())


# ------------------------------------------------------------------------------------------------------------ judgement
def judge(catalog: Catalog, seen: Seen, dates: Mapping[str, list[str]], at: datetime) -> Iterator[Row]:
    """One row a dataset, date (the newest first) and unit. Pure."""
    for dataset, days in dates.items():
        for date in reversed(days):
            for unit in units_of(catalog, dataset):
                make = _delivery if unit.stage == "delivery" else _stage
                yield make(catalog, seen, Row(dataset, date, unit, "missing"), at)


def _stage(catalog: Catalog, seen: Seen, row: Row, at: datetime) -> Row:
    truth = seen.truths.get((row.unit, row.date))
    if truth is None:
        held = _held(seen, row, f"dataset/{row.dataset}") if _leaves(catalog, row) else None
        return held or _absent(catalog, seen, row, at)
    row = _told(row, truth)
    if failure := seen.failures.get((row.unit, row.date)):
        return replace(row, state="failed", detail=f"{failure.code}: {failure.message}")
    wanted = frozenset(catalog.dataset(row.dataset).tables)
    if row.unit.stage in ("dump", "scrub") and not truth.pointer.consistent(wanted):
        lacking = len(wanted - truth.pointer.entries.keys())
        detail = f"{lacking} of {len(wanted)} tables lacking" if lacking else "tables of several snapshots"
        return replace(row, state="partial", detail=detail)
    return replace(row, state="done")


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
    if failure := seen.failures.get((row.unit, row.date)):
        return replace(row, state="failed", detail=f"{failure.code}: {failure.message}")
    if note := seen.unsealed.get((row.unit, row.date)):
        end = ", its process is gone" if is_gone(note) else ""
        return replace(row, state="not sealed", detail=f"{note.attempt} on {note.host}{end}")
    due, late = _hours(catalog, row)
    if late is not None and at > late:
        since = late.astimezone(catalog.calendar(row.dataset).zone)
        return replace(row, state="late", detail=f"since {since:%Y-%m-%d %H:%M}")
    return replace(row, state="due" if due is not None and at < due else "missing")


def _told(row: Row, truth: Truth) -> Row:
    pointer = truth.pointer
    told = replace(row, generation=pointer.generation, tables=len(pointer.entries))
    return replace(told, rows=truth.rows, bytes=truth.bytes)


def _hours(catalog: Catalog, row: Row) -> tuple[datetime | None, datetime | None]:
    """(when the run begins, when it is late) of a row; None where the catalog does not say."""
    model, calendar = catalog.dataset(row.dataset), catalog.calendar(row.dataset)
    day = parse_date(row.date) + timedelta(days=calendar.label == "data_day")
    due = instant(day, time.fromisoformat(model.schedule), calendar.zone) if model.schedule else None
    sla = catalog.endpoints.recipients[row.unit.names[0]].sla if row.unit.stage == "delivery" else None
    if sla is None:
        return due, due + _LATE_AFTER if due else None
    after = model.schedule is not None and sla <= model.schedule  # before the run begins: the next day's hour is meant
    return due, instant(day + timedelta(days=after), time.fromisoformat(sla), calendar.zone)
