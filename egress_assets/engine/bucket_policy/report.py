"""What was found in a bucket beside what the catalog says, item by item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

State = Literal[
    "as said", "missing", "different", "left over", "in conflict", "refused",
    "not permitted", "not supported", "left alone", "of others",
]  # fmt: skip
DRIFT: frozenset[State] = frozenset({"missing", "different", "left over", "in conflict", "refused"})
STATES: tuple[State, ...] = get_args(State)


@dataclass(frozen=True, slots=True)
class Item:
    """One thing: `=` nothing to do, `+` set, `*` replace, `-` remove, `!` can't be as the catalog says."""

    sign: Literal["=", "+", "*", "-", "!"]
    what: str  # lifecycle, encryption, public access
    detail: str
    state: State

    def to_json(self) -> dict[str, Any]:
        return {"sign": self.sign, "what": self.what, "detail": self.detail, "state": self.state}


@dataclass(frozen=True, slots=True)
class Report:
    """One store. `changed` is what an apply has set; the items are what is there afterwards."""

    store: str
    bucket: str
    applies: bool
    items: tuple[Item, ...]
    changed: tuple[str, ...] = ()

    @property
    def drift(self) -> tuple[Item, ...]:
        return tuple(item for item in self.items if item.state in DRIFT)

    @property
    def unknown(self) -> tuple[Item, ...]:
        """What we were not let look at: neither right nor wrong."""
        return tuple(item for item in self.items if item.state == "not permitted")

    @property
    def is_as_said(self) -> bool:
        return not self.drift and not self.unknown

    def to_json(self) -> dict[str, Any]:
        return {
            "bucket": self.bucket, "policy": "apply" if self.applies else "report", "as_said": self.is_as_said,
            "changed": list(self.changed), "items": [item.to_json() for item in self.items],
        }  # fmt: skip
