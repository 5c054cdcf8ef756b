"""What a person sees of a run while it works: each phase's begin and end, and between them a line every 5 s.

One line for all tables that are under way, whatever their number. It is told by a thread of its own, since a step that
waits (for a lock, for a slow query) sends no ticks, and that is just when somebody looks. The thread logs; the engine's
main thread, where an interrupt arrives, is left alone.
"""

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType

from egress_assets.engine.progress import Meter, Tick, amount, described, duration

logger = logging.getLogger(__name__)

EVERY = 5.0  # seconds between two lines
_Line = tuple[str, tuple[object, ...]]


class Progress:
    """`with Progress(title) as on: run(..., on=on)`. Listens from many threads; memory as engine/progress.py says.

    `phases=False` leaves out begins and ends: where one run does hundreds of short stages, they would be all there is.
    """

    def __init__(
        self, title: str, *, phases: bool = True, every: float = EVERY, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._title, self._phases, self._every, self._clock = title, phases, every, clock
        self._lock = threading.Lock()
        self._meter: Meter | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tell_often, name="progress", daemon=True)

    def __enter__(self) -> "Progress":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if kind is None:
            self._thread.join(timeout=self._every)  # after an interrupt nothing is waited for
        self.close(how="ended" if kind is None else "broke off")

    def __call__(self, tick: Tick) -> None:
        at = self._clock()
        said: list[_Line] = []
        with self._lock:
            if self._meter is None or self._meter.phase != tick.phase:
                said = [*self._end(at), ("%s: %s began", (self._title, tick.phase))]
                self._meter = Meter(tick.phase, at)
            self._meter.hear(tick, at)
        self._say(said)

    def tell(self) -> None:
        """Log where the phase is, if one is under way."""
        with self._lock:
            meter = self._meter
            reading = meter.read(self._clock()) if meter else None
        if meter and reading:
            logger.info("%s: %s %s", self._title, meter.phase, described(reading))

    def close(self, *, how: str = "ended") -> None:
        """The last phase is over."""
        with self._lock:
            said = self._end(self._clock(), how)
            self._meter = None
        self._say(said)

    def _say(self, said: list[_Line]) -> None:
        """Not under the lock: a log line is a write to Dagster's storage."""
        for text, facts in said if self._phases else ():
            logger.info(text, *facts)

    def _end(self, at: float, how: str = "ended") -> list[_Line]:
        if self._meter is None:
            return []
        reading, took = self._meter.read(at), at - self._meter.began
        done = f", {amount(reading.done, reading.unit)}" if reading.unit == "bytes" else ""
        rows = f", {reading.rows:,} rows" if reading.rows else ""
        rate = f", {amount(int(reading.done / took), 'bytes')}/s" if done and reading.done and took >= 1 else ""
        return [
            ("%s: %s %s after %s%s", (self._title, self._meter.phase, how, duration(took), f"{done}{rows}{rate}")),
        ]

    def _tell_often(self) -> None:
        while not self._ended.wait(self._every):
            self.tell()
