"""An incremental dataset by its commands: killed with -9 while it reads, made again, explained and verified."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from datetime import date, timedelta

import pytest

from egress_assets.engine.layout import date_prefix, dump_unit
from egress_assets.engine.stream import decompressed

UNIT = dump_unit("d")


@pytest.fixture
def table(hostile) -> Iterator[str]:
    name = f"w{secrets.token_hex(4)}"
    hostile.execute(
        f"CREATE SCHEMA {name}",
        f"CREATE TABLE {name}.t (id int PRIMARY KEY, at timestamptz NOT NULL, note text)",
        f"GRANT USAGE ON SCHEMA {name} TO egress_reader",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA {name} TO egress_reader",
    )
    yield f"{name}.t"
    hostile.execute(f"DROP SCHEMA {name} CASCADE")


def days(hostile) -> list[str]:
    """The last three complete ones."""
    last = date.fromisoformat(hostile.day)
    return [(last - timedelta(days=n)).isoformat() for n in (2, 1, 0)]


def ids(hostile, table: str, day: str) -> list[int]:
    platform = hostile.platform()
    _, record = platform.evidence.tables(platform.evidence.pointer(UNIT, day))[table]
    data = platform.store("lake")
    rows = b"".join(b"".join(decompressed(data.get(each.key), record.format)) for each in record.objects)
    return sorted(int(row.partition(b",")[0]) for row in rows.splitlines())


def fill(hostile, table: str, first: int, last: int, at: str) -> None:
    hostile.execute(f"INSERT INTO {table} SELECT g, '{at}', repeat('x', 50) FROM generate_series({first}, {last}) g")


def begun(hostile, day: str, process) -> None:
    """Until an attempt has written its index: it reads rows then, slowly."""
    data, until = hostile.platform().store("lake"), time.monotonic() + 60
    while not any(found.key.endswith("/overlap.index") for found in data.list(date_prefix(UNIT, day))):
        assert process.poll() is None, "it ended before it was killed"
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_run_killed_with_9_leaves_the_dates_before_and_its_rerun_has_each_row_once(hostile, table):
    first, second, third = days(hostile)
    hostile.dataset("d", {table: {"watermark": "at"}}, start=first, extract="incremental", dump={})
    fill(hostile, table, 1, 50, f"{first} 23:30+00")
    hostile.done("dump", "d", "--date", first)
    hostile.refused(hostile.run("dump", "d", "--date", third), 20, f"Make {second} first")
    fill(hostile, table, 51, 60, f"{first} 23:20+00")
    fill(hostile, table, 61, 3000, f"{second} 12:00+00")
    hostile.overlay(sources={"db": {"throttle": {"rows_per_second": 100}}})
    with hostile.begin("dump", "d", "--date", second) as process:
        begun(hostile, second, process)
        process.kill()
    platform = hostile.platform()
    assert platform.evidence.pointer(UNIT, second) is None
    assert ids(hostile, table, first) == list(range(1, 51))
    hostile.overlay()
    assert [line["sign"] for line in hostile.done("plan", "d", "--date", second)["units"]["dump/d"]] == ["+"]
    said = hostile.done("dump", "d", "--date", second)["tables"][table]["continues"]
    assert (said["after"], said["late_rows"], said["missed_rows"]) == (first, 10, 0)
    hostile.done("dump", "d", "--date", third)
    assert ids(hostile, table, second) == list(range(51, 3001))
    assert ids(hostile, table, third) == []
    hostile.done("verify")
    found = list(platform.evidence.verify(UNIT, second, platform.store("lake")))
    assert {each.status for each in found} == {"ok"}
    assert sum(each.key.endswith("/overlap.index") for each in found) == 1
    left = {found.key.split("/a=")[1][:24] for found in platform.store("lake").list(date_prefix(UNIT, second))}
    assert len(left) == 1, "the killed attempt's bytes were swept"
    hostile.refused(hostile.run("dump", "d", "--date", first, "--again"), 20, f"{second} continues from it", "`start`")
    told = hostile.run("explain", "dump/d", second)
    assert f"from {first}, at up to {second} 12:00:00+00, 10 late" in told.out, told.all
