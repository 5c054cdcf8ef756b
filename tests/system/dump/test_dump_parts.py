"""A table in parts: what several workers read is what one reads, whatever its size, layout and plan (S0-1, S0-3)."""

from __future__ import annotations

import os
import random
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from psycopg import sql
from psycopg.pq import TransactionStatus

from egress_assets.engine.catalog.operate import Limits
from egress_assets.engine.dump import cells, parts
from egress_assets.engine.dump.bounds import Bounds
from egress_assets.engine.dump.cells import copy_cells
from egress_assets.engine.dump.extract import extract
from egress_assets.engine.dump.parts import part_tasks
from egress_assets.engine.dump.snapshot import joined, open_snapshot
from egress_assets.engine.dump.source import connect
from egress_assets.engine.errors import LimitExceeded, SourceChanged, SourceUnavailable
from egress_assets.engine.layout import dump_unit
from egress_assets.engine.limits import Ceiling
from egress_assets.engine.progress import silent
from egress_assets.engine.stage import Wanted, content_digest

CELL = 8  # blocks
BLOCK = 8192
WANTED = Wanted("policy", (), "csv")
TABLE = "public.t"


@pytest.fixture(autouse=True)
def small_cells(monkeypatch):
    """Cells of 64 KiB and parts of two of them, so that 10,000 rows are many parts; workers see statements only."""
    monkeypatch.setattr(cells, "CELL_BLOCKS", CELL)
    monkeypatch.setattr(parts, "SMALLEST", 2 * CELL * BLOCK)
    monkeypatch.setattr("egress_assets.engine.dump.extract._WORTH_A_WORKER", 1)


def tasks_of(leader, table=TABLE, *, select=None, where=None, relation=None, part_size=2 * CELL * BLOCK, **given):
    relation = relation or leader.relations[table]
    found = copy_cells(relation, select, where, leader.connection)
    return part_tasks(relation, found, f"{table}/{{:05d}}".format, part_size=part_size, format="csv", **given)


def dump(db, lake, *tables, workers=2, on=silent, bounds=None, **fields):
    """TableDone by table."""
    settings = db.settings()
    with open_snapshot(settings, tables or (TABLE,)) as leader:
        tasks = [task for table in leader.relations for task in tasks_of(leader, table, **fields)]
        return extract(leader, tasks, lake.settings(), settings=settings, workers=workers, on=on, bounds=bounds)


def body(lake, done):
    return b"".join(lake.open().read(part.key)[0] for part in done.parts)


def content(done):
    return content_digest(WANTED, done.cells)


def fill(db, rows, *more):
    db.run(
        "CREATE TABLE t (id int, name text) WITH (autovacuum_enabled = off)",
        f"INSERT INTO t SELECT g, repeat(md5(g::text), 3) FROM generate_series(1, {rows}) g",
        *more,
    )


def blocks(db):
    return db.rows("SELECT pg_relation_size('t') / 8192")[0][0]


# ------------------------------------------------------------------------------------------------------------ the union
@pytest.mark.parametrize("rows", [0, 1, 500, 530, 1100, 9000])
def test_s0_1_the_parts_together_are_the_table_whoever_reads_them(db, lake, rows):
    fill(db, rows)
    one, two, four = (dump(db, lake, workers=workers)[TABLE] for workers in (1, 2, 4))
    assert body(lake, four) == db.psql("COPY t TO STDOUT (FORMAT csv)")
    assert one.rows == rows
    assert len(one.parts) == max(1, round(blocks(db) / (2 * CELL)))
    assert [part.sha256 for part in one.parts] == [part.sha256 for part in two.parts]
    assert one.cells == two.cells == four.cells
    assert [part.key for part in four.parts] == [f"{TABLE}/{n:05d}" for n in range(len(four.parts))]


@pytest.mark.parametrize("seed", range(3))
def test_s0_1_a_table_that_was_written_to_in_every_way_is_the_same_in_parts(any_db, lake, seed):
    chance = random.Random(seed)
    fill(any_db, 3000, "ALTER TABLE t ADD toasted text")
    for _ in range(12):
        any_db.run(
            chance.choice(
                [
                    "UPDATE t SET name = name || 'x' WHERE id % 7 = 3",
                    "UPDATE t SET name = 'short' WHERE id % 11 = 5",
                    "UPDATE t SET toasted = (SELECT string_agg(md5(g::text), '') FROM generate_series(1, 300) g) "
                    "WHERE id % 90 = 1",
                    "DELETE FROM t WHERE id % 13 = 4",
                    "DELETE FROM t WHERE id > 2500",
                    "INSERT INTO t SELECT g, 'new' FROM generate_series(3001, 4000) g",
                    "VACUUM t",
                ]
            )
        )
    done = dump(any_db, lake)[TABLE]
    assert len(done.parts) > 1
    assert body(lake, done) == any_db.psql("COPY t TO STDOUT (FORMAT csv)")


def test_s0_1_leaves_in_ranges_are_their_parent(db, lake):
    db.run(
        "CREATE TABLE t (id int, name text) PARTITION BY RANGE (id)",
        "CREATE TABLE low PARTITION OF t FOR VALUES FROM (0) TO (50)",
        "CREATE TABLE empty PARTITION OF t FOR VALUES FROM (50) TO (60)",
        "CREATE TABLE high PARTITION OF t FOR VALUES FROM (60) TO (100000) PARTITION BY RANGE (id)",
        "CREATE TABLE deep PARTITION OF high FOR VALUES FROM (60) TO (90000)",
        "INSERT INTO t SELECT g, repeat(md5(g::text), 3) FROM generate_series(0, 49) g",
        "INSERT INTO t SELECT g, repeat(md5(g::text), 3) FROM generate_series(60, 5000) g",
    )
    done = dump(db, lake, workers=3)[TABLE]
    assert len(done.parts) > 3
    assert {cell.name.partition(" ")[0] for cell in done.cells} == {"public.low", "public.empty", "public.deep"}
    assert sorted(body(lake, done).splitlines()) == sorted(db.psql("COPY (SELECT * FROM t) TO STDOUT CSV").splitlines())
    db.run("CREATE TABLE another PARTITION OF t FOR VALUES FROM (100000) TO (100001)")
    assert content(dump(db, lake)[TABLE]) == content(done)


def test_many_tables_of_every_size_are_shared_by_two_workers(db, lake):
    names = [f"t{number}" for number in range(12)]
    for number, name in enumerate(names):
        db.run(f"CREATE TABLE {name} AS SELECT g, repeat('x', 200) FROM generate_series(1, {10 * 2**number % 7000}) g")
    ticks = []
    done = dump(db, lake, *(f"public.{name}" for name in names), on=ticks.append)
    assert {n: body(lake, done[f"public.{n}"]) for n in names} == {
        n: db.psql(f"COPY {n} TO STDOUT (FORMAT csv)") for n in names
    }
    finished = [tick.item for tick in ticks if tick.finished]
    assert sorted(finished) == sorted(f"public.{name}" for name in names)  # once each, whatever its parts
    assert any(len(table.parts) > 1 for table in done.values())


# -------------------------------------------------------------------------------------------- what the digest stands on
def test_the_content_does_not_depend_on_the_size_of_parts(db, lake, monkeypatch):
    fill(db, 5000)
    monkeypatch.setattr(parts, "SMALLEST", 2**30)
    small, large = dump(db, lake)[TABLE], dump(db, lake, part_size=2**30)[TABLE]
    assert len(small.parts) > len(large.parts)
    assert small.cells == large.cells


def test_blocks_that_come_and_go_without_rows_change_no_content(db, lake):
    fill(db, 2000)
    before = dump(db, lake)[TABLE]
    with db.connect() as session, session.transaction(force_rollback=True):
        session.execute("INSERT INTO t SELECT g, repeat('x', 99) FROM generate_series(1, 5000) g")
    grown = dump(db, lake)[TABLE]
    assert len(grown.cells) > len(before.cells)
    db.run("VACUUM t")
    truncated = dump(db, lake)[TABLE]
    assert len(truncated.cells) < len(grown.cells)
    assert content(before) == content(grown) == content(truncated)


def test_one_more_row_anywhere_is_other_content(db, lake):
    fill(db, 2000)
    before = content(dump(db, lake)[TABLE])
    db.run("INSERT INTO t VALUES (0, NULL)")
    assert content(dump(db, lake)[TABLE]) != before


@pytest.mark.parametrize("guarded", [True, False])
def test_rows_beyond_a_size_seen_earlier_are_read_because_the_last_range_is_open(db, lake, monkeypatch, guarded):
    fill(db, 2000)
    settings = db.settings()
    with open_snapshot(settings, [TABLE]) as leader:
        sizes = leader.relations[TABLE].sizes
    db.run("INSERT INTO t SELECT g, 'late' FROM generate_series(2001, 4000) g")
    if not guarded:
        closing(monkeypatch)
    with open_snapshot(settings, [TABLE]) as leader:
        stale = replace(leader.relations[TABLE], sizes=sizes)
        tasks = tasks_of(leader, relation=stale)
        done = extract(leader, tasks, lake.settings(), settings=settings, workers=2, on=silent)[TABLE]
    assert (done.rows == 4000) == guarded


def closing(monkeypatch):
    """Cells whose last range ends where the table seemed to end."""
    real = cells._Heap.cell

    def cell(self, name, first=None, end=None, **given):
        return real(self, name, first, self.blocks if first and end is None else end, **given)

    monkeypatch.setattr(cells._Heap, "cell", cell)


# ------------------------------------------------------------------------------------------------------ plans and parts
def numbers(found):
    return [int(cell.name.rpartition(" ")[2]) // CELL if " " in cell.name else 0 for cell in found]


WINDOW = sql.SQL("id BETWEEN 3000 AND 3100")


def test_a_small_window_by_index_reads_no_cell_without_rows_and_has_the_same_content(db, lake):
    fill(db, 9000, "ANALYZE t")
    scanned = dump(db, lake, where=WINDOW)[TABLE]
    assert len(scanned.cells) == -(-blocks(db) // CELL)
    db.run("CREATE INDEX ON t (id)", "ANALYZE t")
    by_index = dump(db, lake, where=WINDOW)[TABLE]
    assert (by_index.rows, len(by_index.parts)) == (101, 1)
    assert len(by_index.cells) < 4
    assert content(by_index) == content(scanned)
    assert body(lake, by_index) == db.psql("COPY (SELECT * FROM t WHERE id BETWEEN 3000 AND 3100) TO STDOUT CSV")


def test_a_window_without_rows_is_one_empty_part(db, lake):
    fill(db, 9000, "CREATE INDEX ON t (id)", "ANALYZE t")
    done = dump(db, lake, where=sql.SQL("id = -1"))[TABLE]
    assert (done.rows, len(done.parts), body(lake, done)) == (0, 1, b"")


def test_rows_of_a_window_beyond_a_size_seen_earlier_belong_to_the_last_cell(db):
    fill(db, 9000, "CREATE INDEX ON t (id)", "ANALYZE t")
    with open_snapshot(db.settings(), [TABLE]) as leader:
        stale = replace(leader.relations[TABLE], sizes=((3 * CELL, 3 * CELL * BLOCK),))
        assert numbers(copy_cells(stale, None, sql.SQL("id IN (1, 8000, 9000)"), leader.connection)) == [0, 2]


def test_a_server_that_would_not_scan_by_tid_reads_the_table_once(db, lake):
    fill(db, 3000)
    db.run(f"ALTER DATABASE {db.name} SET enable_tidscan = off")
    done = dump(db, lake)[TABLE]
    assert len(done.cells) == len(done.parts) == 1
    assert body(lake, done) == db.psql("COPY t TO STDOUT (FORMAT csv)")


@pytest.mark.parametrize("kind", ["VIEW", "MATERIALIZED VIEW"])
def test_what_is_no_table_is_one_part(db, lake, kind):
    fill(db, 3000, f"CREATE {kind} v AS SELECT * FROM t")
    done = dump(db, lake, "public.v")["public.v"]
    assert (len(done.parts), done.rows) == (1, 3000)


def test_each_cell_is_read_by_a_scan_of_its_blocks(any_db):
    fill(any_db, 3000)
    with open_snapshot(any_db.settings(), [TABLE]) as leader:
        for cell in copy_cells(leader.relations[TABLE], None, None, leader.connection)[:-1]:
            query = cell.sql.removeprefix("COPY (").rpartition(") TO STDOUT")[0]
            assert "Tid Range Scan" in str(leader.connection.execute(f"EXPLAIN {query}".encode()).fetchall())


def test_no_scan_is_parallel_however_much_the_planner_would_like_it(any_db, monkeypatch):
    """Rows of parallel workers come in any order, and equal rows would have another digest."""
    monkeypatch.setattr(cells, "CELL_BLOCKS", 2048)
    fill(any_db, 9000, "ANALYZE t")
    for setting in ("parallel_setup_cost", "parallel_tuple_cost", "min_parallel_table_scan_size"):
        any_db.run(f"ALTER DATABASE {any_db.name} SET {setting} = 0")
    source = any_db.settings()
    with open_snapshot(source, [TABLE]) as leader, connect(source, application_name="worker") as worker:
        (task,) = tasks_of(leader, select=[("name", sql.SQL(f"{'md5(' * 50}name{')' * 50}"))])
        query = task.cells[0].sql.removeprefix("COPY (").rpartition(") TO STDOUT")[0]
        plan = f"EXPLAIN {query}".encode()
        assert "Gather" in str(worker.execute(plan).fetchall())
        with joined(worker, leader.snapshot, task):
            assert "Gather" not in str(worker.execute(plan).fetchall())


# ---------------------------------------------------------------------------------------------------- something happens
SLOWLY = [("id", sql.SQL("id")), ("name", sql.SQL("repeat(name, 20 + (pg_sleep(0.001) IS NULL)::int)"))]


def workers_here():
    mine = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    return [int(pid) for pid in mine if b"egress_assets.engine.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_s0_3_a_worker_killed_in_the_middle_of_a_part_ends_the_other_and_is_named_with_its_part(db, lake, until):
    fill(db, 9000)
    struck = []

    def strike(tick):
        if tick.rows and not struck and len(db.sessions("COPY%")) == 2:
            struck.append(workers_here()[0])
            os.kill(struck[0], signal.SIGKILL)

    with pytest.raises(SourceUnavailable, match=r"signal 9 while it read public\.t part \d+ of \d+") as caught:
        dump(db, lake, on=strike, select=SLOWLY)
    assert caught.value.retryable
    assert workers_here() == []
    until(lambda: not db.sessions())


def test_a_limit_counts_all_parts_of_a_table_together(db, lake):
    fill(db, 9000)
    bound = partial(Ceiling, f"{dump_unit('shop').title} 2026-11-19", place="", amounts={})
    dump(db, lake, bounds=Bounds(bound(limits=Limits(rows=9000))))
    with pytest.raises(LimitExceeded, match=r"comes to [\d,]+ rows so far, its limit is 8,999|comes to 9,000 rows"):
        dump(db, lake, bounds=Bounds(bound(limits=Limits(rows=8999))))


def read(session, task):
    rows = []
    for cell in task.cells:
        with session.cursor().copy(cell.sql.encode()) as copy:
            rows += b"".join(copy).splitlines()
    return rows


@pytest.mark.parametrize(("leaves", "left"), [(3, TransactionStatus.INTRANS), (70, TransactionStatus.IDLE)])
def test_locks_are_kept_between_parts_unless_they_are_many(db, monkeypatch, leaves, left):
    monkeypatch.setattr(parts, "SMALLEST", 2**30)
    db.run(
        "CREATE TABLE t (id int) PARTITION BY LIST (id)",
        *(f"CREATE TABLE t{n} PARTITION OF t FOR VALUES IN ({n})" for n in range(leaves)),
        f"INSERT INTO t SELECT g FROM generate_series(0, {leaves - 1}) g",
    )
    source = db.settings()
    with open_snapshot(source, [TABLE]) as leader, connect(source, application_name="worker") as worker:
        for _ in range(2):
            (task,) = tasks_of(leader, part_size=2**30)
            with joined(worker, leader.snapshot, task):
                assert len(read(worker, task)) == leaves
            assert worker.info.transaction_status == left


WAITING = "SELECT 1 FROM pg_stat_activity WHERE query = 'TRUNCATE t' AND wait_event_type = 'Lock'"


def test_a_truncate_queued_between_two_parts_of_one_table_loses_no_row(any_db, until):
    """Who has begun reads to the end; who comes later is refused at once, and the dump starts over."""
    fill(any_db, 3000)
    source = any_db.settings()
    with (
        open_snapshot(source, [TABLE]) as leader,
        connect(source, application_name="one") as one,
        connect(source, application_name="two") as two,
        any_db.connect() as owner,
    ):
        first, second, *_ = tasks_of(leader)
        with joined(one, leader.snapshot, first):
            owner.pgconn.send_query(b"TRUNCATE t")
            until(lambda: any_db.rows(WAITING))
            with pytest.raises(SourceChanged), joined(two, leader.snapshot, second):
                pass
            seen = read(one, first)
        with joined(one, leader.snapshot, second):  # it holds its lock still
            seen += read(one, second)
        assert len(seen) > 200
        assert seen == read(leader.connection, first) + read(leader.connection, second)
        owner.pgconn.finish()
