"""How a worker reads parts, by their format: each way has one session with the source, opened with the first part."""

from __future__ import annotations

import threading
from typing import Protocol

import psycopg

from egress_assets.engine.dump.copying import Progress, copy_part, widen
from egress_assets.engine.dump.snapshot import joined
from egress_assets.engine.dump.source import SourceSettings, cancel, connect, hang_up
from egress_assets.engine.dump.sqlstate import reworded
from egress_assets.engine.dump.tasks import PartDone, PartTask
from egress_assets.engine.dump.throttle import Pace
from egress_assets.engine.stores import Store
from egress_assets.engine.stream import PARQUET


class Reader(Protocol):
    """Reads one part at a time in somebody else's snapshot; `cancel` may be called by any thread."""

    def read(
        self, task: PartTask, snapshot: str, store: Store, *, stop: threading.Event, tell: Progress, pace: Pace
    ) -> PartDone:
        """Raises SourceError's and StoreError's kinds, Stopped; then no object is left."""
        ...

    def cancel(self) -> None:
        """Stop what the server does for it, if it does anything."""
        ...

    def hang_up(self) -> None:
        """End the session."""
        ...


class CsvReader:
    """psycopg's COPY ... CSV."""

    def __init__(self, settings: SourceSettings, application_name: str) -> None:
        self._settings, self._name = settings, application_name
        self._connection: psycopg.Connection | None = None

    def read(
        self, task: PartTask, snapshot: str, store: Store, *, stop: threading.Event, tell: Progress, pace: Pace
    ) -> PartDone:
        """Raises what `connect`, `joined` and `copy_part` raise."""
        if self._connection is None:
            self._connection = connect(self._settings, application_name=self._name)
            with reworded(self._settings.title()):
                widen(self._connection)
        with joined(self._connection, snapshot, task):
            return copy_part(self._connection, task, store, stop=stop, tell=tell, pace=pace)

    def cancel(self) -> None:
        if self._connection is not None:
            cancel(self._connection)

    def hang_up(self) -> None:
        if self._connection is not None:
            hang_up(self._connection)


def reader_of(form: str, settings: SourceSettings, application_name: str) -> Reader:
    """The reader for parts of a format."""
    if form == PARQUET:
        from egress_assets.engine.dump.parquet.reading import ParquetReader  # 60 MB that CSV does without

        return ParquetReader(settings, application_name)
    return CsvReader(settings, application_name)
