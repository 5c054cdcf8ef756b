"""Flags: what is started, once, and what a tick survives."""

import json
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from egress_assets.definitions import build
from egress_assets.engine.catalog.models import Catalog, WatchModel
from egress_assets.engine.errors import CatalogError, StoreUnavailable
from egress_assets.engine.partition import Calendar
from egress_assets.engine.stores import Head
from egress_assets.partitions import daily
from sensors import arrivals
from sensors.arrivals import WINDOW, Flag, decide, keys, window

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
CALENDAR = Calendar(ZoneInfo("Europe/London"), date(2026, 3, 1))
PATTERN = "in/{date:%Y-%m-%d}/pipeline_success.flag"


def flag(day: str, etag: str = "e1", at: datetime = NOON) -> Flag:
    return Flag(day, "inbox", PATTERN.format(date=date.fromisoformat(day)), etag, at)


# ------------------------------------------------------------------------------------------------------ what is decided
def test_a_flag_starts_its_date_once():
    first = decide(None, [flag("2026-11-19")], CALENDAR, NOON)
    assert list(first.start) == ["2026-11-19"]
    assert decide(first.cursor, [flag("2026-11-19")], CALENDAR, NOON).start == {}


@pytest.mark.parametrize("other", [flag("2026-11-19", etag="e2"), flag("2026-11-19", at=NOON + timedelta(seconds=1))])
def test_a_replaced_flag_starts_its_date_again_with_another_run_key(other: Flag):
    first = decide(None, [flag("2026-11-19")], CALENDAR, NOON)
    again = decide(first.cursor, [other], CALENDAR, NOON)
    assert list(again.start) == ["2026-11-19"]
    assert again.start != first.start


def test_two_flags_written_in_the_same_second_are_both_seen_whichever_tick_finds_them():
    first = decide(None, [flag("2026-11-19")], CALENDAR, NOON)
    second = decide(first.cursor, [flag("2026-11-18"), flag("2026-11-19")], CALENDAR, NOON)
    assert list(second.start) == ["2026-11-18"]


def test_a_late_flag_of_an_old_date_is_seen_though_newer_ones_were_first():
    first = decide(None, [flag("2026-11-19")], CALENDAR, NOON)
    old = flag("2026-10-20", at=NOON - timedelta(days=3))
    assert list(decide(first.cursor, [old, flag("2026-11-19")], CALENDAR, NOON).start) == ["2026-10-20"]


def test_a_flag_ahead_of_its_partition_waits_and_then_starts_it():
    early = decide(None, [flag("2026-11-20")], CALENDAR, NOON)
    assert (early.start, early.early) == ({}, ["2026-11-20"])
    tomorrow = decide(early.cursor, [flag("2026-11-20")], CALENDAR, NOON + timedelta(days=1))
    assert list(tomorrow.start) == ["2026-11-20"]


@pytest.mark.parametrize("day", ["2026-02-28", "2027-01-01"])
def test_a_date_outside_the_partitions_is_reported_and_never_requested(day: str):
    decision = decide(None, [flag(day), flag("2026-11-19")], CALENDAR, NOON)
    assert list(decision.start) == ["2026-11-19"]
    assert decision.early == [day]


def test_several_flags_of_a_date_are_one_start():
    other = Flag("2026-11-19", "inbox", "other/2026-11-19", "e9", NOON)
    first = decide(None, [flag("2026-11-19"), other], CALENDAR, NOON)
    assert len(first.start) == 1
    assert decide(first.cursor, [other, flag("2026-11-19")], CALENDAR, NOON).start == {}


def test_the_cursor_is_bounded_by_the_window():
    cursor: str | None = None
    for n in range(400):
        at = NOON + timedelta(days=n)
        found = [flag(day.isoformat()) for day in window(CALENDAR, at)]
        cursor = decide(cursor, found, CALENDAR, at).cursor
    assert cursor is not None
    assert len(json.loads(cursor)) < WINDOW
    assert len(cursor) < 40 * WINDOW


@pytest.mark.parametrize("cursor", ["", "not json", "[]", '"x"', "null"])
def test_a_cursor_that_cannot_be_read_is_an_empty_one(cursor: str):
    assert list(decide(cursor, [flag("2026-11-19")], CALENDAR, NOON).start) == ["2026-11-19"]


def test_run_keys_hold_no_object_key():
    (run_key,) = decide(None, [flag("2026-11-19")], CALENDAR, NOON).start.values()
    assert len(run_key) == 64
    assert "flag" not in run_key


def test_whatever_is_started_is_a_partition_of_the_job():
    start = decide(None, [flag(d.isoformat()) for d in window(CALENDAR, NOON)], CALENDAR, NOON).start
    partitions = daily(CALENDAR)
    assert len(start) == WINDOW - 1
    assert all(partitions.has_partition_key(day) for day in start)


# -------------------------------------------------------------------------------------------------------- what is asked
def test_the_window_ends_today_and_never_reaches_before_the_start():
    assert window(CALENDAR, NOON)[0] == date(2026, 11, 20)
    assert len(window(CALENDAR, NOON)) == WINDOW
    assert window(CALENDAR, datetime(2026, 3, 2, 12, tzinfo=UTC)) == [date(2026, 3, 2), date(2026, 3, 1)]


@pytest.mark.parametrize("pattern", ["in/{date:%m-%d}/x", "in/{date:%Y-%m}/x", "in/{date:%A}/x"])
def test_a_pattern_that_is_the_same_for_two_dates_is_refused(pattern: str):
    with pytest.raises(CatalogError, match="the same for two dates"):
        keys(WatchModel(store="inbox", pattern=pattern), [date(2025, 1, 1) + timedelta(days=n) for n in range(800)])


def test_a_pattern_with_other_braces_is_refused():
    with pytest.raises(CatalogError, match="is not a template"):
        keys(WatchModel(store="inbox", pattern="{tenant}/{date:%Y-%m-%d}"), [date(2026, 1, 1)])


# ------------------------------------------------------------------------------------------------------------- the tick
@dataclass
class Inbox:
    """A foreign bucket: what is in it, and whether it answers."""

    objects: dict[str, str] = field(default_factory=dict)  # key -> etag
    down: bool = False
    asked: list[str] = field(default_factory=list)

    def head(self, key: str) -> Head | None:
        self.asked.append(key)
        if self.down and len(self.asked) % 3 == 0:
            raise StoreUnavailable("store inbox does not answer")
        return Head(key, 0, self.objects[key], NOON, NOON) if key in self.objects else None


@pytest.fixture
def inbox(monkeypatch: pytest.MonkeyPatch) -> Inbox:
    found = Inbox()
    monkeypatch.setattr(arrivals, "_store", lambda _context, _name: found)
    monkeypatch.setenv("EGRESS_NOW", NOON.isoformat())
    return found


@pytest.fixture
def tick(catalog: Catalog, instance: dg.DagsterInstance) -> Any:
    defs = build(catalog)
    sensor = defs.resolve_sensor_def("shop_arrivals")

    def evaluate(cursor: str | None) -> Any:
        context = dg.build_sensor_context(
            instance=instance, cursor=cursor, repository_def=defs.get_repository_def(), sensor_name="shop_arrivals"
        )
        with context:
            return sensor.evaluate_tick(context)

    return evaluate


def test_a_tick_requests_one_run_a_date_with_its_tags(tick, inbox: Inbox):
    inbox.objects = {PATTERN.format(date=date(2026, 11, day)): "e" for day in (17, 18, 19)}
    data = tick(None)
    assert [r.partition_key for r in data.run_requests] == ["2026-11-17", "2026-11-18", "2026-11-19"]
    assert all(r.tags["egress/work"] == f"shop:{r.partition_key}" for r in data.run_requests)
    assert len({r.run_key for r in data.run_requests}) == 3
    assert tick(data.cursor).run_requests == []


def test_a_poison_key_does_not_stop_the_others(tick, inbox: Inbox):
    inbox.objects = {
        "in/2026-02-30/pipeline_success.flag": "e",
        "in/tomorrow/pipeline_success.flag": "e",
        "in/2026-11-20/pipeline_success.flag": "e",  # before its partition
        "in/1999-01-01/pipeline_success.flag": "e",
        "in/2026-11-19/pipeline_success.flag": "e",
    }
    assert [r.partition_key for r in tick(None).run_requests] == ["2026-11-19"]


def test_a_store_that_fails_fails_the_tick_and_leaves_the_cursor(tick, inbox: Inbox):
    inbox.objects = {PATTERN.format(date=date(2026, 11, 19)): "e"}
    cursor = tick(None).cursor
    inbox.down = True
    with pytest.raises(StoreUnavailable):  # the daemon keeps the cursor of a tick that raises
        tick(cursor)
    inbox.down = False
    assert tick(cursor).run_requests == []


def test_a_tick_asks_for_flags_alone_whatever_else_is_in_the_bucket(tick, inbox: Inbox):
    tick(None)
    assert len(inbox.asked) == WINDOW
    assert {key.rpartition("/")[2] for key in inbox.asked} == {"pipeline_success.flag"}
