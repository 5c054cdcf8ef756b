"""One part of a table from the server to the store: COPY -> count, sha256 a cell, scan -> compress -> upload.

Two threads: one reads and hashes, the other compresses and uploads (and holds the store's own part threads), so that
the server's CSV formatting, which is the limit at about 100 MB/s a core, never waits for the network.

What a byte costs here decides how fast two workers are on two cores, where the server formats its CSV too. So rows are
taken in a loop that does nothing else, and the server's small packets are let come together before they are fetched.

Memory: (512 KiB + the largest row) x 6 chunks between the threads, plus what `Store.upload` says.
"""

from __future__ import annotations

import fcntl
import select
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import sha256
from typing import Any, Protocol

import psycopg
from psycopg import pq

from egress_assets.engine.dump.source import cancel
from egress_assets.engine.dump.sqlstate import source_error
from egress_assets.engine.dump.tasks import Cell, CellDone, PartDone, PartTask
from egress_assets.engine.dump.throttle import Pace
from egress_assets.engine.errors import SourceUnavailable
from egress_assets.engine.stores import Store
from egress_assets.engine.stream import Abandoned, Handover, compressed

CHUNK = 256 * 1024
"""Bytes to which rows are gathered, and at most what libpq holds (widen) more: a hand-over costs 20 us, a row 0.3."""

_DEPTH = 4  # chunks that wait between the threads
_SLICE = 0.5  # seconds that a wait for the server lasts before the stop flag is looked at
_ENOUGH = 32 * 1024
_MOMENT = 0.0005
"""The server sends 8 KiB at a time, and who waits for it wakes up as often. With less than `_ENOUGH` bytes there it is
left alone for `_MOMENT` seconds, in which it sends about as much: with `widen` 5,000 waits instead of 28,000 for 374 MB
of mixed rows, 0.6 s of processor time instead of 0.7. The end of a cell comes as much later. It stays below the 64 KiB
that are all the kernel takes in before the first read."""

_WIDE = 250_000  # bytes
_TELL_EVERY = 0.5  # seconds

Progress = Callable[[int, int], None]
"""Called with uncompressed bytes and rows so far, at most twice a second."""


class Scanner(Protocol):
    """Looks at uncompressed bytes in whole rows; engine/scrub/identifiers.py has it."""

    def feed(self, chunk: bytes) -> None: ...

    def finish(self) -> dict[str, Any]: ...


class Stopped(Exception):
    """The process was told to end: nothing is published, nothing is reported."""


def copy_part(
    connection: psycopg.Connection,
    task: PartTask,
    store: Store,
    *,
    stop: threading.Event,
    tell: Progress,
    pace: Pace | None = None,
) -> PartDone:
    """Read `task`'s cells within the connection's transaction, as fast as `pace` allows, and upload them as one object.

    Any failure on either side leaves no object: the upload is aborted and the server's query cancelled.
    Raises SourceError's and StoreError's kinds, Stopped.
    """
    began = time.monotonic()
    reading = _Reading(connection, task, stop=stop, tell=tell, pace=pace or Pace())
    thread = threading.Thread(target=reading.run, name=f"copy {task.table}", daemon=True)
    thread.start()
    try:
        uploaded = store.upload(task.key, compressed(reading.chunks, task.format, level=task.level))
    except BaseException:
        reading.chunks.abandon()
        cancel(connection)
        raise
    finally:
        thread.join(timeout=10)
    cells = tuple(reading.done)
    return PartDone(
        task.table, task.key, cells, sum(c.rows for c in cells), sum(c.bytes for c in cells), uploaded.bytes,
        uploaded.sha256, uploaded.etag, reading.findings, round(time.monotonic() - began, 3), task.part,
    )  # fmt: skip


class _Reading:
    """The reading thread's side: owns the connection until it ends."""

    def __init__(
        self, connection: psycopg.Connection, task: PartTask, *, stop: threading.Event, tell: Progress, pace: Pace
    ) -> None:
        self.chunks = Handover(_DEPTH)
        self.done: list[CellDone] = []
        self.findings: dict[str, Any] = {}
        self._connection, self._task, self._stop, self._tell, self._pace = connection, task, stop, tell, pace
        self._scanner = _scanner(task)
        self._bytes = self._rows = 0
        self._told = 0.0

    def run(self) -> None:
        try:
            for cell in self._task.cells:
                self.done.append(self._read(cell))
            if self._scanner:
                self.findings = dict(self._scanner.finish())
            self.chunks.close()
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that uploads
            self._give_up(error)

    def _give_up(self, error: BaseException) -> None:
        with suppress(Abandoned):  # the uploading thread failed first and reports its own error
            self.chunks.fail(self._reworded(error))

    def _reworded(self, error: BaseException) -> BaseException:
        return source_error(error, f"table {self._task.table}") if isinstance(error, psycopg.Error) else error

    def _read(self, cell: Cell) -> CellDone:
        pgconn = self._connection.pgconn
        self._slow_down()  # for what was read of the last cell, or of the last part
        _start(pgconn, cell.sql, self._ready)
        digest, size = sha256(), 0
        for chunk in self._gathered(pgconn):
            digest.update(chunk)
            size += len(chunk)
            if self._scanner:
                self._scanner.feed(chunk)
            self.chunks.put(chunk)
            self._advance(len(chunk))
        rows = _finish(pgconn)
        self._rows = sum(c.rows for c in self.done) + rows
        return CellDone(cell.name, digest.hexdigest(), rows, size)

    def _gathered(self, pgconn: pq.abc.PGconn) -> Iterator[bytes]:
        """Whole rows in chunks of CHUNK bytes or a little more; the server sends each row as one message.

        At a pace the chunks are smaller, and each is followed by the wait that it takes.
        """
        held, rows, said = bytearray(), 0, 0
        full, most, at_once = self._piece()
        while said >= 0:
            taken, said = _take(pgconn.get_copy_data, held, at_once)
            rows += taken
            if held and (said < 0 or len(held) >= full or rows >= most):
                yield self._counted(held, rows)
                self._slow_down()
                held.clear()
                rows = 0
                full, most, at_once = self._piece()
            if said == 0:
                self._ready(pgconn, enough=_ENOUGH)

    def _piece(self) -> tuple[int, int, int]:
        """Bytes and rows to gather, whichever is reached first, and rows to take before that is looked at."""
        size, rows = self._pace.piece("bytes"), self._pace.piece("rows")
        return min(CHUNK, size), rows, 1 if min(size, rows) < sys.maxsize else sys.maxsize

    def _counted(self, held: bytearray, rows: int) -> bytes:
        self._rows += rows
        self._pace.count(rows=rows, bytes=len(held))
        return bytes(held)

    def _slow_down(self) -> None:
        """In slices: a cancelled run, an upload that failed and a larger share end the wait. Raises Stopped."""
        while (seconds := self._pace.owed()) > 0:
            if self._stop.wait(min(seconds, _SLICE)):
                raise Stopped
            if self.chunks.is_abandoned:
                raise Abandoned

    def _ready(self, pgconn: pq.abc.PGconn, *, enough: int = 0) -> None:
        """Wait until the server has sent something, and a moment longer where that is less than `enough` bytes.

        A wait that brought nothing fetches too: under TLS bytes may lie in OpenSSL that the socket knows nothing of.
        Raises Stopped.
        """
        if select.select([pgconn.socket], [], [], _SLICE)[0]:
            if enough and _arrived(pgconn.socket) < enough:
                time.sleep(_MOMENT)
        elif self._stop.is_set():
            raise Stopped
        pgconn.consume_input()

    def _advance(self, size: int) -> None:
        if self._stop.is_set():
            raise Stopped
        self._bytes += size
        now = time.monotonic()
        if now - self._told >= _TELL_EVERY:
            self._told = now
            self._tell(self._bytes, self._rows)


def widen(connection: psycopg.Connection) -> None:
    """Have libpq fetch up to 256 KiB at once: its buffer starts at 16 and grows with the largest message, for good."""
    connection.execute("SELECT repeat('x', %s)", (_WIDE,))


def _take(get: Callable[[int], tuple[int, memoryview]], held: bytearray, most: int) -> tuple[int, int]:
    """Append the rows that libpq has, at most `most`: how many, and what it said last (0: wait, -1: the end).

    The innermost loop: 0.3 us a row. Measured and slower: keeping the rows and joining them (its small blocks leave
    the cache), `map` in place of the loop.
    """
    for taken in range(most):
        size, data = get(1)
        if size <= 0:
            return taken, size
        held += data
    return most, 1


def _arrived(descriptor: int) -> int:
    """Bytes that the kernel has for a socket, encrypted or not."""
    return int.from_bytes(fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)), sys.byteorder)


def _start(pgconn: pq.abc.PGconn, query: str, ready: Callable[[pq.abc.PGconn], None]) -> None:
    pgconn.send_query(query.encode())
    while pgconn.flush():
        select.select([], [pgconn.socket], [], _SLICE)
    while pgconn.is_busy():
        ready(pgconn)
    result = pgconn.get_result()
    if result is None or result.status != pq.ExecStatus.COPY_OUT:
        _refuse(result)


def _finish(pgconn: pq.abc.PGconn) -> int:
    """Rows, from the command's tag `COPY <rows>`."""
    result = pgconn.get_result()
    if result is None or result.status != pq.ExecStatus.COMMAND_OK:
        _refuse(result)
    tag = (result.command_status or b"") if result else b""
    while pgconn.get_result() is not None:
        continue
    return int(tag.rpartition(b" ")[2])


def _refuse(result: pq.abc.PGresult | None) -> None:
    if result is None:
        raise SourceUnavailable("the server ended a COPY without a word", hint="Look into the server's log.")
    raise psycopg.errors.error_from_result(result)


def _scanner(task: PartTask) -> Scanner | None:
    if not task.detectors:
        return None
    from egress_assets.engine.scrub.identifiers import Scanner as Identifiers  # needs re2, which raw dumps don't

    return Identifiers(task.detectors, escaped=task.escaped)
