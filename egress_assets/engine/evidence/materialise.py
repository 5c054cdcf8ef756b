"""Make one unit and date true: note, read the pointer, extract, seal, swap the pointer (docs/design.md, D2 to D5).

What no pointer names is invisible, so a process that dies anywhere leaves the previous truth. A run that loses the swap
learns from the chain of manifests whether its own write had landed, and otherwise whether the winner's input was newer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from egress_assets.engine.errors import ManifestInvalid, OutcomeUnknown, Superseded, Swept
from egress_assets.engine.evidence.conditional import nonce, put_conditionally
from egress_assets.engine.evidence.reader import read_entry, read_manifest, read_pointer
from egress_assets.engine.evidence.records import (
    Draft,
    Entry,
    Manifest,
    Outcome,
    Pointer,
    Position,
    TableRecord,
    canonical,
    digest,
)
from egress_assets.engine.evidence.requests import Call, PutBytes, Verb
from egress_assets.engine.layout import Unit, copy_key, manifest_key, note_key, pointer_key

ROUNDS = 3
"""How often a run starts over because a winner's input was older. Each time costs a whole extract."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one unit and date: what it materialises and how it reaches the bytes."""

    unit: Unit
    date: str
    new_attempt: Callable[[], str]
    work: Callable[[Pointer | None, str], Draft]  # (base, attempt): reads the input, writes the bytes
    verify: Callable[[str, TableRecord], bool]  # full re-read of what an equal entry of the base names
    note: Callable[[str], bytes]  # who runs the attempt
    copy: bool = True  # False where the attempt has no bytes of its own to lie beside


@dataclass(frozen=True, slots=True)
class StartOver:
    """The pointer went to a run whose input was older for these tables.

    None for a run over all tables: it starts over whole, as its pointer would hold two snapshots with the rest alone.
    """

    tables: frozenset[str] | None


def materialise(run: Run, tables: frozenset[str] | None = None) -> Verb[Outcome]:
    """Make `tables` true; None: exactly the tables of the draft, others leave the pointer.

    Raises Superseded (a run with newer input was first), Swept, OutcomeUnknown (both retryable), and whatever the
    run's work raises; the pointer then is as it was.
    """
    replaces = tables
    for _ in range(ROUNDS):
        ended = yield from attempt(run, replaces)
        if isinstance(ended, Outcome):
            return ended
        replaces = ended.tables
    raise OutcomeUnknown(
        f"{run.unit.title} {run.date} lost the pointer {ROUNDS} times to runs with older input",
        hint="Something else materialises the same date at this moment; run again when it is done.",
    )


def attempt(run: Run, tables: frozenset[str] | None) -> Verb[Outcome | StartOver]:
    """One attempt, from its note to its swap."""
    me = run.new_attempt()
    if (yield from put_conditionally(note_key(run.unit, run.date, me), run.note(me), None)) != "mine":
        raise OutcomeUnknown(f"attempt {me} of {run.unit.title} {run.date} could not be noted")
    base, draft = yield from read_input(run, me)
    if tables is not None:
        draft = replace(draft, tables={name: t for name, t in draft.tables.items() if name in tables})
    manifest = yield from seal(run, me, base, draft)
    entries = yield from choose_entries(run, base, manifest, tables)
    return (yield from swap(run, base, manifest, entries, tables))


def read_input(run: Run, me: str) -> Verb[tuple[Pointer | None, Draft]]:
    """The pointer first, then the input: so whoever swaps on this pointer has read its input after it was written."""
    base = yield from read_pointer(run.unit, run.date)
    draft: Draft = yield Call(f"work as {me}", partial(run.work, base, me))
    return base, draft


def seal(run: Run, me: str, base: Pointer | None, draft: Draft) -> Verb[Manifest]:
    """Put the manifest where a sweeper would put its tombstone: one of them wins. The copy only after that."""
    was = (base.generation, base.by) if base else (0, "")
    manifest = Manifest(run.unit, run.date, me, nonce(), *was, draft)
    body = canonical(manifest.to_json())
    sealed = yield from put_conditionally(manifest_key(run.unit, run.date, me), body, None)
    if sealed == "other":
        raise Swept(
            f"attempt {me} of {run.unit.title} {run.date} was declared dead while it ran",
            hint="Run again. An attempt is given up when its process is gone or after 24 hours.",
        )
    if sealed == "unknown":
        raise OutcomeUnknown(f"the manifest of {run.unit.title} {run.date} {me} could not be settled")
    if run.copy:
        yield PutBytes(copy_key(run.unit, run.date, me), body)
    return replace(manifest, digest=digest(body))


def choose_entries(
    run: Run, base: Pointer | None, manifest: Manifest, tables: frozenset[str] | None
) -> Verb[dict[str, Entry]]:
    """Mine where it changed, the base's attempt where it is equal and whole, the base's entry for other tables."""
    old, draft = base.entries if base else {}, manifest.draft
    entries = {} if tables is None else {name: e for name, e in old.items() if name not in tables}
    for name, table in draft.tables.items():
        mine = Entry(manifest.attempt, manifest.digest, table.content_digest, draft.position, draft.snapshot)
        was = old.get(name)
        if was is not None and was.content_digest == mine.content_digest and (yield from still_whole(run, name, was)):
            mine = replace(mine, attempt=was.attempt, manifest_digest=was.manifest_digest)
        entries[name] = mine
    return entries


def still_whole(run: Run, table: str, entry: Entry) -> Verb[bool]:
    """Whether what the entry names can be read back, every digest right; else the new bytes take its place."""
    try:
        _, record = yield from read_entry(run.unit, run.date, table, entry)
    except ManifestInvalid:
        return False
    return (yield Call(f"verify {table} of {entry.attempt}", partial(run.verify, table, record)))


def swap(
    run: Run, base: Pointer | None, manifest: Manifest, entries: dict[str, Entry], tables: frozenset[str] | None
) -> Verb[Outcome | StartOver]:
    """Move the pointer from `base`, one generation up; also when nothing changed.

    An unmoved ETag would let a run that began earlier replace this truth by its older one.
    """
    truth = Pointer(
        run.unit, run.date, (base.generation if base else 0) + 1, entries, manifest.attempt,
        digest(base.body) if base else "", nonce(), manifest.draft.spec_digest, manifest.draft.key_id,
    )  # fmt: skip
    truth = replace(truth, body=canonical(truth.to_json()))
    verdict = yield from put_conditionally(pointer_key(run.unit, run.date), truth.body, base.etag if base else None)
    if verdict == "unknown":
        raise OutcomeUnknown(f"the pointer of {run.unit.title} {run.date} could not be settled for {manifest.attempt}")
    if verdict == "mine":
        return outcome(base, truth)
    now = yield from read_pointer(run.unit, run.date)
    if now is None:
        raise ManifestInvalid(f"the pointer of {run.unit.title} {run.date} is gone", hint="Evidence is never deleted.")
    if (yield from was_written(now, truth)):
        return outcome(base, truth)
    rest = outdated(now, manifest.draft)
    if not rest:
        raise Superseded(
            f"{run.unit.title} {run.date} was materialised from input as new or newer by {now.by}, "
            f"generation {now.generation}",
            hint="Nothing to do: that data stands.",
        )
    return StartOver(None if tables is None else rest)


def was_written(now: Pointer, mine: Pointer) -> Verb[bool]:
    """Whether the pointer held `mine` on its way to `now`: my reply was lost, then others built on it."""
    generation, by = now.generation, now.by
    while generation > mine.generation:
        manifest = yield from read_manifest(mine.unit, mine.date, by)
        generation, by = manifest.base_generation, manifest.base_by
    return (generation, by) == (mine.generation, mine.by)


def outdated(now: Pointer, draft: Draft) -> frozenset[str]:
    """The draft's tables whose entry in the winning pointer stands for older input, or for none that compares."""
    return frozenset(
        name for name in draft.tables if name not in now.entries or behind(now.entries[name], draft.position)
    )


def behind(entry: Entry, position: Position) -> bool:
    return entry.position.compare(position) in ("older", "incomparable")


def outcome(base: Pointer | None, truth: Pointer) -> Outcome:
    old = base.entries if base else {}
    moved = frozenset(name for name, entry in truth.entries.items() if not entry.same_content(old.get(name)))
    changed = moved or set(old) - set(truth.entries)
    return Outcome("moved" if changed else "unchanged", truth, truth.by, moved)
