"""The run queue, which tags every run with what it works on, however it was started.

Job partitions bring their tags along; asset backfills, automation, the UI's asset runs and a raw launchRun do not.
dagster.yaml names this class as the run coordinator, so it has to be importable by webserver and daemon, and it
imports no catalog: a dataset is the group of its assets in the loaded code location.
"""

from dagster._core.run_coordinator.base import SubmitRunContext
from dagster._core.run_coordinator.queued_run_coordinator import QueuedRunCoordinator
from dagster._core.storage.dagster_run import DagsterRun
from dagster._core.storage.tags import PARTITION_NAME_TAG

from egress_assets.automation import WHOLE
from egress_assets.schedules import RANGE, work_tags
from egress_assets.stages import STAGE


class TaggingRunCoordinator(QueuedRunCoordinator):
    """A QueuedRunCoordinator with `egress/work` and `egress/dataset` on every run that works on a dataset's dates, and
    `egress/whole` on runs of whole jobs. A range says itself whether it is whole: that is in its configuration.
    """

    def submit_run(self, context: SubmitRunContext) -> DagsterRun:
        run = context.dagster_run
        tags = {name: value for name, value in tags_of(run, context).items() if name not in run.tags}
        if tags:
            self._instance.add_run_tags(run.run_id, tags)
            context = context._replace(dagster_run=run.with_tags({**run.tags, **tags}))
        return super().submit_run(context)


def tags_of(run: DagsterRun, context: SubmitRunContext) -> dict[str, str]:
    """What the queue and the automation conditions want to know of a run."""
    if RANGE in run.tags:
        return dict(work_tags(run.tags[RANGE], "range"))
    whole = not run.asset_selection and not run.job_name.startswith("__")
    datasets = {run.job_name} if whole else _datasets(run, context)
    date = run.tags.get(PARTITION_NAME_TAG)
    work = work_tags(datasets.pop(), date) if date and len(datasets) == 1 else {}
    return {**work, **({WHOLE: "yes"} if whole else {})}


def _datasets(run: DagsterRun, context: SubmitRunContext) -> set[str]:
    """Groups of the run's assets, as far as they are ours: an instance may have other code locations."""
    graph = context.workspace.asset_graph
    nodes = [graph.get(key) for key in run.asset_selection or () if graph.has(key)]
    return {node.group_name for node in nodes if STAGE in node.tags and node.group_name}
