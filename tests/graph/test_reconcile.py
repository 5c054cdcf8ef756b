"""The reconcile sensor over evidence in memory: each situation is one request, valid, and none while somebody works."""

from datetime import datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from egress_assets import running
from egress_assets.definitions import build
from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.errors import GateFailed, StoreUnavailable
from egress_assets.engine.evidence.failures import record_failure
from egress_assets.engine.evidence.here import this
from egress_assets.engine.evidence.records import Note, canonical
from egress_assets.engine.layout import Unit, missed_key, note_key, pointer_key
from egress_assets.engine.reconcile.decide import Cursor
from egress_assets.engine.reconcile.look import under_way
from egress_assets.engine.seen import missed
from sensors import reconcile
from sensors.reconcile import parse, written
from tests.graph.conftest import DELIVERY, MIRROR, StandIn
from tests.graph.ground import UNITS, Ground, at, over_memory

BEFORE, LAST = "2026-11-18", "2026-11-19"
MORNING = datetime.fromisoformat("2026-11-20T07:00:00+00:00")
ATTEMPT = "20261120T070001000-0a0b0c0d"


@pytest.fixture(scope="module")
def defs(catalog: Catalog) -> dg.Definitions:
    return build(catalog, engine=StandIn())


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch, self.now = monkeypatch, MORNING
        self.later(timedelta(0))

    def later(self, span: timedelta) -> None:
        self.now += span
        at(self._patch, self.now.isoformat())


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def ground(
    catalog: Catalog, defs: dg.Definitions, instance: dg.DagsterInstance, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> Ground:
    """Two dates done."""
    platform = over_memory(catalog)
    monkeypatch.setattr(running, "platform", lambda _resources, _catalog: platform)
    ground = Ground(platform, defs, instance)
    ground.chain(BEFORE, LAST)
    return ground


def asked(ground: Ground, clock: Clock) -> list[dg.RunRequest]:
    """Of three ticks, a minute from each other: a situation has to last for two."""
    found = []
    for _ in range(3):
        found += ground.tick("reconcile").run_requests
        clock.later(timedelta(minutes=1))
    return found


def forget(ground: Ground, stage: str, date: str) -> None:
    del ground.store.objects[pointer_key(UNITS[stage], date)]


def test_nothing_is_asked_for_when_all_is_well(ground: Ground, clock: Clock):
    assert asked(ground, clock) == []


def test_a_missed_schedule_is_one_run_of_the_whole_job_with_its_tags(ground: Ground, clock: Clock):
    forget(ground, "scrub", LAST)
    (request,) = asked(ground, clock)
    assert (request.job_name, request.partition_key, request.asset_selection) == ("shop", LAST, None)
    assert request.tags["egress/work"] == f"shop:{LAST}"
    assert request.tags["egress/reconcile"] == "due"
    assert asked(ground, clock) == []


def test_a_parent_that_moved_while_its_child_ran_is_one_run_of_the_children(ground: Ground, clock: Clock):
    ground.make("scrub", LAST, "v2")
    (request,) = asked(ground, clock)
    assert set(request.asset_selection or ()) == {MIRROR, DELIVERY}
    assert request.tags["egress/reconcile"] == "stale"
    ground.make("mirror", LAST, "v2")
    ground.deliver(LAST)
    assert asked(ground, clock) == []


def test_a_lost_cursor_asks_for_the_same_run_key(ground: Ground, clock: Clock):
    ground.make("scrub", LAST, "v2")
    (first,) = asked(ground, clock)
    ground.cursors.clear()
    (again,) = asked(ground, clock)
    assert again.run_key == first.run_key


def test_its_requests_are_runs_of_the_job(ground: Ground, clock: Clock):
    """As the daemon makes them: the job takes the partition and the selection."""
    ground.make("scrub", LAST, "v2")
    (request,) = asked(ground, clock)
    result = ground.defs.resolve_job_def("shop").execute_in_process(
        partition_key=request.partition_key, asset_selection=list(request.asset_selection or ()),
        instance=ground.instance, tags=dict(request.tags),
    )  # fmt: skip
    assert result.success
    assert {e.asset_key for e in result.get_asset_materialization_events()} == {MIRROR, DELIVERY}


def test_history_that_no_condition_saw_is_one_run(ground: Ground, clock: Clock):
    """Scrubbed before anything was evaluated, and never mirrored: no event tells it, evidence does."""
    ground.make("scrub", "2026-11-15")
    ground.make("dump", "2026-11-15")
    ground.chain("2026-11-14", "2026-11-16", "2026-11-17")
    (request,) = asked(ground, clock)
    assert request.partition_key == "2026-11-15"
    assert set(request.asset_selection or ()) == {MIRROR, DELIVERY}


def test_a_retryable_failure_is_tried_again_later_and_a_permanent_one_never(ground: Ground, clock: Clock):
    record_failure(ground.platform.evidence, UNITS["mirror"], LAST, StoreUnavailable("does not answer"))
    record_failure(ground.platform.evidence, UNITS["scrub"], BEFORE, GateFailed("1 check failed"))
    assert asked(ground, clock) == []
    clock.later(timedelta(minutes=8))
    (request,) = asked(ground, clock)
    assert (request.partition_key, request.tags["egress/reconcile"]) == (LAST, "failed")
    assert set(request.asset_selection or ()) == {MIRROR}
    clock.later(timedelta(hours=12))
    assert asked(ground, clock) == [], "its run would have noted how it ended"


def test_a_run_at_work_keeps_its_date_and_only_that(ground: Ground, clock: Clock):
    ground.make("scrub", LAST, "v2")
    ground.make("scrub", BEFORE, "v2")
    run = ground.instance.create_run_for_job(
        ground.defs.resolve_job_def("shop"), status=dg.DagsterRunStatus.STARTED, tags={"egress/work": f"shop:{LAST}"}
    )
    assert [r.partition_key for r in asked(ground, clock)] == [BEFORE]
    ground.instance.report_run_failed(run)
    assert [r.partition_key for r in asked(ground, clock)] == [LAST]


@pytest.mark.parametrize(
    ("note", "count"),
    [
        (this(ATTEMPT), 0),
        (Note(ATTEMPT, "another-host", "boot", 1, "1"), 0),
        (Note(ATTEMPT, this(ATTEMPT).host, this(ATTEMPT).boot, this(ATTEMPT).pid, "long ago"), 1),
    ],
)
def test_an_attempt_under_way_outside_of_dagster_is_left_alone(ground: Ground, clock: Clock, note: Note, count: int):
    """Here, on another host of which nothing can be said, and one whose process is gone."""
    forget(ground, "scrub", LAST)
    ground.store.put(note_key(UNITS["scrub"], LAST, ATTEMPT), canonical(note.to_json()))
    assert len(asked(ground, clock)) == count
    clock.later(timedelta(hours=3))
    assert len(asked(ground, clock)) == count, "a killed one is asked for again, later"


def test_an_attempt_of_another_host_is_given_up_after_a_day(ground: Ground):
    slot = UNITS["mirror"], LAST
    ground.store.put(note_key(*slot, ATTEMPT), canonical(Note(ATTEMPT, "another-host", "boot", 1, "1").to_json()))
    assert under_way(ground.platform.evidence, [slot], MORNING + timedelta(hours=24))
    assert not under_way(ground.platform.evidence, [slot], MORNING + timedelta(hours=25))


def test_a_date_that_cannot_be_made_any_more_is_recorded_once(ground: Ground, clock: Clock):
    ground.chain("2026-11-16")
    data = [ground.tick("reconcile") for _ in range(2)]
    assert all(tick.run_requests == [] for tick in data)
    evidence, slot = ground.platform.evidence, (UNITS["scrub"], "2026-11-17")
    found = missed(evidence, reconcile.Memory(), {slot})
    assert found[slot].reason.startswith("no run made it until 36 h after the day")
    writes = [key for method, key in ground.store.asked if method == "put_if" and key.startswith("missed/")]
    assert sorted(writes) == sorted(missed_key(UNITS[stage], "2026-11-17") for stage in ("dump", "scrub"))


def test_a_unit_and_date_that_dagster_does_not_know_reach_no_request(ground: Ground, clock: Clock):
    """One unknown partition key would fail the tick, and every tick after it."""
    foreign = Unit("mirror", ("gone",))
    for unit, date in ((foreign, LAST), (UNITS["scrub"], "1999-01-01"), (UNITS["scrub"], "2099-01-01")):
        ground.store.put(pointer_key(unit, date), ground.store.objects[pointer_key(UNITS["scrub"], LAST)].body)
    assert asked(ground, clock) == []
    ahead = "2030-06-01T07:00:00+00:00"  # the platform's clock is ahead of Dagster's: its dates are no partitions
    clock.now = datetime.fromisoformat(ahead)
    assert asked(ground, clock) == []


def test_a_held_recipient_gets_nothing_and_its_mirror_does(ground: Ground, clock: Clock):
    ground.make("scrub", LAST, "v2")
    ground.platform.evidence.hold("recipient", "acme", by="amy", reason="complaint")
    (request,) = asked(ground, clock)
    assert set(request.asset_selection or ()) == {MIRROR}
    ground.make("mirror", LAST, "v2")
    ground.platform.evidence.unhold("recipient", "acme", by="amy", reason="settled")
    (request,) = asked(ground, clock)
    assert set(request.asset_selection or ()) == {DELIVERY}


def test_a_store_that_fails_fails_the_tick_and_leaves_the_cursor(ground: Ground, clock: Clock):
    ground.make("scrub", LAST, "v2")
    ground.tick("reconcile")
    before = ground.cursors["reconcile"]
    ground.store.failing["list", "*"] = StoreUnavailable("does not answer")
    with pytest.raises(StoreUnavailable):
        ground.tick("reconcile")
    ground.store.failing.clear()
    assert ground.cursors["reconcile"] == before
    clock.later(timedelta(minutes=3))
    assert len(ground.tick("reconcile").run_requests) == 1


def test_reading_is_spread_over_ticks(ground: Ground, catalog: Catalog, monkeypatch: pytest.MonkeyPatch, clock: Clock):
    monkeypatch.setattr(reconcile, "READS", 4)
    ground.defs = build(catalog, engine=StandIn())
    ground.make("scrub", BEFORE, "v2")
    found: list[Any] = []
    for _ in range(8):
        found += ground.tick("reconcile").run_requests
        clock.later(timedelta(minutes=1))
    assert [r.partition_key for r in found] == [BEFORE]


@pytest.mark.parametrize("cursor", ["", "not json", "[]", "null", '{"since": [1]}', '{"since": {"a": "x"}}'])
def test_a_cursor_that_cannot_be_read_is_an_empty_one(cursor: str):
    assert parse(cursor) == Cursor()


def test_a_cursor_comes_back():
    cursor = Cursor({"a": 1}, {"key": LAST})
    assert parse(written(cursor)) == cursor
