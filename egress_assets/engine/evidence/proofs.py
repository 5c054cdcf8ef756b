"""Records beside the truth: claims, receipts, ledger entries, holds, missed dates. Canonical JSON, read for ever."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from egress_assets.engine.errors import ManifestInvalid
from egress_assets.engine.evidence.records import FORMAT, parse_record
from egress_assets.engine.layout import Unit

Order = tuple[str, int]
"""(partition, generation) of a Release: which of two for the same destination is newer."""

How = Literal["sent", "found", "resent"]


@dataclass(frozen=True, slots=True)
class Claim:
    """Who may write one destination of a recipient, and what. One slot a destination, whatever the content.

    It lives for `ttl` microseconds after the store's Last-Modified of it, plus deliver.MARGIN. `released`: surely
    nothing was delivered by it.
    """

    identity: str
    era: int
    order: Order
    owner: str
    nonce: str
    sequence: int
    released: bool
    ttl: int

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT, "kind": "claim", "identity": self.identity, "era": self.era, "order": list(self.order),
            "owner": self.owner, "nonce": self.nonce, "sequence": self.sequence, "released": self.released,
            "ttl": self.ttl,
        }  # fmt: skip

    @staticmethod
    def parse(body: bytes) -> Claim:
        v = parse_record(body)
        try:
            date, generation = v["order"]
            return Claim(
                v["identity"], v["era"], (date, generation), v["owner"], v["nonce"], v["sequence"], v["released"],
                v["ttl"],
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise ManifestInvalid(f"a claim lacks or garbles a field: {error}") from error


@dataclass(frozen=True, slots=True)
class Receipt:
    """A delivery that happened. `facts` is what the recipient answered; `source` the attempt that was delivered."""

    identity: str
    by: str
    how: How
    recipient: str
    pipeline: str
    order: Order
    destination: str
    sha256: str
    bytes: int
    era: int
    at: int  # microseconds, the sender's clock; for people
    source: Mapping[str, str] = field(default_factory=dict)  # unit, attempt, manifest_digest, certificate
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def date(self) -> str:
        return self.order[0]

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT, "kind": "receipt", "identity": self.identity, "by": self.by, "how": self.how,
            "recipient": self.recipient, "pipeline": self.pipeline, "order": list(self.order),
            "destination": self.destination, "sha256": self.sha256, "bytes": self.bytes, "era": self.era, "at": self.at,
            "source": dict(self.source), "facts": dict(self.facts),
        }  # fmt: skip

    @staticmethod
    def parse(body: bytes) -> Receipt:
        v = parse_record(body)
        try:
            date, generation = v["order"]
            return Receipt(
                v["identity"], v["by"], v["how"], v["recipient"], v["pipeline"], (date, generation), v["destination"],
                v["sha256"], v["bytes"], v["era"], v["at"], v["source"], v["facts"],
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise ManifestInvalid(f"a receipt lacks or garbles a field: {error}") from error


@dataclass(frozen=True, slots=True)
class Event:
    """Something a person or a rule decided, for the ledger. `nonce` makes it countable once."""

    what: Literal["hold", "unhold", "redrive"]
    name: str  # `<kind>/<name>` of a hold, the arrival of a redrive
    by: str
    reason: str
    nonce: str
    at: int = 0  # microseconds, the writer's clock; for people. 0: the record doesn't say

    def to_json(self) -> dict[str, Any]:
        out: dict[str, Any] = {"what": self.what, "name": self.name, "by": self.by, "reason": self.reason}
        return out | {"nonce": self.nonce} | ({"at": self.at} if self.at else {})

    @staticmethod
    def from_json(v: Mapping[str, Any]) -> Event:
        return Event(v["what"], v["name"], v["by"], v["reason"], v["nonce"], v.get("at", 0))


@dataclass(frozen=True, slots=True)
class Hold:
    """Whether nothing may be sent to a recipient, or of a dataset. Lifted by another record, never by deleting."""

    held: bool
    event: Event

    def to_json(self) -> dict[str, Any]:
        return {"format": FORMAT, "kind": "hold", "held": self.held, "event": self.event.to_json()}

    @staticmethod
    def parse(body: bytes) -> Hold:
        v = parse_record(body)
        try:
            return Hold(v["held"], Event.from_json(v["event"]))
        except (KeyError, TypeError) as error:
            raise ManifestInvalid(f"a hold lacks or garbles a field: {error}") from error


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One link of the hash chain. `receipts` maps `<date>/<identity>` to the sha256 of the receipt's bytes."""

    sequence: int
    previous: str  # sha256 of the bytes of entry n - 1; empty in the first
    receipts: Mapping[str, str]
    events: tuple[Event, ...]
    run: str
    nonce: str

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT, "kind": "ledger", "sequence": self.sequence, "previous": self.previous,
            "receipts": dict(self.receipts), "events": [e.to_json() for e in self.events], "run": self.run,
            "nonce": self.nonce,
        }  # fmt: skip

    @staticmethod
    def parse(body: bytes) -> LedgerEntry:
        v = parse_record(body)
        try:
            events = tuple(Event.from_json(e) for e in v["events"])
            return LedgerEntry(v["sequence"], v["previous"], v["receipts"], events, v["run"], v["nonce"])
        except (KeyError, TypeError) as error:
            raise ManifestInvalid(f"a ledger entry lacks or garbles a field: {error}") from error


@dataclass(frozen=True, slots=True)
class Missed:
    """A date that can't be made any more. Said once; a pointer that comes nevertheless (`--relabel`) is what counts."""

    unit: Unit
    date: str
    reason: str
    at: int  # microseconds of the platform's clock

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT, "kind": "missed", "unit": str(self.unit), "date": self.date, "reason": self.reason,
            "at": self.at,
        }  # fmt: skip

    @staticmethod
    def parse(body: bytes) -> Missed:
        v = parse_record(body)
        try:
            return Missed(Unit.parse(v["unit"]), v["date"], v["reason"], v["at"])
        except (KeyError, TypeError, AttributeError) as error:
            raise ManifestInvalid(f"a missed date lacks or garbles a field: {error}") from error
