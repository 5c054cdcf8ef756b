"""One part of a table as one Parquet object: binary COPY over ADBC -> digest a cell -> row groups -> upload.

Two threads, as for CSV (engine/dump/copying.py): one speaks to the server, from the connection on, and checks and
digests what it gets; the other encodes, compresses and uploads. Every wait of the second is short, so a signal is seen
whatever the driver waits for; whoever ends first ends the other.

Memory: 4 x BATCH + 2 x ROW_GROUP and the largest row, plus what `Store.upload` says; 60 MB are the libraries.
"""

from __future__ import annotations

import threading
import time
from contextlib import closing, suppress

import psycopg
import pyarrow as pa

from egress_assets.engine.dump.cells import select_of
from egress_assets.engine.dump.copying import Progress, Stopped
from egress_assets.engine.dump.parquet.digest import CellDigest
from egress_assets.engine.dump.parquet.memory import hold_little
from egress_assets.engine.dump.parquet.session import ArrowSession
from egress_assets.engine.dump.parquet.values import Values, schema_of
from egress_assets.engine.dump.parquet.writing import encoded
from egress_assets.engine.dump.snapshot import joined
from egress_assets.engine.dump.source import SourceSettings
from egress_assets.engine.dump.sqlstate import source_error
from egress_assets.engine.dump.tasks import Cell, CellDone, PartDone, PartTask
from egress_assets.engine.dump.throttle import Pace
from egress_assets.engine.stores import Store
from egress_assets.engine.stream import Abandoned, Handover

BATCH = 2**20
"""Bytes of rows that the driver gathers before it gives them. Four times as many read no faster and cost 25 MB."""

_WAITING = 2  # batches between the threads
_SLICE = 0.5  # seconds
_TELL_EVERY = 0.5  # seconds
_PATIENCE = 4.0  # seconds in which a cancelled query ends; a server that doesn't answer may keep its thread


class ParquetReader:
    """A worker's parts, one after the other, in one session."""

    def __init__(self, settings: SourceSettings, application_name: str) -> None:
        hold_little()
        self._settings, self._name = settings, application_name
        self._session: ArrowSession | None = None
        self._reading: _Reading | None = None

    def read(
        self, task: PartTask, snapshot: str, store: Store, *, stop: threading.Event, tell: Progress, pace: Pace
    ) -> PartDone:
        """Read `task`'s cells in the leader's snapshot, as fast as `pace` allows, and upload them as one object.

        Any failure on either side leaves no object: the upload is aborted and the server's query cancelled.
        Raises SourceError's and StoreError's kinds, Stopped.
        """
        began = time.monotonic()
        self._reading = reading = _Reading(self, task, snapshot, stop=stop, tell=tell, pace=pace)
        reading.thread.start()
        try:
            schema = schema_of(task.columns)
            uploaded = store.upload(task.key, encoded(reading.batches, schema, level=task.level))
        except BaseException:
            reading.batches.abandon()
            self.cancel()
            raise
        reading.thread.join()
        cells = tuple(reading.done)
        return PartDone(
            task.table, task.key, cells, sum(c.rows for c in cells), sum(c.bytes for c in cells), uploaded.bytes,
            uploaded.sha256, uploaded.etag, {}, round(time.monotonic() - began, 3), task.part,
        )  # fmt: skip

    def session(self) -> ArrowSession:
        """The worker's one session, for the thread that reads."""
        if self._session is None:
            self._session = ArrowSession(self._settings, self._name)
        return self._session

    def cancel(self) -> None:
        """End the server's query and wait for the thread that reads; again and again, as it may be between two."""
        deadline = time.monotonic() + _PATIENCE
        while self._reading and self._reading.thread.is_alive() and time.monotonic() < deadline:
            if self._session is not None:
                self._session.cancel()
            self._reading.thread.join(_SLICE)

    def hang_up(self) -> None:
        """A thread that still waits for the server keeps the session; it ends with the process."""
        if self._session is not None and not (self._reading and self._reading.thread.is_alive()):
            self._session.close()


class _Reading:
    """The reading thread's side: it alone speaks to the server until it ends."""

    def __init__(
        self, reader: ParquetReader, task: PartTask, snapshot: str, *, stop: threading.Event, tell: Progress, pace: Pace
    ) -> None:
        self.batches: Handover[pa.RecordBatch] = Handover(_WAITING)
        self.done: list[CellDone] = []
        self.thread = threading.Thread(target=self._run, name=f"read {task.table}", daemon=True)
        self._reader, self._task, self._snapshot = reader, task, snapshot
        self._stop, self._tell, self._pace = stop, tell, pace
        self._bytes = self._rows = 0
        self._told = 0.0

    def _run(self) -> None:
        try:
            self._read_all(self._reader.session())
            self.batches.close()
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that uploads
            with suppress(Abandoned):  # the uploading thread failed first and reports its own error
                self.batches.fail(self._reworded(error))

    def _reworded(self, error: BaseException) -> BaseException:
        if self._stop.is_set():
            return Stopped()
        return source_error(error, f"table {self._task.table}") if isinstance(error, psycopg.Error) else error

    def _read_all(self, session: ArrowSession) -> None:
        """The locks are looked at once more after the last row and before the object is whole."""
        values = Values(self._task.table, self._task.columns)
        with joined(session, self._snapshot, self._task):
            for cell in self._task.cells:
                self.done.append(self._read(cell, session, values))

    def _read(self, cell: Cell, session: ArrowSession, values: Values) -> CellDone:
        digest = CellDigest(len(self._task.columns))
        self._slow_down()  # for what was read of the last cell, or of the last part
        with closing(session.batches(select_of(cell), self._piece())) as batches:
            for given in batches:
                batch = values.stored(given)
                size = digest.update(batch.columns)
                self.batches.put(batch)
                self._advance(batch, size)
        return CellDone(cell.name, digest.hexdigest(), digest.rows, digest.bytes)

    def _piece(self) -> int:
        """Bytes of a batch. Of a row COPY sends 2 bytes and 4 a column at least: that bounds the rows that it has."""
        least = 2 + 4 * len(self._task.columns)
        return max(1, min(BATCH, self._pace.piece("bytes"), self._pace.piece("rows") * least))

    def _advance(self, batch: pa.RecordBatch, size: int) -> None:
        self._bytes += size
        self._rows += batch.num_rows
        self._pace.count(rows=batch.num_rows, bytes=size)
        now = time.monotonic()
        if now - self._told >= _TELL_EVERY:
            self._told = now
            self._tell(self._bytes, self._rows)
        self._slow_down()

    def _slow_down(self) -> None:
        """In slices: a cancelled run, an upload that failed and a larger share end the wait. Raises Stopped."""
        while True:
            if self._stop.is_set():
                raise Stopped
            if self.batches.is_abandoned:
                raise Abandoned
            if (seconds := self._pace.owed()) <= 0:
                return
            self._stop.wait(min(seconds, _SLICE))
