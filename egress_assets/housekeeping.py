"""A daily job: what dead runs left is removed, receipts get into the ledger, Dagster's own record is pruned."""

from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from egress_assets import failures, running
from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.errors import CatalogError, StoreError
from egress_assets.progress import Progress
from egress_assets.stages import certifying

if TYPE_CHECKING:
    from egress_assets.engine.housekeeping import Kept

AT = time(4, 40)  # in the catalog's timezone: after the night's chains, before people come
NAMED = 10  # failures in the error; the log has all
DAYS = 30  # after which the details of a run go


def schedule(catalog: Catalog) -> dg.ScheduleDefinition:
    """The job `housekeeping`, every day. Safe beside any run, so it takes part in no queue of a dataset."""
    needed = {f"store_{name}" for name in catalog.endpoints.stores} | certifying(catalog)

    @dg.op(required_resource_keys=needed, pool="housekeeping")
    def sweep(context: dg.OpExecutionContext) -> None:
        from egress_assets.engine.housekeeping import keep_house

        with failures.told(context):
            with Progress("housekeeping") as on:
                kept = keep_house(running.platform(context.resources, catalog), on=on)
            _tell(context, kept)

    @dg.job(name="housekeeping", description="Remove what dead runs left, close the ledger, prune the event log.")
    def housekeeping() -> None:
        sweep()
        prune_event_log()  # needs nothing of the other, so neither stops the other

    return dg.ScheduleDefinition(
        name="housekeeping_daily",
        job=housekeeping,
        cron_schedule=f"{AT.minute} {AT.hour} * * *",
        execution_timezone=catalog.endpoints.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )


@dg.op(
    config_schema={"days": dg.Field(int, default_value=DAYS, description="How old a run's details get.")},
    pool="housekeeping",
)
def prune_event_log(context: dg.OpExecutionContext) -> None:
    """Details of old runs and their captured output are removed from Dagster's record."""
    with failures.told(context):
        from egress_assets import pruning  # it loads Dagster's storage, 0.4 s of CPU

        days = context.op_config["days"]
        if days < 1:
            raise CatalogError(f"`days` is {days}, which prunes what was written just now", hint="Give 1 or more.")
        done = pruning.prune(context.instance, before=datetime.now(UTC) - timedelta(days=days))
        context.add_output_metadata({name: getattr(done, name) for name in pruning.Pruned.__slots__})


def _tell(context: dg.OpExecutionContext, kept: "Kept") -> None:
    """Raises StoreError when some dates could not be swept; the others were."""
    told: dict[str, Any] = {
        name: getattr(kept, name) for name in ("looked_at", "attempts", "objects", "uploads", "certificates")
    }
    context.add_output_metadata(told)
    if kept.failed:
        raise StoreError(
            f"{len(kept.failed)} of {kept.looked_at} dates could not be swept: {'; '.join(kept.failed[:NAMED])}",
            hint="The others were. What is left over is invisible to every reader and is tried again tomorrow; "
            "`egress check --live` tells which store does not answer.",
        )
