"""What a person sees of a run that failed: a sentence on top, code and way out below, and nobody's data."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from egress_assets.definitions import build
from egress_assets.engine.catalog.loader import load_catalog
from egress_assets.engine.errors import (
    CatalogError,
    EgressError,
    GateFailed,
    Held,
    SourceUnavailable,
    StoreUnavailable,
)
from egress_assets.engine.partition import now
from egress_assets.failures import NO_RUN_RETRY, RUN_RETRY, failure
from tests.graph.conftest import DELIVERY, DUMP, ENDPOINTS, MIRROR, SCRUB, SHOP, Runner, StandIn

SECRET = "canary 4711"


def failures_of(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    return {e.step_key: e.step_failure_data for e in result.all_events if e.is_step_failure and e.step_key}


def panel(result: dg.ExecuteInProcessResult, step: str) -> tuple[str, dict[str, Any], str]:
    """(top line, metadata, all of it), as the UI's failure panel shows it."""
    data = failures_of(result)[step]
    metadata = {name: value.value for name, value in data.user_failure_data.metadata.items()}
    assert data.error.cls_name == data.error.message.partition(":")[0]
    everything = "".join(repr(event) for event in result.all_events)
    return data.error.message.splitlines()[0], metadata, everything


@pytest.mark.parametrize("error", [GateFailed("it did not pass"), StoreUnavailable("it does not answer", hint="Wait.")])
def test_a_failure_has_the_errors_name_text_code_and_retryability(error: EgressError):
    found = failure(error)
    assert (type(found).__name__, type(found).__module__) == (type(error).__name__, "builtins")
    assert found.description == error.message
    assert found.allow_retries is error.retryable
    assert found.metadata["code"].value == error.code
    assert ("hint" in found.metadata) is bool(error.hint)


def test_a_wrong_catalog_lists_its_problems():
    found = failure(CatalogError("catalog has 2 problems", problems=("shop.yaml:3: a", "shop.yaml:9: b")))
    assert found.metadata["problems"].value == "- `shop.yaml:3: a`\n- `shop.yaml:9: b`"


ERRORS = [
    ("delivery", "delivery__acme__orders", Held("in/orders.csv to acme: a hold is on", hint="Release it.")),
    ("scrub", "scrub__shop__shared", GateFailed("scrub/shop did not pass its gate", hint="Mask the column.")),
    ("dump", "dump__shop", SourceUnavailable("source shop_db refused the connection", hint="Start it.")),
    ("mirror", "mirror__shop", StoreUnavailable("store ceph does not answer", hint="Start it.")),
]


@pytest.mark.parametrize(("stage", "step", "error"), ERRORS)
def test_what_the_engine_says_is_the_top_line_and_its_way_out_is_beside_it(
    runner: Runner, engine: StandIn, stage: str, step: str, error: EgressError
):
    engine.failures[stage] = error
    result = runner.run()
    assert not result.success
    top, metadata, _ = panel(result, step)
    assert top == f"{type(error).__name__}: {error.message}"
    assert metadata == {"code": error.code, "retryable": error.retryable, "hint": error.hint}


def raising(error: Exception) -> Callable[..., Any]:
    def stage(*_arguments: Any, **_options: Any) -> Any:
        raise error

    return lambda _stage: stage


def test_an_error_that_nobody_foresaw_is_told_by_kind_and_place_without_its_text(
    catalog, instance: dg.DagsterInstance, caplog: pytest.LogCaptureFixture
):
    """Its text may quote a row; Dagster would keep text and stack."""
    runner = Runner(build(catalog, engine=raising(ValueError(f"invalid literal: {SECRET}"))), instance)
    result = runner.run(*DUMP.values())
    top, metadata, everything = panel(result, "dump__shop")
    assert top.startswith("Unexpected: unexpected ValueError at dumps.py:")
    assert (metadata["code"], metadata["retryable"]) == ("unexpected", False)
    assert "defect" in metadata["hint"]
    assert SECRET not in everything
    assert SECRET not in caplog.text
    assert "in stage" in caplog.text  # the stack, by places


def test_somebody_who_debugs_gets_the_text_in_the_log(
    catalog, instance, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("EGRESS_DEBUG", "1")
    runner = Runner(build(catalog, engine=raising(ValueError(SECRET))), instance)
    _, _, everything = panel(runner.run(MIRROR), "mirror__shop")
    assert SECRET in caplog.text
    assert SECRET not in everything


def test_a_run_without_a_date_says_how_to_give_it_one(runner: Runner, engine: StandIn):
    job = runner.defs.resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(asset_selection=[MIRROR], instance=runner.instance, raise_on_error=False)
    top, metadata, _ = panel(result, "mirror__shop")
    assert top == "CatalogError: the run has no date"
    assert "Launch it for one partition" in metadata["hint"]
    assert engine.calls == []


@pytest.mark.parametrize("date", ["2026-02-28", "2099-01-01"])
def test_a_date_that_is_none_says_which_ones_there_are(runner: Runner, engine: StandIn, date: str):
    """As launchRun passes it on: Dagster refuses what is no date at all, and runs the op for any other."""
    result = runner.defs.resolve_implicit_global_asset_job_def().execute_in_process(
        asset_selection=list(DUMP.values()), instance=runner.instance, raise_on_error=False,
        tags={"dagster/partition": date},
    )  # fmt: skip
    top, metadata, _ = panel(result, "dump__shop")
    assert top.startswith("CatalogError: date ")
    assert date in top
    assert metadata["hint"]
    assert engine.calls == []


# ------------------------------------------------------------------------------------------------- with real endpoints
NOBODY = "http://127.0.0.1:9"  # no server listens there
ELSEWHERE = (
    ENDPOINTS.replace(", ca: {file: /secrets/rds.pem}", ", tls: disable, connect_timeout: 2")
    .replace("shop-evidence,", f"shop-evidence, endpoint: '{NOBODY}', access_key: a, secret_key: b,")
    .replace("shop-egress,", f"shop-egress, endpoint: '{NOBODY}', access_key: a, secret_key: b,")
)


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instance: dg.DagsterInstance) -> Callable[..., Runner]:
    """The real engine in dev, where no server listens and no variable is set but those that a test gives."""

    def made(**variables: str) -> Runner:
        (tmp_path / "endpoints.yaml").write_text(ELSEWHERE)
        (tmp_path / "shop.yaml").write_text(SHOP)
        for name, value in {"EGRESS_ENV": "dev", **variables}.items():
            monkeypatch.setenv(name, value)
        return Runner(build(load_catalog(tmp_path, env="dev")), instance)

    return made


def newest() -> str:
    return (now().astimezone(ZoneInfo("Europe/London")).date() - timedelta(days=1)).isoformat()


def test_a_database_that_is_down_is_named_with_its_address_and_no_password(outside):
    runner = outside(SHOP_DSN=f"postgresql://reader:{SECRET.replace(' ', '')}@127.0.0.1:9/shop")
    top, metadata, everything = panel(runner.run(*DUMP.values(), date=newest()), "dump__shop")
    assert top.startswith("SourceUnavailable: source shop_db (127.0.0.1:9/shop)"), top
    assert metadata["code"] == "source_unavailable"
    assert metadata["hint"]
    assert SECRET.replace(" ", "") not in everything


def test_a_variable_that_is_not_set_is_named(outside):
    top, metadata, _ = panel(outside().run(*DUMP.values(), date=newest()), "dump__shop")
    assert top == "CatalogError: dsn of source shop_db: environment variable SHOP_DSN is not set"
    assert "Set SHOP_DSN where runs are started" in metadata["hint"]


def test_a_key_that_is_not_there_stops_the_scrub_and_nothing_else(outside):
    top, metadata, _ = panel(outside().run(*SCRUB.values(), date=newest()), "scrub__shop__shared")
    assert top == "CatalogError: key of scrub of shop: environment variable SHOP_SCRUB_KEY is not set"
    assert metadata["retryable"] is False


def test_a_store_that_is_down_is_named(outside):
    top, metadata, _ = panel(outside().run(DELIVERY, date=newest()), "delivery__acme__orders")
    assert top.startswith("StoreUnavailable: "), top
    assert "127.0.0.1:9" in top or "evidence" in top
    assert metadata["hint"]


def test_an_observation_fails_the_same_way(outside):
    runner = outside()
    job = runner.defs.resolve_implicit_global_asset_job_def().get_subset(
        asset_selection={dg.AssetKey(["source", "shop"])}
    )
    top, metadata, _ = panel(job.execute_in_process(instance=runner.instance, raise_on_error=False), "source__shop")
    assert top == "CatalogError: dsn of source shop_db: environment variable SHOP_DSN is not set"
    assert metadata["code"] == "catalog"


def test_housekeeping_fails_the_same_way(outside):
    runner = outside()
    job = runner.defs.resolve_job_def("housekeeping")
    top, metadata, _ = panel(job.execute_in_process(instance=runner.instance, raise_on_error=False), "sweep")
    assert top.startswith("StoreUnavailable: "), top
    assert metadata["retryable"] is True


# --------------------------------------------------------------------------------------------------------- run retries
def retry_tag(runner: Runner, result: dg.ExecuteInProcessResult) -> str | None:
    run = runner.instance.get_run_by_id(result.run_id)
    assert run is not None
    return run.tags.get(RUN_RETRY)


def test_a_permanent_error_stops_run_retries(runner: Runner, engine: StandIn):
    engine.failures["scrub"] = GateFailed("it did not pass")
    assert retry_tag(runner, runner.run(*SCRUB.values())) == "false"


def test_a_run_started_again_by_hand_may_be_retried_though_it_inherits_its_parents_tags(
    runner: Runner, engine: StandIn
):
    engine.failures["scrub"] = SourceUnavailable("source shop_db refused the connection")
    assert retry_tag(runner, runner.run(*SCRUB.values())) is None
    assert retry_tag(runner, runner.run(*SCRUB.values(), tags=NO_RUN_RETRY)) == "true"
