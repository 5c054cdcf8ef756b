"""The scenarios of the one condition: what moves by itself, what doesn't, and how often."""

from dataclasses import dataclass
from typing import Any

import dagster as dg
import pytest

from egress_assets.automation import WHOLE
from egress_assets.engine.errors import GateFailed, StoreUnavailable
from egress_assets.engine.evidence.records import CheckRecord
from tests.graph.conftest import DATE, DELIVERY, DUMP, MIRROR, OTHER, SCRUB, Runner, StandIn

CUSTOMERS, ORDERS = SCRUB["public.customers"], SCRUB["public.orders"]
WHOLE_RUN = {WHOLE: "yes"}


@dataclass
class Ticks:
    """Evaluates the conditions as the daemon does, tick after tick, and says what it would start."""

    runner: Runner
    cursor: Any = None

    def tick(self) -> dict[dg.AssetKey, set[str]]:
        result = dg.evaluate_automation_conditions(self.runner.defs, instance=self.runner.instance, cursor=self.cursor)
        self.cursor = result.cursor
        found = {
            asset: result.get_requested_partitions(asset)
            for asset in (*DUMP.values(), *SCRUB.values(), MIRROR, DELIVERY)
        }
        return {asset: {p for p in partitions if p} for asset, partitions in found.items() if partitions}


@pytest.fixture
def ticks(runner: Runner) -> Ticks:
    """With two dates done by the job, and the conditions at rest."""
    for date in (DATE, OTHER):
        assert runner.run(date=date, tags=WHOLE_RUN).success
    ticks = Ticks(runner)
    assert ticks.tick() == {}
    assert ticks.tick() == {}
    return ticks


def test_a_date_scrubbed_by_hand_is_mirrored_and_delivered_in_one_go(ticks: Ticks, engine: StandIn):
    late = "2026-04-02"
    ticks.runner.run(*SCRUB.values(), date=late)
    assert ticks.tick() == {MIRROR: {late}, DELIVERY: {late}}


def test_work_done_elsewhere_and_reported_moves_what_depends_on_it(ticks: Ticks):
    for asset in SCRUB.values():
        event = dg.AssetMaterialization(asset, partition=DATE, tags={"dagster/data_version": "from-the-cli"})
        ticks.runner.instance.report_runless_asset_event(event)
    assert ticks.tick() == {MIRROR: {DATE}, DELIVERY: {DATE}}


def test_equal_content_moves_nothing(ticks: Ticks):
    ticks.runner.run(*SCRUB.values())
    assert ticks.tick() == {}
    assert ticks.tick() == {}


def test_one_changed_table_moves_only_what_reads_it(ticks: Ticks, engine: StandIn):
    engine.content["public.customers"] = "v2"
    ticks.runner.run(*SCRUB.values())
    assert ticks.tick() == {MIRROR: {DATE}}


def test_a_failed_gate_moves_nothing(ticks: Ticks, engine: StandIn):
    engine.failures["scrub"] = GateFailed("1 check failed")
    engine.content["public.orders"] = "v2"
    assert not ticks.runner.run(*SCRUB.values()).success
    assert ticks.tick() == {}


def test_a_date_whose_gate_failed_once_moves_when_it_has_passed(ticks: Ticks, engine: StandIn):
    engine.failures["scrub"] = GateFailed("1 check failed")
    ticks.runner.run(*SCRUB.values())
    assert ticks.tick() == {}
    engine.failures.clear()
    engine.content["scrub"] = "v2"
    ticks.runner.run(*SCRUB.values())
    assert ticks.tick() == {MIRROR: {DATE}, DELIVERY: {DATE}}


def test_after_a_failed_gate_the_table_at_fault_alone_has_to_be_made_again(ticks: Ticks, engine: StandIn):
    """A clean table that had failed with it would hold the mirror back for good: nobody makes that one again."""
    bad, clean = (CheckRecord("row_counts_match", passed, {"output": 1, "source": 2}) for passed in (False, True))
    checks = {"public.customers": (bad,), "public.orders": (clean,)}
    engine.failures["scrub"] = GateFailed("1 check failed", checks=checks)
    assert not ticks.runner.run(*SCRUB.values()).success
    assert ticks.tick() == {}
    engine.failures.clear()
    engine.content["public.customers"] = "v2"
    assert ticks.runner.run(CUSTOMERS).success
    assert ticks.tick() == {MIRROR: {DATE}}


def test_the_job_that_did_the_whole_chain_is_not_done_again(ticks: Ticks, engine: StandIn):
    engine.content["scrub"] = "v2"
    assert ticks.runner.run(tags=WHOLE_RUN).success
    assert ticks.tick() == {}
    assert ticks.tick() == {}


def test_a_parent_that_moves_right_after_the_job_is_not_lost(ticks: Ticks, engine: StandIn):
    """Both lie between two ticks: the job's own move must not hide the later one."""
    engine.content["scrub"] = "v2"
    ticks.runner.run(tags=WHOLE_RUN)
    engine.content["scrub"] = "v3"
    ticks.runner.run(*SCRUB.values())
    assert ticks.tick() == {MIRROR: {DATE}, DELIVERY: {DATE}}


def test_what_was_requested_is_not_requested_again_when_its_run_succeeds(ticks: Ticks, engine: StandIn):
    engine.content["scrub"] = "v2"
    ticks.runner.run(*SCRUB.values())
    assert ticks.tick() == {MIRROR: {DATE}, DELIVERY: {DATE}}
    ticks.runner.run(MIRROR, DELIVERY)
    assert ticks.tick() == {}
    assert ticks.tick() == {}


def test_a_failing_mirror_is_one_run_and_no_treadmill(ticks: Ticks, engine: StandIn):
    engine.content["scrub"] = "v2"
    ticks.runner.run(*SCRUB.values())
    assert ticks.tick()[MIRROR] == {DATE}
    engine.failures["mirror"] = StoreUnavailable("store ceph does not answer")
    assert not ticks.runner.run(MIRROR).success
    ticks.runner.run(DELIVERY)
    assert ticks.tick() == {}
    assert ticks.tick() == {}


def test_two_dates_moved_at_once_are_both_followed(ticks: Ticks, engine: StandIn):
    """`eager()` looks at the latest partition only."""
    engine.content["public.orders"] = "v2"
    for date in (DATE, OTHER):
        ticks.runner.run(ORDERS, date=date)
    assert ticks.tick() == {MIRROR: {DATE, OTHER}, DELIVERY: {DATE, OTHER}}


def test_a_mirror_waits_until_every_table_of_the_date_is_there(ticks: Ticks, engine: StandIn):
    late = "2026-04-02"
    ticks.runner.run(ORDERS, date=late)
    assert ticks.tick() == {DELIVERY: {late}}
    ticks.runner.run(DELIVERY, date=late)
    ticks.runner.run(CUSTOMERS, date=late)
    assert ticks.tick() == {MIRROR: {late}}


def test_a_schema_change_in_the_source_asks_for_no_date(ticks: Ticks):
    """The source has no dates: a dump or scrub that followed it would be asked for every day at once."""
    source = dg.AssetKey(["source", "shop"])
    for version in ("columns-1", "columns-2"):
        event = dg.AssetObservation(source, tags={"dagster/data_version": version})
        ticks.runner.instance.report_runless_asset_event(event)
        assert ticks.tick() == {}


def test_conditions_are_evaluated_from_the_start_and_include_sources(defs: dg.Definitions):
    sensor = defs.resolve_sensor_def("automation")
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    graph = defs.resolve_asset_graph()
    assert sensor.asset_selection is not None
    assert dg.AssetKey(["source", "shop"]) in sensor.asset_selection.resolve(graph)
