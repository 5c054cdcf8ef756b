"""Work that Dagster did not see: reported once, with what a run would have told, and never what a run has told."""

import json
import time
from typing import Any

import dagster as dg
import pytest

from egress_assets import running
from egress_assets.automation import WHOLE
from egress_assets.definitions import build
from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.layout import manifest_key, mirror_unit, pointer_key
from egress_assets.overview import KEY as OVERVIEW
from sensors import evidence, noted, remarks, telling
from tests.graph.conftest import DELIVERY, DUMP, MIRROR, SCRUB, TABLES, Runner, StandIn
from tests.graph.ground import KEYS, UNITS, Ground, at, over_memory

DATE, OLD = "2026-11-19", "2026-10-01"
MORNING = "2026-11-20T07:00:00+00:00"
SOURCE = dg.AssetKey(["source", "shop"])


@pytest.fixture(scope="module")
def defs(catalog: Catalog) -> dg.Definitions:
    return build(catalog, engine=StandIn())


@pytest.fixture
def ground(
    catalog: Catalog, defs: dg.Definitions, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> Ground:
    platform = over_memory(catalog)
    monkeypatch.setattr(running, "platform", lambda _resources, _catalog: platform)
    at(monkeypatch, MORNING)
    return Ground(platform, defs, instance)


def told(data: Any) -> dict[dg.AssetKey, list[str]]:
    """Partitions by asset of the materialisations of a tick, without the overview."""
    found: dict[dg.AssetKey, list[str]] = {}
    for event in data.asset_events:
        if isinstance(event, dg.AssetMaterialization) and event.asset_key != OVERVIEW:
            found.setdefault(event.asset_key, []).append(str(event.partition))
    return found


def observed(data: Any) -> dict[dg.AssetKey, dict[str, Any]]:
    return {
        e.asset_key: {name: value.value for name, value in e.metadata.items()}
        for e in data.asset_events
        if isinstance(e, dg.AssetObservation)
    }


ALL = {key: [DATE] for keys in KEYS.values() for key in keys.values()}


# ------------------------------------------------------------------------------------------------------------- reported
def test_a_chain_done_by_the_cli_is_reported_once_parents_first(ground: Ground):
    ground.chain(DATE)
    first = ground.tick("evidence")
    assert told(first) == ALL
    order = [event.asset_key.path[0] for event in first.asset_events if event.asset_key.path[0] in KEYS]
    assert order == sorted(order, key=list(KEYS).index)
    assert told(ground.tick("evidence")) == {}


def test_a_lost_cursor_reports_nothing_twice(ground: Ground):
    ground.chain(DATE)
    ground.tick("evidence")
    assert told(ground.tick("evidence", lost=True)) == {}


def test_it_tells_what_a_run_would_have_told(ground: Ground):
    ground.make("scrub", DATE)
    (event,) = [e for e in ground.tick("evidence").asset_events if e.asset_key == SCRUB["public.orders"]]
    facts = {name: value.value for name, value in event.metadata.items()}
    assert {facts[name] for name in ("rows", "dagster/row_count")} == {10}
    assert (facts["bytes"], facts["raw_bytes"], facts["seconds"], facts["seconds/read"]) == (100, 400, 2.0, 1.5)
    assert facts["gate"] == {"identifiers": {"passed": True, "scanned": 9}}
    entry = ground.platform.evidence.pointer(UNITS["scrub"], DATE).entries["public.orders"]  # pyright: ignore
    assert event.tags == {"dagster/data_version": entry.content_digest, "egress/attempt": entry.attempt}
    assert event.description == "done outside of Dagster, told from evidence"


def test_checks_are_never_reported(ground: Ground):
    ground.chain(DATE)
    assert not [e for e in ground.tick("evidence").asset_events if isinstance(e, dg.AssetCheckEvaluation)]


def test_sealed_bytes_are_no_delivery(ground: Ground):
    ground.make("dump", DATE)
    ground.make("scrub", DATE)
    ground.tick("evidence")
    ground.make("delivery", DATE)
    assert told(ground.tick("evidence")) == {}
    ground.deliver(DATE)
    data = ground.tick("evidence")
    assert told(data) == {DELIVERY: [DATE]}


def test_only_what_moved_is_reported(ground: Ground):
    ground.chain(DATE)
    ground.tick("evidence")
    ground.make("scrub", DATE, "v2", tables=("public.orders",))
    assert told(ground.tick("evidence")) == {SCRUB["public.orders"]: [DATE]}
    ground.make("scrub", DATE, "v2", tables=("public.orders",))
    assert told(ground.tick("evidence")) == {}, "unchanged content moves no entry"


def test_what_dagsters_own_run_has_told_is_not_told_again(ground: Ground):
    """The run told the attempt and digest that evidence names."""
    outcome = ground.make("scrub", DATE)
    for table, key in SCRUB.items():
        entry = outcome.pointer.entries[table]
        tags = {"dagster/data_version": entry.content_digest, "egress/attempt": entry.attempt}
        event = dg.AssetMaterialization(key, partition=DATE, tags=tags)
        ground.instance.report_runless_asset_event(event)
    assert told(ground.tick("evidence")) == {}


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTED])
def test_what_a_run_works_on_is_left_until_it_ends(ground: Ground, status: dg.DagsterRunStatus):
    ground.chain(DATE, "2026-11-18")
    run = ground.instance.create_run_for_job(
        ground.defs.resolve_job_def("shop"), status=status, tags={"egress/work": f"shop:{DATE}"}
    )
    assert told(ground.tick("evidence")) == {key: ["2026-11-18"] for key in ALL}
    assert told(ground.tick("evidence")) == {}
    ground.instance.report_run_failed(run)
    assert told(ground.tick("evidence")) == ALL


def test_a_range_at_work_keeps_all_dates_of_its_dataset(ground: Ground):
    ground.chain(DATE)
    ground.instance.create_run_for_job(
        ground.defs.resolve_job_def("shop"), status=dg.DagsterRunStatus.STARTED, tags={"egress/range": "shop"}
    )
    assert told(ground.tick("evidence")) == {}


def test_a_reported_chain_moves_nothing(ground: Ground, runner: Runner):
    """What the CLI has carried to its end needs no run; what it left behind is one."""
    runner.run(date=DATE, tags={WHOLE: "yes"})
    first = dg.evaluate_automation_conditions(ground.defs, instance=ground.instance)
    second = dg.evaluate_automation_conditions(ground.defs, instance=ground.instance, cursor=first.cursor)
    ground.chain(DATE, content="v2")
    assert told(ground.tick("evidence")) == ALL
    third = dg.evaluate_automation_conditions(ground.defs, instance=ground.instance, cursor=second.cursor)
    assert third.total_requested == 0
    ground.make("scrub", DATE, "v3")
    ground.tick("evidence")
    fourth = dg.evaluate_automation_conditions(ground.defs, instance=ground.instance, cursor=third.cursor)
    assert {key for key in ALL if fourth.get_requested_partitions(key)} == {MIRROR, DELIVERY}


# --------------------------------------------------------------------------------------------------------------- bounds
def test_many_events_are_spread_over_ticks(ground: Ground, monkeypatch: pytest.MonkeyPatch):
    days = [f"2026-11-{n}" for n in range(13, 20)]
    ground.chain(*days)
    monkeypatch.setattr(telling.Teller, "__init__", _small(telling.Teller.__init__, events=9))
    ticks = [told(ground.tick("evidence")) for _ in range(6)]
    counts = [sum(map(len, each.values())) for each in ticks]
    assert counts == [9, 9, 9, 9, 6, 0]
    assert {(key, date) for each in ticks for key, dates in each.items() for date in dates} == {
        (key, date) for key in ALL for date in days
    }


def _small(real: Any, **bounds: Any) -> Any:
    return lambda self, *given, **more: real(self, *given, **more | bounds)


def test_a_slow_event_ends_the_ticks_telling(ground: Ground, monkeypatch: pytest.MonkeyPatch):
    ground.chain(DATE)
    monkeypatch.setattr(telling.Teller, "__init__", _small(telling.Teller.__init__, seconds=-1.0))
    assert len(told(ground.tick("evidence"))) == 2, "one unit's date; its tables are told together"
    assert len(told(ground.tick("evidence"))) == 2
    assert len(told(ground.tick("evidence"))) == 1


def test_reading_is_spread_over_ticks(ground: Ground, catalog: Catalog, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(evidence, "READS", 3)
    ground.defs = build(catalog, engine=StandIn())
    ground.chain(DATE)
    skipped = ground.tick("evidence")
    assert skipped.skip_message
    assert "goes on" in skipped.skip_message
    for _ in range(5):
        ground.tick("evidence")
    assert set(ground.instance.get_materialized_partitions(MIRROR)) == {DATE}


def test_a_tick_that_finds_nothing_new_reads_nothing(ground: Ground):
    ground.chain(DATE)
    ground.tick("evidence")
    ground.tick("evidence")
    ground.store.asked.clear()
    ground.tick("evidence")
    assert ground.store.times("read") == 0


# ------------------------------------------------------------------------------------------------------------- the walk
def test_an_old_date_is_reported_with_its_delivery(ground: Ground):
    ground.chain(OLD, DATE)
    assert told(ground.tick("evidence")) == {key: [DATE, OLD] for key in ALL}
    assert told(ground.tick("evidence")) == {}


def test_the_walk_goes_on_where_it_stopped(ground: Ground, monkeypatch: pytest.MonkeyPatch):
    ground.chain(*(f"2026-10-0{n}" for n in range(1, 6)))
    monkeypatch.setattr(evidence, "WALKED", 2)
    for _ in range(14):
        ground.tick("evidence")
    assert len(ground.instance.get_materialized_partitions(MIRROR)) == 5
    assert noted.parse(ground.cursors["evidence"]).walk.since > 0


def test_old_dates_that_did_not_change_are_not_compared_again(ground: Ground, monkeypatch: pytest.MonkeyPatch):
    ground.chain(OLD)
    ground.tick("evidence")
    later = time.time() + 3 * evidence.SKEW
    monkeypatch.setattr(evidence.time, "time", lambda: later)
    ground.tick("evidence")
    ground.store.asked.clear()
    ground.tick("evidence")
    assert ("list", f"receipts/{OLD}/") not in ground.store.asked


# ---------------------------------------------------------------------------------------------------------------- drift
def test_a_unit_that_the_catalog_does_not_name_is_drift_and_no_event(ground: Ground):
    ground.platform.evidence.materialise(mirror_unit("gone"), DATE, lambda _b, _a: _draft())
    data = ground.tick("evidence")
    assert told(data) == {}
    assert [record.data["what"] for record in _gone(data, OVERVIEW)] == ["mirror/gone"]
    assert observed(ground.tick("evidence")) == {}, "said once"


def _gone(data: Any, key: dg.AssetKey) -> Any:
    (event,) = [e for e in data.asset_events if e.asset_key == key and isinstance(e, dg.AssetObservation)]
    return _records(event.metadata["not_in_the_catalog"])


def _records(table: Any) -> Any:
    return table.records


def _draft() -> Any:
    from tests.graph.ground import Draft, Position, _record

    return Draft({"objects": _record("objects", "v", tabular=False)}, Position("lsn", 1), "s", "t", "lake")


def test_a_table_that_left_the_catalog_is_shown_on_its_source(ground: Ground):
    ground.make("scrub", DATE, tables=(*TABLES, "public.old"))
    data = ground.tick("evidence")
    assert told(data) == {SCRUB[table]: [DATE] for table in TABLES}
    (record,) = _gone(data, SOURCE)
    assert record.data == {"what": "public.old of scrub/shop/shared", "dates": 1, "first": DATE, "last": DATE}
    ground.make("scrub", DATE, "v2")
    ground.store.objects.pop(pointer_key(UNITS["scrub"], DATE))
    ground.make("scrub", DATE, "v2")
    assert observed(ground.tick("evidence"))[SOURCE]["things"] == 0, "and when it is over"


def test_an_unreadable_manifest_does_not_stop_the_others(ground: Ground):
    ground.chain(DATE)
    ground.store.objects[manifest_key(UNITS["scrub"], DATE, _attempt(ground, "scrub"))].body = b"{}"
    data = ground.tick("evidence")
    assert set(told(data)) == set(ALL) - set(SCRUB.values())
    (row,) = [r for r in _table(data, "status") if r["state"] == "failed"]
    assert (row["unit"], row["detail"].split(":")[0]) == ("scrub/shop/shared", "manifest_invalid")


def _attempt(ground: Ground, stage: str) -> str:
    pointer = ground.platform.evidence.pointer(UNITS[stage], DATE)
    assert pointer is not None
    return pointer.by


def _table(data: Any, name: str) -> list[dict[str, Any]]:
    (event,) = [e for e in data.asset_events if e.asset_key == OVERVIEW and isinstance(e, dg.AssetMaterialization)]
    return [dict(record.data) for record in _records(event.metadata[name])]


# ----------------------------------------------------------------------------------------------------- holds, overview
def test_a_hold_shows_on_what_it_stops_and_so_does_its_end(ground: Ground):
    ground.tick("evidence")
    ground.platform.evidence.hold("recipient", "acme", by="amy", reason="complaint 7")
    data = observed(ground.tick("evidence"))
    assert set(data) == {DELIVERY}
    facts = data[DELIVERY]
    assert (facts["hold"], facts["what"], facts["by"], facts["why"]) == ("held", "recipient/acme", "amy", "complaint 7")
    assert facts["since"].endswith("Z")
    assert observed(ground.tick("evidence")) == {}
    ground.platform.evidence.unhold("recipient", "acme", by="bob", reason="settled")
    assert observed(ground.tick("evidence"))[DELIVERY]["by"] == "bob"
    assert observed(ground.tick("evidence")) == {}


def test_a_hold_on_a_dataset_shows_on_its_external_mirrors_too(ground: Ground):
    ground.platform.evidence.hold("dataset", "shop", by="amy", reason="audit")
    assert set(observed(ground.tick("evidence"))) == {MIRROR, DELIVERY}


def test_the_overview_is_told_when_it_changes_and_at_most_once_a_minute(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
):
    clock = [1_000_000.0]
    monkeypatch.setattr(remarks.time, "time", lambda: clock[0])
    assert _overviews(ground) == ["4 late, 24 missing"]  # the newest date; nobody waits for those before the first run
    clock[0] += 61
    assert _overviews(ground) == []
    ground.chain(DATE)
    assert len(_overviews(ground)) == 1
    ground.make("scrub", DATE, "v2")
    clock[0] += 59
    assert _overviews(ground) == []
    clock[0] += 2
    assert len(_overviews(ground)) == 1


def _overviews(ground: Ground) -> list[str | None]:
    return [e.description for e in ground.tick("evidence").asset_events if e.asset_key == OVERVIEW]


# --------------------------------------------------------------------------------------------------------------- cursor
@pytest.mark.parametrize("cursor", ["", "not json", "[]", "null", '{"walk": 3}', '{"gone": [[1]]}'])
def test_a_cursor_that_cannot_be_read_is_an_empty_one(cursor: str):
    assert noted.parse(cursor) == noted.Noted()


def test_the_cursor_comes_back_and_holds_digests(ground: Ground):
    ground.platform.evidence.materialise(mirror_unit("gone"), DATE, lambda _b, _a: _draft())
    ground.chain(DATE)
    ground.tick("evidence")
    cursor = ground.cursors["evidence"]
    assert cursor
    assert noted.parse(cursor).written() == cursor
    assert len(json.loads(cursor)["units"]) == 4


def test_dumps_are_reported_too(ground: Ground):
    ground.make("dump", DATE)
    assert told(ground.tick("evidence")) == {key: [DATE] for key in DUMP.values()}
