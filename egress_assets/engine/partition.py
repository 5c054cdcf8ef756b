"""Dates: which day a run is for, when that day is complete, and the platform's only clock.

One timezone a catalog. A partition key is `YYYY-MM-DD`; its bounds are instants found by zoneinfo, so a day has 23,
24 or 25 hours, and a midnight that does not exist is the next instant (as Dagster counts it).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from egress_assets.engine.environment import environment
from egress_assets.engine.errors import CatalogError, HistoryUnavailable

DateLabel = Literal["data_day", "run_day"]


def now() -> datetime:
    """The platform's clock, UTC. `EGRESS_NOW` (ISO 8601 with offset) sets it in the sandbox, nowhere else."""
    said = os.environ.get("EGRESS_NOW")
    if said and environment() == "sandbox":
        return _moment(said)
    return datetime.now(UTC)


def _moment(said: str) -> datetime:
    hint = "Write 2026-11-20T03:00:00+00:00."
    try:
        at = datetime.fromisoformat(said)
    except ValueError:
        raise CatalogError(f"EGRESS_NOW is {said!r}, not a moment", hint=hint) from None
    if at.tzinfo is None:
        raise CatalogError(f"EGRESS_NOW is {said!r}, without an offset", hint=hint)
    return at.astimezone(UTC)


def parse_date(text: str) -> date:
    """A partition key as a date; anything but `YYYY-MM-DD` is a CatalogError."""
    try:
        parsed = date.fromisoformat(text)
    except ValueError:
        parsed = None
    if parsed is None or parsed.isoformat() != text:
        raise CatalogError(
            f"date {text!r} is not a calendar day", hint="Write it as YYYY-MM-DD, for example 2026-11-20."
        )
    return parsed


def instant(day: date, at: time, zone: ZoneInfo) -> datetime:
    """The first instant (UTC) at which the clock on the wall shows `at` of `day`, or the next one that exists."""
    local = datetime.combine(day, at, zone)
    back = local.astimezone(UTC).astimezone(zone)
    if back.replace(tzinfo=None) == local.replace(tzinfo=None):
        return local.astimezone(UTC)
    # A gap: the two offsets around it give an instant on each side; the first wall clock at or after `at` lies between.
    before = local.replace(fold=0).utcoffset() or timedelta(0)
    after = local.replace(fold=1).utcoffset() or timedelta(0)
    low, high = (local.replace(tzinfo=None) - max(before, after)), (local.replace(tzinfo=None) - min(before, after))
    low, high = low.replace(tzinfo=UTC), high.replace(tzinfo=UTC)
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) / 2
        low, high = (
            (low, middle)
            if middle.astimezone(zone).replace(tzinfo=None) >= local.replace(tzinfo=None)
            else (middle, high)
        )
    return high.replace(microsecond=0)


@dataclass(frozen=True, slots=True)
class Calendar:
    """How a dataset's dates are counted."""

    zone: ZoneInfo
    start: date
    label: DateLabel = "data_day"
    grace: timedelta = timedelta(hours=36)

    def bounds(self, day: str) -> tuple[datetime, datetime]:
        """[start, end) of the day, UTC."""
        d = parse_date(day)
        return instant(d, time(0), self.zone), instant(d + timedelta(days=1), time(0), self.zone)

    def last_complete(self, at: datetime) -> str:
        """The newest date whose partition exists at `at`: yesterday for data_day, today for run_day."""
        today = at.astimezone(self.zone).date()
        return (today if self.label == "run_day" else today - timedelta(days=1)).isoformat()

    def known(self, day: str, at: datetime) -> bool:
        """Whether the partition exists: not before `start`, not after `last_complete`."""
        return self.start.isoformat() <= parse_date(day).isoformat() <= self.last_complete(at)

    def require_known(self, day: str, at: datetime) -> None:
        if not self.known(day, at):
            raise CatalogError(
                f"date {day} is outside {self.start.isoformat()} .. {self.last_complete(at)}",
                hint="Dates run from the dataset's `start` to the last complete day in the catalog's timezone.",
            )

    def require_full_extract(self, day: str, at: datetime) -> None:
        """A full extract shows the source as it is now: only a date that `now` can stand for may get it."""
        self.require_known(day, at)
        _, end = self.bounds(day)
        if at > end + self.grace:
            raise HistoryUnavailable(
                f"a full extract of {day} was asked for at {at:%Y-%m-%dT%H:%MZ}, "
                f"{at.replace(microsecond=0) - end} after the day ended",
                hint="The source has its present state only. Extract by `window`, restore a backup and point the "
                "source at it, or take today's state under that date, which is recorded: `egress dump` or "
                f"`egress scrub` with `--date {day} --relabel`.",
            )

    def dates(self, first: str, last: str) -> list[str]:
        a, b = parse_date(first), parse_date(last)
        return [(a + timedelta(days=n)).isoformat() for n in range((b - a).days + 1)]
