"""The ledger: a hash chain whose entries cover every receipt exactly once, also those of runs that died.

Entry n is put-if-absent at `ledger/<n>` and names the sha256 of entry n - 1. Whoever loses the race for n looks again
at everything before trying n + 1. Nothing is ever changed or removed; what no entry covers yet is pending.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from egress_assets.engine.errors import ManifestInvalid, OutcomeUnknown
from egress_assets.engine.evidence.conditional import nonce, put_conditionally
from egress_assets.engine.evidence.proofs import Event, Hold, LedgerEntry
from egress_assets.engine.evidence.records import FORMAT, canonical, digest, parse_record
from egress_assets.engine.evidence.requests import Found, Get, List, Verb, Wait
from egress_assets.engine.layout import HOLDS, LEDGER, RECEIPTS, anchor_key, hold_key, ledger_key

logger = logging.getLogger(__name__)
Todo = tuple[Mapping[str, str], tuple[Event, ...]]

ROUNDS = 64
"""How often an append looks again after losing. Each loss is another's gain, so N racers need at most N rounds; who
has lost this often leaves its receipts to the next run or the closer."""

HOLD_ROUNDS = 8
"""People hold and lift by hand; two at once is the worst that happens."""


@dataclass(frozen=True, slots=True)
class Chain:
    """The ledger as it is read. Memory: the names of the covered receipts that were asked for, about 100 bytes each."""

    length: int
    previous: str  # sha256 of the last entry's bytes
    covered: Mapping[str, str]  # <date>/<identity> -> sha256
    events: frozenset[str]  # nonces


Gather = Callable[[Chain], Verb[Todo]]


@dataclass(frozen=True, slots=True)
class LedgerState:
    """What a walk over the whole ledger found. `pending` receipts are in no entry yet, which is no fault."""

    entries: int
    covered: int
    pending: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def unbroken(self) -> bool:
        return not self.problems


def anchor(date: str) -> Verb[None]:
    """Note, before the date's first receipt, how long the ledger is: no entry before that can cover one of them.

    So an append reads the entries of a date's days, not of all years. Raises OutcomeUnknown.
    """
    if (yield Get(anchor_key(date))) is not None:
        return
    body = canonical({"format": FORMAT, "kind": "anchor", "after": (yield from length_of()), "nonce": nonce()})
    if (yield from put_conditionally(anchor_key(date), body, None)) == "unknown":
        raise OutcomeUnknown(f"the ledger's anchor of {date} could not be settled")


def length_of() -> Verb[int]:
    """How many entries there are. Raises ManifestInvalid for a gap."""
    length = 0
    for key in (yield List(LEDGER)):
        if key != ledger_key(length):
            raise ManifestInvalid(f"the ledger has {key} where entry {length} should be")
        length += 1
    return length


def append(run: str, date: str) -> Verb[int | None]:
    """Cover all uncovered receipts of a date, whoever wrote them.

    Returns the new entry's sequence; None when there was nothing to cover, or when it is left to the next run.
    """
    there: Found | None = yield Get(anchor_key(date))
    after = parse_record(there.body)["after"] if there else 0

    def gather(chain: Chain) -> Verb[Todo]:
        return (yield from uncovered(date, chain.covered)), ()

    return (yield from extend_or_leave(run, gather, date, after))


def close(run: str) -> Verb[int | None]:
    """Cover all uncovered receipts of all dates, and the holds whose events were lost. Reads the whole ledger."""

    def gather(chain: Chain) -> Verb[Todo]:
        receipts = yield from uncovered(None, chain.covered)
        return receipts, tuple(e for e in (yield from hold_events()) if e.nonce not in chain.events)

    return (yield from extend_or_leave(run, gather, None, 0))


def note(run: str, event: Event, after: int) -> Verb[int | None]:
    """Put an event into the ledger; `after` is a length of it from before the event. Raises OutcomeUnknown."""

    def gather(chain: Chain) -> Verb[Todo]:
        yield from ()
        return {}, () if event.nonce in chain.events else (event,)

    return (yield from extend(run, gather, None, after))


def extend_or_leave(run: str, gather: Gather, date: str | None, after: int) -> Verb[int | None]:
    """Receipts that could not be covered now are pending, not lost."""
    try:
        return (yield from extend(run, gather, date, after))
    except OutcomeUnknown as error:
        logger.warning("left to the next run or the closer: %s", error)
        return None


def extend(run: str, gather: Gather, date: str | None, after: int) -> Verb[int | None]:
    """Put the next entry with all that `gather` finds uncovered; lost to another, look at everything again."""
    for tries in range(ROUNDS):
        chain = yield from read_chain(after, date)
        receipts, events = yield from gather(chain)
        if not receipts and not events:
            return None
        entry = LedgerEntry(chain.length, chain.previous, receipts, events, run, nonce())
        verdict = yield from put_conditionally(ledger_key(chain.length), canonical(entry.to_json()), None)
        if verdict == "mine":
            return entry.sequence
        if verdict == "unknown":
            raise OutcomeUnknown(f"entry {chain.length} of the ledger could not be settled")
        yield Wait(min(tries, 2))
    raise OutcomeUnknown(f"the ledger went to others {ROUNDS} times in a row")


def read_chain(after: int, date: str | None) -> Verb[Chain]:
    """Entries from the one before `after` on, each link checked; covered are the receipts of `date`, or all.

    Raises ManifestInvalid when a link is missing or broken: a chain that lies is not to be built on.
    """
    first = max(0, after - 1)
    covered: dict[str, str] = {}
    events: set[str] = set()
    previous, length = "", first
    for key in (yield List(LEDGER, ledger_key(first - 1) if first else "")):
        entry, body = yield from read_link(key, length)
        if length > first and entry.previous != previous:
            raise ManifestInvalid(
                f"{key} says that sha256 of the entry before it is {entry.previous}, it is {previous}"
            )
        previous, length = digest(body), length + 1
        covered |= {name: sha for name, sha in entry.receipts.items() if date is None or name.startswith(f"{date}/")}
        events |= {e.nonce for e in entry.events}
    if length < after:
        raise ManifestInvalid(f"the ledger ends at {length}, it was {after} entries long before")
    return Chain(length, previous, covered, frozenset(events))


def read_link(key: str, sequence: int) -> Verb[tuple[LedgerEntry, bytes]]:
    """The entry that must lie at `key`. Raises ManifestInvalid."""
    there: Found | None = yield Get(key)
    if key != ledger_key(sequence) or there is None:
        raise ManifestInvalid(f"the ledger has {key} where entry {sequence} should be")
    entry = LedgerEntry.parse(there.body)
    if entry.sequence != sequence or (sequence == 0 and entry.previous):
        raise ManifestInvalid(f"{key} says it is entry {entry.sequence} after {entry.previous or 'none'}")
    return entry, there.body


def uncovered(date: str | None, covered: Mapping[str, str]) -> Verb[dict[str, str]]:
    """Receipts that no entry has, whoever wrote them, with the sha256 of their bytes."""
    out: dict[str, str] = {}
    for key in (yield List(RECEIPTS if date is None else f"{RECEIPTS}{date}/")):
        name = key.removeprefix(RECEIPTS)
        if name not in covered:
            there: Found | None = yield Get(key)
            if there is not None:
                out[name] = digest(there.body)
    return out


def hold_events() -> Verb[list[Event]]:
    """The event behind each hold as it is now: its writer may have died before the ledger had it."""
    out: list[Event] = []
    for key in (yield List(HOLDS)):
        there: Found | None = yield Get(key)
        if there is not None:
            out.append(Hold.parse(there.body).event)
    return out


def set_hold(kind: str, event: Event) -> Verb[int | None]:
    """Put or lift a hold and note it in the ledger; the hold binds from its record on, before the ledger has it.

    Returns the entry's sequence; None when the closer was there first. Raises OutcomeUnknown.
    """
    key = hold_key(kind, event.name.removeprefix(f"{kind}/"))
    after = yield from length_of()
    body = canonical(Hold(event.what == "hold", event).to_json())
    for tries in range(HOLD_ROUNDS):
        there: Found | None = yield Get(key)
        verdict = yield from put_conditionally(key, body, there.etag if there else None)
        if verdict == "mine":
            return (yield from note_hold(event, after))
        if verdict == "unknown":
            break
        yield Wait(tries)
    hint = "It may bind or not: `egress hold` lists what does; say it again."
    raise OutcomeUnknown(f"{event.what} of {event.name} could not be settled", hint=hint)


def note_hold(event: Event, after: int) -> Verb[int | None]:
    """The ledger's entry of a hold that binds already; the closer writes one that could not be settled."""
    try:
        return (yield from note(event.by, event, after))
    except OutcomeUnknown as error:
        hint = "Nothing to do: the next `egress sweep` brings it into the ledger where it is lacking."
        raise OutcomeUnknown(
            f"{event.what} of {event.name} binds; in the ledger: {error.message}", hint=hint
        ) from error


def verify_chain() -> Verb[LedgerState]:
    """Walk everything: links, sequence, every receipt exactly once and as it was. Memory: 100 bytes a receipt."""
    covered: dict[str, str] = {}
    problems: list[str] = []
    previous, length = "", 0
    for key in (yield List(LEDGER)):
        try:
            entry, body = yield from read_link(key, length)
        except ManifestInvalid as error:
            return LedgerState(length, len(covered), problems=(*problems, error.message))
        if entry.previous != previous:
            problems.append(f"{key} says that sha256 of the entry before it is {entry.previous}, it is {previous}")
        problems += [f"{key} covers {name} again" for name in sorted(covered.keys() & entry.receipts.keys())]
        covered |= entry.receipts
        previous, length = digest(body), length + 1
    found = yield from check_receipts(covered, problems)
    pending = [name for name in found if name not in covered]
    return LedgerState(length, len(covered), tuple(pending), tuple(problems))


def check_receipts(covered: Mapping[str, str], problems: list[str]) -> Verb[Iterable[str]]:
    """Compare each receipt with what the ledger says of it; returns those that are there."""
    there: list[str] = []
    for key in (yield List(RECEIPTS)):
        name = key.removeprefix(RECEIPTS)
        there.append(name)
        found: Found | None = (yield Get(key)) if name in covered else None
        if found is not None and digest(found.body) != covered[name]:
            problems.append(f"sha256 of {key} is {digest(found.body)}, the ledger says {covered[name]}")
    problems += [f"{RECEIPTS}{name} is gone, the ledger covers it" for name in sorted(set(covered) - set(there))]
    return there
