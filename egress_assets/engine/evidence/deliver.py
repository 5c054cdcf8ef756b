"""Deliver one object to one destination once, or say that it is not known (docs/design.md, D10).

A claim slot a destination, renewed just before the send; a receipt an identity. A claim without a receipt is doubt:
the recipient is asked, or sent the same key again, or the policy decides; a sender never concludes absence by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from egress_assets.engine.errors import OutcomeUnknown
from egress_assets.engine.evidence.conditional import nonce, put_conditionally
from egress_assets.engine.evidence.proofs import Claim, Hold, How, Order, Receipt
from egress_assets.engine.evidence.records import canonical, digest
from egress_assets.engine.evidence.requests import SECOND, Call, Found, Get, Now, Verb
from egress_assets.engine.layout import claim_key, hold_key, receipt_key
from egress_assets.engine.stores import Answer

TTL = 600 * SECOND
"""A claim's life without bytes, and the deadline of its request: verifying, renewing and a slow recipient's answer."""

SLOWEST = 1_000_000
"""Bytes a second that a recipient must take at the least; a claim lives longer for the bytes that it sends."""

MARGIN = 120 * SECOND
"""Between a request's deadline and the end of its claim: 60 s of clock skew between sender, recipient and store (NTP
keeps 1 s), 2 s that Last-Modified and Date lose by whole seconds, and what proxies may still hold in flight."""

SENT_AGAIN = frozenset({"idempotent"})
"""Which recipients get the same request a second time after an ambiguous answer. Nobody else: a request without answer
may land later than any look at the recipient, so only its deadline ends the doubt."""

Knows = Literal["idempotent", "head", "write-only"]
"""What a recipient can be relied on for: the same key twice is one delivery; it tells the identity stored at a
destination and refuses requests past their deadline; neither."""

Ending = Literal["delivered", "before", "superseded", "busy", "held", "unknown", "refused", "corrupt"]


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of one request to the recipient. `facts` go into the receipt: status, response id, ETag."""

    answer: Answer
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One object for one destination of a recipient."""

    recipient: str
    pipeline: str
    order: Order  # (date, generation) of the Release
    destination: str
    sha256: str
    bytes: int
    knows: Knows
    by: str  # the run; told in claim and receipt
    policy: Callable[[], Literal["hold", "resend"]]  # of an unknown send to a write-only recipient; asked late
    check_bytes: Callable[[], bool]  # full re-read against the Release
    send: Callable[[str, int], Sent]  # (identity, not_after in microseconds)
    ask: Callable[[], str | None]  # the identity stored at the destination
    fields: Mapping[str, str] = field(default_factory=dict)  # of the spec, those that change bytes or names
    source: Mapping[str, str] = field(default_factory=dict)  # unit, attempt, manifest_digest of what is delivered
    holds: tuple[tuple[str, str], ...] = ()  # (kind, name) besides the recipient's own: ("dataset", "shop")

    @property
    def date(self) -> str:
        return self.order[0]


@dataclass(frozen=True, slots=True)
class Delivered:
    """How a delivery ended.

    delivered: by this run, `how` says sent, found or resent. before: a receipt lay there. superseded: a newer Release
    has the destination. busy: another run has it. held: a hold is on. unknown: sent without an answer that can be
    relied on. refused: a definite no. corrupt: the bytes are not those of the Release. None of the last three left a
    receipt; busy, held and unknown are not successes.
    """

    ending: Ending
    identity: str = ""
    how: How | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Turn:
    """A run's claim as it lies in the slot, and whether an earlier send of the same identity is in doubt."""

    d: Delivery
    claim: Claim
    doubt: bool

    @property
    def identity(self) -> str:
        return self.claim.identity


def slot_of(d: Delivery) -> str:
    """One slot a destination: whoever wants to write there meets everybody else who does."""
    return claim_key(d.recipient, d.destination)


def identity_of(d: Delivery, era: int) -> str:
    """What makes a delivery this one. Retry policy, SLA and run are not in it: changing them resends nothing."""
    return digest([d.recipient, d.pipeline, d.date, d.destination, d.sha256, dict(d.fields), era])


def next_era(d: Delivery, held: Claim | None) -> int:
    """One up whenever the slot's content changes, so that x, y, x is three deliveries."""
    if held is None:
        return 0
    return held.era + (held.identity != identity_of(d, held.era))


def life(d: Delivery) -> int:
    """How long this delivery's claim lives after each write of it, in microseconds."""
    return TTL + d.bytes * SECOND // SLOWEST


def expired(there: Found, claim: Claim) -> bool:
    """Whether the claim's sender can't have a request under way any more. Both times are one store's clock."""
    return there.date - there.modified > claim.ttl + MARGIN


def deadline(now: int, ttl: int) -> int:
    """When the recipient must refuse the request; taken before the renewal, so no pause can outlive the claim."""
    return now + ttl


def is_this(stored: str | None, identity: str) -> bool:
    """Whether what the recipient has is this delivery; equal bytes of another one prove nothing."""
    return stored == identity


def decide(policy: str) -> How | None:
    """What the policy makes of a doubt that nobody can clear; None leaves it."""
    return "resent" if policy == "resend" else None


def surely_absent(doubt: bool, tries: int) -> bool:
    """Whether nothing was delivered after `tries` requests, the last of them refused: no earlier one is unanswered."""
    return not doubt and tries <= 1


def deliver(d: Delivery) -> Verb[Delivered]:
    """Deliver, or say why not. Raises OutcomeUnknown when evidence could not be settled, and what `d`'s calls raise."""
    if (yield from on_hold(d)):
        return Delivered("held")
    turn = yield from take_turn(d)
    if isinstance(turn, Delivered):
        return turn
    how: How | None = "sent"
    if turn.doubt:
        how = yield from clear_doubt(turn)
    if how is None:
        return Delivered("unknown", turn.identity)
    sent = Sent("ok")
    if how != "found":
        sent = yield from send(turn)
        if isinstance(sent, Delivered):
            return sent
    yield from write_receipt(turn, how, sent.facts)
    return Delivered("delivered", turn.identity, how, sent.facts)


def take_turn(d: Delivery) -> Verb[Turn | Delivered]:
    """Read the slot and its receipts, and claim it unless somebody else may still be at work there."""
    there: Found | None = yield Get(slot_of(d))
    held = Claim.parse(there.body) if there else None
    if held and held.order > d.order:
        return Delivered("superseded")
    era = next_era(d, held)
    identity = identity_of(d, era)
    if (yield from has_receipt(d.date, identity)):
        return Delivered("before", identity)
    doubt = False
    if there and held and not held.released and not (yield from has_receipt(held.order[0], held.identity)):
        if not expired(there, held):
            return Delivered("busy", identity)
        doubt = held.identity == identity
    mine = Claim(identity, era, d.order, d.by, nonce(), held.sequence + 1 if held else 0, False, life(d))
    ended = yield from claim(d, mine, there)
    return ended or Turn(d, mine, doubt)


def claim(d: Delivery, mine: Claim, seen: Found | None) -> Verb[Delivered | None]:
    """Take the slot as it was seen, then look for the receipt again: it may have come between the two looks."""
    body = canonical(mine.to_json())
    if (yield from put_conditionally(slot_of(d), body, seen.etag if seen else None)) != "mine":
        return Delivered("busy", mine.identity)
    if (yield from has_receipt(d.date, mine.identity)):
        return Delivered("before", mine.identity)
    return None


def has_receipt(date: str, identity: str) -> Verb[bool]:
    return (yield Get(receipt_key(date, identity))) is not None


def clear_doubt(turn: Turn) -> Verb[How | None]:
    """What may be done about an earlier send without receipt: send, call it found, resend, or nothing (None)."""
    if turn.d.knows == "idempotent":
        return "sent"
    if turn.d.knows == "head":
        stored: str | None = yield Call(f"ask about {turn.d.destination}", turn.d.ask)
        return "found" if is_this(stored, turn.identity) else "sent"
    return decide((yield Call("read the policy", turn.d.policy)))


def send(turn: Turn) -> Verb[Sent | Delivered]:
    """Verify, renew, look for holds, send. Sent: the recipient has it. Delivered: how it ended without that."""
    if not (yield from bytes_are_right(turn.d)):
        yield from release(turn, 0)
        return Delivered("corrupt", turn.identity)
    now: int = yield Now()
    renewed = yield from renew(turn)
    if renewed is None:
        return Delivered("busy", turn.identity)
    if (yield from on_hold(turn.d)):
        yield from release(renewed, 0)
        return Delivered("held", turn.identity)
    sent, tries = yield from request(turn, deadline(now, turn.claim.ttl))
    if sent.answer == "ok":
        return sent
    if sent.answer == "refused" and (yield from release(renewed, tries)):
        return Delivered("refused", turn.identity, facts=sent.facts)
    return Delivered("unknown", turn.identity, facts=sent.facts)


def request(turn: Turn, not_after: int) -> Verb[tuple[Sent, int]]:
    """The request itself and how often it was made; the identity is its idempotency key."""
    most = 2 if turn.d.knows in SENT_AGAIN else 1
    for tries in range(1, most):
        sent: Sent = yield Call(f"send {turn.identity}", partial(turn.d.send, turn.identity, not_after))
        if sent.answer != "ambiguous":
            return sent, tries
    return (yield Call(f"send {turn.identity}", partial(turn.d.send, turn.identity, not_after))), most


def bytes_are_right(d: Delivery) -> Verb[bool]:
    """Nothing leaves that no Release names."""
    return (yield Call(f"verify {d.sha256}", d.check_bytes))


def renew(turn: Turn) -> Verb[Turn | None]:
    """Write the claim again, so that it outlives the request about to be sent; None when it was lost."""
    mine = replace(turn.claim, sequence=turn.claim.sequence + 1, nonce=nonce())
    return replace(turn, claim=mine) if (yield from rewrite(turn, mine)) else None


def release(turn: Turn, tries: int) -> Verb[bool]:
    """Give the slot back if surely nothing was delivered by it, and say whether; doubt stays doubt."""
    if not surely_absent(turn.doubt, tries):
        return False
    yield from rewrite(turn, replace(turn.claim, released=True, nonce=nonce()))
    return True


def rewrite(turn: Turn, mine: Claim) -> Verb[bool]:
    """Replace this run's own claim; False when the slot holds anything else by now."""
    slot, was = slot_of(turn.d), canonical(turn.claim.to_json())
    there: Found | None = yield Get(slot)
    if there is None or there.body != was:
        return False
    return (yield from put_conditionally(slot, canonical(mine.to_json()), there.etag)) == "mine"


def on_hold(d: Delivery) -> Verb[bool]:
    """Whether a person stopped what goes to the recipient, or any of the delivery's other holds."""
    for kind, name in (("recipient", d.recipient), *d.holds):
        there: Found | None = yield Get(hold_key(kind, name))
        if there is not None and Hold.parse(there.body).held:
            return True
    return False


def write_receipt(turn: Turn, how: How, facts: Mapping[str, Any]) -> Verb[None]:
    """Put-if-absent; another run's receipt for the same identity is as good. Raises OutcomeUnknown."""
    d, at = turn.d, (yield Now())
    receipt = Receipt(
        turn.identity, d.by, how, d.recipient, d.pipeline, d.order, d.destination, d.sha256, d.bytes, turn.claim.era,
        at, d.source, facts,
    )  # fmt: skip
    body = canonical(receipt.to_json())
    if (yield from put_conditionally(receipt_key(d.date, turn.identity), body, None)) == "unknown":
        raise OutcomeUnknown(
            f"{d.destination} was {how} to {d.recipient}, but its receipt could not be settled",
            hint="Run again: the claim without receipt is resolved then.",
        )
