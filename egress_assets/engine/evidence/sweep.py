"""Remove what no pointer names, without a lease and without ever taking what a run or a reader may still need.

An unfinished attempt is declared dead by a tombstone at its manifest's key, so that its own seal and the sweep exclude
each other. A sealed one is garbage only when its swap can't land any more and readers had their time. Manifests and
tombstones stay for ever: the walk back from a pointer needs them.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from egress_assets.engine.evidence.conditional import nonce, put_conditionally
from egress_assets.engine.evidence.reader import read_pointer
from egress_assets.engine.evidence.records import Manifest, Note, Pointer, canonical, tombstone
from egress_assets.engine.evidence.requests import (
    HOUR,
    AbortUpload,
    Call,
    DeleteBytes,
    Found,
    Get,
    ListBytes,
    ListUploads,
    Verb,
)
from egress_assets.engine.layout import Unit, attempt_of, attempt_prefix, copy_key, date_prefix, manifest_key, note_key
from egress_assets.engine.stores import Pending

logger = logging.getLogger(__name__)

STALE = 24 * HOUR
"""An unsealed attempt is given up this long after its note, by the store's clock: longer than the longest run."""

READER_LIMIT = 48 * HOUR
"""How long the bytes of an overtaken attempt stay after the pointer's last move: a reader that had the old pointer in
hand is a run of at most 24 h; as much again for slack. The 1 s resolution of Last-Modified is lost in it."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """One unit and date: whose bytes are swept and by what rules."""

    unit: Unit
    date: str
    by: str  # who sweeps; told in tombstones
    kept: Callable[[str], bool]  # whether a receipt or a retention rule names the attempt
    gone: Callable[[Note], bool]  # whether the noted process surely is gone


@dataclass(frozen=True, slots=True)
class Removed:
    """What a sweep took away."""

    attempts: tuple[str, ...] = ()
    objects: int = 0
    uploads: int = 0


def sweep(s: Sweep) -> Verb[Removed]:
    """Sweep one unit and date. Memory: attempt ids and pending uploads, never keys."""
    pointer = yield from read_pointer(s.unit, s.date)
    named = {entry.attempt for entry in pointer.entries.values()} if pointer else set()
    prefix = date_prefix(s.unit, s.date) + "a="
    found = {attempt_of(key) for key in (yield ListBytes(prefix))}
    uploads: dict[str, list[Pending]] = defaultdict(list)
    for pending in (yield ListUploads(prefix)):
        uploads[attempt_of(pending.key)].append(pending)
    taken, objects, aborted = [], 0, 0
    for attempt in sorted((found | set(uploads)) - named - {""}):
        if (yield from is_garbage(s, pointer, attempt)):
            objects += yield from remove(s, attempt, uploads[attempt])
            aborted += len(uploads[attempt])
            taken.append(attempt)
    if taken:
        logger.info(
            "swept %s %s: %d attempts, %d objects, %d uploads", s.unit.title, s.date, len(taken), objects, aborted
        )
    return Removed(tuple(taken), objects, aborted)


def is_garbage(s: Sweep, pointer: Pointer | None, attempt: str) -> Verb[bool]:
    """Whether the bytes of an attempt that the pointer does not name may go."""
    there: Found | None = yield Get(manifest_key(s.unit, s.date, attempt))
    if there is None:
        return (yield from is_stale(s, attempt)) and (yield from bury(s, attempt))
    manifest = Manifest.parse(there.body)
    if manifest is None:
        return True  # a tombstone: an earlier sweep died, or the attempt's owner wrote on after it
    if pointer is None or not is_overtaken(manifest, pointer) or not readers_are_done(pointer):
        return False
    return not (yield Call(f"who keeps {attempt}", partial(s.kept, attempt)))


def is_stale(s: Sweep, attempt: str) -> Verb[bool]:
    """Whether an unsealed attempt was given up: its process is gone, or its note is too old.

    Bytes without a note (evidence restored from before it) get one now, and their time starts with it.
    """
    key = note_key(s.unit, s.date, attempt)
    there: Found | None = yield Get(key)
    if there is None:
        yield from put_conditionally(key, canonical(Note(attempt).to_json()), None)
        return False
    return there.date - there.modified > STALE or s.gone(Note.parse(there.body))


def bury(s: Sweep, attempt: str) -> Verb[bool]:
    """Put the tombstone where the attempt would put its manifest; False when its owner was first, or nobody knows."""
    body = canonical(tombstone(attempt, s.by, nonce()))
    return (yield from put_conditionally(manifest_key(s.unit, s.date, attempt), body, None)) == "mine"


def is_overtaken(manifest: Manifest, pointer: Pointer) -> bool:
    """Whether the attempt's swap can't land any more: the pointer has left the generation that it waits for."""
    return manifest.base_generation < pointer.generation


def readers_are_done(pointer: Pointer) -> bool:
    """Whether nobody can still be reading what an earlier pointer named. Both times are of one answer."""
    return pointer.seen - pointer.modified > READER_LIMIT


def remove(s: Sweep, attempt: str, uploads: Iterable[Pending]) -> Verb[int]:
    """Uploads first, so that none completes later; then the copy, so that no half attempt looks whole."""
    for pending in uploads:
        yield AbortUpload(pending)
    copy, count = copy_key(s.unit, s.date, attempt), 0
    yield DeleteBytes(copy)
    for key in (yield ListBytes(attempt_prefix(s.unit, s.date, attempt))):
        if key != copy:
            yield DeleteBytes(key)
            count += 1
    return count
