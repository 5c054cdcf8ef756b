"""One consistent moment of a database for many readers: the leader exports a snapshot, workers join it.

The order is the whole point. LOCK TABLE takes no snapshot, so the locks come first and the snapshot second: what it
shows can't be truncated, rewritten or dropped any more. Exported first and locked second, a TRUNCATE + INSERT that
commits in between reads as an empty table, a state that never existed, and nothing reports an error. A worker locks
again for itself, with NOWAIT: behind a queued TRUNCATE it would wait for the leader, and the leader waits for it.

A leader's transaction holds back VACUUM on the source for as long as the dump takes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from egress_assets.engine.dump.pooler import refuse_transaction_pooler
from egress_assets.engine.dump.relations import LOCKABLE, Session, describe, refuse_drift, require_readable, split
from egress_assets.engine.dump.source import SourceSettings, connect, hang_up
from egress_assets.engine.dump.sqlstate import reworded
from egress_assets.engine.dump.tasks import Reads, Relation
from egress_assets.engine.errors import SourceUnavailable

if TYPE_CHECKING:  # 0.04 s of a worker's start, which leads nothing
    from egress_assets.engine.evidence.records import Position

logger = logging.getLogger(__name__)

# The current insert position, not the write position: with synchronous_commit off, commits that a snapshot shows
# already may still be ahead of what was written.
_LSN = "CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END"
_LINE = f"""
SELECT (pg_control_system()).system_identifier::text || '/' || CASE WHEN pg_is_in_recovery()
         THEN greatest((pg_control_checkpoint()).timeline_id, (pg_control_recovery()).min_recovery_end_timeline)
         ELSE ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int END
WHERE {_LSN} IS NOT NULL
"""
BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

# Rows that several backends of one query read come in any order. Masks make it worth their while to the planner.
_ONE_PROCESS = "SET LOCAL max_parallel_workers_per_gather = 0"
_KEPT_LOCKS = 64
"""A part of more leaves than this gives their locks back: all sessions share what the server has room for."""


@dataclass(slots=True)
class Leader:
    """The session that holds the locks and the snapshot. Its transaction ends when `open_snapshot`'s block does."""

    connection: psycopg.Connection
    relations: dict[str, Relation]
    snapshot: str  # for SET TRANSACTION SNAPSHOT; the server uses such a name again after a restart
    position: Position
    as_of: str  # ISO 8601, UTC, the server's clock
    server_version: str
    title: str
    most: int = 0  # seconds that it may be held, 0 = as long as it takes
    began: float = field(default_factory=time.monotonic)

    @property
    def snapshot_id(self) -> str:
        """For the evidence: the snapshot's name with its position, which together never come again."""
        return f"{self.snapshot}@{self.position.at}"

    def require_time(self) -> None:
        """Raises SourceUnavailable when it has been held longer than the source allows."""
        held = time.monotonic() - self.began
        if self.most and held > self.most:
            raise SourceUnavailable(
                f"{self.title}: the snapshot has been held for {held:.0f} s, max_snapshot_seconds is {self.most}",
                hint="A source can't vacuum what a snapshot may still see. Raise `max_snapshot_seconds`, give it more "
                "`workers`, or divide the dataset.",
            )

    def verify(self) -> None:
        """The transaction still lives and nothing it stands for was rewritten: what was read in it is right.

        Raises SourceChanged, SourceUnavailable (both retryable). Ask it after the last read and before the seal.
        """
        with reworded(f"{self.title}: the snapshot's session"):
            refuse_drift(self.connection, _own_files(self.relations.values()))


@contextmanager
def open_snapshot(
    settings: SourceSettings, tables: Sequence[str], *, application_name: str = "egress"
) -> Iterator[Leader]:
    """Lock `tables` (`schema.table`), then take and export a snapshot; roll back when the block ends.

    Raises TableMissing (all of them named), SourceDenied, SourceChanged (lock not granted within lock_timeout),
    SourceUnavailable, SourceError (a transaction pooler).
    """
    connection = connect(settings, application_name=f"{application_name} leader")
    try:
        with reworded(settings.title()):
            refuse_transaction_pooler(connection, settings)
            leader = _lead(connection, settings.title(), tables)
            leader.most = settings.max_snapshot_seconds
        logger.info("snapshot %s of %s: %d tables at %s", leader.snapshot, leader.title, len(tables), leader.as_of)
        yield leader
    finally:
        hang_up(connection)


def _lead(connection: psycopg.Connection, title: str, tables: Sequence[str]) -> Leader:
    kinds = require_readable(connection, tables, title)
    lockable = [split(table) for table in tables if kinds[table] in LOCKABLE]
    line = _line(connection, title)
    connection.execute(BEGIN)
    _lock(connection, lockable)
    snapshot, position, as_of = _export(connection, line)
    relations = describe(connection, tables, title)
    _lock(connection, lockable)  # again: by recursion it covers partitions attached before the snapshot
    _touch(connection, relations)
    refuse_drift(connection, _own_files(relations.values()))
    version = connection.info.parameter_status("server_version") or ""
    return Leader(connection, relations, snapshot, position, as_of, version, title)


def _lock(connection: Session, relations: Sequence[tuple[str, str]], *, wait: bool = True) -> None:
    if not relations:
        return
    names = sql.SQL(", ").join(sql.Identifier(*relation) for relation in relations)
    nowait = sql.SQL("" if wait else " NOWAIT")
    connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE{}").format(names, nowait))


def _touch(connection: psycopg.Connection, relations: Mapping[str, Relation]) -> None:
    """Materialized views can't be locked by name: reading no row of them takes the same lock.

    It comes after the snapshot, so a REFRESH may have slipped in between; refuse_drift sees that.
    """
    for relation in relations.values():
        if relation.kind == "m":
            name = sql.Identifier(relation.schema, relation.name)
            connection.execute(sql.SQL("SELECT FROM {} LIMIT 0").format(name))


def _line(connection: psycopg.Connection, title: str) -> str:
    """`<system identifier>/<timeline>`, or `` where the role or the service doesn't show them (Aurora, for one)."""
    try:
        row = connection.execute(_LINE.encode()).fetchone()
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.FeatureNotSupported, psycopg.errors.UndefinedFunction):
        row = None
    if row is None:
        logger.info("%s shows no WAL position: runs are ordered by the server's clock instead", title)
        return ""
    return row[0]


def _export(connection: psycopg.Connection, line: str) -> tuple[str, Position, str]:
    """The transaction's first query, so it takes the snapshot; position and clock are read microseconds after it."""
    from egress_assets.engine.evidence.records import Position

    lsn = f"({_LSN} - '0/0'::pg_lsn)" if line else "0"
    row = connection.execute(f"SELECT pg_export_snapshot(), {lsn}, clock_timestamp()".encode()).fetchone()
    snapshot, at, clock = row or ("", 0, datetime.now(UTC))
    moment = clock.astimezone(UTC)
    position = Position(line, int(at)) if line else Position("as_of", int(moment.timestamp() * 1_000_000))
    return snapshot, position, moment.isoformat(timespec="microseconds")


def _own_files(relations: Iterable[Relation]) -> list[tuple[str, str]]:
    """What refuse_drift compares: partitioned tables have no rows of their own, and may get partitions any time."""
    return [leaf for relation in relations for leaf in relation.leaves]


@contextmanager
def joined(connection: Session, snapshot: str, task: Reads) -> Iterator[None]:
    """A worker's transaction in the leader's snapshot, with its own locks, for one task of a table.

    It is left open for the worker's next task, with its locks if they are few: whatever waits for a table that was
    begun waits until the worker ends, and does not keep it from the rest. Secrets of the task's session are set by bind
    parameter (no other session sees them) and end with the transaction.
    Raises SourceChanged (snapshot gone, lock not free, rewritten), SourceDenied, SourceUnavailable.
    """
    what = f"table {task.table}"
    if connection.info.transaction_status == TransactionStatus.IDLE:
        with reworded(what, joining=True):
            connection.execute(BEGIN)
            connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(snapshot)))
            connection.execute(_ONE_PROCESS)
    with reworded(what):
        _lock(connection, task.lock, wait=False)
        refuse_drift(connection, task.lock)  # the leader may have died between the snapshot and the lock
        for name, value in task.session.items():
            connection.execute("SELECT set_config(%s, %s, true)", (name, value))
        yield
        refuse_drift(connection, task.lock)  # a partition attached while the parent was read
        if len(task.lock) > _KEPT_LOCKS:
            connection.execute("COMMIT")


def look(settings: SourceSettings, tables: Sequence[str]) -> dict[str, Relation]:
    """The tables as they are now, without locks or a snapshot for others: for plans and for finding nothing to do.

    Raises TableMissing (all of them named), SourceDenied, SourceUnavailable.
    """
    connection = connect(settings, application_name="egress look")
    try:
        with reworded(settings.title()):
            require_readable(connection, tables, settings.title())
            return describe(connection, tables, settings.title(), locked=False)
    finally:
        hang_up(connection)
