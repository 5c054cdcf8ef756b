"""Snapshots taken while everything writes: what four sessions read in cells is what one session sees (S0-1, S0-4)."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace

import psycopg
import pytest

from egress_assets.engine.dump import cells, parts
from egress_assets.engine.dump.cells import copy_cells
from egress_assets.engine.dump.parts import part_tasks
from egress_assets.engine.dump.snapshot import Leader, joined, open_snapshot
from egress_assets.engine.dump.source import connect
from egress_assets.engine.dump.tasks import Relation
from egress_assets.engine.errors import SourceChanged

READERS = 4
# What a transaction may meet among others.
LOST = (psycopg.errors.DeadlockDetected, psycopg.errors.UniqueViolation, psycopg.errors.SerializationFailure)
TABLES = ("public.t", "public.p")
SCHEMA = """
CREATE TABLE t (id int PRIMARY KEY, number int, name text, toasted text)
  WITH (fillfactor = 70, autovacuum_enabled = off);
INSERT INTO t SELECT g, 0, repeat(md5(g::text), 1 + g % 3) FROM generate_series(1, 2500) g;
CREATE TABLE p (id int, home int, name text) PARTITION BY RANGE (home);
CREATE TABLE p0 PARTITION OF p FOR VALUES FROM (0) TO (10);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (10) TO (20);
CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (20) TO (30);
INSERT INTO p SELECT g, g % 30, repeat('x', 150) FROM generate_series(1, 1500) g;
"""
UPDATES = [
    "UPDATE t SET number = number + 1 WHERE id % 37 = {n} % 37",  # HOT while a page has room
    "UPDATE t SET id = id + 1000000 WHERE id % 53 = {n} % 53 AND id < 1000000",  # an index key: never HOT
    "UPDATE t SET id = id - 1000000 WHERE id % 41 = {n} % 41 AND id > 1000000",
    "UPDATE t SET toasted = (SELECT string_agg(md5((g * {n})::text), '') FROM generate_series(1, 120) g)"
    " WHERE id % 500 = {n} % 500",
    "DELETE FROM t WHERE id % 61 = {n} % 61",
    "INSERT INTO t SELECT 2000000 + {n} * 100 + g, {n}, 'new' FROM generate_series(1, 60) g ON CONFLICT DO NOTHING",
    "UPDATE p SET home = (home + 10) % 30 WHERE id % 29 = {n} % 29",  # a move from leaf to leaf
    "DELETE FROM p WHERE id % 97 = {n} % 97",
    "INSERT INTO p SELECT 10000 + {n} + g, g % 30, repeat('y', 150) FROM generate_series(1, 30) g",
]


@pytest.fixture(autouse=True)
def small_cells(monkeypatch):
    monkeypatch.setattr(cells, "CELL_BLOCKS", 8)
    monkeypatch.setattr(parts, "SMALLEST", 1)


def write(db, seed: int, stop: threading.Event) -> None:
    """Transactions of one to three statements; one in five is rolled back, a deadlock is no failure."""
    number = seed
    with db.connect() as session:
        while not stop.is_set():
            number += 7
            with suppress(*LOST), session.transaction(force_rollback=number % 5 == 0):
                for step in range(1 + number % 3):
                    session.execute(UPDATES[(number + step) % len(UPDATES)].format(n=number).encode())


def vacuum(db, stop: threading.Event) -> None:
    with db.connect() as session:
        while not stop.is_set():
            session.execute("VACUUM t, p")
            stop.wait(0.05)


@contextmanager
def disturbed(db) -> Iterator[None]:
    """Three writers and a VACUUM at work."""
    stop = threading.Event()
    with ThreadPoolExecutor(4) as threads:
        busy = [threads.submit(write, db, seed, stop) for seed in (1, 2, 3)]
        busy.append(threads.submit(vacuum, db, stop))
        try:
            yield
        finally:
            stop.set()
    for done in busy:
        done.result()


@dataclass(slots=True)
class Readers:
    """Sessions that take parts of a snapshot as they come, as worker processes do."""

    sessions: list[psycopg.Connection]
    planned: dict[str, Relation] = field(default_factory=dict)  # as an earlier snapshot saw them

    def rows(self, leader: Leader, table: str) -> Counter[bytes]:
        """By cells that were planned with sizes of some snapshots ago: what is new may lie beyond them."""
        relation = leader.relations[table]
        before = self.planned.setdefault(table, relation)
        found = copy_cells(replace(relation, sizes=before.sizes), None, None, leader.connection)
        waiting = part_tasks(relation, found, str, part_size=1, format="csv")

        def read(session: psycopg.Connection) -> Counter[bytes]:
            seen: Counter[bytes] = Counter()
            while waiting:
                task = waiting.pop()
                with joined(session, leader.snapshot, task):
                    for cell in task.cells:
                        seen.update(copied(session, cell.sql))
            return seen

        with ThreadPoolExecutor(READERS) as threads:
            return sum(threads.map(read, self.sessions), Counter())

    def rest(self) -> None:
        for session in self.sessions:
            session.execute("ROLLBACK")


def all_of(leader: Leader, table: str) -> Counter[bytes]:
    return Counter(copied(leader.connection, f"COPY (SELECT * FROM {table}) TO STDOUT (FORMAT csv)"))


def copied(session: psycopg.Connection, query: str) -> list[bytes]:
    with session.cursor().copy(query.encode()) as copy:
        return b"".join(copy).splitlines()


def compared(db, snapshots: int) -> Generator[bool]:
    """Of each table of so many snapshots: whether it is the same multiset of rows in cells and whole."""
    source = db.settings()
    with ExitStack() as stack, disturbed(db):
        sessions = [stack.enter_context(connect(source, application_name=f"reader {n}")) for n in range(READERS)]
        readers = Readers(sessions)
        for number in range(snapshots):
            if number % 5 == 0:
                readers.planned.clear()
            with open_snapshot(source, TABLES) as leader:
                for table in TABLES:
                    yield readers.rows(leader, table) == all_of(leader, table)
                readers.rest()
                leader.verify()


def test_s0_1_no_row_is_lost_or_doubled_while_everything_writes(db):
    db.run(*SCHEMA.split(";")[:-1])
    assert Counter(compared(db, 40)) == {True: 80}


def test_the_same_comparison_sees_the_rows_that_a_closed_last_range_loses(db, monkeypatch):
    real = cells._Heap.cell

    def closed(self, name, first=None, end=None, **given):
        return real(self, name, first, self.blocks if first and end is None else end, **given)

    monkeypatch.setattr(cells._Heap, "cell", closed)
    db.run(*SCHEMA.split(";")[:-1])
    with closing(compared(db, 500)) as found:
        assert not all(found)


@pytest.mark.soak
def test_s0_1_a_thousand_snapshots_while_everything_writes(db):
    db.run(*SCHEMA.split(";")[:-1])
    assert Counter(compared(db, 1000)) == {True: 2000}


REWRITES = [
    "TRUNCATE t",
    "ALTER TABLE t ALTER number TYPE bigint",
    "INSERT INTO t SELECT g, 0, repeat('z', 90) FROM generate_series(1, 2500) g ON CONFLICT DO NOTHING",
    "VACUUM FULL p1",
    "ALTER TABLE t ALTER number TYPE int",
]


def test_ddl_among_the_writers_is_waited_for_or_refused_and_never_read_over(db):
    """TRUNCATE and a rewrite come and go: a snapshot is whole or says that it is not."""
    db.run(*SCHEMA.split(";")[:-1])
    source, stop, kept = db.settings(), threading.Event(), 0

    def rewrite() -> None:
        with db.connect() as session:
            session.execute("SET lock_timeout = '300ms'")
            while not stop.is_set():
                for statement in REWRITES:
                    with suppress(psycopg.errors.LockNotAvailable):
                        session.execute(statement.encode())
                stop.wait(0.2)

    with ExitStack() as stack, ThreadPoolExecutor(1) as threads:
        busy = threads.submit(rewrite)
        try:
            sessions = [stack.enter_context(connect(source, application_name=f"reader {n}")) for n in range(2)]
            while kept < 5:
                assert not busy.done()
                kept += whole_or_refused(source, sessions)
        finally:
            stop.set()
    busy.result()


def whole_or_refused(source, sessions) -> bool:
    """Whether the snapshot held; what was read then is what it shows."""
    readers = Readers(sessions)
    try:
        with open_snapshot(source, TABLES) as leader:
            for table in TABLES:
                assert readers.rows(leader, table) == all_of(leader, table)
            leader.verify()
        return True
    except SourceChanged:
        return False
    finally:
        readers.rest()
