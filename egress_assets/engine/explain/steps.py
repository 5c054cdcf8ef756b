"""One entry of one attempt, as evidence has it: is it the truth, what came before it, and is its object still there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from egress_assets.engine.errors import EgressError
from egress_assets.engine.evidence.here import is_gone
from egress_assets.engine.evidence.records import Entry, Manifest, Note, ObjectRecord, Pointer, TableRecord
from egress_assets.engine.layout import Unit, manifest_key, note_key
from egress_assets.engine.mirror.inventory import Copied
from egress_assets.engine.platform import Platform

State = Literal["current", "superseded", "unsealed", "swept", "unknown"]
"""current: the pointer names it. superseded: sealed, and the pointer names another attempt for this entry. unsealed: it
has begun and has no manifest. swept: a sweeper declared it dead. unknown: no evidence has it."""

Held = Literal["there", "replaced", "expired", "missing", "unknown"]
"""What became of an object by HEAD. unknown: the store could not be asked."""


@dataclass(frozen=True, slots=True)
class Seen:
    """An object as its store tells of it now."""

    store: str
    key: str
    bytes: int
    sha256: str
    rows: int | None
    held: Held
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """`pointer` is the unit's and date's truth now; `manifest` and `record` are None where nothing was sealed."""

    unit: Unit
    date: str
    attempt: str
    table: str
    state: State
    pointer: Pointer | None = None
    manifest: Manifest | None = None
    record: TableRecord | None = None
    detail: str = ""

    @property
    def confirmed(self) -> Entry | None:
        """The pointer's entry when a later run found equal content and kept these bytes: it has that run's position."""
        entry = self.pointer.entries.get(self.table) if self.pointer and self.state == "current" else None
        return entry if entry and self.manifest and entry.position != self.manifest.draft.position else None

    @property
    def manifest_key(self) -> str:
        return manifest_key(self.unit, self.date, self.attempt)

    @property
    def source(self) -> tuple[str, str]:
        """As receipts name what they are of."""
        return str(self.unit), self.attempt

    @property
    def parents(self) -> Mapping[str, Any]:
        return self.manifest.draft.parents if self.manifest else {}


@dataclass(slots=True)
class Reader:
    """Reads evidence for one story; each pointer and manifest once."""

    platform: Platform
    _pointers: dict[tuple[Unit, str], Pointer | None] = field(default_factory=dict)
    _manifests: dict[str, tuple[State, Manifest | None, str]] = field(default_factory=dict)

    def pointer(self, unit: Unit, date: str) -> Pointer | None:
        if (unit, date) not in self._pointers:
            self._pointers[unit, date] = self.platform.evidence.pointer(unit, date)
        return self._pointers[unit, date]

    def steps(self, unit: Unit, date: str, attempt: str = "", table: str = "") -> list[Step]:
        """The entries asked for: of an attempt, or (empty) of the pointer; of a table, or (empty) of all."""
        pointer = self.pointer(unit, date)
        if not attempt:
            entries = pointer.entries if pointer else {}
            return [self.step(unit, date, e.attempt, t) for t, e in entries.items() if table in ("", t)]
        _, manifest, _ = self._read(unit, date, attempt)
        tables = [table] if table or manifest is None else list(manifest.draft.tables)
        return [self.step(unit, date, attempt, each) for each in tables]

    def step(self, unit: Unit, date: str, attempt: str, table: str) -> Step:
        """One entry of one attempt."""
        pointer = self.pointer(unit, date)
        state, manifest, detail = self._read(unit, date, attempt)
        record = manifest.draft.tables.get(table) if manifest else None
        if manifest is not None and record is None:
            return Step(unit, date, attempt, table, "unknown", pointer, manifest, detail=f"it has no {table}")
        entry = pointer.entries.get(table) if pointer else None
        if record is not None:
            state = "current" if entry and entry.attempt == attempt else "superseded"
            detail = "" if state == "current" else f"by {entry.attempt}" if entry else "the pointer has no such entry"
        return Step(unit, date, attempt, table, state, pointer, manifest, record, detail)

    def _read(self, unit: Unit, date: str, attempt: str) -> tuple[State, Manifest | None, str]:
        key = manifest_key(unit, date, attempt)
        if key not in self._manifests:
            self._manifests[key] = self._sealed(unit, date, attempt)
        return self._manifests[key]

    def _sealed(self, unit: Unit, date: str, attempt: str) -> tuple[State, Manifest | None, str]:
        store = self.platform.evidence.store
        there = store.read(manifest_key(unit, date, attempt))
        if there is not None:
            manifest = Manifest.parse(there[0])
            return ("superseded", manifest, "") if manifest else ("swept", None, "a sweeper declared it dead")
        note = store.read(note_key(unit, date, attempt))
        if note is None:
            return "unknown", None, "no manifest and no note of it"
        began = Note.parse(note[0])
        end = "its process is gone" if is_gone(began) else "it runs, or its host died"
        return "unsealed", None, f"began on {began.host or 'an unknown host'}, {end}"

    def parents(self, step: Step, key: str = "") -> Iterator[Step]:
        """What an entry was made of; of a mirror's object only the entry that it is a copy of."""
        origin = _origin(step, key)
        for unit, entries in step.parents.items():
            for table, (attempt, _) in entries.items():
                parent = self.step(Unit.parse(unit), step.date, attempt, table)
                objects = parent.record.objects if parent.record else ()
                if not origin or any(o.key == origin for o in objects):
                    yield parent

    def seen(self, step: Step, key: str = "") -> list[Seen]:
        """HEAD of the entry's objects, or of the one with that key."""
        if step.record is None or step.manifest is None:
            return []
        store = step.manifest.draft.store
        chosen = [o for o in step.record.mirrored if o.key == key] if key else step.record.objects
        return [self._seen(step, store, o) for o in chosen]

    def seen_copy(self, step: Step, copied: Copied) -> Seen:
        """HEAD of an object that an inventory lists."""
        store = step.manifest.draft.facts["store"] if step.manifest else ""
        record = ObjectRecord(copied.key, copied.bytes, copied.sha256, None, copied.etag)
        return self._seen(step, store, record)

    def _seen(self, step: Step, store: str, o: ObjectRecord) -> Seen:
        held, detail = self._asked(step, store, o)
        return Seen(store, o.key, o.bytes, o.sha256, o.rows, held, detail)

    def _asked(self, step: Step, store: str, o: ObjectRecord) -> tuple[Held, str]:
        model = self.platform.catalog.endpoints.stores.get(store)
        if model is None:
            return "unknown", f"the catalog has no store {store} any more"
        try:
            there = self.platform.store(store).head(o.key)
        except EgressError as error:
            return "unknown", error.message
        if there is None:
            days = model.expire_days.get(step.unit.stage)
            due = self.platform.evidence.expiry_is_due(step.unit, step.date, step.attempt, days)
            gone = "swept: nothing names it any more" if step.state != "current" else ""
            return ("expired", f"after {days} days") if due else ("missing", gone)
        same = there.bytes == o.bytes and o.etag in ("", there.etag)
        return ("there", "") if same else ("replaced", f"{there.bytes} bytes with ETag {there.etag}")


def _origin(step: Step, key: str) -> str:
    """The key that a mirrored object was copied from."""
    objects = step.record.objects if step.record and key else ()
    return next((str(o.source["key"]) for o in objects if o.key == key and "key" in o.source), "")
