"""Many dates in one run: each told as soon as it is done, a failing one stops no other, a second run does the rest."""

from typing import Any

import dagster as dg
import pytest

from egress_assets.automation import WHOLE
from egress_assets.definitions import build
from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.errors import CatalogError, GateFailed, SourceUnavailable
from egress_assets.engine.layout import Unit
from egress_assets.engine.result import StageResult
from egress_assets.ranges import MOST
from tests.graph.conftest import DELIVERY, DUMP, MIRROR, SCRUB, Runner, StandIn, evaluations

FIRST, LAST = "2026-11-10", "2026-11-12"
DATES = {"2026-11-10", "2026-11-11", "2026-11-12"}
ASSETS = (*DUMP.values(), *SCRUB.values(), MIRROR, DELIVERY)
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcfromtimestamp:DeprecationWarning")  # Dagster's


class Dated(StandIn):
    """An engine that fails for some stages and dates."""

    def __init__(self) -> None:
        super().__init__()
        self.bad: dict[tuple[str, str], Exception] = {}
        self.again: list[str] = []

    def __call__(self, stage: str) -> Any:
        run = super().__call__(stage)

        def called(*arguments: Any, again: bool = False, **options: Any) -> StageResult:
            self.again += [stage] if again else []
            return run(*arguments, **options)

        return called

    def _answer(self, stage: str, unit: Unit, date: str, tables: tuple[str, ...] | None) -> StageResult:
        if error := self.bad.get((stage, date)):
            self.calls.append((stage, date, tables))
            raise error
        return super()._answer(stage, unit, date, tables)


@pytest.fixture
def engine() -> Dated:
    return Dated()


@pytest.fixture
def ranged(runner: Runner) -> Any:
    def run(first: str = FIRST, last: str = LAST, **config: Any) -> dg.ExecuteInProcessResult:
        return runner.defs.resolve_job_def("shop_range").execute_in_process(
            run_config={"from": first, "to": last, **config}, instance=runner.instance, raise_on_error=False
        )

    return run


def problem(result: dg.ExecuteInProcessResult) -> Any:
    return next(e.step_failure_data for e in result.all_events if e.is_step_failure)


def test_every_date_is_materialised_in_order_with_its_own_data_version(ranged, runner: Runner, engine: Dated):
    result = ranged()
    assert result.success
    dates = [date for stage, date, _ in engine.calls if stage == "dump"]
    assert dates == sorted(DATES)
    assert all(runner.materialised(asset) == DATES for asset in ASSETS)
    versions = set()
    for date in DATES:
        record = runner.instance.fetch_materializations(
            dg.AssetRecordsFilter(DUMP["public.orders"], asset_partitions=[date]), limit=1
        ).records[0]
        assert record.asset_materialization is not None
        tags = record.asset_materialization.tags or {}
        versions.add(tags["dagster/data_version"])
        assert tags["egress/attempt"]
        assert record.asset_materialization.metadata["rows"].value == 1000
    assert len(versions) == 3


def test_what_is_done_is_told_at_once_and_not_at_the_end(runner: Runner, catalog: Catalog):
    """Somebody who stops the run keeps what was done; a watcher sees it grow."""
    seen: list[set[str]] = []

    class Watching(Dated):
        def _answer(self, stage: str, unit: Unit, date: str, tables: Any) -> StageResult:
            if stage == "dump":
                seen.append(runner.materialised(DELIVERY))
            return super()._answer(stage, unit, date, tables)

    defs = build(catalog, engine=Watching())
    config = {"from": FIRST, "to": LAST}
    defs.resolve_job_def("shop_range").execute_in_process(run_config=config, instance=runner.instance)
    assert seen == [set(), {"2026-11-10"}, {"2026-11-10", "2026-11-11"}]


def test_a_range_that_is_terminated_keeps_the_dates_that_were_done(ranged, runner: Runner, engine: Dated):
    engine.bad["mirror", "2026-11-11"] = dg.DagsterExecutionInterruptedError()  # type: ignore[assignment]
    assert not ranged().success
    assert runner.materialised(DELIVERY) == {"2026-11-10"}
    assert "2026-11-12" not in {date for _, date, _ in engine.calls}


def test_gate_checks_are_told_by_date(ranged, runner: Runner):
    result = ranged()
    assert len(evaluations(result)) == 3 * len(SCRUB)
    again = ranged()
    assert len(evaluations(again)) == 3 * len(SCRUB)
    record = runner.instance.event_log_storage.get_latest_asset_check_execution_by_key(
        [dg.AssetCheckKey(SCRUB["public.orders"], "gate")]
    )
    assert all(found.status.value == "SUCCEEDED" for found in record.values())


def test_a_failing_date_stops_no_other_and_the_run_names_it_at_the_end(ranged, runner: Runner, engine: Dated):
    engine.bad["scrub", "2026-11-11"] = GateFailed("orders has 3 e-mails", hint="Mask the column.")
    result = ranged()
    assert not result.success
    good = DATES - {"2026-11-11"}
    assert all(runner.materialised(asset) == good for asset in (*SCRUB.values(), MIRROR, DELIVERY))
    assert all(runner.materialised(asset) == DATES for asset in DUMP.values())  # beside the scrub, not below it
    data = problem(result)
    assert data.error.message.splitlines()[0] == ("RangeFailed: 1 of 3 dates failed: 2026-11-11; the others are done")
    metadata = {name: value.value for name, value in data.user_failure_data.metadata.items()}
    assert metadata["problems"] == "- `2026-11-11 scrub/shop/shared: gate_failed: orders has 3 e-mails`"
    assert "Mask the column." in metadata["hint"]
    assert "same range again" in metadata["hint"]
    assert metadata["retryable"] is False
    refused = [c for c in result.get_asset_check_evaluations() if not c.passed]
    assert {(c.asset_key, c.partition) for c in refused} == {(key, "2026-11-11") for key in SCRUB.values()}


def test_what_lies_below_a_failed_stage_is_left_out(ranged, engine: Dated):
    engine.bad["scrub", "2026-11-11"] = GateFailed("it did not pass")
    ranged()
    assert {stage for stage, date, _ in engine.calls if date == "2026-11-11"} == {"dump", "scrub"}


def test_a_range_that_only_passing_troubles_stopped_may_be_retried(ranged, engine: Dated):
    engine.bad["dump", FIRST] = SourceUnavailable("source shop_db refused the connection")
    assert problem(ranged()).user_failure_data.metadata["retryable"].value is True


def test_an_unforeseen_error_of_one_date_is_told_without_its_text(ranged, runner: Runner, engine: Dated):
    engine.bad["mirror", FIRST] = ValueError("canary 4711")
    result = ranged()
    metadata = problem(result).user_failure_data.metadata
    assert metadata["problems"].value.startswith(f"- `{FIRST} mirror/shop: unexpected: unexpected ValueError at")
    assert "canary" not in "".join(repr(event) for event in result.all_events)
    assert runner.materialised(MIRROR) == DATES - {FIRST}


def test_stages_may_be_chosen(ranged, runner: Runner, engine: Dated):
    assert ranged(stages=["scrub", "mirror"]).success
    assert {stage for stage, _, _ in engine.calls} == {"scrub", "mirror"}
    assert runner.materialised(DELIVERY) == set()


def test_again_reads_the_source_again(ranged, engine: Dated):
    assert ranged(first=LAST, again=True).success
    assert engine.again == ["dump", "scrub", "mirror"]  # a delivery is sent once, whatever is asked


@pytest.mark.parametrize(
    ("first", "last", "more", "message"),
    [
        ("2026-11-12", "2026-11-10", {}, "the range begins on 2026-11-12, after its end on 2026-11-10"),
        ("2026-11-1", "2026-11-10", {}, "date '2026-11-1' is not a calendar day"),
        ("2026-02-28", "2026-11-10", {}, "date 2026-02-28 is outside 2026-03-01 .."),
        ("2026-11-10", "2099-01-01", {}, "date 2099-01-01 is outside 2026-03-01 .."),
        (FIRST, LAST, {"stages": ["load"]}, "shop has no stage load"),
        (FIRST, LAST, {"stages": []}, "a range without stages does nothing"),
    ],
)
def test_a_range_that_makes_no_sense_is_refused_before_any_work(
    ranged, engine: Dated, first: str, last: str, more: dict[str, Any], message: str
):
    data = problem(ranged(first, last, **more))
    assert data.error.message.startswith(f"CatalogError: {message}")
    assert data.user_failure_data.metadata["hint"].value
    assert engine.calls == []


def test_more_than_a_year_is_refused(ranged, engine: Dated, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EGRESS_NOW", "2028-01-01T12:00:00+00:00")
    data = problem(ranged("2026-03-01", "2027-03-02"))
    assert data.error.message.startswith(f"CatalogError: 2026-03-01 to 2027-03-02 are 367 dates, {MOST} are the most")
    assert engine.calls == []


def test_a_field_that_is_none_is_refused_by_dagster_which_lists_the_valid_ones(ranged):
    with pytest.raises(dg.DagsterInvalidConfigError, match=r'"form".* Expected: .*again'):
        ranged(form="x")


def test_the_job_opens_what_its_stages_open_and_holds_the_sources_pool(defs: dg.Definitions):
    (op,) = defs.resolve_job_def("shop_range").all_node_defs
    assert isinstance(op, dg.OpDefinition)
    assert op.pool == "source_shop_db"
    assert op.required_resource_keys == {
        "source_shop_db", "key_shop", "store_evidence", "store_lake", "store_ceph", "recipient_acme",
    }  # fmt: skip


def test_a_dataset_with_the_name_of_anothers_range_is_refused(catalog: Catalog, engine: Dated):
    twice = catalog.model_copy(update={"datasets": {**catalog.datasets, "shop_range": catalog.datasets["shop"]}})
    with pytest.raises(CatalogError, match="dataset shop_range has the name of the job of shop"):
        build(twice, engine=engine)


# --------------------------------------------------------------------------------------------------------- automation
def requested(runner: Runner, cursor: Any) -> tuple[dict[dg.AssetKey, set[str | None]], Any]:
    result = dg.evaluate_automation_conditions(runner.defs, instance=runner.instance, cursor=cursor)
    asked = {asset: result.get_requested_partitions(asset) for asset in (MIRROR, DELIVERY)}
    return {asset: dates for asset, dates in asked.items() if dates}, result.cursor


@pytest.fixture
def cursor(ranged, runner: Runner) -> Any:
    """After a first range, with the conditions at rest."""
    ranged()
    _, cursor = requested(runner, None)
    asked, cursor = requested(runner, cursor)
    assert asked == {}
    return cursor


def test_automation_does_not_repeat_what_a_whole_range_carried_on_itself(ranged, runner, engine: Dated, cursor):
    engine.content["scrub"] = "v2"
    result = ranged()
    run = runner.instance.get_run_by_id(result.run_id)
    assert run.tags[WHOLE] == "yes"
    for _ in range(2):
        asked, cursor = requested(runner, cursor)
        assert asked == {}


def test_automation_follows_a_range_that_stopped_at_the_scrub(ranged, runner, engine: Dated, cursor):
    engine.content["scrub"] = "v2"
    result = ranged(stages=["scrub"])
    assert WHOLE not in runner.instance.get_run_by_id(result.run_id).tags
    asked, _ = requested(runner, cursor)
    assert asked == {MIRROR: DATES, DELIVERY: DATES}
