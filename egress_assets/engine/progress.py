"""How a long step tells what it does, without knowing who listens: a terminal, a log, or nobody."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tick:
    """One step forward. `done` and `total` are bytes (or rows where `unit` says so); total 0 = unknown."""

    phase: str  # lock, dump, scrub, gate, seal, mirror, deliver, verify, ...
    item: str = ""  # a table or a key shown to people
    done: int = 0
    total: int = 0
    rows: int = 0
    finished: bool = False
    unit: str = "bytes"


Listener = Callable[[Tick], None]


def silent(_tick: Tick) -> None:
    """Nobody listens."""
