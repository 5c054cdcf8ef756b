"""Pruning Dagster's record: what goes, what stays, and that everything that people look at is still there."""

import asyncio
import os
import sqlite3
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.tags import BACKFILL_ID_TAG, RUN_KEY_TAG
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster_graphql.schema import create_schema

from egress_assets import pruning
from egress_assets.definitions import accepted
from egress_assets.engine.errors import SourceUnavailable
from egress_assets.housekeeping import prune_event_log

KEY, SOURCE = dg.AssetKey(["dump", "shop"]), dg.AssetKey(["source", "shop"])
DATES = dg.DailyPartitionsDefinition("2026-11-01", end_date="2026-11-20")
A, B = "2026-11-10", "2026-11-11"
LATER = timedelta(hours=1)
SPEAKING = dg.AssetCheckSpec("gate", asset=KEY)


@dg.multi_asset(specs=[dg.AssetSpec(KEY, partitions_def=DATES)], check_specs=[SPEAKING], name="dump_shop")
def dump(context: dg.AssetExecutionContext):
    """Says as much as a chain of the platform."""
    for number in range(12):
        context.log.info("dumped part %d", number)
    if context.run.tags.get("fails"):
        raise dg.Failure("source shop_db does not answer")
    yield dg.MaterializeResult(
        asset_key=KEY, metadata={"rows": 100 + int(context.partition_key[-2:])},
        data_version=dg.DataVersion(f"v-{context.partition_key}"),
    )  # fmt: skip
    yield dg.AssetCheckResult(asset_key=KEY, check_name="gate", passed=True, metadata={"scanned": 9})


with accepted():

    @dg.multi_observable_source_asset(specs=[dg.AssetSpec(SOURCE)], name="source_shop")
    def observe():
        yield dg.ObserveResult(asset_key=SOURCE, data_version=dg.DataVersion("schema-1"), metadata={"lsn": "0/1"})


@dg.op
def say(context: dg.OpExecutionContext) -> None:
    context.log.info("swept")


@dg.job
def keeping() -> None:
    say()


@dg.asset
def mailed() -> None:
    raise dg.Failure("nobody answers")


DEFS = dg.Definitions(assets=[dump, observe, mailed], jobs=[keeping], executor=dg.in_process_executor)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """One of SQLite with files, as dagster.yaml of a laptop names it."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with accepted(), dg.DagsterInstance.from_config(str(home)) as made:
        yield made


def run(
    instance: dg.DagsterInstance, *keys: dg.AssetKey, date: str = "", tags: dict[str, str] | None = None, job: str = ""
) -> str:
    with accepted():
        made = DEFS.resolve_job_def(job) if job else DEFS.resolve_implicit_global_asset_job_def()
        done = made.execute_in_process(
            asset_selection=list(keys) or None, partition_key=date or None, instance=instance, raise_on_error=False,
            tags=tags or {},
        )  # fmt: skip
    return done.run_id


def types(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    """Event types of a run as its page lists them; log lines have none."""
    return [e.dagster_event_type.value if e.is_dagster_event else "" for e in instance.all_logs(run_id)]


def now() -> datetime:
    return datetime.now(UTC)


def prune(instance: dg.DagsterInstance, before: datetime | None = None) -> pruning.Pruned:
    return pruning.prune(instance, before=before or now() + LATER)


def test_log_lines_and_engine_events_go_and_the_run_s_page_keeps_its_short_list(instance: dg.DagsterInstance):
    run_id = run(instance, KEY, date=A)
    before = types(instance, run_id)
    assert before.count("") >= 12
    done = prune(instance)
    after = types(instance, run_id)
    assert set(after) == {
        "PIPELINE_START", "PIPELINE_SUCCESS", "STEP_START", "STEP_SUCCESS", "ASSET_MATERIALIZATION",
        "ASSET_MATERIALIZATION_PLANNED", "ASSET_CHECK_EVALUATION", "ASSET_CHECK_EVALUATION_PLANNED",
    }  # fmt: skip
    assert (done.runs, done.rows, done.deleted_runs) == (1, len(before) - len(after), 0)
    assert done.row_bytes > 12 * 100
    stats = instance.get_run_stats(run_id)
    assert (stats.steps_succeeded, stats.materializations) == (1, 1)
    assert stats.start_time
    assert stats.end_time
    (step,) = instance.get_run_step_stats(run_id)
    assert (step.status.value, step.start_time is not None) == ("SUCCESS", True)


def test_partitions_stay_green_with_their_data_versions_plots_and_checks(instance: dg.DagsterInstance):
    for date in (A, B):
        run(instance, KEY, date=date)
    tags = instance.event_log_storage.get_event_tags_for_asset(KEY)
    prune(instance)
    assert instance.event_log_storage.get_event_tags_for_asset(KEY) == tags
    assert instance.get_materialized_partitions(KEY) == {A, B}
    found = instance.fetch_materializations(KEY, limit=10).records
    plotted = {r.partition_key: r.asset_materialization.metadata["rows"].value for r in found}  # type: ignore[union-attr]
    assert plotted == {A: 110, B: 111}
    newest = instance.get_latest_data_version_record(KEY, partition_key=A)
    assert newest is not None
    assert newest.asset_materialization is not None
    assert newest.asset_materialization.tags is not None
    assert newest.asset_materialization.tags["dagster/data_version"] == f"v-{A}"
    check = instance.event_log_storage.get_latest_asset_check_execution_by_key([dg.AssetCheckKey(KEY, "gate")])
    assert [record.status.value for record in check.values()] == ["SUCCEEDED"]


def test_why_a_run_failed_stays(instance: dg.DagsterInstance):
    run_id = run(instance, KEY, date=A, tags={"fails": "yes", RUN_KEY_TAG: A})
    prune(instance)
    after = types(instance, run_id)
    assert "STEP_FAILURE" in after
    assert "PIPELINE_FAILURE" in after
    assert "" not in after
    (failed,) = [e for e in instance.all_logs(run_id) if e.is_dagster_event and e.get_dagster_event().is_step_failure]
    assert "source shop_db does not answer" in str(failed.get_dagster_event().step_failure_data.error)


def test_runs_that_nothing_stands_on_are_deleted_with_their_files(instance: dg.DagsterInstance):
    first, second = (run(instance, SOURCE) for _ in range(2))  # the newest observation holds the data version
    kept_house = run(instance, job="keeping")
    shard = Path(instance.event_log_storage.path_for_shard(kept_house))  # type: ignore[attr-defined]
    assert shard.exists()
    done = prune(instance)
    assert done.deleted_runs == 2
    assert {record.run_id for record in instance.get_runs()} == {second}
    assert not shard.exists()
    assert done.file_bytes > 0
    with dg.DagsterInstance.from_ref(instance.get_ref()) as other:
        assert other.all_logs(first) == []
    assert len(instance.fetch_observations(SOURCE, limit=9).records) == 1
    observed = instance.get_latest_data_version_record(SOURCE)
    assert observed is not None
    assert observed.run_id == second


@pytest.mark.parametrize("tag", [RUN_KEY_TAG, BACKFILL_ID_TAG])
def test_a_run_that_a_run_key_or_a_backfill_counts_on_stays(instance: dg.DagsterInstance, tag: str):
    run_id = run(instance, job="keeping", tags={tag: "x"})
    assert prune(instance).deleted_runs == 0
    assert instance.get_run_by_id(run_id) is not None
    assert "" not in types(instance, run_id)


def test_a_failed_run_stays_while_it_is_the_last_of_its_asset_and_goes_after_that(instance: dg.DagsterInstance):
    mail = dg.AssetKey("mailed")
    first = run(instance, mail)
    assert prune(instance).deleted_runs == 0
    assert instance.get_run_by_id(first) is not None
    second = run(instance, mail)
    instance.run_storage.set_cursor_values({pruning.MARK: "1970-01-01T00:00:00+00:00"})
    assert prune(instance).deleted_runs == 1
    assert [r.run_id for r in instance.get_runs()] == [second]


def test_young_and_unfinished_runs_are_not_touched(instance: dg.DagsterInstance):
    old = run(instance, KEY, date=A)
    between = now()
    young = run(instance, KEY, date=B)
    unfinished = instance.create_run_for_job(DEFS.resolve_job_def("keeping"), status=dg.DagsterRunStatus.STARTED)
    instance.report_engine_event("waiting", unfinished)
    counts = {each: len(types(instance, each)) for each in (young, unfinished.run_id)}
    assert prune(instance, between).runs == 1
    assert "" not in types(instance, old)
    assert {each: len(types(instance, each)) for each in counts} == counts
    assert prune(instance).runs == 1
    assert len(types(instance, unfinished.run_id)) == counts[unfinished.run_id]


def test_a_second_round_finds_nothing_and_one_without_its_mark_changes_nothing(instance: dg.DagsterInstance):
    for date in (A, B):
        run(instance, KEY, date=date)
    assert prune(instance).rows > 0
    between = prune(instance)
    assert (between.runs, between.rows, between.deleted_runs) == (0, 0, 0)
    instance.run_storage.set_cursor_values({pruning.MARK: "1970-01-01T00:00:00+00:00"})
    again = prune(instance)
    assert (again.runs, again.rows) == (2, 0)


def test_a_round_that_was_killed_is_made_good_by_the_next(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
):
    runs = [run(instance, SOURCE) for _ in range(3)] + [run(instance, KEY, date=A)]
    deleted = dg.DagsterInstance.delete_run

    def killed(self: dg.DagsterInstance, run_id: str) -> None:
        if run_id == runs[1]:
            raise KeyboardInterrupt
        deleted(self, run_id)

    monkeypatch.setattr(dg.DagsterInstance, "delete_run", killed)
    with pytest.raises(KeyboardInterrupt):
        prune(instance)
    monkeypatch.undo()
    done = prune(instance)
    assert done.deleted_runs == 1
    assert {record.run_id for record in instance.get_runs()} == set(runs[2:])
    assert "" not in types(instance, runs[3])


def test_many_rows_go_in_small_transactions_and_pages(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pruning, "ROWS", 7)
    monkeypatch.setattr(pruning, "PAGE", 2)
    batches: list[int] = []
    once = pruning._delete_details

    def counted(storage: SqlEventLogStorage, run_id: str) -> list[int]:
        batches.append(len(found := once(storage, run_id)))
        return found

    monkeypatch.setattr(pruning, "_delete_details", counted)
    runs = [run(instance, KEY, date=f"2026-11-{day:02}") for day in range(1, 4)]
    done = prune(instance)
    assert max(batches) == 7
    assert done.rows == sum(batches)
    assert all("" not in types(instance, each) for each in runs)


def test_runs_that_ended_in_one_moment_are_all_found_though_they_are_more_than_a_page(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pruning, "PAGE", 2)
    runs = [run(instance, KEY, date=f"2026-11-{day:02}") for day in range(1, 4)]
    with closing(sqlite3.connect(_runs_file(instance))) as connection, connection:
        connection.execute("UPDATE runs SET update_timestamp = '2026-11-10 00:00:00.000000'")
    prune(instance)
    assert all("" not in types(instance, each) for each in runs)


def _runs_file(instance: dg.DagsterInstance) -> Path:
    return Path(instance.root_directory) / "history" / "runs.db"


def test_runs_write_meanwhile_and_lose_nothing(instance: dg.DagsterInstance):
    for day in range(1, 3):
        run(instance, KEY, date=f"2026-11-{day:02}")
    stop = threading.Event()

    def prune_always() -> None:
        with dg.DagsterInstance.from_ref(instance.get_ref()) as own:
            while not stop.is_set():
                prune(own, now() - timedelta(milliseconds=1))

    with ThreadPoolExecutor(1) as threads:
        pruning_meanwhile = threads.submit(prune_always)
        runs = [run(instance, KEY, date=f"2026-11-{day:02}") for day in range(3, 6)]
        stop.set()
        pruning_meanwhile.result()
    assert instance.get_materialized_partitions(KEY) == {f"2026-11-{day:02}" for day in range(1, 6)}
    assert all(instance.get_run_by_id(each).is_success for each in runs)  # type: ignore[union-attr]


def test_captured_output_goes_by_its_age_and_nothing_else_in_the_folder(instance: dg.DagsterInstance):
    manager = instance.compute_log_manager
    folder = Path(manager.get_captured_local_path(["old", "compute_logs", "step"], "out")).parent  # type: ignore[attr-defined]
    folder.mkdir(parents=True)
    old, ages_ago = [folder / name for name in ("step.out", "step.err", "step.complete")], time.time() - 90 * 86400
    foreign, young = folder.parent / "result.parquet", folder.parent.parent / "new" / "compute_logs" / "step.err"
    young.parent.mkdir(parents=True)
    for path in (*old, foreign, young):
        path.write_bytes(b"x" * 1000)
    for path in (*old, foreign, folder):
        os.utime(path, (ages_ago, ages_ago))
    done = prune(instance, now() - timedelta(days=30))
    assert (done.files, done.file_bytes) == (3, 3000)
    assert not folder.exists()
    assert foreign.exists()
    assert young.exists()


def test_the_op_says_what_it_did_and_refuses_to_prune_runs_at_work(instance: dg.DagsterInstance):
    run(instance, KEY, date=A)

    @dg.job(executor_def=dg.in_process_executor)
    def housekeeping() -> None:
        prune_event_log()

    done = housekeeping.execute_in_process(instance=instance)
    (output,) = [e for e in done.all_events if e.is_successful_output]
    said = output.step_output_data.metadata
    assert set(said) == {"runs", "rows", "row_bytes", "deleted_runs", "files", "file_bytes"}
    assert said["runs"].value == 0  # of the last 30 days
    config = {"ops": {"prune_event_log": {"config": {"days": 0}}}}
    with pytest.raises(dg.Failure, match="`days` is 0"):
        housekeeping.execute_in_process(instance=instance, run_config=config)


def test_a_sweep_that_fails_does_not_keep_the_event_log_from_being_pruned(
    defs: dg.Definitions, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
):
    from egress_assets.engine import housekeeping

    def fails(*_: object, **__: object) -> None:
        raise SourceUnavailable("the evidence store does not answer")

    monkeypatch.setattr(housekeeping, "keep_house", fails)
    with accepted():
        job = defs.resolve_job_def("housekeeping")
        done = job.execute_in_process(instance=instance, raise_on_error=False)
    assert not done.success
    assert {e.step_key for e in done.all_events if e.is_step_failure} == {"sweep"}
    assert {e.step_key for e in done.all_events if e.is_step_success} == {"prune_event_log"}


PAGE = """query Page($id: ID!) {
  runOrError(runId: $id) { __typename ... on Run {
    status stats { ... on RunStatsSnapshot { stepsSucceeded materializations startTime endTime } }
    stepStats { stepKey status startTime endTime } assetMaterializations { assetKey { path } } } }
  logsForRun(runId: $id) { __typename ... on EventConnection { hasMore events { __typename } } } }"""


def test_the_page_of_a_pruned_run_still_opens(instance: dg.DagsterInstance):
    run_id = run(instance, KEY, date=A)
    prune(instance)
    with warnings.catch_warnings(), WorkspaceProcessContext(instance, None) as process:
        warnings.simplefilter("ignore")  # of the GraphQL library, while the schema is built
        request = process.create_request_context()
        answer = asyncio.run(create_schema().execute_async(PAGE, context_value=request, variables={"id": run_id}))
    assert not answer.errors
    assert answer.data is not None
    page, logs = answer.data["runOrError"], answer.data["logsForRun"]
    assert page["status"] == "SUCCESS"
    assert page["stats"]["materializations"] == 1
    assert page["stepStats"][0]["status"] == "SUCCESS"
    assert page["assetMaterializations"] == [{"assetKey": {"path": ["dump", "shop"]}}]
    listed = [event["__typename"] for event in logs["events"]]
    assert "MaterializationEvent" in listed
    assert "LogMessageEvent" not in listed
