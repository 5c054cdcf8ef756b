"""What deliveries are about to send, told to each other before they do: so two at once can't both slip under a limit.

Each delivery to a recipient with `limits` writes its record first and reads those of the others second, so of two at
once at least one sees the other. A record stays when its delivery has ended: its receipts come to the same then, and
what a dead or unknown send may have left is counted until the delivery's next run says better.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from egress_assets.engine.errors import ManifestInvalid
from egress_assets.engine.evidence.driver import Evidence
from egress_assets.engine.evidence.records import FORMAT, canonical, parse_record
from egress_assets.engine.layout import announced_key, announced_prefix


@dataclass(frozen=True, slots=True)
class Announced:
    """All that one delivery has sent and is about to send of a date. `rows` is None where nobody knows."""

    recipient: str
    pipeline: str
    date: str
    rows: int | None
    bytes: int
    by: str

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT, "kind": "announced", "recipient": self.recipient, "pipeline": self.pipeline,
            "date": self.date, "rows": self.rows, "bytes": self.bytes, "by": self.by,
        }  # fmt: skip

    @staticmethod
    def parse(body: bytes) -> Announced:
        v = parse_record(body)
        try:
            return Announced(v["recipient"], v["pipeline"], v["date"], v["rows"], v["bytes"], v["by"])
        except (KeyError, TypeError) as error:
            raise ManifestInvalid(f"an announcement lacks or garbles a field: {error}") from error


def announce(evidence: Evidence, mine: Announced) -> None:
    """Replace what the same delivery said before. Two runs of one delivery count as one: they send the same files."""
    evidence.store.put(announced_key(mine.recipient, mine.date, mine.pipeline), canonical(mine.to_json()))


def announced(evidence: Evidence, recipient: str, date: str) -> Iterator[Announced]:
    """What all deliveries to a recipient have said of a date. Raises ManifestInvalid, StoreError's kinds."""
    for listed in evidence.store.list(announced_prefix(recipient, date)):
        there = evidence.store.read(listed.key)
        if there is not None:
            yield Announced.parse(there[0])
