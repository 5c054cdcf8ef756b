"""MVCC does not protect a snapshot from DDL. Each trap is sprung twice: with the guards, and with them taken off.

With them the DDL waits, or the read is refused as SourceChanged (retryable). Without them rows are lost and nothing
reports an error; a test that no longer finds that has stopped proving anything.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from egress_assets.engine.dump import snapshot, source
from egress_assets.engine.dump.cells import cell_locks, copy_cells
from egress_assets.engine.dump.snapshot import joined, look, open_snapshot
from egress_assets.engine.dump.source import connect
from egress_assets.engine.dump.tasks import PartTask
from egress_assets.engine.errors import SourceChanged, SourceDenied, TableMissing
from egress_assets.sandbox.postgres import unprivileged_account

ROWS = 1000
TABLE = f"CREATE TABLE t AS SELECT g id, repeat('x', 200) pad FROM generate_series(1, {ROWS}) g"
REWRITES = {
    "truncate": ["TRUNCATE t"],
    "truncate and insert": ["TRUNCATE t", "INSERT INTO t SELECT g, '' FROM generate_series(1, 7) g"],
    "alter type": ["ALTER TABLE t ALTER id TYPE bigint"],
    "volatile default": ["ALTER TABLE t ADD COLUMN r float8 DEFAULT random()"],
    "set unlogged": ["ALTER TABLE t SET UNLOGGED"],
    "drop and create": ["DROP TABLE t", TABLE, "GRANT SELECT ON t TO reader"],
    "rename swap": [
        "CREATE TABLE other (LIKE t)",
        "GRANT SELECT ON other TO reader",
        "ALTER TABLE t RENAME TO old",
        "ALTER TABLE other RENAME TO t",
    ],
}


@contextlib.contextmanager
def reading(db, leader, table="public.t"):
    """A worker's session in the leader's snapshot, ready to read; yields a function that gives the lines."""
    relation = leader.relations[table]
    cells = copy_cells(relation, None, None, leader.connection)
    task = PartTask(table, cells, "", "csv", lock=cell_locks(relation, cells))
    with connect(db.settings(), application_name="worker") as worker, joined(worker, leader.snapshot, task):
        yield lambda: [line for cell in cells for line in lines(worker, cell.sql)]


def lines(session, query):
    with session.cursor().copy(query.encode()) as copy:
        return b"".join(copy).splitlines()


def count(db, leader, table="public.t"):
    with reading(db, leader, table) as rows:
        return len(rows())


def execute(db, statements, *, wait="10s"):
    """As one transaction of the owner, giving up a lock after `wait`."""
    with db.connect() as session, session.transaction():
        session.execute(f"SET LOCAL lock_timeout = '{wait}'")
        for statement in statements:
            session.execute(statement)


@pytest.fixture
def no_locks(monkeypatch):
    monkeypatch.setattr(snapshot, "_lock", lambda *_arguments, **_options: None)


@pytest.fixture
def no_comparison(monkeypatch):
    monkeypatch.setattr(snapshot, "refuse_drift", lambda *_arguments: None)


# ---------------------------------------------------------------------------------------- DDL between leader and worker
@pytest.mark.parametrize("ddl", REWRITES)
def test_ddl_waits_until_the_dump_is_over(any_db, ddl):
    any_db.run(TABLE)
    with open_snapshot(any_db.settings(), ["public.t"]) as leader:
        with pytest.raises(psycopg.errors.LockNotAvailable):
            execute(any_db, REWRITES[ddl], wait="100ms")
        assert count(any_db, leader) == ROWS
        leader.verify()
    execute(any_db, REWRITES[ddl], wait="100ms")


@pytest.mark.parametrize("ddl", REWRITES)
def test_without_the_leader_s_lock_the_worker_sees_that_the_table_is_another(any_db, ddl, no_locks):
    any_db.run(TABLE)
    with open_snapshot(any_db.settings(), ["public.t"]) as leader:
        execute(any_db, REWRITES[ddl])
        with pytest.raises(SourceChanged, match=r"since the snapshot: public\.t") as caught:
            count(any_db, leader)
        assert caught.value.retryable
        with pytest.raises(SourceChanged):
            leader.verify()


@pytest.mark.parametrize("ddl", REWRITES)
def test_without_any_guard_the_table_reads_as_empty_and_nobody_says_so(any_db, ddl, no_locks, no_comparison):
    any_db.run(TABLE)
    with open_snapshot(any_db.settings(), ["public.t"]) as leader:
        execute(any_db, REWRITES[ddl])
        assert count(any_db, leader) == 0
        leader.verify()


def test_vacuum_full_waits_and_between_two_ranges_it_would_lose_rows(any_db, no_comparison, monkeypatch):
    any_db.run(TABLE, "DELETE FROM t WHERE id <= 500")
    with open_snapshot(any_db.settings(), ["public.t"]), pytest.raises(psycopg.errors.LockNotAvailable):
        execute_alone(any_db, "VACUUM FULL t")
    monkeypatch.setattr(snapshot, "_lock", lambda *_arguments, **_options: None)
    with open_snapshot(any_db.settings(), ["public.t"]) as leader, reading(any_db, leader), any_db.connect() as second:
        second.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        second.execute(f"SET TRANSACTION SNAPSHOT '{leader.snapshot}'")
        first_half = lines(second, "COPY (SELECT FROM t WHERE ctid < '(18,0)') TO STDOUT")
        second.execute("COMMIT")
        execute_alone(any_db, "VACUUM FULL t")
        second.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        second.execute(f"SET TRANSACTION SNAPSHOT '{leader.snapshot}'")
        second_half = lines(second, "COPY (SELECT FROM t WHERE ctid >= '(18,0)') TO STDOUT")
        assert len(first_half) + len(second_half) < 500


def execute_alone(db, statement):
    """VACUUM refuses to run in a transaction block."""
    with db.connect(options="-c lock_timeout=100ms") as session:
        session.execute(statement)


def test_an_added_column_is_not_in_the_dump_and_a_dropped_one_starts_it_over(any_db, no_locks):
    any_db.run(TABLE)
    with open_snapshot(any_db.settings(), ["public.t"]) as leader:
        execute(any_db, ["ALTER TABLE t ADD COLUMN more int DEFAULT 1"])
        with reading(any_db, leader) as rows:
            assert rows()[0] == b"1," + b"x" * 200
        execute(any_db, ["ALTER TABLE t DROP COLUMN pad"])
        with pytest.raises(SourceChanged, match="a column is gone"):
            count(any_db, leader)


# ----------------------------------------------------------------------------------------------- the leader's own order
def test_what_commits_before_the_locks_is_seen_whole(any_db, monkeypatch):
    """LOCK takes no snapshot: with TRUNCATE + INSERT just ahead of the lock, the snapshot has the new rows."""
    any_db.run(TABLE)
    before(monkeypatch, "_lock", lambda: execute(any_db, REWRITES["truncate and insert"]))
    with open_snapshot(any_db.settings(), ["public.t"]) as leader:
        assert count(any_db, leader) == 7


def test_the_snapshot_comes_after_the_locks(any_db, monkeypatch):
    any_db.run(TABLE)
    blocked = []

    def truncate():
        with pytest.raises(psycopg.errors.LockNotAvailable):
            execute(any_db, ["TRUNCATE t"], wait="100ms")
        blocked.append(True)

    before(monkeypatch, "_export", truncate)
    with open_snapshot(any_db.settings(), ["public.t"]) as leader:
        assert count(any_db, leader) == ROWS
    assert blocked


def test_a_snapshot_before_the_locks_shows_a_state_that_never_was(any_db, monkeypatch):
    any_db.run(TABLE)
    real, calls = snapshot._lock, []

    def second_only(*arguments, **options):
        calls.append(1)
        if len(calls) > 1:
            real(*arguments, **options)

    monkeypatch.setattr(snapshot, "_lock", second_only)
    before(monkeypatch, "describe", lambda: execute(any_db, REWRITES["truncate and insert"]))
    with pytest.raises(SourceChanged, match=r"public\.t"), open_snapshot(any_db.settings(), ["public.t"]):
        pass
    any_db.run("DROP TABLE t", TABLE)
    calls.clear()
    monkeypatch.setattr(snapshot, "refuse_drift", lambda *_arguments: None)
    before(monkeypatch, "describe", lambda: execute(any_db, REWRITES["truncate and insert"]))
    with open_snapshot(any_db.settings(), ["public.t"]) as leader:
        assert count(any_db, leader) == 0  # neither the 1000 rows before nor the 7 after


def before(monkeypatch, name, act):
    """Do something once, just before the leader calls `name`."""
    real, left = getattr(snapshot, name), [act]

    def called(*arguments, **options):
        if left:
            left.pop()()
        return real(*arguments, **options)

    monkeypatch.setattr(snapshot, name, called)


def test_a_table_dropped_between_the_lookup_and_the_lock_starts_over_then_is_missing(db, monkeypatch):
    db.run(TABLE)
    before(monkeypatch, "_lock", lambda: execute(db, ["DROP TABLE t"]))
    with pytest.raises(SourceChanged, match="gone since"), open_snapshot(db.settings(), ["public.t"]):
        pass
    with pytest.raises(TableMissing, match=r"public\.t"), open_snapshot(db.settings(), ["public.t"]):
        pass


def test_a_lock_that_is_not_granted_in_time_is_reported_as_retryable(db):
    db.run(TABLE)
    with db.connect() as other, other.transaction():
        other.execute("LOCK TABLE t")
        began = time.monotonic()
        with pytest.raises(SourceChanged, match="55P03"), open_snapshot(db.settings(lock_timeout=1), ["public.t"]):
            pass
    assert 0.9 < time.monotonic() - began < 5


# ---------------------------------------------------------------------------------------------- queues and lost leaders
@contextlib.contextmanager
def queued_truncate(db, until):
    """A TRUNCATE that waits for the leader's lock while the block runs."""
    failed = []

    def wait():
        try:
            execute(db, ["TRUNCATE t"])
        except psycopg.Error as error:
            failed.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    until(lambda: db.rows("SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 't'::regclass"))
    try:
        yield
    finally:
        db.rows("SELECT pg_cancel_backend(pid) FROM pg_locks WHERE NOT granted AND relation = 't'::regclass")
        waiting.join(20)
        assert not waiting.is_alive()
        assert failed


def test_a_worker_behind_a_queued_truncate_is_refused_at_once(any_db, until):
    any_db.run(TABLE)
    with open_snapshot(any_db.settings(), ["public.t"]) as leader, queued_truncate(any_db, until):
        began = time.monotonic()
        with pytest.raises(SourceChanged, match="55P03"):
            count(any_db, leader)
        assert time.monotonic() - began < 2


def test_without_nowait_it_would_wait_for_its_own_leader(any_db, until, monkeypatch):
    any_db.run(TABLE)
    real = snapshot._lock
    monkeypatch.setattr(snapshot, "_lock", lambda session, names, **_options: real(session, names))
    with open_snapshot(any_db.settings(), ["public.t"]) as leader, queued_truncate(any_db, until):
        began = time.monotonic()
        with pytest.raises(SourceChanged):
            count(any_db, leader)
        assert time.monotonic() - began > 4.5  # only lock_timeout, 5 s here, ends the hang


def test_a_worker_that_comes_after_its_leader_s_death_is_refused(any_db):
    any_db.run(TABLE)
    with open_snapshot(any_db.settings(), ["public.t"], application_name="doomed") as leader:
        cells = copy_cells(leader.relations["public.t"], None, None, leader.connection)
        assert any_db.terminate("doomed leader") == 1
        task = PartTask("public.t", cells, "", "csv", lock=(("public", "t"),))
        gone = pytest.raises(SourceChanged, match="snapshot is gone")
        session = connect(any_db.settings(), application_name="worker")
        with session as worker, gone, joined(worker, leader.snapshot, task):
            pass
        with pytest.raises(SourceChanged):
            leader.verify()


@pytest.mark.parametrize("guarded", [True, False])
def test_a_leader_that_dies_before_the_worker_has_locked_is_noticed(any_db, monkeypatch, guarded):
    """The one gap that locks alone leave: the snapshot is imported, the leader's locks end, a TRUNCATE is faster."""
    any_db.run(TABLE)
    with open_snapshot(any_db.settings(), ["public.t"], application_name="doomed") as leader:
        relation = leader.relations["public.t"]
        cells = copy_cells(relation, None, None, leader.connection)
        task = PartTask("public.t", cells, "", "csv", lock=cell_locks(relation, cells))

        def strike():
            assert any_db.terminate("doomed leader") == 1
            execute(any_db, ["TRUNCATE t"], wait="5s")

        before(monkeypatch, "_lock", strike)
        if not guarded:
            monkeypatch.setattr(snapshot, "refuse_drift", lambda *_arguments: None)
        outcome = contextlib.nullcontext() if not guarded else pytest.raises(SourceChanged, match=r"public\.t")
        session = connect(any_db.settings(), application_name="worker")
        with outcome, session as worker, joined(worker, leader.snapshot, task):
            assert lines(worker, cells[0].sql) == []
            assert not guarded


# ----------------------------------------------------------------------------------------------------------- partitions
PARENT = (
    "CREATE TABLE p (id int) PARTITION BY RANGE (id)",
    "CREATE TABLE p_1 PARTITION OF p FOR VALUES FROM (0) TO (100)",
    "CREATE TABLE p_2 AS SELECT g AS id FROM generate_series(100, 149) g",
    "INSERT INTO p SELECT g FROM generate_series(0, 99) g",
)
ATTACH = ["ALTER TABLE p ATTACH PARTITION p_2 FOR VALUES FROM (100) TO (200)"]


def test_a_partition_attached_after_the_snapshot_is_not_read(any_db):
    any_db.run(*PARENT)
    with open_snapshot(any_db.settings(), ["public.p"]) as leader:
        execute(any_db, ATTACH, wait="1s")  # an ACCESS SHARE lock doesn't stop it
        assert count(any_db, leader, "public.p") == 100
        leader.verify()


@pytest.mark.parametrize("guarded", [True, False])
def test_read_through_the_parent_an_attached_partition_starts_the_dump_over(any_db, monkeypatch, guarded):
    any_db.run(*PARENT)
    execute(any_db, ["REVOKE SELECT ON p_1 FROM reader"])
    if not guarded:
        monkeypatch.setattr(snapshot, "refuse_drift", lambda *_arguments: None)
    with open_snapshot(any_db.settings(), ["public.p"]) as leader:
        outcome = contextlib.nullcontext() if not guarded else pytest.raises(SourceChanged, match=r"public\.p")
        with outcome, reading(any_db, leader, "public.p") as rows:
            execute(any_db, ATTACH, wait="1s")
            assert len(rows()) == 150  # fifty rows that the snapshot does not have


def test_leaves_are_locked_too(any_db):
    any_db.run(*PARENT, *ATTACH)
    with open_snapshot(any_db.settings(), ["public.p"]) as leader:
        with pytest.raises(psycopg.errors.LockNotAvailable):
            execute(any_db, ["TRUNCATE p_2"], wait="100ms")
        assert count(any_db, leader, "public.p") == 150


def test_a_partition_attached_between_lock_and_snapshot_is_locked_afterwards(any_db, monkeypatch):
    any_db.run(*PARENT)
    before(monkeypatch, "_export", lambda: execute(any_db, ATTACH, wait="1s"))
    with open_snapshot(any_db.settings(), ["public.p"]) as leader:
        with pytest.raises(psycopg.errors.LockNotAvailable):
            execute(any_db, ["TRUNCATE p_2"], wait="100ms")
        assert count(any_db, leader, "public.p") == 150


# ------------------------------------------------------------------------------------------ views, row security, rights
def test_a_refresh_of_a_materialized_view_waits_or_starts_the_dump_over(any_db, monkeypatch):
    any_db.run(TABLE, "CREATE MATERIALIZED VIEW m AS SELECT id FROM t")
    refresh = ["DELETE FROM t WHERE id > 3", "REFRESH MATERIALIZED VIEW m"]
    with open_snapshot(any_db.settings(), ["public.m"]) as leader:
        with pytest.raises(psycopg.errors.LockNotAvailable):
            execute(any_db, refresh, wait="100ms")
        assert count(any_db, leader, "public.m") == ROWS
    before(monkeypatch, "_touch", lambda: execute(any_db, refresh))
    with pytest.raises(SourceChanged, match=r"public\.m"), open_snapshot(any_db.settings(), ["public.m"]):
        pass


def test_a_view_s_tables_are_locked_with_it(any_db):
    any_db.run(TABLE, "CREATE VIEW v AS SELECT id FROM t")
    with open_snapshot(any_db.settings(), ["public.v"]) as leader:
        with pytest.raises(psycopg.errors.LockNotAvailable):
            execute(any_db, ["TRUNCATE t"], wait="100ms")
        assert count(any_db, leader, "public.v") == ROWS


SECURED = (TABLE, "ALTER TABLE t ENABLE ROW LEVEL SECURITY", "CREATE POLICY few ON t USING (id <= 10)")


def test_row_security_is_refused_before_anything_is_locked(any_db):
    any_db.run(*SECURED)
    with pytest.raises(SourceDenied, match=r"row level security would filter public\.t"):
        open_snapshot(any_db.settings(), ["public.t"]).__enter__()


def test_row_security_raises_in_the_session_too_and_unguarded_it_filters_silently(any_db, monkeypatch):
    any_db.run(*SECURED)
    monkeypatch.setattr(snapshot, "require_readable", lambda *_arguments: {"public.t": "r"})
    with open_snapshot(any_db.settings(), ["public.t"]) as leader, pytest.raises(SourceDenied, match="42501"):
        count(any_db, leader)
    monkeypatch.setattr(source, "_PINNED", {**source._PINNED, "row_security": "on"})
    with open_snapshot(any_db.settings(), ["public.t"]) as leader:
        assert count(any_db, leader) == 10


# ------------------------------------------------------------------------------------------------------------- position
def test_later_snapshots_stand_later_on_the_same_line(any_db):
    any_db.run(TABLE)
    with open_snapshot(any_db.settings(), ["public.t"]) as first:
        execute(any_db, ["INSERT INTO t VALUES (0, '')"])
        with open_snapshot(any_db.settings(), ["public.t"]) as second:
            assert first.position.compare(second.position) == "older"
            assert first.as_of < second.as_of
            assert first.snapshot_id != second.snapshot_id
            assert (count(any_db, first), count(any_db, second)) == (ROWS, ROWS + 1)


def test_a_role_that_may_not_see_the_log_s_position_is_ordered_by_the_clock(db, caplog):
    db.run(TABLE, "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM public")
    caplog.set_level("INFO")
    with open_snapshot(db.settings(), ["public.t"]) as leader:
        assert leader.position.line == "as_of"
        assert abs(leader.position.at / 1e6 - time.time()) < 60
    assert "shows no WAL position" in caplog.text


def test_a_standby_exports_snapshots_and_stands_on_its_primary_s_line(cluster, db, tmp_path_factory, until):
    db.run(TABLE)
    with standby_of(cluster, until) as port:
        settings = db.settings(port=port)
        until(lambda: relations_there(settings))
        with open_snapshot(settings, ["public.t"]) as leader:
            with reading(replace(db, cluster=replace(cluster, port=port)), leader) as rows:
                assert len(rows()) == ROWS
            with open_snapshot(db.settings(), ["public.t"]) as primary:
                assert leader.position.compare(primary.position) in ("older", "equal")


def relations_there(settings):
    try:
        return look(settings, ["public.t"])
    except (TableMissing, SourceDenied):
        return None


@contextlib.contextmanager
def standby_of(cluster, until):
    """A streaming copy of the cluster."""
    account = unprivileged_account()
    home = Path("/var/tmp") / f"egress-test-standby-{secrets.token_hex(6)}"
    home.mkdir(mode=0o711)
    who = {}
    if account:
        os.chown(home, account.pw_uid, account.pw_gid)
        who = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    here = {"cwd": "/", "stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "check": True, **who}
    password = {**os.environ, "PGPASSWORD": cluster.password}
    place = ["-h", "127.0.0.1", "-p", str(cluster.port), "-U", "owner"]
    tool = str(cluster.binaries / "pg_basebackup")
    try:
        subprocess.run([tool, *place, "-D", str(home / "data"), "-R", "-c", "fast", "-N"], env=password, **here)
        port = free_port()
        control = [str(cluster.binaries / "pg_ctl"), "-D", str(home / "data"), "-s", "-w"]
        flags = f"-h 127.0.0.1 -p {port} -k '' -c fsync=off"
        subprocess.run([*control, "start", "-l", str(home / "log"), "-o", flags], stderr=subprocess.DEVNULL, **here)
        yield port
        subprocess.run([*control, "stop", "-m", "immediate"], **here)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]
