"""Hours of the day in which a source is left alone, or read slowly: whether a moment lies in them, and until when.

An interval is of the wall clock of the catalog's timezone. It begins when the clock first shows its start and ends
when the clock shows its end for the last time, so that an hour that comes twice is quiet both times; a time that does
not exist is the next instant that does.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from egress_assets.engine.partition import instant

AHEAD = timedelta(days=8)
"""How far an end is looked for. Hours that never end are refused by `egress check`; this only ends the search."""


def quiet_until(hours: Sequence[str], at: datetime, zone: ZoneInfo) -> datetime | None:
    """When the quiet around `at` (aware) ends, in UTC, or None outside of `hours` (`08:00-18:00`, `22:00-06:00`).

    Ends that meet another interval go on with it. Equal start and end are the whole day. At most AHEAD of `at`.
    """
    moment, limit = at.astimezone(UTC), at.astimezone(UTC) + AHEAD
    while moment < limit and (end := _end(hours, moment, zone)):
        moment = min(end, limit)
    return moment if moment != at else None


def minutes(hours: str) -> tuple[int, int]:
    """`22:00-06:00` as minutes after midnight: (1320, 360)."""
    start, _, end = hours.partition("-")
    return _minute(start), _minute(end)


def _end(hours: Sequence[str], at: datetime, zone: ZoneInfo) -> datetime | None:
    """The latest end among the intervals that hold `at`."""
    today = at.astimezone(zone).date()
    days = (today - timedelta(days=1), today)
    spans = [_span(each, day, zone) for each in hours for day in days]
    return max((end for start, end in spans if start <= at < end), default=None)


def _span(hours: str, day: date, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """[start, end) of the interval that begins on `day`."""
    start, end = minutes(hours)
    last = day + timedelta(days=1) if end <= start else day
    return instant(day, _clock(start), zone), instant(last, _clock(end).replace(fold=1), zone)


def _minute(clock: str) -> int:
    hour, _, minute = clock.partition(":")
    return int(hour) * 60 + int(minute)


def _clock(minute: int) -> time:
    return time(minute // 60, minute % 60)
