"""Every rule that the protocols rest on, and how to break the real code so that it lacks it.

A removal is (scenario that must break, what to patch, the weaker version). The weaker version gets the real one and
the world that runs, and replaces it while the scenario is explored.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any, NamedTuple

from egress_assets.engine.errors import ObjectMissing, Superseded
from egress_assets.engine.evidence import conditional, deliver, materialise, reader
from egress_assets.engine.evidence.records import Manifest, canonical, digest
from egress_assets.engine.evidence.requests import Call, Get, Put
from egress_assets.engine.layout import manifest_key, pointer_key

from .world import ANY, World

Real = Callable[..., Any]
Verb = Generator[Any, Any, Any]


class Removal(NamedTuple):
    scenario: str
    target: str  # module.name within egress_assets.engine.evidence
    weaker: Callable[[Real, Current], Any]


class Current:
    """The world that runs at this moment."""

    world: World


def always(value: Any) -> Callable[[Real, Current], Real]:
    return lambda _real, _now: lambda *_args, **_more: value


def verb(value: Any) -> Callable[[Real, Current], Real]:
    """A generator that asks for nothing."""

    def weaker(*_args: Any, **_more: Any) -> Verb:
        yield from ()
        return value

    return lambda _real, _now: weaker


# ---------------------------------------------------------------------------------------------------------- materialise
def input_before_pointer(_real: Real, _now: Current) -> Real:
    def read_input(run: materialise.Run, me: str) -> Verb:
        draft = yield Call("work", lambda: run.work(None, me))
        return (yield from reader.read_pointer(run.unit, run.date)), draft

    return read_input


def unconditional(prefix: str) -> Callable[[Real, Current], Real]:
    """Writes under `prefix` overwrite whatever lies there."""

    def weaken(real: Real, _now: Current) -> Real:
        def put(key: str, body: bytes, seen: str | None) -> Verb:
            if not key.startswith(prefix):
                return (yield from real(key, body, seen))
            return "mine" if (yield Put(key, body, ANY)) == "ok" else "unknown"

        return put

    return weaken


def swap_without_reading(_real: Real, _now: Current) -> Real:
    """A refusal is taken for a defeat; an ambiguous answer is repeated."""

    def swap(run: Any, base: Any, manifest: Manifest, entries: Any, _tables: Any) -> Verb:
        truth = materialise.Pointer(
            run.unit, run.date, (base.generation if base else 0) + 1, entries, manifest.attempt, "", manifest.nonce
        )
        for _ in range(conditional.TRIES):
            put = Put(pointer_key(run.unit, run.date), canonical(truth.to_json()), base.etag if base else None)
            answer = yield put
            if answer == "ok":
                return materialise.outcome(base, truth)
            if answer == "refused":
                raise Superseded("refused")
        raise materialise.OutcomeUnknown("unknown")

    return swap


def no_walk(_real: Real, _now: Current) -> Real:
    def was_written(now: Any, mine: Any) -> Verb:
        yield from ()
        return now.by == mine.by

    return was_written


def unchanged_stays(real: Real, _now: Current) -> Real:
    """Equal entries leave the pointer alone."""

    def swap(run: Any, base: Any, manifest: Manifest, entries: Any, tables: Any) -> Verb:
        if base and all(e.same_content(base.entries.get(t)) for t, e in entries.items()):
            return materialise.Outcome("unchanged", replace(base, entries=entries), manifest.attempt, frozenset())
        return (yield from real(run, base, manifest, entries, tables))

    return swap


def all_or_none(rest: frozenset[str], draft: Any) -> frozenset[str]:
    return rest if rest == set(draft.tables) else frozenset()


def not_through_tombstones(real: Real, _now: Current) -> Real:
    def is_garbage(s: Any, pointer: Any, attempt: str) -> Verb:
        there = yield Get(manifest_key(s.unit, s.date, attempt))
        if there and Manifest.parse(there.body) is None:
            return False
        return (yield from real(s, pointer, attempt))

    return is_garbage


def reader_goes_on(_real: Real, _now: Current) -> Real:
    """What was read of one truth is kept for the next."""

    def read(unit: Any, date: str, consume: Any) -> Verb:
        got: dict[Any, bytes] = {}
        for _ in range(3):
            pointer = yield from reader.read_pointer(unit, date)
            tables = yield from reader.read_tables(pointer)
            try:
                return (yield Call("read", lambda p=pointer, t=tables: consume(p, t, got)))
            except ObjectMissing:
                continue
        return None

    return read


# -------------------------------------------------------------------------------------------------------------- deliver
def identity_with_policy(real: Real, now: Current) -> Real:
    return lambda d, era: digest([real(d, era), now.world.runs.get(d.by, {}).get("retry", 1)])  # pyright: ignore


def identity_without_date(_real: Real, _now: Current) -> Real:
    return lambda d, era: digest([d.recipient, d.pipeline, d.destination, d.sha256, era])


def claim_blindly(_real: Real, _now: Current) -> Real:
    """The receipt is not looked for again under the claim."""

    def claim(d: deliver.Delivery, mine: Any, seen: Any) -> Verb:
        body = canonical(mine.to_json())
        verdict = yield from conditional.put_conditionally(deliver.slot_of(d), body, seen.etag if seen else None)
        return None if verdict == "mine" else deliver.Delivered("busy")

    return claim


def expired_by_own_clock(_real: Real, now: Current) -> Real:
    return lambda there, claim: now.world.clock(now.world.me) > there.modified + claim.ttl


def covered_once(real: Real, now: Current) -> Real:
    """What is to be covered is found once, and kept after losing an entry to another run."""
    known: dict[tuple[int, str], Any] = {}

    def uncovered(date: Any, covered: Any) -> Verb:
        key = id(now.world), now.world.me
        if key not in known:
            known[key] = yield from real(date, covered)
        return known[key]

    return uncovered


def own_receipts_only(real: Real, now: Current) -> Real:
    def uncovered(date: Any, covered: Any) -> Verb:
        me = now.world.me
        found = yield from real(date, covered)
        mine = {}
        for name, sha in found.items():
            there = now.world.evidence[f"receipts/{name}"]
            if f'"by":"{me}"'.encode() in there.body:
                mine[name] = sha
        return mine

    return uncovered


def no_renewal(_real: Real, _now: Current) -> Real:
    def renew(turn: deliver.Turn) -> Verb:
        yield from ()
        return turn

    return renew


REMOVALS: dict[str, Removal] = {
    "nonce_tells_whose": Removal("first", "conditional.is_mine", lambda _r, _n: lambda there, _body: there is not None),
    "pointer_before_input": Removal("first", "materialise.read_input", input_before_pointer),
    "seal_put_if_absent": Removal("first", "materialise.put_conditionally", unconditional("manifests/")),
    "swap_if_match": Removal("again", "materialise.put_conditionally", unconditional("current/")),
    "swap_resolved_by_reading": Removal("returns", "materialise.swap", swap_without_reading),
    "walk_back_by_base": Removal("three in a row", "materialise.was_written", no_walk),
    "unchanged_rewrites_pointer": Removal("returns", "materialise.swap", unchanged_stays),
    "heal_damaged": Removal("expired", "materialise.still_whole", verb(True)),
    "older_winner_means_start_over": Removal("first", "materialise.behind", always(False)),
    "positions_are_compared_by_table": Removal(
        "a table beside the whole", "materialise.outdated",
        lambda real, _n: lambda now, draft: all_or_none(real(now, draft), draft),
    ),
    "entries_are_decided_one_by_one": Removal("one table is equal", "materialise.still_whole", verb(False)),
    "a_subset_keeps_the_rest": Removal(
        "a table beside the whole", "materialise.choose_entries",
        lambda real, _n: lambda run, base, manifest, _tables: real(run, base, manifest, None),
    ),
    "tombstone_first": Removal("first", "sweep.bury", verb(True)),
    "sweep_through_tombstones": Removal("first", "sweep.is_garbage", not_through_tombstones),
    "only_overtaken_is_garbage": Removal("again", "sweep.is_overtaken", always(True)),
    "reader_limit_from_swap": Removal("reading", "sweep.readers_are_done", always(True)),
    "reader_verifies": Removal("rot", "reader.verified", lambda _r, _n: lambda _record, chunks: iter(chunks)),
    "reader_starts_again": Removal("gone", "reader.read", reader_goes_on),
    "claim_by_destination": Removal(
        "newer", "deliver.slot_of", lambda real, _n: lambda d: f"{real(d)}-{d.date}-{d.sha256}"
    ),
    "era_in_identity": Removal("x y x", "deliver.next_era", always(0)),
    "release_only_without_doubt": Removal("doubt", "deliver.surely_absent", always(True)),
    "expiry_by_store_clock": Removal("fast clock", "deliver.expired", expired_by_own_clock),
    "head_by_identity": Removal("next day", "deliver.is_this", lambda _r, _n: lambda stored, _id: stored is not None),
    "request_has_deadline": Removal("newer", "deliver.deadline", always(10**9)),
    "absent_only_after_deadline": Removal(
        "by HEAD", "deliver.SENT_AGAIN", lambda _r, _n: frozenset({"idempotent", "head"})
    ),
    "idempotency_key_is_identity": Removal("next day, by key", "deliver.identity_of", identity_without_date),
    "identity_ignores_policy": Removal("by key", "deliver.identity_of", identity_with_policy),
    "hold_unknowns": Removal("hold", "deliver.decide", always("sent")),
    "renew_before_send": Removal("by HEAD", "deliver.renew", no_renewal),
    "verify_before_last_byte": Removal("source rots", "deliver.bytes_are_right", verb(True)),
    "receipt_read_under_claim": Removal("by HEAD", "deliver.claim", claim_blindly),
    "recompute_after_losing": Removal("by key", "ledger.uncovered", covered_once),
    "cover_all_uncovered": Removal("by key", "ledger.uncovered", own_receipts_only),
}  # fmt: skip
