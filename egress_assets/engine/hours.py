"""When a date's run begins and when it is late, from the catalog alone."""

from __future__ import annotations

from datetime import date as day_type
from datetime import datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.layout import Unit
from egress_assets.engine.partition import instant, parse_date

LATE_AFTER = timedelta(hours=1)  # of the schedule, where no SLA says more


def due(catalog: Catalog, dataset: str, date: str) -> datetime | None:
    """When the schedule starts the date, UTC; None where there is none."""
    schedule = catalog.dataset(dataset).schedule
    return _at(catalog, dataset, date, schedule) if schedule else None


def late(catalog: Catalog, dataset: str, date: str, unit: Unit) -> datetime | None:
    """When the unit is late, UTC: its recipient's SLA, else the dataset's, else an hour after the schedule."""
    model = catalog.dataset(dataset)
    recipient = catalog.endpoints.recipients.get(unit.names[0]) if unit.stage == "delivery" else None
    sla = (recipient.sla if recipient else None) or model.sla
    if sla is None:
        begins = due(catalog, dataset, date)
        return begins + LATE_AFTER if begins else None
    after = model.schedule is not None and sla <= model.schedule  # before the run begins: the next day's hour is meant
    return _at(catalog, dataset, date, sla, days=int(after))


def _at(catalog: Catalog, dataset: str, date: str, clock: str, *, days: int = 0) -> datetime:
    """`clock` on the day of the date's run, or some days after."""
    calendar = catalog.calendar(dataset)
    day = parse_date(date) + timedelta(days=(calendar.label == "data_day") + days)
    return _instant(day, clock, calendar.zone)


@lru_cache(maxsize=8192)
def _instant(day: day_type, clock: str, zone: ZoneInfo) -> datetime:
    """Kept: who looks again and again asks for the same hours of the same dates, 0.05 ms each."""
    return instant(day, time.fromisoformat(clock), zone)
