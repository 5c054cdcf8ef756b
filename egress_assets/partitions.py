"""Dagster's daily partitions, counted as the engine counts its dates: same timezone, same start, same last date."""

import dagster as dg

from egress_assets.engine.errors import CatalogError
from egress_assets.engine.partition import Calendar, now


def daily(calendar: Calendar) -> dg.DailyPartitionsDefinition:
    """`end_offset` 1 makes today a partition (run_day); 0 makes yesterday the last one (data_day)."""
    return dg.DailyPartitionsDefinition(
        start_date=calendar.start.isoformat(),
        timezone=str(calendar.zone),
        end_offset=1 if calendar.label == "run_day" else 0,
    )


def date_of(context: dg.AssetExecutionContext, calendar: Calendar) -> str:
    """The date that a run is for, checked before any work.

    GraphQL's launchRun accepts any `dagster/partition` tag and Dagster compares it only when an output is yielded,
    which is after the work. Raises CatalogError.
    """
    if not context.has_partition_key:
        hint = "Launch it for one partition, for example 2026-11-20. Many dates: a backfill, or the range job."
        raise CatalogError("the run has no date", hint=hint)
    calendar.require_known(context.partition_key, now())
    return context.partition_key
