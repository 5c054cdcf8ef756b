"""What evidence says of some dates: the one look that `egress status`, the overview and the evidence sensor share.

Listings tell what there is and what has changed; a record is read when its ETag is new to the caller's Memory. So a
look that finds nothing new costs a listing a unit and a few of the whole (0.4 s for 150 units at the sandbox's store).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import TypeVar

from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.catalog.units import units_of
from egress_assets.engine.errors import ManifestInvalid
from egress_assets.engine.evidence.driver import Evidence
from egress_assets.engine.evidence.failures import Failure
from egress_assets.engine.evidence.memory import Memory
from egress_assets.engine.evidence.proofs import Hold, Missed, Receipt
from egress_assets.engine.evidence.records import Note, Pointer
from egress_assets.engine.layout import (
    FAILURES,
    HOLDS,
    MISSED,
    NOTES,
    RECEIPTS,
    Unit,
    manifest_key,
    note_key,
    parse_failure_key,
    parse_missed_key,
    parse_note_key,
    parse_pointer_key,
    pointer_key,
    pointer_prefix,
)
from egress_assets.engine.stores import Listed

T = TypeVar("T")
Slot = tuple[Unit, str]
"""A unit and date."""

READERS = 8  # evidence is small objects: the time is round trips
_AT_ONCE = 20  # records of a thread's turn: most of them are known already


@dataclass(frozen=True, slots=True)
class Truth:
    """A pointer and the totals of its manifests."""

    pointer: Pointer
    rows: int | None
    bytes: int


@dataclass(slots=True)
class Seen:
    """What there is, by unit and date. `versions` has the ETag of each pointer."""

    truths: dict[Slot, Truth] = field(default_factory=dict)
    versions: dict[Slot, str] = field(default_factory=dict)
    failures: dict[Slot, Failure] = field(default_factory=dict)
    missed: dict[Slot, Missed] = field(default_factory=dict)
    unsealed: dict[Slot, Note] = field(default_factory=dict)
    receipts: Mapping[tuple[str, str, str], list[Receipt]] = field(default_factory=dict)  # recipient, pipeline, date
    holds: dict[str, Hold] = field(default_factory=dict)  # by kind/name


def look(catalog: Catalog, evidence: Evidence, dates: Mapping[str, list[str]], memory: Memory | None = None) -> Seen:
    """Read what evidence says of these dates of each dataset.

    A pointer or manifest that can't be read is a failure of its unit and date. Memory: their pointers. Raises Unread
    when `memory` allows no more reads in this round; StoreError's kinds; ManifestInvalid for other records.
    """
    memory = memory or Memory()
    asked = [(unit, days) for name, days in dates.items() if days for unit in units_of(catalog, name)]
    wanted = {(unit, date) for unit, days in asked for date in days}
    seen = Seen(holds=holds(evidence, memory))
    seen.failures = failures(evidence, memory, wanted)
    seen.missed = missed(evidence, memory, wanted)
    with ThreadPoolExecutor(READERS) as pool:
        for found in pool.map(lambda ask: _look(evidence, memory, *ask), asked):
            seen.versions |= found.versions
            seen.truths |= found.truths
            seen.failures |= found.failures
            seen.unsealed |= found.unsealed
    seen.receipts = receipts(evidence, memory, {date for _, date in wanted})
    return seen


def look_at(evidence: Evidence, slots: Mapping[Slot, str], memory: Memory) -> Seen:
    """Pointers of which the ETag is known, and the receipts of their dates. Raises as `look`."""
    seen = Seen(versions=dict(slots))
    by_date = [receipts(evidence, memory, {date}) for date in {date for _, date in slots}]
    seen.receipts = {name: each for found in by_date for name, each in found.items()}
    _read_truths(evidence, memory, seen)
    return seen


# ------------------------------------------------------------------------------------------------------------- a unit
def _look(evidence: Evidence, memory: Memory, unit: Unit, days: list[str]) -> Seen:
    found = Seen(versions=pointed(evidence, unit, days[0], days[-1]))
    _read_truths(evidence, memory, found)
    absent = [date for date in days if (unit, date) not in found.versions]
    if absent:
        found.unsealed = {(unit, date): note for date, note in unsealed(evidence, unit, absent).items()}
    return found


def pointed(evidence: Evidence, unit: Unit, first: str, last: str) -> dict[Slot, str]:
    """The ETags of a unit's pointers, from one date to another."""
    found: dict[Slot, str] = {}
    after = pointer_key(unit, first).removesuffix(".json")
    for listed in evidence.store.list(f"{pointer_prefix(unit)}date=", start_after=after):
        _, date = parse_pointer_key(listed.key)
        if date > last:
            break
        found[unit, date] = listed.etag
    return found


def _read_truths(evidence: Evidence, memory: Memory, found: Seen) -> None:
    for slot, etag in found.versions.items():
        try:
            truth = memory.get(pointer_key(*slot), etag, partial(_truth, evidence, *slot))
        except ManifestInvalid as error:
            found.failures[slot] = Failure(*slot, error.code, error.message, error.hint, retryable=False, at=0)
            continue
        if truth is not None:
            found.truths[slot] = truth


def _truth(evidence: Evidence, unit: Unit, date: str) -> Truth | None:
    pointer = evidence.pointer(unit, date)
    if pointer is None:
        return None
    records = [record for _, record in evidence.tables(pointer).values()]
    rows = [record.rows for record in records if record.rows is not None]
    return Truth(replace(pointer, body=b""), sum(rows) if rows else None, sum(record.bytes for record in records))


def unsealed(evidence: Evidence, unit: Unit, dates: list[str]) -> dict[str, Note]:
    """The newest attempt of each of these dates, where it has no manifest."""
    newest: dict[str, str] = {}
    for listed in evidence.store.list(f"{NOTES}{unit}/date=", start_after=note_key(unit, dates[0], "")):
        _, date, attempt = parse_note_key(listed.key)
        if date > dates[-1]:
            break
        if date in dates:
            newest[date] = attempt
    found: dict[str, Note] = {}
    for date, attempt in newest.items():
        if evidence.store.head(manifest_key(unit, date, attempt)) is None:
            there = evidence.store.read(note_key(unit, date, attempt))
            if there is not None:
                found[date] = Note.parse(there[0])
    return found


# ------------------------------------------------------------------------------------------------------------ the whole
def holds(evidence: Evidence, memory: Memory) -> dict[str, Hold]:
    """The holds that are on, by kind/name."""
    found = (_parsed(evidence, memory, listed, Hold.parse) for listed in evidence.store.list(HOLDS))
    return {hold.event.name: hold for hold in found if hold and hold.held}


def failures(evidence: Evidence, memory: Memory, wanted: set[Slot]) -> dict[Slot, Failure]:
    """Failures that no later run has resolved. The listing has one key a unit and date that ever failed."""
    keys = (listed for listed in evidence.store.list(FAILURES) if parse_failure_key(listed.key) in wanted)
    found = (_parsed(evidence, memory, listed, Failure.parse) for listed in keys)
    return {(one.unit, one.date): one for one in found if one and not one.is_resolved}


def missed(evidence: Evidence, memory: Memory, wanted: set[Slot]) -> dict[Slot, Missed]:
    """Dates that can't be made any more."""
    keys = (listed for listed in evidence.store.list(MISSED) if parse_missed_key(listed.key) in wanted)
    found = (_parsed(evidence, memory, listed, Missed.parse) for listed in keys)
    return {(one.unit, one.date): one for one in found if one}


def receipts(evidence: Evidence, memory: Memory, dates: set[str]) -> Mapping[tuple[str, str, str], list[Receipt]]:
    """Receipts of the dates by recipient, pipeline and date: one listing from the first date to the last."""
    keys = list(_receipt_keys(evidence, dates)) if dates else []
    some = [keys[start : start + _AT_ONCE] for start in range(0, len(keys), _AT_ONCE)]
    with ThreadPoolExecutor(READERS) as pool:
        return _by_pipeline(chain.from_iterable(pool.map(lambda own: _receipts(evidence, memory, own), some)))


def _receipt_keys(evidence: Evidence, dates: set[str]) -> Iterator[Listed]:
    if len(dates) == 1:
        yield from evidence.store.list(f"{RECEIPTS}{min(dates)}/")
        return
    last = max(dates)
    for listed in evidence.store.list(RECEIPTS, start_after=f"{RECEIPTS}{min(dates)}"):
        date = listed.key.split("/")[1]
        if date > last:
            return
        if date in dates:
            yield listed


def _receipts(evidence: Evidence, memory: Memory, keys: list[Listed]) -> list[Receipt | None]:
    return [_parsed(evidence, memory, listed, Receipt.parse) for listed in keys]


def _by_pipeline(found: Iterable[Receipt | None]) -> Mapping[tuple[str, str, str], list[Receipt]]:
    grouped: defaultdict[tuple[str, str, str], list[Receipt]] = defaultdict(list)
    for receipt in found:
        if receipt is not None:
            grouped[receipt.recipient, receipt.pipeline, receipt.date].append(receipt)
    return grouped


def _parsed(evidence: Evidence, memory: Memory, listed: Listed, parse: Callable[[bytes], T]) -> T | None:
    """A listed record; None when it is gone meanwhile."""

    def read() -> T | None:
        there = evidence.store.read(listed.key)
        return parse(there[0]) if there else None

    return memory.get(listed.key, listed.etag, read)


def every_pointer(evidence: Evidence, *, after: str = "") -> Iterator[tuple[str, Slot, Listed]]:
    """All pointers in the order of their keys: (key, unit and date, as listed), lazily, from a key on."""
    for listed in evidence.store.list(pointer_prefix(), start_after=after):
        yield listed.key, parse_pointer_key(listed.key), listed
