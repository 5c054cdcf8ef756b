"""Schema drift in the UI: a check that warns or fails, a table of the difference, and a range that accepts it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import dagster as dg
import pytest

from egress_assets.engine.errors import SchemaDrift
from egress_assets.engine.result import StageResult
from egress_assets.engine.schema_drift import Drifted
from tests.graph.conftest import DATE, DELIVERY, DUMP, MIRROR, SCRUB, Runner, StandIn, evaluations

ORDERS = "public.orders"
NOTE = Drifted(ORDERS, "2026-11-09", "added", "note", "", "text", "warn")
GONE = Drifted(ORDERS, "2026-11-09", "removed", "<b>x</b>", "date", "", "accept")
LINE = f"{ORDERS} since 2026-11-09: + note text"
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcfromtimestamp:DeprecationWarning")  # Dagster's


class Accepting(StandIn):
    """An engine whose dump and scrub have drifted, unless the run accepts it."""

    def __call__(self, stage: str) -> Any:
        run = super().__call__(stage)

        def called(*arguments: Any, accept_drift: bool = False, **options: Any) -> StageResult:
            if stage in ("dump", "scrub") and not accept_drift:
                raise drift()
            return run(*arguments, **options)

        return called


def drift() -> SchemaDrift:
    return SchemaDrift(f"schema drift: {LINE}", hint="Accept it.", found=(asdict(NOTE) | {"how": "fail"},))


def rows(found: Any) -> list[tuple[Any, ...]]:
    return [tuple(record.data.values()) for record in found.value.records]


def checked(result: dg.ExecuteInProcessResult) -> dict[dg.AssetKey, Any]:
    return {found.asset_key: found for found in evaluations(result, "schema_drift")}


def test_every_table_of_a_dump_and_a_scrub_says_that_nothing_has_drifted(runner: Runner):
    found = checked(runner.run())
    assert set(found) == {*DUMP.values(), *SCRUB.values()}
    assert {(each.passed, each.blocking, each.description) for each in found.values()} == {
        (True, False, "the columns of the date before")
    }


def test_what_was_warned_of_is_a_warning_with_the_difference_and_everything_below_goes_on(
    runner: Runner, engine: StandIn
):
    engine.drift = {ORDERS: (NOTE, GONE)}
    result = runner.run()
    assert result.success
    assert all(runner.materialised(asset) == {DATE} for asset in (MIRROR, DELIVERY))
    found = checked(result)[DUMP[ORDERS]]
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert found.description == f"{LINE}, - <b>x</b> date"
    told = next(e for e in result.get_asset_materialization_events() if e.asset_key == DUMP[ORDERS])
    shown = rows(told.step_materialization_data.materialization.metadata["schema_drift"])
    assert shown == rows(found.metadata["drift"]) == [tuple(asdict(NOTE).values()), tuple(asdict(GONE).values())]
    assert checked(result)[DUMP["public.customers"]].passed


def test_what_was_accepted_is_shown_and_passes(runner: Runner, engine: StandIn):
    engine.drift = {ORDERS: (GONE,)}
    found = checked(runner.run())[SCRUB[ORDERS]]
    assert (found.passed, len(rows(found.metadata["drift"]))) == (True, 1)


def test_what_is_refused_fails_with_the_difference_in_the_runs_panel_and_on_the_check(runner: Runner, engine: StandIn):
    engine.failures["dump"] = drift()
    result = runner.run(*DUMP.values())
    assert not result.success
    assert runner.materialised(DUMP[ORDERS]) == set()
    failure = next(e.step_failure_data for e in result.all_events if e.is_step_failure)
    assert failure.error.message.startswith(f"SchemaDrift: schema drift: {LINE}")
    said = failure.user_failure_data.metadata
    assert (said["code"].value, said["retryable"].value, said["hint"].value) == ("schema_drift", False, "Accept it.")
    (found,) = evaluations(result, "schema_drift")  # the other table is not at fault
    assert (found.asset_key, found.passed, found.severity) == (DUMP[ORDERS], False, dg.AssetCheckSeverity.ERROR)
    assert rows(said["drift"]) == rows(found.metadata["drift"]) == [(*list(asdict(NOTE).values())[:-1], "fail")]


@pytest.mark.parametrize("accept", [False, True])
def test_a_range_accepts_it_when_it_is_told_to(runner: Runner, engine: Accepting, accept: bool):
    result = runner.defs.resolve_job_def("shop_range").execute_in_process(
        run_config={"from": DATE, "to": DATE, "accept_drift": accept}, instance=runner.instance, raise_on_error=False
    )
    assert result.success is accept
    assert runner.materialised(DUMP[ORDERS]) == ({DATE} if accept else set())
    assert {found.passed for found in evaluations(result, "schema_drift")} == {accept}


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> StandIn:
    return Accepting() if "accept" in request.fixturenames else StandIn()
