"""A daily job over evidence and stores: what dead runs left is removed, their receipts get into the ledger."""

from datetime import time
from typing import Any

import dagster as dg

from egress_assets import failures, running
from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.errors import EgressError

AT = time(4, 40)  # in the catalog's timezone: after the night's chains, before people come


def schedule(catalog: Catalog) -> dg.ScheduleDefinition:
    """The job `housekeeping`, every day. Safe beside any run, so it takes part in no queue of a dataset."""

    @dg.op(required_resource_keys={f"store_{name}" for name in catalog.endpoints.stores}, pool="housekeeping")
    def sweep(context: dg.OpExecutionContext) -> None:
        from egress_assets.engine.housekeeping import keep_house

        try:
            kept = keep_house(running.platform(context.resources, catalog), on=running.Progress("housekeeping"))
        except EgressError as error:
            raise failures.failure(error) from error
        told: dict[str, Any] = {name: getattr(kept, name) for name in ("looked_at", "attempts", "objects", "uploads")}
        context.add_output_metadata(told)
        if kept.failed:
            raise dg.Failure("some dates could not be swept", metadata={"failed": "\n".join(kept.failed)})

    @dg.job(name="housekeeping", description="Remove what dead runs left, close the ledger.")
    def housekeeping() -> None:
        sweep()

    return dg.ScheduleDefinition(
        name="housekeeping_daily",
        job=housekeeping,
        cron_schedule=f"{AT.minute} {AT.hour} * * *",
        execution_timezone=catalog.endpoints.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
