"""The whole story of a target: up to the source, down to the receipts, and what stops it from going further.

Bounded: the manifests of one date's attempts, at most `MOST_RECEIPTS` receipts of that date and `MOST_LINKS` entries of
the ledger are read, whatever the evidence holds; what was left off is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

from egress_assets.engine.catalog.units import units_of
from egress_assets.engine.errors import ObjectMissing
from egress_assets.engine.evidence.proofs import Hold, LedgerEntry, Receipt
from egress_assets.engine.evidence.records import parse_record
from egress_assets.engine.explain.asked import Target, find
from egress_assets.engine.explain.steps import Reader, Seen, Step
from egress_assets.engine.layout import LEDGER, RECEIPTS, Unit, anchor_key, ledger_key, manifest_key
from egress_assets.engine.platform import Platform

MOST_RECEIPTS = 2_000
MOST_LINKS = 1_000
_ATTEMPTS = 50  # of a child and date, the newest first
_READERS = 8  # evidence is small objects: the time is round trips


@dataclass(frozen=True, slots=True)
class Delivered:
    """A receipt, and the entry of the ledger that covers it; None: pending, or further down than was looked."""

    receipt: Receipt
    ledger: int | None


@dataclass(frozen=True, slots=True)
class Story:
    """`told` is what was asked for, `up` what it was made of, the nearest first, `down` what was made of it."""

    dataset: str
    target: Target
    told: Sequence[Step]
    up: Sequence[Step]
    down: Sequence[Step]
    objects: Sequence[Seen]
    delivered: Sequence[Delivered]
    holds: Sequence[Hold]
    left_off: int = 0  # receipts of the date that were not looked at


def explain(platform: Platform, words: Sequence[str]) -> Story:
    """The story of what the words name. Reads evidence, and HEAD of the objects.

    Raises CatalogError, ObjectMissing (no evidence knows it), ManifestInvalid, StoreError's kinds.
    """
    target, reader = find(platform, words), Reader(platform)
    told = reader.steps(target.unit, target.date, target.attempt, target.table)
    if not told or all(step.state == "unknown" for step in told):
        why = f": {told[0].detail}" if told else ""
        hint = "Materialise it first; `egress status` shows what each date has come to."
        what = f"attempt {target.attempt}" if target.attempt else "data"
        raise ObjectMissing(f"{target.unit.title} has no {what} of {target.date}{why}", hint=hint)
    return _Teller(platform, reader, target, told).story()


@dataclass(slots=True)
class _Teller:
    platform: Platform
    reader: Reader
    target: Target
    told: list[Step]
    left_off: int = field(default=0, init=False)
    _listed: dict[str, list[str]] = field(default_factory=dict, init=False)

    def story(self) -> Story:
        up, down = list(self._up()), list(self._down())
        receipts = self._receipts([*self.told, *down])
        dataset = self._dataset(up)
        holds = [h for h in self.platform.evidence.holds() if h.event.name in self._stoppable(dataset, down, receipts)]
        links = _ledger(self.platform, self.target.date, receipts)
        delivered = [Delivered(r, links.get(f"{r.date}/{r.identity}")) for r in receipts]
        return Story(dataset, self.target, self.told, up, down, self._objects(), delivered, holds, self.left_off)

    def _objects(self) -> list[Seen]:
        if self.target.copied is not None:
            return [self.reader.seen_copy(self.told[0], self.target.copied)]
        steps = [step for step in self.told if step.record and step.record.format != "inventory"]
        return [seen for step in steps for seen in self.reader.seen(step, self.target.key)]

    def _up(self) -> Iterator[Step]:
        """Parents, and theirs, each once."""
        seen: set[tuple[Unit, str, str]] = set()
        waiting = [(step, self.target.key) for step in self.told]
        while waiting:
            step, key = waiting.pop(0)
            for parent in self.reader.parents(step, key):
                if (name := (parent.unit, parent.attempt, parent.table)) not in seen:
                    seen.add(name)
                    waiting.append((parent, ""))
                    yield parent

    def _down(self) -> Iterator[Step]:
        """Attempts of this date that read one of these entries, and theirs."""
        seen: set[tuple[Unit, str]] = set()
        waiting = list(self.told)
        while waiting:
            step = waiting.pop(0)
            for child in self._children(step):
                if (name := (child.unit, child.attempt)) not in seen:
                    seen.add(name)
                    waiting.append(child)
                    yield child

    def _children(self, step: Step) -> Iterator[Step]:
        if step.record is None:
            return
        wanted = [step.attempt, step.record.content_digest]
        for unit in self._units_below(step.unit):
            for attempt in self._attempts(unit, step.date):
                for child in self.reader.steps(unit, step.date, attempt):
                    if child.parents.get(str(step.unit), {}).get(step.table) == wanted:
                        yield child

    def _units_below(self, unit: Unit) -> list[Unit]:
        below = {"dump": ("scrub", "mirror", "delivery"), "scrub": ("mirror", "delivery"), "mirror": ("delivery",)}
        units = [u for dataset in self.platform.catalog.datasets for u in units_of(self.platform.catalog, dataset)]
        return [each for each in units if each.stage in below.get(unit.stage, ())]

    def _attempts(self, unit: Unit, date: str) -> list[str]:
        """Sealed or tombstoned ones, the newest first."""
        prefix = manifest_key(unit, date, "")
        if prefix not in self._listed:
            keys = [listed.key.removeprefix(prefix) for listed in self.platform.evidence.store.list(prefix)]
            self._listed[prefix] = keys[::-1][:_ATTEMPTS]
        return self._listed[prefix]

    def _dataset(self, up: Sequence[Step]) -> str:
        """Whose data it is, also when the catalog has lost the unit."""
        catalog = self.platform.catalog
        for unit in (self.target.unit, *(step.unit for step in up)):
            for name in catalog.datasets:
                if unit in units_of(catalog, name):
                    return name
        origin = [step.unit for step in (*self.told, *up) if step.unit.stage in ("dump", "scrub")]
        return origin[-1].names[0] if origin else ""

    def _stoppable(self, dataset: str, down: Iterable[Step], receipts: Iterable[Receipt]) -> set[str]:
        """Names of holds that would stop this from going anywhere."""
        units = [self.target.unit, *(step.unit for step in down)]
        recipients = {unit.names[0] for unit in units if unit.stage == "delivery"} | {r.recipient for r in receipts}
        model = self.platform.catalog.datasets.get(dataset)
        recipients |= {name.partition("/")[0] for name in (model.deliveries if model else ())}
        return {f"dataset/{dataset}", *(f"recipient/{name}" for name in recipients)}

    # --------------------------------------------------------------------------------------------------------- receipts
    def _receipts(self, steps: Sequence[Step]) -> list[Receipt]:
        """Receipts of the date that are of these attempts and, where objects are known, of their bytes."""
        if self.target.receipt is not None:
            return [self.target.receipt]
        sources = {step.source for step in steps}
        store = self.platform.evidence.store
        listed = store.list(f"{RECEIPTS}{self.target.date}/")
        keys = [each.key for each in islice(listed, MOST_RECEIPTS)]
        self.left_off = sum(1 for _ in listed)
        with ThreadPoolExecutor(_READERS) as threads:
            bodies = [there[0] for there in threads.map(store.read, keys) if there]
        found = map(Receipt.parse, bodies)
        return [
            r for r in found if (r.source.get("unit"), r.source.get("attempt")) in sources and self._is_of(r, steps)
        ]

    def _is_of(self, receipt: Receipt, steps: Sequence[Step]) -> bool:
        """Whether the delivered bytes are of one of the steps' objects; of an inventory's, by the name asked for."""
        if self.target.copied is not None:
            relative = self.target.copied.key.rpartition("/")[2]
            return receipt.sha256 == self.target.copied.sha256 or receipt.destination.endswith(relative)
        known = {o.sha256 for step in steps if step.record for o in step.record.objects if self._is_asked(step, o.key)}
        inventories = any(step.record and step.record.format == "inventory" for step in steps)
        return inventories or receipt.sha256 in known

    def _is_asked(self, step: Step, key: str) -> bool:
        """Of what was asked by an object's key only that object counts; of what was made of it, everything."""
        return not self.target.key or step not in self.told or key == self.target.key


def _ledger(platform: Platform, date: str, receipts: Iterable[Receipt]) -> Mapping[str, int]:
    """Which entry covers which receipt, from the entry on that the date's anchor names."""
    wanted = {f"{r.date}/{r.identity}" for r in receipts}
    store = platform.evidence.store
    anchor = store.read(anchor_key(date)) if wanted else None
    if anchor is None:
        return {}
    found: dict[str, int] = {}
    after = parse_record(anchor[0])["after"]
    for listed in islice(store.list(LEDGER, start_after=ledger_key(after - 1) if after else ""), MOST_LINKS):
        there = store.read(listed.key)
        entry = LedgerEntry.parse(there[0]) if there else None
        found |= dict.fromkeys(wanted & entry.receipts.keys(), entry.sequence) if entry else {}
        if found.keys() == wanted:
            break
    return found
