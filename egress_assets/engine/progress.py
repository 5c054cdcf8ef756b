"""How a long step tells what it does, without knowing who listens: a terminal, a log, or nobody.

A `Meter` turns the ticks of one phase into what people ask: how much, how fast, how long still. It has no clock and
no thread of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

WINDOW = 30.0
"""Seconds over which a rate is taken: shorter jumps with every table, longer hides that a server has slowed down."""
_NAMED = 3  # items named in a line


@dataclass(frozen=True, slots=True)
class Tick:
    """One step forward. `done` and `total` are bytes (or what `unit` says); total 0 = unknown.

    `done` is cumulative for its item, `whole` is the total over all items of the phase, 0 where nobody can say.
    `estimated`: the totals are the planner's guess, and people are told so.
    """

    phase: str  # lock, dump, scrub, gate, seal, mirror, deliver, verify, ...
    item: str = ""  # a table or a key shown to people
    done: int = 0
    total: int = 0
    rows: int = 0
    finished: bool = False
    unit: str = "bytes"
    whole: int = 0
    estimated: bool = False


Listener = Callable[[Tick], None]


def silent(_tick: Tick) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A phase at one moment, over all of its items. Rate in units a second, seconds left: None = nobody knows."""

    done: int
    whole: int
    rows: int
    finished: int  # items
    items: tuple[str, ...]  # under way
    unit: str
    estimated: bool
    rate: float | None
    left: float | None
    still: float  # seconds since anything moved

    @property
    def percent(self) -> int | None:
        """0 to 100; an estimate that was exceeded stays at 99 until the phase has ended."""
        if not self.whole:
            return None
        return min(99 if self.estimated else 100, 100 * self.done // self.whole)


class Meter:
    """What one phase has done. Memory: its items under way and WINDOW's samples. Not safe for several threads."""

    def __init__(self, phase: str, at: float, *, window: float = WINDOW) -> None:
        self.phase, self.began = phase, at
        self._window = window
        self._under_way: dict[str, Tick] = {}
        self._done = self._rows = self._finished = self._whole = 0
        self._unit, self._estimated = "bytes", False
        self._moved = at
        self._samples: deque[tuple[float, int]] = deque([(at, 0)])

    def hear(self, tick: Tick, at: float) -> None:
        """Take a tick of this phase in."""
        before = self._under_way.pop(tick.item, None)
        if tick.finished:
            self._done += tick.done
            self._rows += tick.rows
            self._finished += 1
        else:
            self._under_way[tick.item] = tick
        self._unit, self._estimated = tick.unit, tick.estimated
        self._whole = tick.whole or self._whole
        if tick.finished or before is None or before.done != tick.done:
            self._moved = at

    def read(self, at: float) -> Reading:
        """The phase now; each reading is a sample of the rate's window."""
        items = self._under_way.values()
        done = self._done + sum(tick.done for tick in items)
        whole = self._whole or (next(iter(items)).total if len(items) == 1 and not self._finished else 0)
        rate = self._rate(at, done)
        knows = bool(whole and rate and done < whole)
        return Reading(
            done=done,
            whole=whole,
            rows=self._rows + sum(tick.rows for tick in items),
            finished=self._finished,
            items=tuple(tick.item for tick in items if tick.item),
            unit=self._unit,
            estimated=self._estimated,
            rate=rate,
            left=(whole - done) / rate if knows and rate else None,
            still=at - self._moved,
        )

    def _rate(self, at: float, done: int) -> float | None:
        """Against the newest sample that is a window old, else the oldest there is."""
        while len(self._samples) > 1 and at - self._samples[1][0] >= self._window:
            self._samples.popleft()
        since, then = self._samples[0]
        if at > self._samples[-1][0]:
            self._samples.append((at, done))
        return (done - then) / (at - since) if at > since else None


def described(reading: Reading, *, stalled: float = 10.0) -> str:
    """`~42 %, 123.4 MB of ~293.0 MB, 1,234 rows, 25.3 MB/s, about 7 s left; 3 done, now public.orders`.

    Nothing moved for `stalled` seconds: that is said instead of rate and time left.
    """
    about = "~" if reading.estimated else ""
    said = [] if reading.percent is None else [f"{about}{reading.percent} %"]
    of = f" of {about}{amount(reading.whole, reading.unit)}" if reading.whole else ""
    said.append(f"{amount(reading.done, reading.unit)}{of}")
    if reading.rows:
        said.append(f"{reading.rows:,} rows")
    said += [f"nothing moved for {duration(reading.still)}"] if reading.still >= stalled else _pace(reading)
    return ", ".join(said) + _items(reading)


def _pace(reading: Reading) -> list[str]:
    if reading.unit != "bytes" or not reading.rate:
        return []
    left = [f"about {duration(reading.left)} left"] if reading.left is not None else []
    return [f"{amount(int(reading.rate), reading.unit)}/s", *left]


def _items(reading: Reading) -> str:
    finished = [f"{reading.finished} done"] if reading.finished else []
    named = ", ".join(item if item.isprintable() else ascii(item) for item in reading.items[:_NAMED])
    more = f" and {len(reading.items) - _NAMED} more" if len(reading.items) > _NAMED else ""
    told = finished + ([f"now {named}{more}"] if named else [])
    return f"; {', '.join(told)}" if told else ""


def amount(count: int, unit: str) -> str:
    """`12.3 MB`, or `3 tables`."""
    if unit != "bytes":
        return f"{count:,} {unit}"
    value, units = float(count), ["B", "kB", "MB", "GB", "TB", "PB"]
    while value >= 1000 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{count} B" if units[0] == "B" else f"{value:.1f} {units[0]}"


def duration(seconds: float) -> str:
    """`0.4 s`, `7 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s" if seconds < 2 else f"{seconds:.0f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
