"""Dagster's partitions and the engine's dates are the same days, in every timezone we could think of."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from dagster._core.definitions.partitions.context import partition_loading_context

from egress_assets.engine.partition import Calendar
from egress_assets.partitions import daily

# (zone, a day with 23 or 25 hours, or whose midnight does not exist or comes twice)
TURNS = [
    ("Europe/London", "2026-03-29"),
    ("Europe/London", "2026-10-25"),
    ("America/New_York", "2026-03-08"),
    ("America/New_York", "2026-11-01"),
    ("America/Sao_Paulo", "2018-11-04"),  # no midnight
    ("America/Sao_Paulo", "2018-02-18"),  # two midnights
    ("Asia/Beirut", "2023-03-30"),
    ("Africa/Cairo", "2024-04-26"),  # no midnight
    ("Australia/Lord_Howe", "2026-04-05"),  # half an hour
    ("Asia/Kolkata", "2026-06-01"),
    ("UTC", "2026-02-28"),
]


def calendar(zone: str, start: str, label: Any = "data_day") -> Calendar:
    return Calendar(ZoneInfo(zone), date.fromisoformat(start), label)


@pytest.mark.parametrize(("zone", "turn"), TURNS)
def test_a_days_bounds_are_the_engines(zone: str, turn: str):
    day = date.fromisoformat(turn)
    days = [(day + timedelta(days=n)).isoformat() for n in range(-2, 3)]
    ours = calendar(zone, days[0])
    theirs = daily(ours)
    for each in days:
        window = theirs.time_window_for_partition_key(each)
        assert (window.start.astimezone(UTC), window.end.astimezone(UTC)) == ours.bounds(each)


@pytest.mark.parametrize("label", ["data_day", "run_day"])
@pytest.mark.parametrize(("zone", "turn"), TURNS)
def test_the_newest_partition_is_the_engines_last_complete_date_at_every_half_hour(zone: str, turn: str, label: str):
    day = date.fromisoformat(turn)
    ours = calendar(zone, (day - timedelta(days=3)).isoformat(), label)
    theirs = daily(ours)
    first = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(days=1)
    for n in range(3 * 48):
        at = first + timedelta(minutes=30 * n)
        with partition_loading_context(effective_dt=at):
            assert theirs.get_last_partition_key() == ours.last_complete(at), at


def test_dates_before_the_start_are_no_partitions():
    ours = calendar("Europe/London", "2026-03-01")
    at = datetime(2026, 3, 20, 12, tzinfo=UTC)
    with partition_loading_context(effective_dt=at):
        keys = daily(ours).get_partition_keys()
    assert (keys[0], keys[-1]) == ("2026-03-01", "2026-03-19")
    assert all(ours.known(key, at) for key in keys)
    assert not ours.known("2026-02-28", at)
