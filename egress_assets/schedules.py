"""Jobs and schedules: one job a dataset for the whole chain of one date, started at the dataset's time of day.

One run does dump, scrub, mirror and delivery: a hop by automation costs a tick and a process start, seconds of each.

A date is started once: its run key is the date, which Dagster remembers for ever, also of a run that failed. It comes
from the time that the tick was scheduled for, not from the clock when it is evaluated: a daemon that was down starts
the date that it missed. A time of day that a change of clocks skips is a tick at the next one that exists; one that
comes twice is one tick.

Catching up: after an outage Dagster evaluates the last missed tick alone. The dates before it, and those whose run
failed, are seen by the reconcile sensor, which asks evidence and not Dagster what lacks; or a person starts the range
job, which does nothing for dates that are there.
"""

from collections.abc import Mapping, Sequence

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition as Job

from egress_assets import partitions
from egress_assets.engine.catalog.models import Catalog
from egress_assets.stages import Stage

WORK = "egress/work"
"""Tag `<dataset>:<date>`: the queue runs one of a value at a time. Politeness; the guard is the engine's."""

DATASET = "egress/dataset"
"""Tag of a run that works on one dataset's dates: the queue lets none of them have all of its slots."""

RANGE = "egress/range"
"""Tag of a range job: the dataset whose dates it works on, one range at a time."""


def jobs(catalog: Catalog, stages: Sequence[Stage]) -> Mapping[str, Job]:
    """One job a dataset, named like it. A dataset that only describes tables for others has none."""
    own = {dataset: [stage for stage in stages if stage.dataset == dataset] for dataset in catalog.datasets}
    return {dataset: job(catalog, dataset, chain) for dataset, chain in own.items() if chain}


def job(catalog: Catalog, dataset: str, chain: Sequence[Stage]) -> Job:
    """All assets of the dataset for one date, in one process: a process a step costs 3 s, stages parallelise inside."""
    return dg.define_asset_job(
        dataset,
        selection=dg.AssetSelection.assets(*(key for stage in chain for key in stage.keys.values())),
        description=f"The whole chain of {dataset} for one date.",
        config=dg.PartitionedConfig(
            partitions_def=partitions.daily(catalog.calendar(dataset)),
            run_config_for_partition_key_fn=_no_config,
            tags_for_partition_key_fn=lambda date: work_tags(dataset, date),
        ),
        executor_def=dg.in_process_executor,
    )


def schedule(catalog: Catalog, dataset: str, job: Job) -> dg.ScheduleDefinition | None:
    """Start the job every day at the dataset's `schedule`, for the newest date that is complete by then."""
    at = catalog.dataset(dataset).schedule
    if at is None:
        return None
    calendar = catalog.calendar(dataset)
    hour, minute = at.split(":")

    def newest(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        date = calendar.last_complete(context.scheduled_execution_time)
        if not calendar.known(date, context.scheduled_execution_time):
            return dg.SkipReason(f"{dataset} starts on {calendar.start}, {date} is before it")
        return dg.RunRequest(run_key=date, partition_key=date)  # a run key a date: a doubled hour is one run

    return dg.ScheduleDefinition(
        name=f"{dataset}_daily",
        job=job,
        cron_schedule=f"{int(minute)} {int(hour)} * * *",
        execution_timezone=catalog.endpoints.timezone,
        execution_fn=newest,
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )


def work_tags(dataset: str, date: str) -> Mapping[str, str]:
    """What the queue has to know of a run; `date` is `range` for one over many dates."""
    return {WORK: f"{dataset}:{date}", DATASET: dataset}


def _no_config(_date: str) -> Mapping[str, object]:
    return {}
