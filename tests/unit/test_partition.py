"""Days as the wall clock counts them: 23 to 25 hours, missing midnights, and one clock for everybody."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egress_assets.engine.errors import CatalogError, HistoryUnavailable
from egress_assets.engine.partition import Calendar, instant, now, parse_date


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def calendar(zone: str = "Europe/London", **fields: object) -> Calendar:
    return Calendar(ZoneInfo(zone), date(2018, 1, 1), **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("zone", "day", "start", "end"),
    [
        ("UTC", "2026-11-20", "2026-11-20T00:00+00:00", "2026-11-21T00:00+00:00"),
        ("Europe/London", "2026-07-01", "2026-06-30T23:00+00:00", "2026-07-01T23:00+00:00"),
        ("Europe/London", "2026-03-29", "2026-03-29T00:00+00:00", "2026-03-29T23:00+00:00"),  # 23 h
        ("Europe/London", "2026-10-25", "2026-10-24T23:00+00:00", "2026-10-26T00:00+00:00"),  # 25 h
        ("America/Sao_Paulo", "2018-11-03", "2018-11-03T03:00+00:00", "2018-11-04T03:00+00:00"),
        ("America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00+00:00", "2018-11-05T02:00+00:00"),  # no midnight
        ("Australia/Lord_Howe", "2026-04-05", "2026-04-04T13:00+00:00", "2026-04-05T13:30+00:00"),  # 24.5 h
        ("Australia/Lord_Howe", "2026-10-04", "2026-10-03T13:30+00:00", "2026-10-04T13:00+00:00"),  # 23.5 h
        (
            "America/Havana",
            "2026-11-01",
            "2026-11-01T04:00+00:00",
            "2026-11-02T05:00+00:00",
        ),  # midnight twice
        ("Pacific/Apia", "2011-12-30", "2011-12-30T10:00+00:00", "2011-12-30T10:00+00:00"),  # a day that never was
    ],
)
def test_a_day_lasts_from_its_first_instant_to_the_next_days(zone: str, day: str, start: str, end: str) -> None:
    assert calendar(zone).bounds(day) == (at(start), at(end))


@given(
    zone=st.sampled_from(["Europe/London", "America/Sao_Paulo", "Australia/Lord_Howe", "Africa/Cairo", "Asia/Beirut"]),
    day=st.dates(date(2000, 1, 1), date(2030, 12, 31)),
)
def test_days_follow_each_other_without_gap_or_overlap(zone: str, day: date) -> None:
    days = calendar(zone)
    start, end = days.bounds(day.isoformat())
    assert end == days.bounds((day + timedelta(days=1)).isoformat())[0]
    assert timedelta(hours=22) < end - start < timedelta(hours=26)
    assert start.astimezone(ZoneInfo(zone)).date() == day


def test_a_wall_clock_that_is_skipped_is_the_next_one_that_exists() -> None:
    london = ZoneInfo("Europe/London")
    assert instant(date(2026, 3, 29), time(1, 30), london) == at("2026-03-29T01:00+00:00")
    assert instant(date(2026, 10, 25), time(1, 30), london) == at("2026-10-25T00:30+00:00")  # doubled: the first


@pytest.mark.parametrize(
    ("label", "moment", "last"),
    [
        ("data_day", "2026-11-20T00:30+00:00", "2026-11-19"),
        ("run_day", "2026-11-20T00:30+00:00", "2026-11-20"),
        ("data_day", "2026-07-01T23:30+00:00", "2026-07-01"),  # it is the 2nd in London already
        ("run_day", "2026-07-01T23:30+00:00", "2026-07-02"),
    ],
)
def test_the_last_partition_is_yesterday_or_by_run_day_today(label: str, moment: str, last: str) -> None:
    assert calendar(label=label).last_complete(at(moment)) == last


@pytest.mark.parametrize("day", ["2017-12-31", "2026-11-20", "2027-01-01"])
def test_dates_outside_the_datasets_life_are_refused(day: str) -> None:
    with pytest.raises(CatalogError, match=rf"{day} is outside 2018-01-01 \.\. 2026-11-19"):
        calendar().require_known(day, at("2026-11-20T12:00+00:00"))


def test_a_full_extract_may_stand_for_a_day_until_its_grace_ends() -> None:
    days = calendar(grace=timedelta(hours=36))
    days.require_full_extract("2026-11-18", at("2026-11-20T12:00+00:00"))
    with pytest.raises(HistoryUnavailable, match="1 day, 12:00:01 after the day ended") as caught:
        days.require_full_extract("2026-11-18", at("2026-11-20T12:00:01+00:00"))
    assert "--relabel" in caught.value.hint


@pytest.mark.parametrize("text", ["2026-11-31", "20261120", "2026-1-2", "2026-W01-1", "today", "", "2026-11-20 "])
def test_only_calendar_days_are_dates(text: str) -> None:
    with pytest.raises(CatalogError, match="is not a calendar day"):
        parse_date(text)


def test_dates_are_counted_with_both_ends() -> None:
    assert calendar().dates("2026-02-27", "2026-03-01") == ["2026-02-27", "2026-02-28", "2026-03-01"]
    assert calendar().dates("2026-03-01", "2026-02-27") == []


def test_the_clock_can_be_set_in_the_sandbox_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EGRESS_NOW", "2020-02-29T12:00:00+01:00")
    monkeypatch.delenv("EGRESS_ENV", raising=False)
    assert now() == at("2020-02-29T11:00+00:00")
    monkeypatch.setenv("EGRESS_ENV", "prod")
    assert now().year > 2020
    monkeypatch.setenv("EGRESS_ENV", "sandbox")
    monkeypatch.setenv("EGRESS_NOW", "2020-02-29T12:00:00")
    with pytest.raises(CatalogError, match="without an offset"):
        now()
