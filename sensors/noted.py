"""What the evidence sensor has told already: its cursor. Losing it costs comparisons, and some remarks told twice.

Pure. Sizes: 12 digits a unit, a nonce a hold, a line a unit that left the catalog (at most GONE): 7 kB for 150 units.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from egress_assets.engine.drift import Drift
from egress_assets.engine.layout import Unit

GONE = 50


@dataclass(slots=True)
class Walk:
    """The walk over all pointers: the key that it has passed, and when it and the last one began, in real seconds."""

    after: str = ""
    began: float = 0.0
    since: float = 0.0
    gone: list[Drift] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        gone = [_said(drift) for drift in self.gone[:GONE]]
        return {"after": self.after, "began": self.began, "since": self.since, "gone": gone}


@dataclass(slots=True)
class Noted:
    """`units`: a fingerprint of what was told of each; `gone`: units that the last whole walk found without catalog."""

    units: dict[str, str] = field(default_factory=dict)
    holds: dict[str, str] = field(default_factory=dict)  # by kind/name: the nonce of the hold that was told
    drift: dict[str, str] = field(default_factory=dict)  # by dataset: a digest of what was told
    overview: str = ""
    overview_at: float = 0.0  # real seconds
    walk: Walk = field(default_factory=Walk)
    gone: list[Drift] = field(default_factory=list)

    def written(self) -> str:
        told = {
            "units": self.units, "holds": self.holds, "drift": self.drift, "overview": self.overview,
            "overview_at": self.overview_at, "walk": self.walk.to_json(), "gone": [_said(d) for d in self.gone[:GONE]],
        }  # fmt: skip
        return json.dumps(told, sort_keys=True, separators=(",", ":"))


def parse(cursor: str | None) -> Noted:
    """A cursor that can't be read is an empty one."""
    try:
        v = json.loads(cursor or "{}")
        walk = v.get("walk", {})
        return Noted(
            dict(v.get("units", {})), dict(v.get("holds", {})), dict(v.get("drift", {})), v.get("overview", ""),
            float(v.get("overview_at", 0)), _walk(walk), _drifts(v.get("gone", ())),
        )  # fmt: skip
    except (ValueError, TypeError, AttributeError, KeyError):
        return Noted()


def _walk(v: dict[str, Any]) -> Walk:
    return Walk(v.get("after", ""), float(v.get("began", 0)), float(v.get("since", 0)), _drifts(v.get("gone", ())))


def _said(drift: Drift) -> list[Any]:
    return [str(drift.unit), drift.table, drift.dataset, drift.dates, drift.first, drift.last]


def _drifts(said: Sequence[Sequence[Any]]) -> list[Drift]:
    return [Drift(Unit.parse(unit), *rest) for unit, *rest in said]
