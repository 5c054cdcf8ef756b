"""The scenarios of the one condition: what moves by itself, what doesn't, and how often.

What no condition can see is reconcile's; the end of this file holds both beside each other: each scenario ends in
exactly one run, whichever of the two it is that asks.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from egress_assets import running
from egress_assets.automation import WHOLE
from egress_assets.definitions import build
from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.errors import GateFailed, StoreUnavailable
from egress_assets.engine.evidence.failures import clear_failure, record_failure
from egress_assets.engine.evidence.memory import Memory
from egress_assets.engine.evidence.records import CheckRecord
from egress_assets.engine.found import result
from egress_assets.engine.layout import Unit
from egress_assets.engine.result import StageResult
from egress_assets.engine.seen import look_at
from tests.graph.conftest import DATE, DELIVERY, DUMP, MIRROR, OTHER, SCRUB, Runner, StandIn
from tests.graph.ground import Ground, at, over_memory

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


# ---------------------------------------------------------------------------------- the table, conditions and reconcile
OLDER, BEFORE, LAST = "2026-11-17", "2026-11-18", "2026-11-19"
MORNING = datetime.fromisoformat("2026-11-20T07:00:00+00:00")
CHILDREN = frozenset({MIRROR, DELIVERY})
Asked = tuple[str, str, frozenset[dg.AssetKey]]
"""(who asks, date, assets); no assets: the whole job"""


class Works(StandIn):
    """An engine whose runs leave their truth in evidence, as the real one's do. Tests say what happens in between."""

    ground: Ground
    version: str = "v1"

    def __init__(self) -> None:
        super().__init__()
        self.during: dict[str, Callable[[], Any]] = {}  # by stage: called once, after its input was read

    def _answer(self, stage: str, unit: Unit, date: str, tables: Any) -> StageResult:
        evidence = self.ground.platform.evidence
        self.calls.append((stage, date, tables))
        if error := self.failures.get(stage):
            record_failure(evidence, unit, date, error)
            raise error
        if stage == "delivery":
            self.ground.deliver(date)
        else:
            self.ground.make(stage, date, self.version)
        clear_failure(evidence, unit, date)
        if happens := self.during.pop(stage, None):
            happens()
        pointer = evidence.pointer(unit, date)
        assert pointer is not None
        seen = look_at(evidence, {(unit, date): pointer.etag}, Memory())
        return result(self.ground.platform.catalog, evidence, "shop", (unit, date), seen)


@dataclass
class Both:
    """The conditions, the evidence sensor and reconcile over one instance and one evidence, a minute at a time."""

    ground: Ground
    ticks: Ticks
    engine: Works
    patch: pytest.MonkeyPatch
    now: datetime = MORNING
    keys: set[str] = field(default_factory=set)

    def run(self, *keys: dg.AssetKey, date: str = LAST) -> bool:
        tags = {} if keys else WHOLE_RUN
        return self.ticks.runner.run(*keys, date=date, tags=tags).success

    def asked(self, *, minutes: int = 8) -> list[Asked]:
        """All that is asked for while time passes; each request is granted at once."""
        found: list[Asked] = []
        for _ in range(minutes):
            self.now += timedelta(minutes=1)
            at(self.patch, self.now.isoformat())
            self.ground.tick("evidence")
            granted = [*self._conditions(), *self._reconcile()]
            for _, date, keys in granted:
                self.run(*keys, date=date)
            found += granted
        return found

    def _conditions(self) -> list[Asked]:
        by_date: dict[str, set[dg.AssetKey]] = {}
        for key, dates in self.ticks.tick().items():
            for date in dates:
                by_date.setdefault(date, set()).add(key)
        return [("condition", date, frozenset(keys)) for date, keys in by_date.items()]

    def _reconcile(self) -> list[Asked]:
        requests = [r for r in self.ground.tick("reconcile").run_requests if r.run_key not in self.keys]
        self.keys |= {str(request.run_key) for request in requests}
        return [("reconcile", str(r.partition_key), frozenset(r.asset_selection or ())) for r in requests]


@pytest.fixture
def both(catalog: Catalog, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> Both:
    """Three dates done by the job, everything at rest."""
    engine = Works()
    defs = build(catalog, engine=engine)
    engine.ground = Ground(over_memory(catalog), defs, instance)
    monkeypatch.setattr(running, "platform", lambda _resources, _catalog: engine.ground.platform)
    both = Both(engine.ground, Ticks(Runner(defs, instance)), engine, monkeypatch)
    at(monkeypatch, both.now.isoformat())
    for date in (OLDER, BEFORE, LAST):
        assert both.run(date=date)
    assert both.asked(minutes=3) == []
    return both


def test_table_late_date_by_hand(both: Both):
    late = "2026-10-20"
    assert both.run(*DUMP.values(), *SCRUB.values(), date=late)
    assert both.asked() == [("condition", late, CHILDREN)]


def test_table_runless_event(both: Both):
    both.ground.make("scrub", LAST, "from-the-cli")
    assert both.asked() == [("condition", LAST, CHILDREN)]


def test_table_the_whole_chain_by_the_cli(both: Both):
    both.ground.chain(LAST, content="from-the-cli")
    assert both.asked() == []


def test_table_equal_content(both: Both):
    both.run(*SCRUB.values())
    both.ground.make("scrub", LAST)
    assert both.asked() == []


def test_table_one_table_changed_of_many(both: Both):
    both.ground.make("scrub", LAST, "v2", tables=("public.customers",))
    assert both.asked() == [("condition", LAST, frozenset({MIRROR}))]


def test_table_gate_failed(both: Both):
    both.engine.failures["scrub"] = GateFailed("1 check failed")
    both.engine.version = "v2"
    assert not both.run(*SCRUB.values())
    assert both.asked(minutes=15) == []
    both.engine.failures.clear()
    assert both.run(*SCRUB.values())
    assert both.asked() == [("condition", LAST, CHILDREN)]


def test_table_job_ended_and_parent_moved_in_the_same_tick(both: Both):
    both.engine.version = "v2"
    assert both.run()
    both.engine.version = "v3"
    assert both.run(*SCRUB.values())
    assert both.asked() == [("condition", LAST, CHILDREN)]


def test_table_failed_run(both: Both):
    """No treadmill: the condition asks once, the retry is reconcile's."""
    both.engine.version = "v2"
    both.engine.failures["mirror"] = StoreUnavailable("store ceph does not answer")
    assert both.run(*SCRUB.values())
    assert both.asked(minutes=5) == [("condition", LAST, CHILDREN)]
    both.engine.failures.clear()
    assert both.asked(minutes=14) == [("reconcile", LAST, frozenset({MIRROR}))]


def test_table_killed_run(both: Both):
    """It had moved the scrub, and told nobody."""
    both.ground.make("scrub", LAST, "v2")
    run = both.ground.instance.create_run_for_job(
        both.ground.defs.resolve_job_def("shop"),
        status=dg.DagsterRunStatus.STARTED,
        tags={"egress/work": f"shop:{LAST}"},
    )
    assert both.asked(minutes=5) == []
    both.ground.instance.report_run_failed(run)
    assert both.asked() == [("condition", LAST, CHILDREN)]


def test_table_history_before_the_first_evaluation(catalog: Catalog, both: Both):
    """Conditions that are evaluated for the first time take what is there as given."""
    both.ground.make("scrub", BEFORE, "v2")
    both.ground.tick("evidence")
    both.ticks.cursor = None
    assert both.asked() == [("reconcile", BEFORE, CHILDREN)]


def test_table_parent_moved_while_its_child_runs(both: Both):
    """The child read the parent before, and is told after it: nothing that Dagster knows says that it is stale."""

    def hand() -> None:
        both.engine.version = "v3"
        assert both.run(*SCRUB.values())

    both.engine.version = "v2"
    both.ground.make("scrub", LAST, "v2")
    both.engine.during["mirror"] = hand
    asked = both.asked()
    assert asked[0] == ("condition", LAST, CHILDREN)
    assert [(who, date) for who, date, _ in asked[1:]] == [("reconcile", LAST)]
    assert MIRROR in asked[1][2]


def test_table_missed_schedule(both: Both):
    both.now += timedelta(days=1)
    assert both.asked() == [("reconcile", "2026-11-20", frozenset())]
