"""A session over ADBC that joins the leader's snapshot just as one of psycopg does: `joined` is the same code.

It speaks as much of psycopg's connection as that code asks for, and its errors are psycopg's, by SQLSTATE, so that they
are reworded in one place. The driver opens a second session for a moment to read the server's types.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import adbc_driver_manager as adbc
import adbc_driver_postgresql
import psycopg
import pyarrow as pa
from adbc_driver_manager._reader import AdbcRecordBatchReader  # the driver's DBAPI has it: errors keep their SQLSTATE
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.pq import TransactionStatus

from egress_assets.engine.dump.source import PIN, SourceSettings, pinned
from egress_assets.engine.dump.sqlstate import connect_error, reworded
from egress_assets.engine.errors import SourceError

_BATCH_SIZE = adbc_driver_postgresql.StatementOptions.BATCH_SIZE_HINT_BYTES.value
_STATUS = adbc_driver_postgresql.ConnectionOptions.TRANSACTION_STATUS.value
_VERSION = "SELECT current_setting('server_version_num')::int"
_METADATA = 4096  # bytes; batches of the session's own small questions
_LOST = frozenset({adbc.AdbcStatusCode.IO, adbc.AdbcStatusCode.CANCELLED, adbc.AdbcStatusCode.TIMEOUT})


@dataclass(frozen=True, slots=True)
class _Info:
    transaction_status: TransactionStatus


class ArrowSession:
    """One connection, used by one thread at a time; `cancel` by any."""

    def __init__(self, settings: SourceSettings, application_name: str) -> None:
        """Connects, with everything pinned as `source.connect` pins it. Raises as that does."""
        self._guard = threading.Lock()
        conninfo = make_conninfo(**settings.keywords(), application_name=application_name[:63])
        try:
            self._database = adbc_driver_postgresql.connect(conninfo)
            self._connection: adbc.AdbcConnection | None = adbc.AdbcConnection(self._database)
        except adbc.Error as error:
            raise connect_error(_as_psycopg(error), settings.title()) from None
        try:
            with reworded(settings.title()):
                ((version,),) = self.execute(_VERSION)
                wanted = pinned(settings, version // 10_000)
                self.execute(PIN, (list(wanted), list(wanted.values())))
        except BaseException:
            self.close()
            raise

    @property
    def info(self) -> _Info:
        """The transaction's status, as psycopg tells it."""
        is_idle = self._open().get_option(_STATUS) == "idle"
        return _Info(TransactionStatus.IDLE if is_idle else TransactionStatus.INTRANS)

    def execute(self, query: Any, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a small answer. Raises psycopg's errors."""
        found: list[tuple[Any, ...]] = []
        for batch in self.batches(bound(query, params), _METADATA):
            found += zip(*(column.to_pylist() for column in batch.columns), strict=True)
        return found

    def batches(self, query: str, size: int) -> Generator[pa.RecordBatch, None, None]:
        """The rows of a SELECT by binary COPY, in batches of about `size` bytes. Memory: one batch.

        Raises psycopg's errors, SourceError for an answer that the driver can't read.
        """
        with _as_psycopg_does(), closing(adbc.AdbcStatement(self._open())) as statement:
            statement.set_options(**{_BATCH_SIZE: str(size)})
            statement.set_sql_query(query)
            handle, _ = statement.execute_query()
            with closing(AdbcRecordBatchReader._import_from_c(handle.address)) as reader:
                while True:
                    try:
                        batch = reader.read_next_batch()
                    except StopIteration:
                        return
                    yield batch

    def cancel(self) -> None:
        """Stop what the server does for this session; a server that can't be asked is let be."""
        with self._guard, suppress(adbc.Error):
            if self._connection is not None:
                self._connection.cancel()

    def close(self) -> None:
        """End the session; nobody may be reading."""
        with self._guard:
            connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(adbc.Error):
                connection.close()
            with suppress(adbc.Error):
                self._database.close()

    def _open(self) -> adbc.AdbcConnection:
        if self._connection is None:
            raise psycopg.OperationalError("the session is closed")
        return self._connection


def bound(query: Any, params: Sequence[Any]) -> str:
    """The statement with `params` as literals in the place of each %s."""
    text = query.as_string() if isinstance(query, sql.Composable) else query
    if not params:
        return text
    pieces = text.split("%s")
    literals = [sql.Literal(value).as_string() for value in params]
    pairs = zip(pieces, [*literals, ""], strict=True)
    return "".join(piece.replace("%%", "%") + literal for piece, literal in pairs)


@contextmanager
def _as_psycopg_does() -> Iterator[None]:
    """The driver's errors as psycopg's. Its texts quote rows and statements: nothing of them is passed on."""
    try:
        yield
    except adbc.Error as error:
        if error.sqlstate or error.status_code in _LOST:
            raise _as_psycopg(error) from None
        hint = "Dump the dataset as `csv.zst`; the driver's own text is left out because it may quote row values."
        raise SourceError(f"the driver could not read an answer ({error.status_code.name})", hint=hint) from None
    except (OSError, pa.ArrowException):
        raise psycopg.OperationalError("the answer ended early") from None


def _as_psycopg(error: adbc.Error) -> psycopg.Error:
    """With the SQLSTATE, by which `sqlstate.py` knows it; the text is for `connect_error`, which shows none of it."""
    out = psycopg.OperationalError(str(error))
    out.sqlstate = error.sqlstate
    return out
