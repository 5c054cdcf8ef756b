"""Quiet hours: the wall clock's, over midnight, on days of 23 and 25 hours."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egress_assets.engine.quiet import AHEAD, minutes, quiet_until

LONDON, ZERO = ZoneInfo("Europe/London"), ZoneInfo("UTC")
CLOCKS = st.builds("{:02d}:{:02d}".format, st.integers(0, 23), st.integers(0, 59))
SPANS = st.builds("{}-{}".format, CLOCKS, CLOCKS).filter(lambda span: span[:5] != span[6:])
BOUNDS = datetime(2026, 1, 1), datetime(2027, 12, 31)  # noqa: DTZ001 - hypothesis wants them naive
MOMENTS = st.datetimes(*BOUNDS, timezones=st.just(UTC))


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("hours", "at", "until"),
    [
        (["08:00-18:00"], "2026-11-20T07:59:59Z", None),
        (["08:00-18:00"], "2026-11-20T08:00:00Z", "2026-11-20T18:00:00Z"),
        (["08:00-18:00"], "2026-11-20T18:00:00Z", None),
        (["22:00-06:00"], "2026-11-20T23:00:00Z", "2026-11-21T06:00:00Z"),
        (["22:00-06:00"], "2026-11-21T05:59:59Z", "2026-11-21T06:00:00Z"),
        (["22:00-06:00"], "2026-11-21T12:00:00Z", None),
        (["08:00-12:00", "12:00-18:00"], "2026-11-20T09:00:00Z", "2026-11-20T18:00:00Z"),
        (["08:00-12:00", "10:00-11:00"], "2026-11-20T10:30:00Z", "2026-11-20T12:00:00Z"),
        (["20:00-00:00", "00:00-04:00"], "2026-11-20T21:00:00Z", "2026-11-21T04:00:00Z"),
        ([], "2026-11-20T09:00:00Z", None),
        (["08:00-18:00"], "2026-07-01T07:30:00Z", "2026-07-01T17:00:00Z"),  # summer: an hour earlier
        (["00:30-01:30"], "2026-03-29T00:45:00Z", "2026-03-29T01:00:00Z"),  # the clock jumps over the end
        (["01:00-02:00"], "2026-03-29T01:00:00Z", None),  # this hour does not exist
        (["00:30-01:30"], "2026-10-25T00:45:00Z", "2026-10-25T01:30:00Z"),  # 01:45 for the first time
        (["01:15-03:00"], "2026-10-25T00:20:00Z", "2026-10-25T03:00:00Z"),  # 01:20 for the first time
        (["08:00-18:00"], "2026-11-20T10:00:00+02:00", "2026-11-20T18:00:00Z"),
    ],
)
def test_a_moment_lies_in_quiet_hours_until_the_wall_clock_says_otherwise(
    hours: list[str], at: str, until: str | None
) -> None:
    assert quiet_until(hours, moment(at), LONDON) == (moment(until) if until else None)


@given(st.lists(SPANS, max_size=3), MOMENTS)
def test_without_summer_time_it_is_the_clock_alone(hours: list[str], at: datetime) -> None:
    assert (quiet_until(hours, at, ZERO) is not None) == any(_shows(span, at) for span in hours)


@given(st.lists(SPANS, max_size=3), MOMENTS)
def test_whatever_the_wall_clock_calls_quiet_is_quiet(hours: list[str], at: datetime) -> None:
    if any(_shows(span, at.astimezone(LONDON)) for span in hours):
        assert quiet_until(hours, at, LONDON) is not None


@given(st.lists(SPANS, max_size=3), MOMENTS)
def test_quiet_ends_later_and_then_it_is_not_quiet(hours: list[str], at: datetime) -> None:
    until = quiet_until(hours, at, LONDON)
    if until is not None:
        assert at < until <= at + AHEAD
        assert quiet_until(hours, until, LONDON) is None or until == at + AHEAD


@given(SPANS, MOMENTS)
def test_every_moment_before_the_end_is_quiet_too(span: str, at: datetime) -> None:
    until = quiet_until([span], at, LONDON)
    if until is not None:
        assert quiet_until([span], at + (until - at) / 2, LONDON) == until


@pytest.mark.parametrize("hours", [["00:00-00:00"], ["00:00-12:00", "12:00-00:00"]])
def test_quiet_that_never_ends_is_said_to_end_far_ahead(hours: list[str]) -> None:
    at = moment("2026-11-20T09:00:00Z")
    assert quiet_until(hours, at, LONDON) == at + AHEAD


def test_hours_are_minutes_after_midnight() -> None:
    assert minutes("22:00-06:30") == (1320, 390)
    assert minutes("00:00-23:59") == (0, 23 * 60 + 59)


def _shows(span: str, at: datetime) -> bool:
    start, end = minutes(span)
    shown = at.hour * 60 + at.minute
    return start <= shown < end if start < end else shown >= start or shown < end
