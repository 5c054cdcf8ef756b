"""Whose turn it is to write fixed names, which every attempt of a date writes over.

An attempt takes the turn by a conditional write before it touches a name, never from one with newer input, and looks
whether it still has it before each name. The record has every key and flag that the attempt may write: whoever takes
the turn from an attempt that never ended knows what that one may have left, without listing anything.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from egress_assets.engine.errors import ManifestInvalid, OutcomeUnknown, Superseded
from egress_assets.engine.evidence.conditional import TRIES, nonce, put_conditionally
from egress_assets.engine.evidence.driver import Evidence, drive
from egress_assets.engine.evidence.records import FORMAT, Position, canonical, parse_record
from egress_assets.engine.evidence.requests import Found, Get, Verb
from egress_assets.engine.layout import Unit, publishing_key


@dataclass(frozen=True, slots=True)
class Turn:
    """`version` tells two contents of the same names apart. Memory: all keys of a date."""

    unit: Unit
    date: str
    attempt: str
    position: Position
    version: str
    keys: frozenset[str]
    flags: frozenset[str]

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT, "kind": "turn", "unit": str(self.unit), "date": self.date, "attempt": self.attempt,
            "position": self.position.to_json(), "version": self.version, "keys": sorted(self.keys),
            "flags": sorted(self.flags), "nonce": nonce(),
        }  # fmt: skip

    @staticmethod
    def parse(body: bytes) -> Turn:
        """Raises ManifestInvalid."""
        v = parse_record(body)
        try:
            return Turn(
                Unit.parse(v["unit"]), v["date"], v["attempt"], Position.from_json(v["position"]), v["version"],
                frozenset(v["keys"]), frozenset(v["flags"]),
            )  # fmt: skip
        except (KeyError, TypeError, AttributeError) as error:
            raise ManifestInvalid(f"a turn lacks or garbles a field: {error}") from error

    def joined(self, left: Turn) -> Turn:
        """With all that an attempt which never ended may have left."""
        return replace(self, keys=self.keys | left.keys, flags=self.flags | left.flags)


def take(evidence: Evidence, mine: Turn, *, ended_by: str) -> Turn:
    """Take the turn; the returned one also has what the attempt before may have left, unless that is `ended_by`.

    Raises Superseded (newer input is published, or was about to be), OutcomeUnknown (retryable), ManifestInvalid,
    StoreError's kinds.
    """
    return drive(_take(mine, ended_by), evidence.store)


def holder(evidence: Evidence, unit: Unit, date: str) -> Turn | None:
    """Who has the turn now; a small read."""
    there = evidence.store.read(publishing_key(unit, date))
    return Turn.parse(there[0]) if there else None


def _take(mine: Turn, ended_by: str) -> Verb[Turn]:
    key = publishing_key(mine.unit, mine.date)
    for _ in range(TRIES):
        there: Found | None = yield Get(key)
        left = Turn.parse(there.body) if there else None
        if left is not None and left.position.compare(mine.position) == "newer":
            raise Superseded(
                f"{mine.unit.title} {mine.date} is published from newer input by attempt {left.attempt}",
                hint="Nothing of this run was written. Run again if that attempt did not end.",
            )
        taken = mine if left is None or left.attempt == ended_by else mine.joined(left)
        verdict = yield from put_conditionally(key, canonical(taken.to_json()), there.etag if there else None)
        if verdict == "mine":
            return taken
        if verdict == "unknown":
            break
    raise OutcomeUnknown(
        f"whose turn it is to write {mine.unit.title} {mine.date} could not be settled",
        hint="Something else publishes the same date at this moment; run again when it is done.",
    )
