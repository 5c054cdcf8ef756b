"""What reconciling looks at: which dates have a pointer, what children were made from, what failed, what is held.

A tick lists; what a pointer or manifest says is read once an ETag, the newest dates first, and no more a round than the
Memory allows: after a restart the older dates' parents are compared some ticks later.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain
from typing import Any

from egress_assets.engine import seen
from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.catalog.units import parent_of, units_of
from egress_assets.engine.errors import ManifestInvalid
from egress_assets.engine.evidence.driver import Evidence
from egress_assets.engine.evidence.failures import Failure
from egress_assets.engine.evidence.here import is_gone
from egress_assets.engine.evidence.memory import Memory, Unread
from egress_assets.engine.evidence.proofs import Receipt
from egress_assets.engine.evidence.records import Manifest, Note
from egress_assets.engine.layout import Unit, manifest_key, note_key, parse_note_key, pointer_key
from egress_assets.engine.seen import READERS, Slot

Entries = Mapping[str, tuple[str, str]]
"""(attempt, content digest) by table."""
_AT_ONCE = 20
GIVEN_UP = timedelta(hours=24)
"""When an attempt of another host is taken for dead, as the sweep does."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A pointer. `is_whole`: its tables are of one snapshot. `by`: the attempt that wrote it."""

    entries: Entries
    is_whole: bool
    by: str


@dataclass(slots=True)
class Sight:
    """By unit and date. `pointed` and `sent` are complete; `facts` and `made_from` may lack what is not read yet."""

    pointed: set[Slot] = field(default_factory=set)
    sent: set[Slot] = field(default_factory=set)  # deliveries with a receipt
    facts: dict[Slot, Fact] = field(default_factory=dict)
    made_from: dict[Slot, Entries] = field(default_factory=dict)  # a child's parent's entries, when it was made
    failures: dict[Slot, Failure] = field(default_factory=dict)
    missed: set[Slot] = field(default_factory=set)
    held: set[str] = field(default_factory=set)  # kind/name


def look(catalog: Catalog, evidence: Evidence, dates: Mapping[str, list[str]], memory: Memory) -> Sight:
    """Look at these dates. Raises StoreError's kinds, ManifestInvalid; Unread when even the listings' records lack."""
    asked = [(unit, days) for name, days in dates.items() if days for unit in units_of(catalog, name)]
    wanted = {(unit, date) for unit, days in asked for date in days}
    sight = Sight(
        failures=seen.failures(evidence, memory, wanted),
        missed=set(seen.missed(evidence, memory, wanted)),
        held=set(seen.holds(evidence, memory)),
    )
    with ThreadPoolExecutor(READERS) as pool:
        versions: dict[Slot, str] = {}
        for found in pool.map(lambda ask: seen.pointed(evidence, ask[0], ask[1][0], ask[1][-1]), asked):
            versions |= found
        sight.pointed = set(versions)
        sent = _newest(seen.receipts(evidence, memory, {date for _, date in wanted}).values())
        sight.sent = set(sent)
        reader = _Reader(evidence, memory, versions, sent)
        for slot, fact, made_from in chain.from_iterable(pool.map(reader.children, _children(catalog, dates))):
            sight.facts |= fact
            if made_from is not None:
                sight.made_from[slot] = made_from
    return sight


def under_way(evidence: Evidence, slots: Iterable[Slot], at: datetime) -> bool:
    """Whether an attempt at one of these may still run: it has no manifest, is not gone, and began within GIVEN_UP."""
    return any(_runs(evidence, unit, date, at) for unit, date in slots)


def _runs(evidence: Evidence, unit: Unit, date: str, at: datetime) -> bool:
    keys = [listed.key for listed in evidence.store.list(note_key(unit, date, ""))]
    attempt = parse_note_key(keys[-1])[2] if keys else ""
    if not attempt or at - began(attempt) > GIVEN_UP or evidence.store.head(manifest_key(unit, date, attempt)):
        return False
    there = evidence.store.read(keys[-1])
    return there is not None and not is_gone(Note.parse(there[0]))


def began(attempt: str) -> datetime:
    """When an attempt began, by the platform's clock: the head of its id."""
    return datetime.strptime(attempt[:18], "%Y%m%dT%H%M%S%f").replace(tzinfo=UTC)


def _newest(receipts: Iterable[list[Receipt]]) -> dict[Slot, Receipt]:
    """The newest receipt of each delivery and date."""
    newest = (max(each, key=lambda r: (r.order, r.era, r.at)) for each in receipts)
    return {(Unit("delivery", (r.recipient, r.pipeline)), r.date): r for r in newest}


Child = tuple[Slot, Unit, str]
"""(child and date, its parent, the parent's table or '' for all of them)"""


def _children(catalog: Catalog, dates: Mapping[str, list[str]]) -> Iterator[list[Child]]:
    """The newest dates first, some at a time: what is known already takes less than a thread's turn."""
    made = [
        (unit, *parent_of(catalog, name, unit), days)
        for name, days in dates.items()
        for unit in units_of(catalog, name)
    ]
    slots = [((unit, date), parent, table) for unit, parent, table, days in made if parent for date in days]
    slots.sort(key=lambda child: child[0][1], reverse=True)
    for start in range(0, len(slots), _AT_ONCE):
        yield slots[start : start + _AT_ONCE]


@dataclass(frozen=True, slots=True)
class _Reader:
    evidence: Evidence
    memory: Memory
    versions: Mapping[Slot, str]
    sent: Mapping[Slot, Receipt]

    def children(self, some: list[Child]) -> list[tuple[Slot, dict[Slot, Fact], Entries | None]]:
        """(slot, the parent's fact, what the child was made from) of each, as far as this round may read."""
        return [self._child(*child) for child in some]

    def _child(self, slot: Slot, parent: Unit, table: str) -> tuple[Slot, dict[Slot, Fact], Entries | None]:
        above = (parent, slot[1])
        if above not in self.versions:
            return slot, {}, None
        try:
            fact = {above: self._fact(above)}
        except (Unread, ManifestInvalid):  # not read yet, or `status` says that it can't be
            return slot, {}, None
        try:
            return slot, fact, self._made_from(slot, parent, table)
        except (Unread, ManifestInvalid):
            return slot, {}, None

    def _fact(self, slot: Slot) -> Fact:
        return self.memory.get(pointer_key(*slot), self.versions[slot], partial(self._read_fact, slot))

    def _read_fact(self, slot: Slot) -> Fact:
        pointer = self.evidence.pointer(*slot)
        if pointer is None:
            raise ManifestInvalid(
                f"the pointer of {slot[0].title} {slot[1]} is gone", hint="Evidence is never deleted."
            )
        told = {table: (entry.attempt, entry.content_digest) for table, entry in pointer.entries.items()}
        return Fact(told, len({entry.snapshot for entry in pointer.entries.values()}) == 1, pointer.by)

    def _made_from(self, slot: Slot, parent: Unit, table: str) -> Entries | None:
        if slot[0].stage != "delivery":
            return self._mirrored(slot, parent)
        receipt = self.sent.get(slot)
        return self._delivered(slot, parent, table, receipt) if receipt else None

    def _mirrored(self, slot: Slot, parent: Unit) -> Entries | None:
        if slot not in self.versions:
            return None
        for attempt, _ in self._fact(slot).entries.values():
            return self._parents(slot, attempt).get(str(parent), {})
        return {}

    def _delivered(self, slot: Slot, parent: Unit, table: str, receipt: Receipt) -> Entries:
        """What was sent is the parent's own object, or was sealed from it: then its manifest names the parent."""
        attempt, unit = receipt.source["attempt"], Unit.parse(receipt.source["unit"])
        if unit == slot[0]:
            return self._parents(slot, attempt).get(str(parent), {})
        return {name: e for name, e in self._contents((unit, slot[1]), attempt).items() if name == table or not table}

    def _parents(self, slot: Slot, attempt: str) -> Mapping[str, Entries]:
        return self._manifest(slot, attempt)[0]

    def _contents(self, slot: Slot, attempt: str) -> Entries:
        return self._manifest(slot, attempt)[1]

    def _manifest(self, slot: Slot, attempt: str) -> tuple[Mapping[str, Entries], Entries]:
        """(entries by parent unit, entries of its own) of a sealed attempt, which never changes."""
        return self.memory.get(manifest_key(*slot, attempt), "", lambda: _told(self.evidence.manifest(*slot, attempt)))


def _told(manifest: Manifest) -> tuple[Mapping[str, Entries], Entries]:
    parents: Mapping[str, Mapping[str, Any]] = manifest.draft.parents
    above = {unit: {table: (e[0], e[1]) for table, e in tables.items()} for unit, tables in parents.items()}
    return above, {name: (manifest.attempt, record.content_digest) for name, record in manifest.draft.tables.items()}
