"""Dagster's own record: the details of old runs go, what partitions, plots and checks stand on stays.

Dagster has a retention of ticks and none of events: every log line of every run stays for ever. Of a run that ended
long ago this keeps its materialisations, observations, check evaluations, how it and its steps began and ended and
why they failed: the run's page opens, with a short list. Types of events that are not known here stay too.

Runs that nothing stands on are deleted: they materialised and checked nothing, no asset names them as its last run, no
newest observation is theirs (sources are observed every hour), no sensor or schedule has a run key on them (the key is
what stops a second start), and no backfill counts them.

Evidence is not touched: nothing in here is a truth about data. Safe beside any run and twice at once, since rows of
ended runs are written no more; what is killed is found again, for the mark moves after the work.
"""

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import sqlalchemy as db
from dagster._core.storage.event_log.schema import AssetKeyTable
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as Events
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.tags import BACKFILL_ID_TAG, RUN_KEY_TAG

logger = logging.getLogger(__name__)

ROWS = 1000
"""Rows a transaction: some milliseconds on Postgres, so nobody waits for its locks."""
PAGE = 200  # runs asked for at once
MARK = "egress/pruned"
"""Where the instance keeps the moment before which every run is pruned, so that a night looks at a day's runs."""

_TYPES = dg.DagsterEventType
DETAILS = tuple(
    each.value
    for each in (
        _TYPES.ENGINE_EVENT, _TYPES.STEP_WORKER_STARTING, _TYPES.STEP_WORKER_STARTED, _TYPES.RESOURCE_INIT_STARTED,
        _TYPES.RESOURCE_INIT_SUCCESS, _TYPES.STEP_INPUT, _TYPES.STEP_OUTPUT, _TYPES.LOADED_INPUT,
        _TYPES.HANDLED_OUTPUT, _TYPES.OBJECT_STORE_OPERATION, _TYPES.LOGS_CAPTURED, _TYPES.HOOK_COMPLETED,
        _TYPES.HOOK_SKIPPED,
    )
)  # fmt: skip
"""What goes, beside log lines, which have no type."""
HOLDING = tuple(
    each.value
    for each in (_TYPES.ASSET_MATERIALIZATION, _TYPES.ASSET_CHECK_EVALUATION, _TYPES.ASSET_CHECK_EVALUATION_PLANNED)
)
"""What a run is kept for. A planned check is in a table of its own, which looks its run up."""
CAPTURED = (".out", ".err", ".complete", ".partial")  # endings of captured stdout and stderr


@dataclass(slots=True)
class Pruned:
    """What one round did. Bytes: of events, and of files on this machine (databases of SQLite, captured output)."""

    runs: int = 0
    rows: int = 0
    row_bytes: int = 0
    deleted_runs: int = 0
    files: int = 0
    file_bytes: int = 0


def prune(instance: dg.DagsterInstance, *, before: datetime) -> Pruned:
    """Prune runs that ended, and output captured, before that moment. Memory: a page of runs.

    Rows are deleted in transactions of at most `ROWS`. On Postgres, autovacuum gives the room to later rows.
    """
    done = Pruned()
    for record in _ended(instance, before):
        _prune_run(instance, record.dagster_run, done)
        done.runs += 1
    if isinstance(manager := instance.compute_log_manager, LocalComputeLogManager):
        _clear(Path(manager.get_captured_local_path(["any"], "out")).parent, before.timestamp(), done)
    logger.info(
        "pruned the event log before %s: %d runs, %d rows of %d bytes, %d runs deleted, %d files of %d bytes",
        before.isoformat(timespec="seconds"), done.runs, done.rows, done.row_bytes, done.deleted_runs, done.files,
        done.file_bytes,
    )  # fmt: skip
    return done


def _ended(instance: dg.DagsterInstance, before: datetime) -> Iterator[dg.RunRecord]:
    """Runs that ended between the mark and `before`, the oldest first; the mark follows what the caller has done."""
    said = instance.run_storage.get_cursor_values({MARK}).get(MARK)
    since = datetime.fromisoformat(said) if said else datetime(1970, 1, 1, tzinfo=UTC)
    ended, size = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED], PAGE
    while since < before:
        # the filter is exclusive, and a page may have ended among runs of one moment
        later = dg.RunsFilter(statuses=ended, updated_after=since - timedelta(microseconds=1), updated_before=before)
        page = instance.get_run_records(later, limit=size, order_by="update_timestamp", ascending=True)
        yield from page
        if len(page) < size:
            since = before
        elif (last := page[-1].update_timestamp) > since:
            since, size = last, PAGE
        else:
            size *= 2
        instance.run_storage.set_cursor_values({MARK: since.isoformat()})


def _prune_run(instance: dg.DagsterInstance, run: dg.DagsterRun, done: Pruned) -> None:
    storage = instance.event_log_storage
    assert isinstance(storage, SqlEventLogStorage)  # noqa: S101 - every storage that a dagster.yaml can name is one
    shard = Path(storage.path_for_shard(run.run_id)) if isinstance(storage, SqliteEventLogStorage) else None
    before = _size(shard)
    if shard is None or shard.exists():  # to connect would make it
        while found := _delete_details(storage, run.run_id):
            done.rows += len(found)
            done.row_bytes += sum(found)
    if not _is_needed(storage, run):
        storage.delete_events(run.run_id)  # first: a run without events is found again, events without a run never are
        instance.delete_run(run.run_id)
        done.deleted_runs += 1
        _remove(shard)
    elif shard is not None:
        _compact(shard)
    done.file_bytes += max(0, before - _size(shard))


def _delete_details(storage: SqlEventLogStorage, run_id: str) -> list[int]:
    """One transaction; the sizes of the events that it deleted, in characters, which are bytes: events are ASCII."""
    kind = Events.c.dagster_event_type
    chosen = (
        db.select(Events.c.id, db.func.length(Events.c.event))
        .where(Events.c.run_id == run_id, db.or_(kind.is_(None), kind.in_(DETAILS)))
        .order_by(Events.c.id)
        .limit(ROWS)
    )
    with storage.run_connection(run_id) as connection:
        rows = connection.execute(chosen).all()
        if rows:
            connection.execute(Events.delete().where(Events.c.id.in_([row[0] for row in rows])))
    return [row[1] for row in rows]


def _is_needed(storage: SqlEventLogStorage, run: dg.DagsterRun) -> bool:
    """Whether something stands on the run."""
    if RUN_KEY_TAG in run.tags or BACKFILL_ID_TAG in run.tags:
        return True
    own, kind = Events.c.run_id == run.run_id, Events.c.dagster_event_type
    observed = db.select(Events.c.asset_key).where(own, kind == _TYPES.ASSET_OBSERVATION.value)
    with storage.index_connection() as connection:
        if connection.execute(db.select(Events.c.id).where(own, kind.in_(HOLDING)).limit(1)).first():
            return True
        if connection.execute(db.select(AssetKeyTable.c.id).where(AssetKeyTable.c.last_run_id == run.run_id)).first():
            return True
        keys = {row[0] for row in connection.execute(observed)}
        return any(connection.execute(_newest(key)).scalar() == run.run_id for key in keys)


def _newest(asset_key: str) -> "db.Select[tuple[str]]":
    """The run of an asset's newest observation: data versions of sources are read from it."""
    wanted = (Events.c.asset_key == asset_key, Events.c.dagster_event_type == _TYPES.ASSET_OBSERVATION.value)
    return db.select(Events.c.run_id).where(*wanted).order_by(Events.c.id.desc()).limit(1)


# ---------------------------------------------------------------------------------------------------------------- files
def _size(shard: Path | None) -> int:
    try:
        return shard.stat().st_size if shard else 0
    except FileNotFoundError:
        return 0


def _compact(shard: Path) -> None:
    """Deleted rows leave holes in a file of SQLite. One that is being read is left as it is."""
    if not shard.exists():
        return
    try:
        with closing(sqlite3.connect(shard, timeout=1, isolation_level=None)) as connection:
            if connection.execute("PRAGMA freelist_count").fetchone()[0]:
                connection.execute("VACUUM")
    except sqlite3.OperationalError as error:
        logger.info("not compacted %s: %s", shard.name, error)


def _remove(shard: Path | None) -> None:
    for ending in ("", "-wal", "-shm") if shard else ():
        with suppress(FileNotFoundError):
            os.unlink(f"{shard}{ending}")  # noqa: PTH108 - the ending is no part of the name


def _clear(folder: Path, before: float, done: Pruned) -> None:
    """Remove captured output last written before that moment, and folders that it leaves empty."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in list(entries):
            about = entry.stat(follow_symlinks=False)
            if entry.is_dir(follow_symlinks=False):
                _clear(Path(entry.path), before, done)
                if about.st_mtime < before:  # a younger one may be about to get its first file
                    with suppress(OSError):
                        Path(entry.path).rmdir()
            elif entry.name.endswith(CAPTURED) and about.st_mtime < before:
                Path(entry.path).unlink(missing_ok=True)
                done.files += 1
                done.file_bytes += about.st_size
