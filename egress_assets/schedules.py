"""Jobs and schedules: one job a dataset for the whole chain of one date, started at the dataset's time of day.

One run does dump, scrub, mirror and delivery: a hop by automation costs a tick and a process start, seconds of each.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition as Job

from egress_assets import partitions
from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.layout import escape, unescape
from egress_assets.engine.partition import Calendar
from egress_assets.stages import Stage

WORK = "egress/work"
"""Tag `<dataset>:<date>`: the queue runs one of a value at a time. Politeness; the guard is the engine's."""
BY_RUN_DAY = "__by_run_day"
"""Ends the name of a dataset's second job; `__` is in no escaped name."""


@dataclass(frozen=True, slots=True)
class Chain:
    """Stages of a dataset that are dated alike, so that one run can do them all."""

    name: str
    dataset: str
    calendar: Calendar
    stages: Sequence[Stage]


def chains(catalog: Catalog, stages: Sequence[Stage]) -> Iterator[Chain]:
    """One chain a dataset, named like it; what is dated otherwise (mirrors of foreign buckets) gets its own."""
    for dataset in catalog.datasets:
        own = [stage for stage in stages if stage.dataset == dataset]
        label = catalog.dataset(dataset).date_label
        for name, alike in (
            (escape(dataset), [stage for stage in own if stage.calendar.label == label]),
            (f"{escape(dataset)}{BY_RUN_DAY}", [stage for stage in own if stage.calendar.label != label]),
        ):
            if alike:
                yield Chain(name, dataset, alike[0].calendar, alike)


def job(chain: Chain) -> Job:
    """All assets of the chain for one date."""
    daily = partitions.daily(chain.calendar)
    return dg.define_asset_job(
        chain.name,
        selection=dg.AssetSelection.assets(*(key for stage in chain.stages for key in stage.keys.values())),
        description=f"The whole chain of {chain.dataset} for one date.",
        config=dg.PartitionedConfig(
            partitions_def=daily,
            run_config_for_partition_key_fn=_no_config,
            tags_for_partition_key_fn=lambda date: work_tag(chain.dataset, date),
        ),
        executor_def=dg.in_process_executor,  # a process a step costs 3 s; stages parallelise inside
    )


def schedule(catalog: Catalog, chain: Chain, job: Job) -> dg.ScheduleDefinition | None:
    """Start the chain every day at the dataset's `schedule`, for the newest date that is complete by then."""
    at = catalog.dataset(chain.dataset).schedule
    if at is None:
        return None
    hour, minute = at.split(":")

    def newest(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        date = chain.calendar.last_complete(context.scheduled_execution_time)
        if not chain.calendar.known(date, context.scheduled_execution_time):
            return dg.SkipReason(f"{chain.dataset} starts on {chain.calendar.start}, {date} is before it")
        return dg.RunRequest(run_key=date, partition_key=date)  # a run key a date: a doubled hour is one run

    return dg.ScheduleDefinition(
        name=f"{chain.name}_daily",
        job=job,
        cron_schedule=f"{int(minute)} {int(hour)} * * *",
        execution_timezone=catalog.endpoints.timezone,
        execution_fn=newest,
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )


def dataset_of(job_name: str) -> str:
    """The dataset whose chain a job is."""
    return unescape(job_name.removesuffix(BY_RUN_DAY))


def work_tag(dataset: str, date: str) -> Mapping[str, str]:
    return {WORK: f"{dataset}:{date}"}


def _no_config(_date: str) -> Mapping[str, object]:
    return {}
