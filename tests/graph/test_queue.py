"""What the queue lets go next, by the limits that we ship: a dataset in trouble holds up no other."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.storage.dagster_run import DagsterRunStatus
from dagster._core.test_utils import create_run_for_test
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from egress_assets.schedules import work_tags

ROOT = Path(__file__).resolve().parents[2]
ORIGIN = RemoteJobOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("egress"), "__repository__"), "shop")
A_DATASET = {"local": 2, "cluster": 5}


class Queue:
    """Runs as the coordinator leaves them, and what the daemon would launch in its next iteration."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance

    def put(self, dataset: str, date: str, status: DagsterRunStatus = DagsterRunStatus.QUEUED) -> dg.DagsterRun:
        tags = dict(work_tags(dataset, date))
        return create_run_for_test(self.instance, dataset, status=status, tags=tags, remote_job_origin=ORIGIN)

    def next(self) -> list[str]:
        with QueuedRunCoordinatorDaemon(interval_seconds=1) as daemon:
            runs = daemon._get_runs_to_dequeue(self.instance, self.instance.get_concurrency_config(), None)
        return [run.tags["egress/work"] for run in runs]


@pytest.fixture(params=A_DATASET)
def queue(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    said = yaml.safe_load(((ROOT if request.param == "local" else ROOT / "deploy") / "dagster.yaml").read_text())
    overrides = {key: said[key] for key in ("run_coordinator", "concurrency")}
    with dg.instance_for_test(overrides=overrides, temp_dir=str(tmp_path)) as instance:
        made = Queue(instance)
        made.a_dataset = A_DATASET[request.param]  # type: ignore[attr-defined]
        yield made


def test_a_date_whose_run_hangs_waits_and_other_datasets_do_not(queue: Queue):
    queue.put("shop", "2026-11-10", DagsterRunStatus.STARTED)
    queue.put("shop", "2026-11-10")  # its retry, or somebody's second click
    queue.put("events", "2026-11-10")
    assert queue.next() == ["events:2026-11-10"]


def test_a_retry_goes_when_the_failed_run_has_ended(queue: Queue):
    queue.put("shop", "2026-11-10", DagsterRunStatus.FAILURE)
    queue.put("shop", "2026-11-10")
    assert queue.next() == ["shop:2026-11-10"]


def test_a_backfill_that_came_first_leaves_slots_for_the_other_datasets(queue: Any):
    for day in range(1, 31):
        queue.put("shop", f"2026-10-{day:02d}")
    queue.put("events", "2026-11-10")
    going = queue.next()
    assert going.count("events:2026-11-10") == 1
    assert len(going) == queue.a_dataset + 1


def test_runs_of_one_dataset_that_hang_never_take_all_slots(queue: Any):
    for day in range(1, queue.a_dataset + 1):
        queue.put("shop", f"2026-10-{day:02d}", DagsterRunStatus.STARTED)
    queue.put("shop", "2026-10-30")
    queue.put("events", "2026-11-10")
    assert queue.next() == ["events:2026-11-10"]


def test_two_ranges_of_a_dataset_go_one_after_the_other(queue: Queue):
    queue.put("shop", "range", DagsterRunStatus.STARTED)
    queue.put("shop", "range")
    queue.put("events", "range")
    assert queue.next() == ["events:range"]


def test_what_has_no_dataset_is_held_up_by_none(queue: Any):
    """Housekeeping, observations of sources."""
    for day in range(1, queue.a_dataset + 1):
        queue.put("shop", f"2026-10-{day:02d}", DagsterRunStatus.STARTED)
    tags = {"egress/work": "none"}
    create_run_for_test(
        queue.instance, "housekeeping", status=DagsterRunStatus.QUEUED, tags=tags, remote_job_origin=ORIGIN
    )
    assert queue.next() == ["none"]
