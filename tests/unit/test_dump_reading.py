"""What people and limits are told of a table that several workers read at once."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from egress_assets.engine.catalog.operate import Limits
from egress_assets.engine.dump.bounds import Bounds
from egress_assets.engine.dump.extract import _Reading
from egress_assets.engine.dump.tasks import PartDone, PartTask
from egress_assets.engine.errors import LimitExceeded
from egress_assets.engine.limits import Ceiling
from egress_assets.engine.progress import Meter, Tick

TASKS = [
    PartTask("s.small", (), "", "csv", expected_bytes=10),
    PartTask("s.large", (), "", "csv", expected_bytes=100),
    PartTask("s.large", (), "", "csv", expected_bytes=60, part=1),
]


def tick(table, part, done, rows):
    return {"tick": {"table": table, "part": part, "done": done, "rows": rows}}


def done(table, part, raw, rows):
    return {"done": asdict(PartDone(table, f"k{part}", (), rows, raw, 5, "", "", part=part))}


def reading(limit=None):
    ticks: list[Tick] = []
    ceiling = Ceiling("dump/shop", Limits(rows=limit), "", {}) if limit else None
    return _Reading(TASKS, "dump", ticks.append, Bounds(ceiling)), ticks


def told(ticks):
    return [(t.item, t.done, t.total, t.rows, t.finished, t.whole) for t in ticks]


def test_a_table_is_told_as_one_whatever_its_parts():
    heard, ticks = reading()
    messages = [
        tick("s.large", 1, 20, 2), tick("s.large", 0, 50, 5), done("s.large", 1, 40, 4), tick("s.large", 0, 90, 9),
        done("s.small", 0, 12, 1), done("s.large", 0, 90, 9),
    ]  # fmt: skip
    for message in messages:
        heard.hear(message)
    assert told(ticks) == [
        ("s.large", 0, 160, 0, False, 170),
        ("s.large", 20, 160, 2, False, 170),
        ("s.large", 70, 160, 7, False, 170),
        ("s.large", 90, 140, 9, False, 150),
        ("s.large", 130, 140, 13, False, 150),
        ("s.small", 12, 12, 1, True, 152),
        ("s.large", 130, 130, 13, True, 142),
    ]
    assert [part.part for part in heard.tables()["s.large"].parts] == [0, 1]


def test_a_meter_of_it_never_goes_back_and_ends_at_the_whole():
    heard, ticks = reading()
    for message in (tick("s.large", 0, 50, 5), done("s.large", 0, 90, 9), done("s.large", 1, 40, 4)):
        heard.hear(message)
    meter, seen = Meter("dump", 0.0), []
    for at, each in enumerate(ticks):
        meter.hear(each, float(at))
        seen.append(meter.read(float(at)).done)
    assert seen == sorted(seen)
    assert (seen[-1], meter.read(9.0).rows) == (130, 13)


def test_parts_that_are_read_at_once_come_to_the_limit_together():
    heard, _ = reading(limit=10)
    heard.hear(tick("s.large", 0, 1, 6))
    heard.hear(tick("s.small", 0, 1, 1))
    with pytest.raises(LimitExceeded, match=r"comes to 11 rows so far, its limit is 10: the largest table is s\.large"):
        heard.hear(tick("s.large", 1, 1, 4))


def test_a_part_that_is_done_is_not_counted_twice():
    heard, _ = reading(limit=10)
    heard.hear(tick("s.large", 0, 50, 6))
    heard.hear(done("s.large", 0, 90, 9))
    heard.hear(done("s.large", 1, 10, 1))


def test_a_worker_s_death_names_the_part_where_there_are_several():
    heard, _ = reading()
    assert [heard.title(task) for task in TASKS] == ["s.small", "s.large part 0 of 2", "s.large part 1 of 2"]
