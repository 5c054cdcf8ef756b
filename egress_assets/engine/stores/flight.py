"""Parts in flight: a bounded crowd of threads whose owner can stop them, and never leaves before they have ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager

from egress_assets.engine.errors import StoreError
from egress_assets.engine.stores.multipart import Multipart
from egress_assets.engine.stores.wire import SLICE, Stop, Stopped

logger = logging.getLogger(__name__)

_ABORT_PATIENCE = 30.0  # seconds for Abort after an error; what remains is the sweep's
_ABORT_HURRY = 2.0  # seconds when the process is being ended


class Flight:
    """At most `limit` tasks run at once, each given this flight's `stop`."""

    def __init__(self, limit: int) -> None:
        self.stop = Stop()
        self._pool = ThreadPoolExecutor(limit, thread_name_prefix="egress-part")
        self._running: set[Future[None]] = set()

    def begin(self, task: Callable[[Stop], None]) -> None:
        self._reap(0)
        self._running.add(self._pool.submit(task, self.stop))

    def wait_below(self, count: int) -> None:
        """Wait in slices until fewer than `count` tasks are left. Raises the first failed task's error."""
        self._reap(0)
        while len(self._running) >= count:
            self._reap(SLICE)

    def _reap(self, timeout: float) -> None:
        done, self._running = wait(self._running, timeout=timeout, return_when=FIRST_COMPLETED)
        for future in done:
            future.result()

    def drain(self, *, now: bool) -> None:
        """End what is on the wire (or cut it, when `now`), begin nothing more; errors of tasks are of no interest."""
        self.stop.retries = True
        self.stop.now = now
        try:
            for future in self._running:
                future.cancel()
            while self._running:
                _, self._running = wait(self._running, timeout=SLICE)
        except BaseException:
            self.stop.now = True
            raise
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def land(self) -> None:
        """Wait for all tasks, raising the first error, and end the threads."""
        self.wait_below(1)
        self._pool.shutdown(wait=True)


@contextmanager
def whole_or_nothing(multipart: Multipart, limit: int) -> Iterator[Flight]:
    """Threads for the parts of one upload. On any exception: drain first, then Abort, and keep the first error."""
    flight = Flight(limit)
    try:
        yield flight
    except BaseException as error:
        hurry = not isinstance(error, Exception)
        try:
            flight.drain(now=hurry)
        finally:
            _abort(multipart, _ABORT_HURRY if hurry else _ABORT_PATIENCE)
        raise


def _abort(multipart: Multipart, patience: float) -> None:
    try:
        multipart.abort(Stop(ends=time.monotonic() + patience))
    except (StoreError, Stopped) as error:
        logger.warning("abort of %s failed, left to the sweep: %s", multipart, error)
