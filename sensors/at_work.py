"""What Dagster works on or has queued, by dataset and date: sensors that look at evidence leave it alone."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import dagster as dg
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)

from egress_assets.schedules import RANGE, WORK
from egress_assets.stages import Stage

ANY = ""
"""The date of a run over many dates: all of the dataset's."""
_UNFINISHED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


@dataclass(frozen=True, slots=True)
class Busy:
    """(dataset, date) that somebody works on; a date of ANY stands for all of the dataset's."""

    works: frozenset[tuple[str, str]] = frozenset()

    def __contains__(self, work: object) -> bool:
        return isinstance(work, tuple) and (work in self.works or (work[0], ANY) in self.works)

    def also(self, works: Iterable[tuple[str, str]]) -> "Busy":
        return Busy(self.works | frozenset(works))


def at_work(instance: dg.DagsterInstance, graph: Iterable[Stage]) -> Busy:
    """What runs that have not ended work on. One query; there are as many of them as the queue holds."""
    datasets = {key: stage.dataset for stage in graph for key in stage.keys.values()}
    runs = instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED))
    return Busy(frozenset(work for run in runs for work in _of(run, datasets)))


def _of(run: dg.DagsterRun, datasets: Mapping[dg.AssetKey, str]) -> Iterator[tuple[str, str]]:
    own = {datasets[key] for key in run.asset_selection or () if key in datasets} or {run.job_name}
    dataset, _, date = run.tags.get(WORK, "").partition(":")
    if RANGE in run.tags:
        yield run.tags[RANGE], ANY
    elif {ASSET_PARTITION_RANGE_START_TAG, ASSET_PARTITION_RANGE_END_TAG} <= run.tags.keys():
        yield from ((each, ANY) for each in own)
    elif dataset:
        yield dataset, date
    elif PARTITION_NAME_TAG in run.tags:  # of a process that knows no queue
        yield from ((each, run.tags[PARTITION_NAME_TAG]) for each in own)
