"""Runs that nobody works on any more are failed when the UI starts; those that somebody does are left alone."""

import os
import subprocess
import sys
from collections.abc import Iterator

import dagster as dg
import pytest
from dagster._core.events import EngineEventData

from egress_assets.launch import fail_dead_runs


@dg.op
def nothing() -> None: ...


@dg.job
def empty() -> None:
    nothing()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as found:
        yield found


def started(instance: dg.DagsterInstance, pid: int | None) -> str:
    """A run that says that it runs in that process."""
    run = instance.create_run_for_job(empty, status=dg.DagsterRunStatus.STARTED)
    if pid is not None:
        instance.report_engine_event(f"Started process for run (pid: {pid}).", run, EngineEventData.in_process(pid))
    return run.run_id


def ended() -> int:
    """The number of a process that was and is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def status(instance: dg.DagsterInstance, run_id: str) -> str:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status.value


def test_a_run_whose_process_is_gone_is_failed(instance: dg.DagsterInstance):
    run = started(instance, ended())
    assert fail_dead_runs(instance) == 1
    assert status(instance, run) == "FAILURE"
    assert fail_dead_runs(instance) == 0


def test_a_run_whose_process_lives_is_left_alone(instance: dg.DagsterInstance):
    """It outlives a killed daemon and a killed code server: their silence is not its end."""
    run = started(instance, os.getpid())
    assert fail_dead_runs(instance) == 0
    assert status(instance, run) == "STARTED"


def test_a_process_of_the_same_number_that_began_later_is_somebody_elses(instance: dg.DagsterInstance, monkeypatch):
    run = started(instance, os.getpid())
    monkeypatch.setattr("egress_assets.launch.began_at", lambda _pid: 4e9)
    assert fail_dead_runs(instance) == 1
    assert status(instance, run) == "FAILURE"


def test_a_run_that_has_not_said_where_it_runs_is_left_to_run_monitoring(instance: dg.DagsterInstance):
    run = started(instance, None)
    assert fail_dead_runs(instance) == 0
    assert status(instance, run) == "STARTED"
