"""Worker processes: what one of them meets reaches the caller whole, and whoever dies leaves nothing behind (S0-3)."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

import pytest
from psycopg import sql

from egress_assets.engine.dump.cells import cell_locks, copy_cells
from egress_assets.engine.dump.extract import extract
from egress_assets.engine.dump.snapshot import open_snapshot
from egress_assets.engine.dump.tasks import PartTask
from egress_assets.engine.errors import SourceChanged, SourceError, SourceUnavailable, StoreDenied
from egress_assets.engine.progress import silent

# About 2 MB/s: a COPY that lasts until somebody ends it.
SLOW = (
    "CREATE VIEW slow AS SELECT g, repeat(md5(g::text), 30) FROM generate_series(1, 1000000) g"
    " WHERE pg_sleep(0.0005) IS NOT NULL"
)
PARTS = {"part_bytes": 64 * 1024}  # so that an upload in parts begins at once; the server would refuse to complete it


def tasks_of(leader, tables, suffix="csv", **fields):
    for number, table in enumerate(tables):
        relation = leader.relations[table]
        cells = copy_cells(relation, fields.pop("select", None), None, leader.connection)
        lock = cell_locks(relation, cells)
        yield PartTask(table, cells, f"k/{number}.{suffix}", suffix, lock=lock, **fields)


def run(db, lake, tables, on=silent, *, workers=2, source=None, parts=PARTS, **fields):
    settings = db.settings(**(source or {}))
    with open_snapshot(settings, tables) as leader:
        tasks = list(tasks_of(leader, tables, **fields))
        return extract(leader, tasks, lake.settings(**parts), settings=settings, workers=workers, on=on)


@contextlib.contextmanager
def struck(until, ready, strike):
    """While the block runs: once `ready` answers, `strike` its answer."""
    failed = []

    def wait():
        try:
            strike(until(ready))
        except Exception as error:  # noqa: BLE001 - asserted below
            failed.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    yield
    thread.join(30)
    assert not failed, failed


def uploading(lake):
    return lambda: lake.here()[1]


def workers_of(pid):
    """Processes that run the engine's worker as children of `pid`."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    found = {int(child): Path(f"/proc/{child}/cmdline").read_bytes() for child in children}
    return [child for child, command in found.items() if b"egress_assets.engine.worker" in command]


def left_behind(db, lake):
    """Sessions of the source, objects and unfinished uploads."""
    return db.sessions(), *lake.here()


# ---------------------------------------------------------------------------------------------------------- all is well
def test_tables_are_shared_by_the_workers_and_told_in_the_caller_s_order(db, lake):
    names = [f"t{n}" for n in range(6)]
    db.run(*(f"CREATE VIEW {name} AS SELECT g FROM generate_series(1, {n + 1}) g" for n, name in enumerate(names)))
    ticks = []
    done = run(db, lake, [f"public.{name}" for name in names], ticks.append)
    assert [(d.table, d.rows) for d in done.values()] == [(f"public.{name}", n + 1) for n, name in enumerate(names)]
    assert {t.item for t in ticks if t.finished} == {f"public.{name}" for name in names}
    assert workers_of(os.getpid()) == []


def test_progress_is_told_while_a_table_is_read(db, lake):
    db.run("CREATE VIEW v AS SELECT repeat('x', 1000) FROM generate_series(1, 3000) WHERE pg_sleep(0.0005) IS NOT NULL")
    ticks = []
    run(db, lake, ["public.v"], ticks.append, parts={}, expected_bytes=3_003_000)
    first, *under_way = [t for t in ticks if not t.finished]
    assert (first.done, first.total) == (0, 3_003_000)
    assert under_way
    assert all(0 < t.done <= t.total == 3_003_000 and t.rows > 0 for t in under_way)
    assert [t.done for t in ticks] == sorted(t.done for t in ticks)
    assert (ticks[-1].rows, ticks[-1].done) == (3000, 3_003_000)


def test_detectors_see_the_uncompressed_bytes(db, lake):
    db.run("CREATE TABLE t AS SELECT 'someone@real-company.co.uk' AS a FROM generate_series(1, 3)")
    done = run(db, lake, ["public.t"], detectors=("email",), suffix="csv.zst")["public.t"]
    assert done.findings["email"]["count"] == 3


def test_a_task_s_settings_reach_its_queries_and_no_other_session(db, lake, until):
    db.run("CREATE VIEW v AS SELECT g FROM generate_series(1, 400) g WHERE pg_sleep(0.005) IS NOT NULL")
    select = [("key", sql.SQL("current_setting('egress.k')"))]
    seen = []
    ready = lambda: db.rows("SELECT query FROM pg_stat_activity WHERE query LIKE 'COPY%%' AND datname = %s", db.name)  # noqa: E731
    with struck(until, ready, seen.extend):
        done = run(db, lake, ["public.v"], session={"egress.k": "s3cret"}, select=select)
    assert lake.open().read(done["public.v"].parts[0].key)[0] == b"s3cret\n" * 400
    assert seen
    assert "s3cret" not in str(seen)


def test_no_secret_is_in_a_worker_s_command_or_environment(db, lake, until):
    db.run(SLOW)
    seen = []

    def look(_):
        for pid in workers_of(os.getpid()):
            seen.append(b"".join(Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ")))
        db.terminate("egress worker")

    with struck(until, lambda: db.sessions("COPY%"), look), pytest.raises(SourceChanged):
        run(db, lake, ["public.slow"], session={"egress.k": "s3cret"})
    assert seen
    assert not any(word in text for text in seen for word in (b"s3cret", db.settings().password.encode()))


# ---------------------------------------------------------------------------------------------------- something happens
def test_s0_3_a_session_killed_during_copy_leaves_no_object_and_no_upload(db, lake, until):
    db.run(SLOW)
    with (
        struck(until, uploading(lake), lambda _: db.terminate("egress worker")),
        pytest.raises(SourceChanged, match=r"public\.slow.*57P01"),
    ):
        run(db, lake, ["public.slow"])
    until(lambda: left_behind(db, lake) == ([], {}, {}))


def test_a_worker_killed_by_the_kernel_names_its_table_and_may_be_tried_again(db, lake, until):
    db.run(SLOW)
    killed = pytest.raises(SourceUnavailable, match=r"killed by signal 9 while it read public\.slow")
    kill = struck(until, uploading(lake), lambda _: os.kill(workers_of(os.getpid())[0], signal.SIGKILL))
    with kill, killed as caught:
        run(db, lake, ["public.slow"])
    assert caught.value.retryable
    until(lambda: not db.sessions())


def test_one_failing_table_stops_the_others(db, lake, until):
    db.run(
        SLOW,
        "CREATE VIEW bad AS SELECT 1 / (500 - g) FROM generate_series(1, 1000) g",
    )
    with pytest.raises(SourceError, match=r"public\.bad: Postgres answered DivisionByZero \(SQLSTATE 22012\)"):
        run(db, lake, ["public.slow", "public.bad"])
    until(lambda: left_behind(db, lake) == ([], {}, {}))


def test_a_row_value_in_the_server_s_message_goes_no_further(db, lake, caplog, capfd):
    db.run("CREATE TABLE t AS SELECT 'joe@example.com' AS a")
    with pytest.raises(SourceError) as caught:
        run(db, lake, ["public.t"], select=[("a", sql.SQL("a::int"))])
    told = f"{caught.value!r} {caught.value.hint} {caplog.text} {capfd.readouterr()}"
    assert "22P02" in told
    assert "joe@example" not in told


def test_a_store_that_refuses_ends_the_query_too(db, lake, until):
    db.run(SLOW)
    lake.fault("UploadPart", "403", times=1000)
    with pytest.raises(StoreDenied):
        run(db, lake, ["public.slow"])
    until(lambda: left_behind(db, lake) == ([], {}, {}))


def test_the_statement_timeout_is_named(db, lake):
    db.run(SLOW)
    with pytest.raises(SourceError, match="57014") as caught:
        run(db, lake, ["public.slow"], source={"statement_timeout": 1})
    assert "statement_timeout" in caught.value.hint


def test_a_snapshot_held_for_longer_than_the_source_allows_ends_the_dump(db, lake, until):
    db.run(SLOW)
    with pytest.raises(SourceUnavailable, match=r"held for \d+ s, max_snapshot_seconds is 1") as caught:
        run(db, lake, ["public.slow"], source={"max_snapshot_seconds": 1})
    assert caught.value.retryable
    assert "max_snapshot_seconds" in caught.value.hint
    until(lambda: left_behind(db, lake) == ([], {}, {}))


def test_a_leader_killed_while_workers_read_ends_the_dump_at_once(db, lake, until):
    db.run(SLOW)
    began = []

    def strike(_):
        began.append(time.monotonic())
        assert db.terminate("egress leader") == 1

    with struck(until, uploading(lake), strike), pytest.raises(SourceChanged, match="snapshot's session"):
        run(db, lake, ["public.slow"])
    assert time.monotonic() - began[0] < 5
    until(lambda: left_behind(db, lake) == ([], {}, {}))


# ------------------------------------------------------------------------------------------------------ the parent ends
class Interrupted(BaseException):
    """What a signal handler raises."""


def test_a_signal_handler_s_exception_ends_every_worker_within_the_grace(db, lake, until):
    db.run(SLOW)

    def handler(_number, _frame):
        raise Interrupted

    previous = signal.signal(signal.SIGTERM, handler)
    began = []

    def strike(_):
        began.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGTERM)

    try:
        with struck(until, uploading(lake), strike), pytest.raises(Interrupted):
            run(db, lake, ["public.slow"])
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert time.monotonic() - began[0] < 4
    assert workers_of(os.getpid()) == []
    until(lambda: left_behind(db, lake) == ([], {}, {}))


def test_a_worker_that_hangs_is_killed_after_the_grace(db, lake, until):
    db.run(SLOW)

    def strike(_):
        os.kill(workers_of(os.getpid())[0], signal.SIGSTOP)
        db.terminate("egress leader")

    with struck(until, uploading(lake), strike), pytest.raises(SourceChanged):
        run(db, lake, ["public.slow"])
    assert workers_of(os.getpid()) == []


PARENT = """
import json, sys
from egress_assets.engine.dump.extract import extract
from egress_assets.engine.dump.snapshot import open_snapshot
from egress_assets.engine.dump.source import SourceSettings
from egress_assets.engine.progress import silent
from egress_assets.engine.stores.settings import StoreSettings
from egress_assets.engine.worker import task_of

given = json.load(sys.stdin)
settings = SourceSettings(**given["source"])
with open_snapshot(settings, ["public.slow"]) as leader:
    extract(leader, [task_of(given["task"])], StoreSettings(**given["store"]), settings=settings, workers=1, on=silent)
"""


def test_when_the_parent_is_killed_the_query_ends_within_five_seconds_and_nothing_is_published(db, lake, until):
    db.run(SLOW)
    settings = db.settings()
    with open_snapshot(settings, ["public.slow"]) as leader:
        (task,) = tasks_of(leader, ["public.slow"])
    given = {"source": settings.model_dump(), "store": lake.settings(**PARTS).model_dump(), "task": asdict(task)}
    with subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE) as parent:
        parent.stdin.write(json.dumps(given).encode())
        parent.stdin.close()
        until(uploading(lake))
        (worker,) = workers_of(parent.pid)
        parent.kill()
        killed = time.monotonic()
    until(lambda: left_behind(db, lake) == ([], {}, {}), seconds=5)
    until(lambda: is_gone(worker), seconds=5)
    assert time.monotonic() - killed < 5


def is_gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True
