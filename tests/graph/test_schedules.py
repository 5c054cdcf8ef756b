"""Each day is started once, for the right date, also on days that have a lost or a doubled hour (S0-9)."""

from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from egress_assets.definitions import build
from egress_assets.engine.catalog.loader import load_catalog
from tests.graph.conftest import ENDPOINTS, SHOP


def schedule_of(defs: dg.Definitions) -> dg.ScheduleDefinition:
    return defs.resolve_schedule_def("shop_daily")


def ticks(schedule: dg.ScheduleDefinition, first: datetime, last: datetime) -> list[datetime]:
    found = []
    for tick in (
        schedule.get_all_cron_ticks(first) if hasattr(schedule, "get_all_cron_ticks") else _ticks(schedule, first)
    ):
        if tick >= last:
            return found
        found.append(tick)
    return found


def _ticks(schedule: dg.ScheduleDefinition, first: datetime):
    from dagster._utils.schedules import schedule_execution_time_iterator

    return schedule_execution_time_iterator(first.timestamp(), schedule.cron_schedule, schedule.execution_timezone)


def dates(defs: dg.Definitions, first: datetime, last: datetime) -> list[str]:
    schedule = schedule_of(defs)
    with dg.DagsterInstance.ephemeral() as instance:
        out = []
        for tick in ticks(schedule, first, last):
            context = dg.build_schedule_context(
                instance=instance, scheduled_execution_time=tick, repository_def=defs.get_repository_def()
            )
            data = schedule.evaluate_tick(context)
            assert len(data.run_requests or []) == 1
            request = (data.run_requests or [])[0]
            assert request.run_key == request.partition_key
            assert request.tags["egress/work"] == f"shop:{request.partition_key}"
            out.append(request.partition_key or "")
        return out


def test_a_lost_time_of_day_is_one_run(defs: dg.Definitions):
    """01:30 does not exist in London on 29 March 2026."""
    got = dates(defs, datetime(2026, 3, 27, 12, tzinfo=UTC), datetime(2026, 3, 31, 12, tzinfo=UTC))
    assert got == ["2026-03-27", "2026-03-28", "2026-03-29", "2026-03-30"]


def test_a_doubled_time_of_day_is_one_run(defs: dg.Definitions):
    """01:30 comes twice in London on 25 October 2026."""
    got = dates(defs, datetime(2026, 10, 23, 12, tzinfo=UTC), datetime(2026, 10, 27, 12, tzinfo=UTC))
    assert got == ["2026-10-23", "2026-10-24", "2026-10-25", "2026-10-26"]


@pytest.mark.parametrize(("label", "date"), [("data_day", "2026-06-14"), ("run_day", "2026-06-15")])
def test_a_run_is_for_the_day_that_the_label_says(tmp_path: Path, engine, label: str, date: str):
    (tmp_path / "endpoints.yaml").write_text(ENDPOINTS)
    (tmp_path / "shop.yaml").write_text(SHOP.replace("owner:", f"date_label: {label}\nowner:"))
    defs = build(load_catalog(tmp_path, env="sandbox"), engine=engine)
    assert dates(defs, datetime(2026, 6, 14, 12, tzinfo=UTC), datetime(2026, 6, 15, 12, tzinfo=UTC)) == [date]


def test_a_tick_that_is_late_is_for_the_date_that_it_was_scheduled_for(defs: dg.Definitions):
    """A daemon that comes back at noon four days later: the wall clock has nothing to say."""
    context = dg.build_schedule_context(
        scheduled_execution_time=datetime(2026, 6, 15, 0, 30, tzinfo=UTC), repository_def=defs.get_repository_def()
    )
    (request,) = schedule_of(defs).evaluate_tick(context).run_requests or []
    assert (request.run_key, request.partition_key) == ("2026-06-14", "2026-06-14")


def test_the_same_date_has_the_same_run_key_whichever_tick_asks(defs: dg.Definitions):
    """Twice the same time of day on 25 October, an hour apart, were Dagster ever to tick at both."""
    keys = set()
    for hour in (0, 1):  # 01:30 BST and 01:30 GMT
        context = dg.build_schedule_context(
            scheduled_execution_time=datetime(2026, 10, 25, hour, 30, tzinfo=UTC),
            repository_def=defs.get_repository_def(),
        )
        (request,) = schedule_of(defs).evaluate_tick(context).run_requests or []
        keys.add(request.run_key)
    assert keys == {"2026-10-24"}


def test_before_the_datasets_start_nothing_runs(defs: dg.Definitions):
    context = dg.build_schedule_context(
        scheduled_execution_time=datetime(2026, 3, 1, 1, 30, tzinfo=UTC), repository_def=defs.get_repository_def()
    )
    data = schedule_of(defs).evaluate_tick(context)
    assert not data.run_requests
    assert "starts on 2026-03-01" in (data.skip_message or "")


def test_schedules_are_on_from_the_start(defs: dg.Definitions):
    assert schedule_of(defs).default_status is dg.DefaultScheduleStatus.RUNNING
