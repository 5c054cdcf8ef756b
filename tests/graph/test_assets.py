"""What an op tells Dagster: everything after the work, or a failure alone."""

import dagster as dg
import pytest

from egress_assets.engine.errors import GateFailed, SourceUnavailable
from egress_assets.engine.evidence.records import CheckRecord
from egress_assets.failures import NO_RUN_RETRY
from tests.graph.conftest import (
    DATE,
    DELIVERY,
    DUMP,
    MIRROR,
    OTHER,
    SCRUB,
    TABLES,
    Runner,
    StandIn,
    evaluations,
)


def told(result: dg.ExecuteInProcessResult, asset: dg.AssetKey) -> dg.AssetMaterialization:
    found = [e for e in result.get_asset_materialization_events() if e.asset_key == asset]
    assert len(found) == 1
    return found[0].step_materialization_data.materialization


def step_error(result: dg.ExecuteInProcessResult, step: str):
    return next(e.step_failure_data for e in result.all_events if e.is_step_failure and e.step_key == step)


def test_one_run_makes_the_whole_chain_of_a_date(runner: Runner, engine: StandIn):
    result = runner.run()
    assert result.success
    stages = [stage for stage, _, _ in engine.calls]
    assert sorted(stages) == ["delivery", "dump", "mirror", "scrub"]
    assert stages.index("scrub") < min(stages.index("mirror"), stages.index("delivery"))
    assert {(date, tables) for _, date, tables in engine.calls} == {(DATE, None)}
    for asset in (*DUMP.values(), *SCRUB.values(), MIRROR, DELIVERY):
        assert runner.materialised(asset) == {DATE}


def test_a_materialisation_carries_the_content_digest_and_what_a_person_wants_to_know(runner: Runner):
    event = told(runner.run(), SCRUB["public.orders"])
    plain = {name: value.value for name, value in event.metadata.items()}
    assert event.tags is not None
    assert event.tags["dagster/data_version"] == plain["content_digest"]
    assert event.tags["egress/attempt"] == plain["attempt"] == "20261120T010203004-0a1b2c3d"
    assert (plain["rows"], plain["dagster/row_count"], plain["bytes"], plain["objects"]) == (1000, 1000, 2_000_000, 2)
    assert (plain["seconds"], plain["throughput_mb_per_s"], plain["seconds/read"]) == (2.0, 2.0, 1.5)
    assert plain["dagster/uri"].startswith(f"s3://lake/scrub/shop/shared/date={DATE}/a=20261120T")
    assert plain["manifest"] == f"manifests/scrub/shop/shared/date={DATE}/20261120T010203004-0a1b2c3d"


def test_the_columns_say_type_mask_and_where_they_come_from(runner: Runner):
    metadata = told(runner.run(), SCRUB["public.customers"]).metadata
    columns = metadata["dagster/column_schema"].value.columns
    assert [(c.name, c.type, c.constraints.nullable, dict(c.tags)) for c in columns] == [
        ("id", "bigint", False, {"mask": "keep"}),
        ("email", "text", True, {"mask": "email"}),
    ]
    lineage = metadata["dagster/column_lineage"].value.deps_by_column
    assert [(d.asset_key, d.column_name) for d in lineage["email"]] == [
        (dg.AssetKey(["source", "shop"]), "public.customers.email")
    ]


def test_a_run_that_finds_nothing_to_do_tells_every_table_with_equal_data_versions(runner: Runner, engine: StandIn):
    first = runner.run()
    engine.how = "nothing"
    second = runner.run()
    assert second.success
    for asset in (*DUMP.values(), *SCRUB.values(), MIRROR, DELIVERY):
        before, after = told(first, asset), told(second, asset)
        assert before.tags
        assert after.tags
        assert before.tags["dagster/data_version"] == after.tags["dagster/data_version"]
        assert after.metadata["how"].value == "nothing"


@pytest.mark.parametrize("table", TABLES)
def test_a_selected_table_is_the_only_one_worked_on(runner: Runner, engine: StandIn, table: str):
    result = runner.run(SCRUB[table])
    assert result.success
    assert engine.calls == [("scrub", DATE, (table,))]
    assert {t for t in TABLES if runner.materialised(SCRUB[t])} == {table}


def test_a_check_alone_is_answered_without_a_materialisation(engine: StandIn, instance, defs: dg.Definitions):
    check = dg.AssetCheckKey(SCRUB["public.orders"], "gate")
    whole = defs.resolve_implicit_global_asset_job_def()
    job = whole.get_subset(asset_selection=set(), asset_check_selection={check})
    result = job.execute_in_process(partition_key=DATE, instance=instance)
    assert engine.calls == [("scrub", DATE, ("public.orders",))]
    assert [e.check_name for e in result.get_asset_check_evaluations()] == ["gate"]
    assert result.get_asset_materialization_events() == []


def test_a_failed_gate_leaves_nothing_materialised_and_the_date_failed(runner: Runner, engine: StandIn):
    error = GateFailed("2 checks failed on scrub/shop/shared", hint="See the check's facts.")
    engine.failures["scrub"] = error
    result = runner.run()
    assert not result.success
    assert all(runner.materialised(asset) == set() for asset in (*SCRUB.values(), MIRROR, DELIVERY))
    assert {stage for stage, _, _ in engine.calls} <= {"dump", "scrub"}
    checks = evaluations(result)
    assert sorted((c.asset_key, c.passed) for c in checks) == sorted((asset, False) for asset in SCRUB.values())
    failed = runner.instance.get_latest_asset_check_evaluation_record(dg.AssetCheckKey(SCRUB[TABLES[0]], "gate"))
    assert failed is not None


def test_a_failed_gate_tells_what_it_found(runner: Runner, engine: StandIn):
    engine.failures["scrub"] = GateFailed("scrub/shop/shared did not pass its gate: public.orders has 3 e-mails")
    found = {c.description for c in evaluations(runner.run())}
    assert found == {"scrub/shop/shared did not pass its gate: public.orders has 3 e-mails"}


def gate_failed() -> GateFailed:
    """customers is at fault, orders is clean."""
    findings = {"email": {"count": 3, "offsets": [7], "shapes": ["aaa@aaa.aaa"], "columns": ["notes", "subject"]}}
    bad = (
        CheckRecord("policy_covers_schema", False, {"lacking": ["born"], "foreign": ["gone"]}),
        CheckRecord("no_direct_identifiers", False, {"findings": findings}),
        CheckRecord("row_counts_match", False, {"output": 8, "source": 10}),
    )
    clean = (CheckRecord("row_counts_match", True, {"output": 5, "source": 5}),)
    checks = {"public.customers": bad, "public.orders": clean}
    return GateFailed("scrub/shop/shared did not pass its gate: public.customers ...", checks=checks)


def test_only_the_table_at_fault_fails_and_the_clean_one_says_that_it_was_not_published(
    runner: Runner, engine: StandIn
):
    engine.failures["scrub"] = gate_failed()
    result = runner.run()
    assert not result.success
    assert all(runner.materialised(asset) == set() for asset in (*SCRUB.values(), MIRROR, DELIVERY))
    found = {check.asset_key: check for check in evaluations(result)}
    assert {key: check.passed for key, check in found.items()} == {
        SCRUB["public.customers"]: False,
        SCRUB["public.orders"]: True,
    }
    clean = found[SCRUB["public.orders"]]
    assert clean.description == "1 checks passed, but not published: see public.customers"
    assert clean.metadata["published"].value is False


def test_what_a_gate_found_is_a_table_without_values_or_shapes(runner: Runner, engine: StandIn):
    engine.failures["scrub"] = gate_failed()
    checks = {check.asset_key: check for check in evaluations(runner.run())}
    found = checks[SCRUB["public.customers"]].metadata["findings"].value.records
    assert [tuple(record.data.values()) for record in found] == [
        ("public.customers", "born", "policy_covers_schema", "without a mask", 1),
        ("public.customers", "gone", "policy_covers_schema", "not in the table", 1),
        ("public.customers", "notes, subject", "no_direct_identifiers", "email", 3),
        ("public.customers", "", "row_counts_match", "rows lacking or too many", 2),
    ]
    assert "aaa@" not in str(checks)


def test_a_table_of_which_the_failed_gate_says_nothing_counts_as_failed(runner: Runner, engine: StandIn):
    error = gate_failed()
    del error.checks["public.orders"]  # type: ignore[attr-defined]
    engine.failures["scrub"] = error
    assert {check.passed for check in evaluations(runner.run())} == {False}


def test_a_passed_gate_tells_each_check_with_its_facts(runner: Runner):
    found = {c.asset_key: c for c in evaluations(runner.run())}
    assert set(found) == set(SCRUB.values())
    one = found[SCRUB["public.orders"]]
    assert one.passed
    assert one.blocking
    assert one.metadata["identifiers"].value == {"passed": True, "scanned": 9}


def test_a_lost_database_says_nothing_about_the_gate(runner: Runner, engine: StandIn):
    engine.failures["scrub"] = SourceUnavailable("source shop_db refused the connection")
    result = runner.run(*SCRUB.values())
    assert not result.success
    assert result.get_asset_check_evaluations() == []


def test_a_permanent_error_is_shown_by_its_name_and_stops_every_retry(runner: Runner, engine: StandIn):
    engine.failures["scrub"] = GateFailed("2 checks failed", hint="Add a mask for the column.")
    result = runner.run(*SCRUB.values())
    data = step_error(result, "scrub__shop__shared")
    assert data.error.message.startswith("GateFailed: 2 checks failed")
    said = {name: value.value for name, value in data.user_failure_data.metadata.items()}
    assert said == {"code": "gate_failed", "retryable": False, "hint": "Add a mask for the column."}
    run = runner.instance.get_run_by_id(result.run_id)
    assert run is not None
    assert NO_RUN_RETRY.items() <= run.tags.items()


def test_a_passing_trouble_may_be_retried(runner: Runner, engine: StandIn):
    engine.failures["dump"] = SourceUnavailable("source shop_db refused the connection")
    result = runner.run(*DUMP.values())
    run = runner.instance.get_run_by_id(result.run_id)
    assert run is not None
    assert not NO_RUN_RETRY.keys() & run.tags.keys()
    assert step_error(result, "dump__shop").user_failure_data.metadata["retryable"].value is True


@pytest.mark.parametrize(
    ("date", "message"),
    [
        ("2026-02-28", "date 2026-02-28 is outside 2026-03-01 .."),
        ("2099-01-01", "date 2099-01-01 is outside 2026-03-01 .."),
    ],
)
def test_a_date_that_is_none_is_refused_before_any_work(runner: Runner, engine: StandIn, date: str, message: str):
    """As GraphQL's launchRun does it: the partition is a tag, which Dagster accepts whatever it says."""
    result = runner.defs.resolve_implicit_global_asset_job_def().execute_in_process(
        asset_selection=list(DUMP.values()), instance=runner.instance, raise_on_error=False,
        tags={"dagster/partition": date},
    )  # fmt: skip
    assert not result.success
    assert engine.calls == []
    assert step_error(result, "dump__shop").error.message.startswith(f"CatalogError: {message}")


def test_a_run_without_a_date_is_refused_before_any_work(runner: Runner, engine: StandIn):
    result = runner.defs.resolve_implicit_global_asset_job_def().execute_in_process(
        asset_selection=[MIRROR], instance=runner.instance, raise_on_error=False
    )
    assert not result.success
    assert engine.calls == []
    assert "the run has no date" in step_error(result, "mirror__shop").error.message


def test_a_table_without_an_answer_fails_the_run_instead_of_skipping_what_depends_on_it(
    runner: Runner, engine: StandIn
):
    engine.tables = ("public.orders",)
    result = runner.run(*SCRUB.values(), date=OTHER)
    assert not result.success
    assert "no result for public.customers" in step_error(result, "scrub__shop__shared").error.message
    assert all(runner.materialised(asset) == set() for asset in SCRUB.values())
