"""Dagster's days and the engine's are the same: same keys and bounds, in every zone, around every change of clocks."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from egress_assets.engine.partition import Calendar
from egress_assets.partitions import daily

ZONES = ["UTC", "Europe/London", "America/New_York", "America/Sao_Paulo", "Australia/Lord_Howe", "Africa/Cairo",
         "Asia/Beirut", "Asia/Kathmandu", "America/Havana"]  # fmt: skip


def calendar(zone: str, label: str = "data_day", start: date = date(2018, 1, 1)) -> Calendar:
    return Calendar(ZoneInfo(zone), start, label)  # type: ignore[arg-type]


@pytest.mark.parametrize("zone", ZONES)
def test_bounds_of_every_day_of_two_years_are_dagsters(zone: str) -> None:
    """2018 has Sao Paulo's last missing midnight (4 November), 2026 the rules of today."""
    days = calendar(zone)
    definition = daily(days)
    for first, last in (("2018-01-02", "2018-12-31"), ("2026-01-01", "2026-12-31")):
        for day in days.dates(first, last):
            window = definition.time_window_for_partition_key(day)
            assert (window.start.astimezone(UTC), window.end.astimezone(UTC)) == days.bounds(day), day


@pytest.mark.parametrize("label", ["data_day", "run_day"])
@pytest.mark.parametrize("zone", ["Europe/London", "America/Sao_Paulo", "Australia/Lord_Howe"])
@pytest.mark.parametrize("moment", ["2026-11-20T00:30", "2026-11-20T13:30", "2026-11-20T23:30", "2026-03-29T00:30"])
def test_the_last_partition_is_dagsters(label: str, zone: str, moment: str) -> None:
    at = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    days = calendar(zone, label, date(2026, 3, 1))
    keys = daily(days).get_partition_keys(current_time=at)
    assert (keys[0], keys[-1]) == ("2026-03-01", days.last_complete(at))
    assert isinstance(daily(days), dg.DailyPartitionsDefinition)
    assert all(days.known(key, at) for key in keys)
