"""What a person does in the UI, by the UI's own mutations: launch, terminate, re-execute from failure, backfill.

The code server, the run launcher, the queue and its limits are the real ones; the daemon is pumped by the test.
"""

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
import yaml
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import ModuleTarget
from dagster._daemon.backfill import execute_backfill_iteration
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from egress_assets.definitions import accepted, build
from egress_assets.engine import holds
from egress_assets.engine.catalog.loader import load_catalog
from egress_assets.engine.dump.run import run as dump
from egress_assets.engine.layout import Unit, dump_unit
from egress_assets.engine.platform import Platform
from egress_assets.sandbox.provider import SandboxProvider
from tests.system.whole.conftest import DATE, Whole, whole

__all__ = ["whole"]
ROOT = Path(__file__).resolve().parents[2]
SLOW = """
source: shop_db
start: 2026-11-01
drift: {added: accept}
dump: {format: csv}
tables: {whole.slow: {}}
"""
LATE = """
source: shop_db
start: 2026-11-01
extract: window
dump: {format: csv}
tables: {whole.late: {window: at}}
"""
OBJECTS = """
CREATE VIEW whole.slow AS SELECT g AS id FROM generate_series(1, 10) g;
CREATE TABLE whole.late (id int, at timestamptz);
INSERT INTO whole.late SELECT g, timestamptz '2026-11-01 12:00+00' + g * interval '1 day' FROM generate_series(0, 18) g;
GRANT SELECT ON ALL TABLES IN SCHEMA whole TO egress_reader;
"""
NEVER = "CREATE OR REPLACE VIEW whole.slow AS SELECT g AS id, (SELECT pg_sleep(0.05)::text WHERE g > 0) AS x "
NEVER += "FROM generate_series(1, 1000000) g"
LOCK_TIMEOUT = 60  # seconds, the source's: what is not cancelled waits that long
RUNNING = {"QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING"}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]


class Bench:
    """An instance as we ship it, with the code location `egress` over the catalog of the test's sandbox."""

    def __init__(self, whole: Whole, instance: dg.DagsterInstance, process: WorkspaceProcessContext) -> None:
        self.whole, self.instance, self.process = whole, instance, process
        loaded = load_catalog(Path(whole.environment["EGRESS_CATALOG"]))
        self.platform = Platform(loaded, SandboxProvider(loaded))

    def graphql(self, query: str, **variables: Any) -> Any:
        from dagster_graphql.test.utils import execute_dagster_graphql

        result = execute_dagster_graphql(self.process.create_request_context(), query, variables)
        assert not result.errors, result.errors
        return next(iter(result.data.values()))

    def launch(self, job: str, *assets: str, config: Any = None, **tags: str) -> Any:
        selector: dict[str, Any] = {
            "repositoryLocationName": "egress", "repositoryName": "__repository__", "jobName": job,
        }  # fmt: skip
        if assets:
            selector["assetSelection"] = [{"path": asset.split("/")} for asset in assets]
        said = [{"key": f"dagster/{name}", "value": value} for name, value in tags.items()]
        given = {"selector": selector, "runConfigData": config or {}, "executionMetadata": {"tags": said}}
        return self.graphql(LAUNCH, p=given)

    def backfills(self) -> None:
        """One round of the daemon's backfills."""
        list(execute_backfill_iteration(self.process, logging.getLogger("dagster.daemon")))

    def pump(self) -> None:
        """One round of the daemon's queue."""
        with QueuedRunCoordinatorDaemon(interval_seconds=1) as daemon:
            list(daemon.run_iteration(self.process))

    def until(self, found: Callable[[], Any], what: str, seconds: float = 120) -> Any:
        """The first true answer, with the daemon at work."""
        ends = time.monotonic() + seconds
        while not (answer := found()):
            assert time.monotonic() < ends, f"{what}: not within {seconds} s"
            self.pump()
            time.sleep(0.2)
        return answer

    def run(self, run_id: str) -> dg.DagsterRun:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run

    def ended(self, run_id: str) -> str:
        self.until(lambda: self.run(run_id).status.value not in RUNNING, f"run {run_id} ends")
        return self.run(run_id).status.value

    def failures(self, run_id: str) -> dict[str, str]:
        """Top lines of the failure panel, by step."""
        events = [e.dagster_event for e in self.instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE)]
        return {e.step_key or "": e.step_failure_data.error.message.splitlines()[0] for e in events if e}  # type: ignore[union-attr]

    def steps(self, run_id: str) -> list[str]:
        events = self.instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_START)
        return [e.dagster_event.step_key or "" for e in events if e.dagster_event]

    def lines(self, run_id: str) -> list[str]:
        """What the run's log shows."""
        return [entry.user_message for entry in self.instance.all_logs(run_id)]

    def sessions(self) -> list[str]:
        """What the server does for us now."""
        with self.whole.session() as session:
            return [" | ".join(map(str, row)) for row in session.execute(SESSIONS).fetchall()]

    def generation(self, unit: Unit, date: str = DATE) -> int | None:
        pointer = self.platform.evidence.pointer(unit, date)
        return pointer.generation if pointer else None


@pytest.fixture(scope="module")
def bench(whole: Whole, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with whole.session() as session:
        session.execute(OBJECTS.encode())
    catalog = Path(whole.environment["EGRESS_CATALOG"])
    (catalog / "slow.yaml").write_text(SLOW)
    (catalog / "late.yaml").write_text(LATE)
    said = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    overrides = {key: said[key] for key in ("run_coordinator", "concurrency", "python_logs")}
    home = str(tmp_path_factory.mktemp("dagster"))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("EGRESS_SANDBOX_DIR", "EGRESS_NOW", "EGRESS_CATALOG"):
            patch.setenv(name, whole.environment[name])
        target = ModuleTarget("egress_assets.definitions", None, str(ROOT), "egress")
        with (
            dg.instance_for_test(overrides=overrides, temp_dir=home) as instance,
            WorkspaceProcessContext(instance, target) as process,
        ):
            yield Bench(whole, instance, process)


@pytest.fixture(autouse=True)
def _here(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EGRESS_SANDBOX_DIR", "EGRESS_NOW", "EGRESS_CATALOG"):
        monkeypatch.setenv(name, bench.whole.environment[name])


# ---------------------------------------------------------------------------------------------------------- terminate
def terminated(bench: Bench, run_id: str, busy: Callable[[], Any]) -> None:
    """Terminate the run when the server is at it; nothing of it may be left anywhere."""
    bench.until(busy, "the server works for the run")
    at = time.monotonic()
    assert bench.graphql(TERMINATE, id=run_id)["__typename"] == "TerminateRunSuccess"
    bench.until(
        lambda: not bench.sessions() and not bench.whole.workers(), "sessions and workers end", LOCK_TIMEOUT / 2
    )
    print(f"terminated within {time.monotonic() - at:.1f} s")
    assert bench.ended(run_id) == "CANCELED"
    assert not any("killed worker process" in line for line in bench.lines(run_id))  # they ended by themselves


def test_a_terminated_dump_leaves_no_query_no_process_and_the_previous_truth(bench: Bench):
    unit = dump_unit("slow")
    dump(bench.platform, "slow", DATE)
    with bench.whole.session() as session:
        session.execute(NEVER.encode())
    run_id = bench.launch("slow", partition=DATE)["run"]["runId"]
    terminated(bench, run_id, lambda: any("worker | active | COPY" in line for line in bench.sessions()))
    assert bench.generation(unit) == 1
    store = bench.platform.store("lake")
    assert list(store.uploads("dump/slow/")) == []
    pointer = bench.platform.evidence.pointer(unit, DATE)
    assert pointer is not None
    assert {found.status for found in bench.platform.evidence.verify(unit, DATE, store)} == {"ok"}


def test_a_run_that_waits_for_a_lock_is_terminated_too(bench: Bench):
    """The server looks at no socket while it waits for a lock: only a cancel ends its query before the time-out."""
    with psycopg.connect(**bench.whole.sandbox.admin_dsn("shop").settings) as other:
        other.execute("LOCK TABLE whole.late IN ACCESS EXCLUSIVE MODE")
        run_id = bench.launch("late", partition=DATE)["run"]["runId"]
        terminated(bench, run_id, bench.sessions)
    assert bench.generation(dump_unit("late")) is None


# ------------------------------------------------------------------------------------------------ rerun from failure
def test_a_run_that_failed_at_the_delivery_is_taken_up_there_and_moves_no_byte_again(bench: Bench):
    evidence = bench.platform.evidence
    holds.put(evidence, "recipient", "acme", by="amy@desk", reason="wrong columns")
    run_id = bench.launch("whole", partition=DATE)["run"]["runId"]
    assert bench.ended(run_id) == "FAILURE"
    (step,) = bench.failures(run_id)
    assert step == "delivery__acme__deeds"
    assert bench.failures(run_id)[step].startswith("Held: ")
    assert bench.whole.inbox() == {}
    phases = [line for line in bench.lines(run_id) if line.startswith(f"scrub/whole/shared {DATE}: ")]
    assert [line.split()[2] for line in phases if line.endswith(" began")] == [
        "lock", "scrub", "gate", "promote", "seal",
    ]  # fmt: skip
    assert len([line for line in phases if " ended after " in line]) == 5
    before = {name: bench.generation(unit) for name, unit in bench.whole.units.items()}
    stored = [each.key for each in bench.platform.store("lake").list("")]

    holds.lift(evidence, "recipient", "acme", by="amy@desk", reason="corrected")
    given = {"parentRunId": run_id, "strategy": "FROM_FAILURE", "useParentRunTags": True}
    again = bench.graphql(REEXECUTE, p=given)["run"]["runId"]
    assert bench.ended(again) == "SUCCESS", bench.failures(again)
    assert bench.steps(again) == [step]
    assert len(bench.whole.inbox()) == 1
    assert {n: bench.generation(u) for n, u in bench.whole.units.items() if n != "delivery"} == {
        n: g for n, g in before.items() if n != "delivery"
    }
    raw = [key for key in stored if not key.startswith("delivery/")]
    assert raw == [each.key for each in bench.platform.store("lake").list("") if not each.key.startswith("delivery/")]
    tags = bench.run(again).tags
    assert tags["egress/work"] == f"whole:{DATE}"


# ------------------------------------------------------------------------------------------------------------ any day
@pytest.mark.filterwarnings("ignore:Function `AssetSelection.sources`:DeprecationWarning")  # Dagster's own
def test_a_backfill_of_three_days_is_three_runs_each_with_its_date(bench: Bench):
    """S0-9, by the daemon's own code; the queue is left alone, so that the runs can be looked at."""
    dates = ["2026-11-03", "2026-11-04", "2026-11-05"]
    given = {"assetSelection": [{"path": ["dump", "late", "whole", "late"]}], "partitionNames": dates}
    answer = bench.graphql(BACKFILL, p=given)
    assert answer["__typename"] == "LaunchBackfillSuccess", answer
    tag = {"dagster/backfill": answer["backfillId"]}
    bench.backfills()
    runs = bench.instance.get_runs(dg.RunsFilter(tags=tag))
    for run in runs:
        bench.instance.run_coordinator.cancel_run(run.run_id)
    assert sorted(run.tags["dagster/partition"] for run in runs) == dates
    assert {run.tags["egress/work"] for run in runs} == {f"late:{date}" for date in dates}
    assert {run.tags["egress/dataset"] for run in runs} == {"late"}
    assert {run.status.value for run in runs} == {"QUEUED"}


class InProcess:
    """Runs of the real engine without a code server."""

    def __init__(self, bench: Bench, instance: dg.DagsterInstance) -> None:
        self.bench, self.instance = bench, instance
        self.defs = build(load_catalog(Path(bench.whole.environment["EGRESS_CATALOG"])))

    def run(self, job: str, date: str = "", *assets: str, config: Any = None) -> dg.ExecuteInProcessResult:
        return self.defs.resolve_job_def(job).execute_in_process(
            run_config=config,
            partition_key=date or None,
            asset_selection=[dg.AssetKey(asset.split("/")) for asset in assets] or None,
            instance=self.instance,
            raise_on_error=False,
        )


@pytest.fixture
def here(bench: Bench) -> Iterator[InProcess]:
    with accepted(), dg.DagsterInstance.ephemeral() as instance:
        yield InProcess(bench, instance)


def told(result: dg.ExecuteInProcessResult) -> dict[str, dict[str, Any]]:
    events = [e.step_materialization_data.materialization for e in result.get_asset_materialization_events()]
    return {e.asset_key.to_user_string(): {n: v.value for n, v in e.metadata.items()} for e in events}


def panel(result: dg.ExecuteInProcessResult) -> tuple[str, dict[str, Any]]:
    data = next(e.step_failure_data for e in result.all_events if e.is_step_failure)
    return data.error.message.splitlines()[0], {n: v.value for n, v in data.user_failure_data.metadata.items()}


def rows(bench: Bench, date: str) -> str:
    pointer = bench.platform.evidence.pointer(dump_unit("late"), date)
    assert pointer is not None
    ((_, record),) = bench.platform.evidence.tables(pointer).values()
    return b"".join(bench.platform.store("lake").get(record.objects[0].key)).decode()


def test_any_past_date_of_a_window_is_made_with_the_rows_of_its_day(here: InProcess, bench: Bench):
    assert here.run("late", "2026-11-07").success
    assert rows(bench, "2026-11-07").startswith("6,2026-11-07 12:00:00")


def test_a_range_of_past_dates_is_made_in_one_run_and_a_second_one_finds_nothing_to_do(here: InProcess, bench: Bench):
    config = {"from": "2026-11-08", "to": "2026-11-10"}
    first = here.run("late_range", config=config)
    assert first.success
    for day in ("08", "09", "10"):
        assert rows(bench, f"2026-11-{day}").startswith(f"{int(day) - 1},2026-11-{day} 12:00:00")
    again = here.run("late_range", config=config)
    assert again.success
    how = [e.step_materialization_data.materialization.metadata["how"].value
           for e in again.get_asset_materialization_events()]  # fmt: skip
    assert how == ["nothing"] * 3


def test_a_full_extract_of_a_past_date_is_refused_with_the_way_out(here: InProcess):
    result = here.run("whole", "2026-11-10", "dump/whole/whole/people")
    top, metadata = panel(result)
    assert top.startswith("HistoryUnavailable: a full extract of 2026-11-10 was asked for at 2026-11-20T03:00Z")
    assert metadata["code"] == "history_unavailable"
    assert "--date 2026-11-10 --relabel" in metadata["hint"]


def test_a_single_table_by_hand_leaves_the_date_in_pieces_says_so_and_goes_nowhere(here: InProcess, bench: Bench):
    """Then the job of the whole date puts it together."""
    people, deeds = (f"scrub/whole/shared/whole/{table}" for table in ("people", "deeds"))
    assert here.run("whole", DATE, people, deeds).success
    generation = bench.generation(bench.whole.units["mirror"])
    bench.whole.next_version()
    with bench.whole.session() as session:
        session.execute("ALTER TABLE whole.deeds ALTER version TYPE bigint")  # so that the table has to be made again
    metadata = told(here.run("whole", DATE, deeds))[deeds]
    assert metadata["consistent"] is False
    assert "2 snapshots, the oldest first: whole.people; whole.deeds" in metadata["not_sealed"]
    assert "launch the dataset's job" in metadata["not_sealed"]

    for asset in ("mirror/whole", "delivery/acme/deeds"):
        top, said = panel(here.run("whole", DATE, asset))
        assert top.startswith("ReleaseRefused: "), top
        assert "all tables of the date in one run" in said["hint"]
    assert bench.generation(bench.whole.units["mirror"]) == generation

    whole_run = told(here.run("whole", DATE))
    assert whole_run[people]["consistent"] is True
    assert whole_run[deeds]["consistent"] is True


def test_what_is_wrong_with_a_launch_is_said_before_a_run_exists(bench: Bench):
    before = bench.instance.get_runs_count()
    answer = bench.launch("late_range", config={"from": DATE, "until": DATE})
    assert answer["__typename"] == "RunConfigValidationInvalid"
    told = " ".join(error["message"] for error in answer["errors"])
    assert '"until"' in told
    assert '"to"' in told
    assert bench.instance.get_runs_count() == before


SESSIONS = """SELECT application_name, state, left(query, 60) FROM pg_stat_activity
  WHERE application_name LIKE 'egress%'"""
LAUNCH = """mutation($p: ExecutionParams!) { launchRun(executionParams: $p) { __typename
  ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  ... on RunConfigValidationInvalid { errors { message } } } }"""
TERMINATE = """mutation($id: String!) { terminateRun(runId: $id, terminatePolicy: SAFE_TERMINATE) { __typename
  ... on TerminateRunFailure { message } ... on PythonError { message } } }"""
REEXECUTE = """mutation($p: ReexecutionParams) { launchRunReexecution(reexecutionParams: $p) { __typename
  ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
BACKFILL = """mutation($p: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $p) { __typename
  ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
