"""Date after date while everything writes: every row version that a snapshot showed is in exactly one date.

The writers' clock moves a day at a time, so how late a row comes is counted in days, not in the speed of the machine: a
transaction stamps its rows with the day in which it began and has ended before the day after the next is read.
"""

from __future__ import annotations

import itertools
import random
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import psycopg
import pytest

from egress_assets.engine.dump import incremental
from egress_assets.engine.dump import run as dump_run

pytestmark = pytest.mark.usefixtures("in_process")
DATES = [f"2020-03-{day:02}" for day in range(1, 13)]
WRITERS = 3
LOST = (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure)
SCHEMA = (
    "DROP TABLE events",
    "CREATE TABLE events (id bigint, version int, at timestamptz NOT NULL, note text) WITH (fillfactor = 60)",
    "CREATE INDEX ON events (id)",  # and none on `at`: updates of the watermark stay HOT
    "CREATE SEQUENCE numbers",
    "CREATE TABLE numbered (id bigint NOT NULL DEFAULT nextval('numbers'), version int) PARTITION BY HASH (id)",
    "CREATE TABLE numbered_0 PARTITION OF numbered FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
    "CREATE TABLE numbered_1 PARTITION OF numbered FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
    "CREATE INDEX ON numbered (id)",
)
TABLES = {
    "public.events": {"watermark": "at", "overlap": "2d"},
    "public.numbered": {"watermark": "id", "overlap": 10**6},
}
SEEN = {
    "public.events": "SELECT id, version FROM events WHERE at < %s::date + 1",
    "public.numbered": "SELECT id, version FROM numbered WHERE %s <> ''",
}
STATEMENTS = (
    "INSERT INTO events SELECT {id} * 10 + g, 1, {at}, repeat('x', g) FROM generate_series(1, 3) g",
    "UPDATE events SET version = version + 1, at = {at} WHERE id % 7 = {id} % 7",
    "UPDATE events SET version = version + 1, note = 'silent' WHERE id % 11 = {id} % 11 AND at >= '{day}'",
    "DELETE FROM events WHERE id % 23 = {id} % 23",
    "INSERT INTO numbered (version) SELECT 1 FROM generate_series(1, 3)",
    "UPDATE numbered SET version = version + 1 WHERE id % 13 = {id} % 13",
    "DELETE FROM numbered WHERE id % 29 = {id} % 29",
)


@dataclass
class Writing:
    """Three sessions that write stamps of `day`; `done` counts the transactions of each."""

    days: object
    day: str = DATES[0]
    done: list[int] = field(default_factory=lambda: [0] * WRITERS)
    stop: threading.Event = field(default_factory=threading.Event)
    ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def write(self, which: int) -> None:
        chance = random.Random(which)
        with self.days.place.db.connect() as session:
            while not self.stop.is_set():
                day = self.day
                with suppress(*LOST), session.transaction(force_rollback=chance.random() < 0.2):
                    for statement in chance.choices(STATEMENTS, k=3):
                        session.execute(self.filled(statement, day, chance.randrange(24 * 3600)).encode())
                self.done[which] += 1

    def filled(self, statement: str, day: str, second: int) -> str:
        """Stamped with any time of the day: most commits are out of order."""
        return statement.format(id=next(self.ids), at=f"timestamptz '{day} 00:00+00' + interval '{second} s'", day=day)

    @contextmanager
    def running(self) -> Iterator[None]:
        with ThreadPoolExecutor(WRITERS) as threads:
            busy = [threads.submit(self.write, which) for which in range(WRITERS)]
            try:
                yield
            finally:
                self.stop.set()
        for done in busy:
            done.result()

    def wait(self, until) -> None:
        """Until every session has begun and ended two transactions more: none of an earlier day is open."""
        before = list(self.done)
        until(lambda: all(now >= then + 2 for now, then in zip(self.done, before, strict=True)), 60)


@dataclass
class Snapshots:
    """What each date's snapshot showed of the date and those before it, by table."""

    seen: dict[str, set[str]] = field(default_factory=lambda: {table: set() for table in TABLES})
    date: str = ""

    @contextmanager
    def watched(self, *given, **options):
        with self.real(*given, **options) as leader:
            for table, query in SEEN.items():
                rows = leader.connection.execute(query.replace("FROM ", "FROM public.").encode(), (self.date,))
                self.seen[table] |= {f"{key},{version}" for key, version in rows}
            yield leader

    real = staticmethod(dump_run.open_snapshot)


def compared(days, until, monkeypatch, dates: list[str]) -> tuple[Counter[str], Counter[str], int]:
    """(versions in dates, versions that snapshots showed, late rows) after all dates."""
    days.place.db.run(*SCHEMA)
    writing, snapshots = Writing(days), Snapshots()
    monkeypatch.setattr(dump_run, "open_snapshot", snapshots.watched)
    with writing.running(), days.place.db.connect() as slow:
        slow.autocommit = False
        for date, after in itertools.pairwise([*dates, "2020-03-31"]):
            writing.wait(until)
            slow.execute(
                writing.filled(STATEMENTS[0], date, 0).encode()
            )  # the first second of a day, committed the next
            slow.execute(STATEMENTS[4].encode())
            writing.day, snapshots.date = after, date
            days.make(date)
            slow.commit()
    found: Counter[str] = Counter()
    for table, date in itertools.product(TABLES, dates):
        days.table = table
        found.update(f"{table} {','.join(row.split(',')[:2])}" for row in days.rows(date))
    late = sum(days.says(date)["late_rows"] for date in dates)
    shown = Counter(f"{table} {row}" for table, rows in snapshots.seen.items() for row in rows)
    return found, shown, late


def test_every_row_version_is_in_exactly_one_date_while_everything_writes(days, until, monkeypatch):
    days.place.tables = TABLES
    found, shown, late = compared(days, until, monkeypatch, DATES)
    assert sum((found - shown).values()) == 0
    assert sum((shown - found).values()) == 0
    assert len(shown) > 300
    assert late > 12


def test_the_same_comparison_sees_the_rows_that_no_overlap_would_lose(days, until, monkeypatch):
    days.place.tables = {
        "public.events": {"watermark": "at", "overlap": "1s"},
        "public.numbered": {"watermark": "id", "overlap": 1},
    }
    found, shown, _ = compared(days, until, monkeypatch, DATES[:3])
    assert shown - found


def test_the_same_comparison_sees_the_rows_that_come_twice_without_the_index(days, until, monkeypatch):
    days.place.tables = TABLES
    monkeypatch.setattr(incremental, "index_chunks", lambda *_given: iter(()))
    found, shown, _ = compared(days, until, monkeypatch, DATES[:3])
    assert found - shown
