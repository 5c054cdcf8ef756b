"""Reading the truth: pointer, then manifests, then all objects of each entry's attempt, every digest checked.

A reader never lists and never keeps half of one truth and half of the next: when an object is gone under it, it forgets
everything and starts again at the pointer. The same pointer again means that the object is expired or missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from hashlib import sha256
from typing import TypeVar

from egress_assets.engine.errors import ChecksumMismatch, ManifestInvalid, Missing, ObjectConflict, ObjectMissing
from egress_assets.engine.evidence.records import (
    Entry,
    Manifest,
    ObjectRecord,
    Pointer,
    TableRecord,
    parse_pointer,
)
from egress_assets.engine.evidence.requests import HOUR, Call, Found, Get, Verb
from egress_assets.engine.layout import Unit, manifest_key, note_key, pointer_key

T = TypeVar("T")
Tables = Mapping[str, tuple[Manifest, TableRecord]]
"""By table, in the pointer's order: the manifest of the entry's attempt and what it says of the table."""

ROUNDS = 5
"""How often a reader starts again at a pointer that moves under it. Moves are runs, minutes apart at the least."""


def read_pointer(unit: Unit, date: str) -> Verb[Pointer | None]:
    """The pointer as it is now, with the ETag and the times of the answer it came in; None before the first run."""
    found: Found | None = yield Get(pointer_key(unit, date))
    if found is None:
        return None
    pointer = parse_pointer(found.body)
    if (pointer.unit, pointer.date) != (unit, date):
        raise ManifestInvalid(f"the pointer of {unit.title} {date} says it is of {pointer.unit.title} {pointer.date}")
    return replace(pointer, etag=found.etag, modified=found.modified, seen=found.date)


def read_manifest(unit: Unit, date: str, attempt: str, digest: str = "") -> Verb[Manifest]:
    """A sealed attempt's manifest, checked against `digest` when given (a pointer's entry has it).

    Raises ManifestInvalid when it is absent, a tombstone, or not the bytes that the pointer was swapped to.
    """
    found: Found | None = yield Get(manifest_key(unit, date, attempt))
    manifest = Manifest.parse(found.body) if found else None
    if manifest is None:
        raise ManifestInvalid(
            f"attempt {attempt} of {unit.title} {date} has {'a tombstone' if found else 'no manifest'}"
        )
    if digest and manifest.digest != digest:
        raise ManifestInvalid(
            f"sha256 of the manifest of {unit.title} {date} {attempt} is {manifest.digest}, the pointer says {digest}"
        )
    return manifest


def read_entry(unit: Unit, date: str, table: str, entry: Entry) -> Verb[tuple[Manifest, TableRecord]]:
    """What the entry's manifest says of the table."""
    manifest = yield from read_manifest(unit, date, entry.attempt, entry.manifest_digest)
    record = manifest.draft.tables.get(table)
    if record is None or record.content_digest != entry.content_digest:
        raise ManifestInvalid(
            f"the manifest of {unit.title} {date} {entry.attempt} does not hold {table} as pointed to"
        )
    return manifest, record


def read_tables(pointer: Pointer, only: frozenset[str] | None = None) -> Verb[Tables]:
    """All entries (or those of `only`) with their manifests; each manifest is read once. Memory: the manifests."""
    manifests: dict[str, Manifest] = {}
    out: dict[str, tuple[Manifest, TableRecord]] = {}
    for table, entry in pointer.entries.items():
        if only is not None and table not in only:
            continue
        known = manifests.get(entry.manifest_digest)
        if known is not None and table in known.draft.tables:
            out[table] = known, known.draft.tables[table]
            continue
        out[table] = yield from read_entry(pointer.unit, pointer.date, table, entry)
        manifests[entry.manifest_digest] = out[table][0]
    return out


def read(
    unit: Unit,
    date: str,
    consume: Callable[[Pointer, Tables], T],
    *,
    only: frozenset[str] | None = None,
    expire_days: int | None = None,
) -> Verb[T]:
    """Hand the truth to `consume` and return what it made of it.

    `consume` is called anew, with nothing kept, when bytes were gone or rotten under it and the pointer has moved.
    It says so by raising ObjectMissing, ChecksumMismatch or ObjectConflict. Raises ObjectMissing (no pointer, or
    expired by `expire_days`), Missing, ChecksumMismatch.
    """
    seen, why, tables = "", None, {}
    for _ in range(ROUNDS):
        pointer = yield from read_pointer(unit, date)
        if pointer is None:
            raise ObjectMissing(f"{unit.title} has no data of {date}", hint="Materialise that date first.")
        if why is not None and pointer.etag == seen:
            break
        tables = yield from read_tables(pointer, only)
        try:
            return (yield Call(f"read {unit.title} {date}", partial(consume, pointer, tables)))
        except (ObjectMissing, ChecksumMismatch, ObjectConflict) as error:
            seen, why = pointer.etag, error
    if not isinstance(why, ObjectMissing):
        raise why or Missing(f"{unit.title} {date} could not be read")
    if (yield from expiry_is_due(unit, date, [m.attempt for m, _ in tables.values()], expire_days)):
        raise ObjectMissing(
            f"{unit.title} {date} is expired after {expire_days} days: {why}", hint="Materialise the date again."
        ) from why
    raise Missing(f"{unit.title} {date} is not whole: {why}", hint="Materialise the date again; it heals.") from why


def expiry_is_due(unit: Unit, date: str, attempts: Iterable[str], expire_days: int | None) -> Verb[bool]:
    """Whether any of the attempts began so long ago that the catalog's expiry may have taken its bytes.

    Counted from the attempt's note, which is older than its bytes, by one clock: the evidence store's.
    """
    if expire_days is None:
        return False
    for attempt in attempts:
        note: Found | None = yield Get(note_key(unit, date, attempt))
        if note is not None and note.date - note.modified >= expire_days * 24 * HOUR:
            return True
    return False


def verified(record: ObjectRecord, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Pass the object's bytes on while hashing; the last chunk is held back until length and sha256 are right.

    Memory: two chunks. Raises ChecksumMismatch.
    """
    seen, length, held = sha256(), 0, b""
    for chunk in chunks:
        seen.update(chunk)
        length += len(chunk)
        if held:
            yield held
        held = bytes(chunk)
    if (length, seen.hexdigest()) != (record.bytes, record.sha256):
        raise ChecksumMismatch(
            f"{record.key} has {length} bytes with sha256 {seen.hexdigest()}, "
            f"its manifest says {record.bytes} with {record.sha256}",
            hint="Materialise the date again; equal content heals the entry.",
        )
    if held:
        yield held
