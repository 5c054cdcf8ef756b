"""How fast a source is read at the most: a rate for all workers of a run, an equal share of it for each that reads.

The leader says each worker's share and says it anew when fewer tables are left than workers, or when the hours of the
throttle begin or end; a worker counts what it has read and waits. It reads in small pieces then: while it waits the
server waits in its COPY (no statement is idle), with at most the socket's buffers ahead, some MB, and every piece
opens the connection's window again, so that neither side takes the other for dead.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from egress_assets.engine.partition import now
from egress_assets.engine.quiet import quiet_until

if TYPE_CHECKING:  # 0.1 s of a worker's start, which needs only its pace
    from egress_assets.engine.catalog.operate import Throttle
    from egress_assets.engine.platform import Platform

PIECE = 0.25
"""Seconds of the rate that are read at once, and that a worker which was kept waiting by others may catch up on. Over
three seconds that is 8 % at the most; a shorter piece costs more hand-overs."""

Share = dict[str, float]
"""`rows` and `bytes` a second, those that are limited; empty: as fast as it goes."""


class Bucket:
    """What may be read at a rate: counted after it was read, paid by waiting."""

    def __init__(self, rate: float, at: float) -> None:
        self.rate = rate
        self._paid = at  # the moment up to which all that was read so far is paid

    def count(self, amount: float, at: float) -> None:
        self._paid = max(self._paid, at - PIECE) + amount / self.rate

    def owed(self, at: float) -> float:
        """Seconds to wait before more is read."""
        return max(0.0, self._paid - at)

    def change(self, rate: float, at: float) -> None:
        """What is owed still is owed, in the new rate's time."""
        self._paid = at + (self._paid - at) * self.rate / rate
        self.rate = rate


class Pace:
    """A worker's own share, for the thread that reads; `change` is called by the one that listens."""

    def __init__(self, share: Share | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._changing = clock, threading.Lock()
        self._buckets: dict[str, Bucket] = {}
        self.change(share or {})

    def change(self, share: Share) -> None:
        with self._changing:
            at = self._clock()
            kept = {what: bucket for what, bucket in self._buckets.items() if what in share}
            for what, bucket in kept.items():
                bucket.change(share[what], at)
            self._buckets = {what: kept.get(what) or Bucket(rate, at) for what, rate in share.items()}

    def piece(self, what: str) -> int:
        """How much to read at once: rows or bytes, at least 1; without a limit as much as anybody likes."""
        bucket = self._buckets.get(what)
        return max(1, int(bucket.rate * PIECE)) if bucket else sys.maxsize

    def count(self, **amounts: int) -> None:
        """`rows` and `bytes` were read."""
        with self._changing:
            for what, bucket in self._buckets.items():
                bucket.count(amounts[what], self._clock())

    def owed(self) -> float:
        """Seconds to wait before more is read; less, when the share has grown meanwhile."""
        with self._changing:
            return max((bucket.owed(self._clock()) for bucket in self._buckets.values()), default=0.0)


@dataclass(frozen=True, slots=True)
class Throttling:
    """The leader's side: a source's throttle in the catalog's timezone."""

    throttle: Throttle
    zone: ZoneInfo

    def __str__(self) -> str:
        """`1,000 rows and 2,000,000 bytes a second within 08:00-18:00`."""
        rates = (("rows", self.throttle.rows_per_second), ("bytes", self.throttle.bytes_per_second))
        said = " and ".join(f"{rate:,} {what}" for what, rate in rates if rate)
        hours = f" within {', '.join(self.throttle.hours)}" if self.throttle.hours else ""
        return f"{said} a second{hours}"

    def share(self, running: int) -> Share:
        """What each of `running` workers may read now; empty outside the throttle's hours."""
        hours = self.throttle.hours
        if hours and quiet_until(hours, now(), self.zone) is None:
            return {}
        rates = {"rows": self.throttle.rows_per_second, "bytes": self.throttle.bytes_per_second}
        return {what: rate / max(1, running) for what, rate in rates.items() if rate}


def throttling_of(platform: Platform, source: str) -> Throttling | None:
    """The throttle of a source of the catalog, or None."""
    model: Any = platform.catalog.endpoints.sources.get(source)
    if model is None or model.throttle is None:
        return None
    return Throttling(model.throttle, ZoneInfo(platform.catalog.endpoints.timezone))
