"""Which runs are asked for and which dates are called missed, decided from what was seen, the catalog and the hour."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.evidence.driver import microseconds
from egress_assets.engine.evidence.failures import Failure
from egress_assets.engine.layout import Unit, delivery_unit, dump_unit, mirror_unit, scrub_unit
from egress_assets.engine.reconcile.cases import LADDER, PATIENCE, cases, dates
from egress_assets.engine.reconcile.decide import AT_MOST, Ask, Cursor, Decision, decide
from egress_assets.engine.reconcile.look import Fact, Sight

SCRUB, MIRROR, DELIVERY = scrub_unit("shop", "shared"), mirror_unit("m"), delivery_unit("acme", "orders")
EVENTS = dump_unit("events")
TABLES = ("public.a", "public.b")
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
LAST, BEFORE, FIRST = "2026-11-19", "2026-11-18", "2026-11-17"
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def catalog(**changes: Any) -> Catalog:
    source, shop, store = changes.pop("source", {}), changes.pop("shop", {}), changes.pop("store", {})
    return Catalog.model_validate(
        {
            "endpoints": {
                "evidence": {"store": "lake"},
                "sources": {"db": {"dsn": "x", **source}},
                "stores": {"lake": {"bucket": "l", "zone": "trusted", **store}, "ceph": {"bucket": "c"}},
                "recipients": {"acme": {"transfer_type": "sft"}},
            },
            "datasets": {
                "shop": {
                    "source": "db", "start": "2026-11-01", "schedule": "02:15", "scrub": {"key": "k"},
                    "tables": {name: {"id": "keep"} for name in TABLES},
                    "mirrors": {"m": {"to": "ceph"}},
                    "deliveries": {"acme/orders": {"from": "public.a"}},
                    **shop,
                },
                "events": {
                    "source": "db", "start": "2026-09-01", "schedule": "02:45", "extract": "window", "dump": {},
                    "tables": {"public.e": {"window": "at"}},
                },
            },
        }
    )  # fmt: skip


def attempt(date: str, n: int = 1) -> str:
    """Of the night after the date."""
    day = datetime.fromisoformat(date) + timedelta(days=1)
    return f"{day:%Y%m%d}T02150{n}000-0000000{n}"


@dataclass
class World:
    """What is true, in a few words; `ask` decides as a tick does, with the cursor of the tick before."""

    catalog: Catalog = field(default_factory=catalog)
    at: datetime = NOON
    sight: Sight = field(default_factory=Sight)
    cursor: Cursor = field(default_factory=Cursor)

    def parent(self, *days: str, unit: Unit = SCRUB, n: int = 1, tables: Iterable[str] = TABLES, whole: bool = True):
        for date in days:
            entries = {table: (attempt(date, n), f"{table}-{n}") for table in tables}
            self.sight.pointed.add((unit, date))
            self.sight.facts[unit, date] = Fact(entries, whole, attempt(date, n))

    def children(self, *days: str, n: int = 1) -> None:
        for date in days:
            entries = {table: (attempt(date, n), f"{table}-{n}") for table in TABLES}
            self.sight.pointed.add((MIRROR, date))
            self.sight.sent.add((DELIVERY, date))
            self.sight.made_from[MIRROR, date] = entries
            self.sight.made_from[DELIVERY, date] = {"public.a": entries["public.a"]}

    def events(self, *days: str) -> None:
        self.sight.pointed |= {(EVENTS, date) for date in days}

    def all_well(self) -> World:
        self.parent(FIRST, BEFORE, LAST)
        self.children(FIRST, BEFORE, LAST)
        self.events(FIRST, BEFORE, LAST)
        return self

    def fail(self, unit: Unit, date: str, *, ago: timedelta, tries: int = 1, retryable: bool = True) -> None:
        at = microseconds(self.at - ago)
        self.sight.failures[unit, date] = Failure(unit, date, "store_unavailable", "m", "h", retryable, at, tries=tries)

    def tick(self, *busy: tuple[str, str]) -> Decision:
        found = cases(self.catalog, self.sight, self.at)
        made = decide(self.catalog, self.sight, found, busy=busy, cursor=self.cursor, at=self.at)
        self.cursor = made.cursor
        return made

    def later(self, span: timedelta = PATIENCE) -> World:
        self.at += span
        return self

    def asks(self) -> tuple[Ask, ...]:
        """Of a tick, and of one after everybody's patience."""
        first = self.tick().asks
        return first + self.later().tick().asks


def said(asks: Iterable[Ask]) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(ask.dataset, ask.date, tuple(unit.stage for unit in ask.units)) for ask in asks]


@pytest.fixture
def well() -> World:
    world = World().all_well()
    assert world.asks() == ()
    return world


# ----------------------------------------------------------------------------------------------------- missed schedules
def test_a_date_whose_schedule_was_missed_is_one_run_of_the_whole_job(well: World):
    well.sight.pointed -= {(SCRUB, LAST), (MIRROR, LAST)}
    assert said(well.asks()) == [("shop", LAST, ())]
    assert [well.later(MINUTE).tick().asks for _ in range(3)] == [(), (), ()]


def test_nothing_is_asked_for_before_the_schedules_hour():
    world = World(at=datetime(2026, 11, 20, 2, 14, tzinfo=UTC)).all_well()
    world.sight.pointed -= {(SCRUB, LAST), (EVENTS, LAST)}
    assert world.tick().asks == ()
    assert world.tick().cursor.since == {}


def test_the_schedule_itself_goes_first(well: World):
    """Its run is queued within seconds; what was seen in between is forgotten as soon as somebody works on it."""
    well.sight.pointed -= {(SCRUB, LAST)}
    assert well.tick().asks == ()
    assert well.later(5 * MINUTE).tick(("shop", LAST)).asks == ()
    assert well.later(MINUTE).tick().asks == ()


def test_an_outage_of_days_is_caught_up_for_windows_oldest_first_and_in_bounded_steps(well: World):
    well.events("2026-10-10")
    asked = list(well.asks())
    missing = [d for d in dates(well.catalog, well.at)["events"] if "2026-10-10" < d < FIRST]
    assert [ask.date for ask in asked] == missing[:AT_MOST]
    assert well.tick().left == 0
    assert [ask.date for ask in well.later(MINUTE).tick().asks] == []
    assert len(missing) == 37


def test_what_one_tick_leaves_the_next_one_asks_for(well: World):
    well.events("2026-10-10")
    well.tick()
    first, second = well.later().tick(), well.later(MINUTE).tick()
    assert (len(first.asks), first.left) == (AT_MOST, 17)
    assert (len(second.asks), second.left) == (17, 0)
    assert not {ask.run_key for ask in first.asks} & {ask.run_key for ask in second.asks}


def test_dates_count_from_the_first_pointer(well: World):
    """A dataset that begins with a start in the past isn't filled up by itself."""
    assert BEFORE in dates(well.catalog, well.at)["shop"]
    assert "2026-11-01" in dates(well.catalog, well.at)["shop"]
    assert well.asks() == ()


def test_a_dataset_without_any_pointer_is_asked_for_its_newest_date_alone():
    assert said(World().asks()) == [("events", LAST, ()), ("shop", LAST, ())]


def test_a_dataset_without_a_schedule_is_never_asked_for():
    world = World(catalog=catalog(shop={"schedule": None})).all_well()
    world.sight.pointed -= {(SCRUB, LAST)}
    assert world.asks() == ()


def test_a_run_that_was_killed_before_it_could_say_anything_is_asked_for_again_four_times_in_all(well: World):
    well.sight.pointed -= {(SCRUB, LAST)}
    well.at = datetime(2026, 11, 20, 3, tzinfo=UTC)
    asked = list(well.asks())
    for step in range(8 * 6):
        busy = [("shop", LAST)] if step == 0 else []  # the first one was at it when it was killed
        asked += well.later(10 * MINUTE).tick(*busy).asks
    assert len(asked) == len({ask.run_key for ask in asked}) == len(LADDER)


def test_a_lost_cursor_asks_for_the_same_run_keys(well: World):
    well.sight.pointed -= {(SCRUB, LAST)}
    keys = {ask.run_key for ask in well.asks()}
    well.cursor = Cursor()
    assert {ask.run_key for ask in well.asks()} == keys


# --------------------------------------------------------------------------------------------------------- missed dates
def test_a_full_date_is_missed_when_its_grace_is_over_once_and_with_the_reason():
    world = World(at=NOON + 25 * HOUR).all_well()
    world.sight.pointed -= {(SCRUB, LAST)}
    world.parent("2026-11-20")
    world.children("2026-11-20")
    made = world.tick()
    assert [(m.unit, m.date) for m in made.missed] == [(SCRUB, LAST)]
    until = "no run made it until 36 h after the day, when the source no longer shows it"
    assert made.missed[0].reason == f"{until}; none was started, or it was killed"
    assert all(ask.date != LAST for ask in world.asks())
    world.sight.missed.add((SCRUB, LAST))
    assert world.tick().missed == ()


def test_the_reason_names_the_last_failure():
    world = World(at=NOON + 25 * HOUR).all_well()
    world.sight.pointed -= {(SCRUB, LAST)}
    world.fail(SCRUB, LAST, ago=HOUR, retryable=False)
    assert world.tick().missed[0].reason.endswith("the last one failed: store_unavailable")


def test_a_date_that_is_being_made_is_not_called_missed():
    world = World(at=NOON + 25 * HOUR).all_well()
    world.sight.pointed -= {(SCRUB, LAST)}
    assert world.tick(("shop", LAST)).missed == ()


def test_a_window_is_possible_for_45_days_and_then_missed(well: World):
    days = dates(well.catalog, well.at)["events"]
    well.sight.pointed |= {(EVENTS, day) for day in days} - {(EVENTS, days[1]), (EVENTS, days[-45])}
    assert [(m.unit, m.date) for m in well.tick().missed] == [(EVENTS, days[1])]
    assert said(well.asks()) == [("events", days[-45], ())]


# ------------------------------------------------------------------------------------------------------- stale children
def test_a_parent_that_moved_while_its_child_ran_is_followed_by_one_run_of_what_is_stale(well: World):
    well.parent(LAST, n=2)
    assert said(well.asks()) == [("shop", LAST, ("mirror", "delivery"))]
    assert well.later(MINUTE).tick().asks == ()
    well.children(LAST, n=2)
    assert well.later(24 * HOUR).tick().asks == ()


def test_one_moved_table_moves_only_what_reads_it(well: World):
    fact = well.sight.facts[SCRUB, LAST]
    entries = {**fact.entries, "public.b": (attempt(LAST, 2), "other")}
    well.sight.facts[SCRUB, LAST] = Fact(entries, fact.is_whole, attempt(LAST, 2))
    assert said(well.asks()) == [("shop", LAST, ("mirror",))]


def test_the_conditions_go_first(well: World):
    """A stale child is asked for only when nobody has taken it up for PATIENCE."""
    well.parent(LAST, n=2)
    assert well.tick().asks == ()
    well.children(LAST, n=2)
    assert well.later().tick().asks == ()


def test_equal_rows_under_another_attempt_are_the_file_that_was_sent(well: World):
    entries = {t: (attempt(LAST, 2), f"{t}-1") for t in TABLES}
    well.sight.facts[SCRUB, LAST] = Fact(entries, True, attempt(LAST, 2))
    assert said(well.asks()) == [("shop", LAST, ("mirror",))]


def test_history_from_before_the_first_evaluation_is_made_up_for(well: World):
    well.sight.pointed.discard((MIRROR, BEFORE))
    well.sight.sent.discard((DELIVERY, BEFORE))
    del well.sight.made_from[MIRROR, BEFORE], well.sight.made_from[DELIVERY, BEFORE]
    assert said(well.asks()) == [("shop", BEFORE, ("mirror", "delivery"))]


def test_a_new_delivery_does_not_send_the_past_by_itself(well: World):
    well.sight.sent = {(DELIVERY, LAST)}
    assert well.asks() == ()


def test_what_is_not_read_yet_is_not_stale(well: World):
    well.sight.made_from.clear()
    assert well.asks() == ()


@pytest.mark.parametrize(("whole", "tables"), [(False, TABLES), (True, TABLES[:1]), (True, (*TABLES, "public.old"))])
def test_a_partial_parent_is_no_release_and_moves_nothing(well: World, whole: bool, tables: tuple[str, ...]):
    well.parent(LAST, n=2, whole=whole, tables=tables)
    assert well.asks() == ()


def test_bytes_that_the_store_has_let_go_are_not_asked_for():
    world = World(catalog=catalog(store={"expire_days": {"scrub": 2}})).all_well()
    world.parent(FIRST, LAST, n=2)
    assert said(world.asks()) == [("shop", LAST, ("mirror", "delivery"))]


# ------------------------------------------------------------------------------------------------------------- failures
@pytest.mark.parametrize(("tries", "waits"), [(1, 10 * MINUTE), (2, HOUR), (3, 6 * HOUR)])
def test_a_failure_that_a_retry_can_help_is_tried_again_after_a_while(well: World, tries: int, waits: timedelta):
    well.fail(MIRROR, LAST, ago=waits - MINUTE, tries=tries)
    assert well.tick().asks == ()
    assert said(well.later(MINUTE).tick().asks) == [("shop", LAST, ("mirror",))]
    assert well.later(MINUTE).tick().asks == ()


def test_after_three_retries_it_is_left_to_people(well: World):
    well.fail(MIRROR, LAST, ago=100 * HOUR, tries=4)
    assert well.asks() == ()


def test_a_permanent_failure_is_never_retried(well: World):
    for unit in (SCRUB, MIRROR, DELIVERY):
        well.fail(unit, LAST, ago=HOUR, retryable=False)
    well.sight.pointed -= {(SCRUB, LAST), (MIRROR, LAST)}
    assert well.asks() == ()


def test_the_parents_next_move_is_a_new_reason_after_a_permanent_failure(well: World):
    well.fail(MIRROR, LAST, ago=100 * HOUR, retryable=False)
    well.parent(LAST, n=2)
    assert said(well.asks()) == [("shop", LAST, ("mirror", "delivery"))]


def test_a_failed_root_is_one_run_of_the_whole_job_not_also_of_its_children(well: World):
    well.fail(SCRUB, LAST, ago=HOUR)
    well.fail(MIRROR, LAST, ago=HOUR)
    well.parent(LAST, n=2)
    assert said(well.asks()) == [("shop", LAST, ())]


def test_a_child_whose_parent_is_not_there_waits_for_it(well: World):
    well.fail(MIRROR, "2026-11-10", ago=HOUR)
    assert well.asks() == ()


# --------------------------------------------------------------------------------------------------- what is left alone
def test_what_somebody_works_on_is_left_alone(well: World):
    well.sight.pointed -= {(SCRUB, LAST)}
    well.parent(BEFORE, n=2)
    both = ("shop", LAST), ("shop", BEFORE)
    assert well.tick(*both).asks == well.later().tick(*both).asks == well.later().tick(*both).asks == ()


@pytest.mark.parametrize(("held", "left"), [("recipient/acme", ("mirror",)), ("dataset/shop", None)])
def test_held_ways_out_are_left_alone(well: World, held: str, left: tuple[str, ...] | None):
    well.sight.held = {held}
    well.parent(LAST, n=2)
    assert said(well.asks()) == ([("shop", LAST, left)] if left else [])
    well.sight.held = set()
    well.sight.made_from[MIRROR, LAST] = dict(well.sight.facts[SCRUB, LAST].entries)
    assert said(well.asks()) == [("shop", LAST, ("delivery",))], "what was held follows when it is lifted"


def test_a_source_is_left_alone_in_its_quiet_hours():
    world = World(catalog=catalog(source={"quiet_hours": ["08:00-18:00"]})).all_well()
    world.sight.pointed -= {(SCRUB, LAST)}
    world.fail(SCRUB, BEFORE, ago=HOUR)
    world.parent(FIRST, n=2)
    assert said(world.asks()) == [("shop", FIRST, ("mirror", "delivery"))], "what is below reads no source"
    world.at = datetime(2026, 11, 20, 18, 1, tzinfo=UTC)
    world.sight.facts[SCRUB, FIRST] = Fact({}, False, attempt(FIRST))
    assert said(world.asks()) == [("shop", LAST, ())]


def test_run_keys_and_cases_are_digests_that_hold_no_name(well: World):
    well.parent(LAST, n=2)
    (ask,) = well.asks()
    assert len(ask.run_key) == 64
    assert "shop" not in str(well.cursor).replace("shop/", "")
    assert ask.reasons == ("stale mirror/m", "stale delivery/acme/orders")


def test_the_cursor_is_bounded_by_the_dates_that_are_looked_at(well: World):
    well.sight.pointed -= {(SCRUB, LAST)}
    well.asks()
    assert well.cursor.asked
    well.later(timedelta(days=80)).tick()
    assert LAST not in well.cursor.asked.values()


# ------------------------------------------------------------------------------------------------------------- in order
def in_order() -> World:
    """Incremental: each date continues from the one before. Two dates lack after the first."""
    model = catalog().model_dump(by_alias=True, exclude_none=True)
    model["datasets"]["events"] |= {"extract": "incremental", "tables": {"public.e": {"watermark": "at"}}}
    world = World(catalog=Catalog.model_validate(model)).all_well()
    world.sight.pointed -= {(EVENTS, BEFORE), (EVENTS, LAST)}
    return world


def test_of_an_incremental_dataset_only_the_oldest_missing_date_is_asked_for():
    world = in_order()
    assert said(world.asks()) == [("events", BEFORE, ())]
    world.events(BEFORE)
    assert said(world.asks()) == [("events", LAST, ())]


def test_a_window_dataset_has_no_order():
    world = World().all_well()
    world.sight.pointed -= {(EVENTS, BEFORE), (EVENTS, LAST)}
    assert said(world.asks()) == [("events", BEFORE, ()), ("events", LAST, ())]


def test_a_date_that_failed_because_it_was_out_of_turn_waits_for_the_one_before():
    world = in_order()
    world.fail(EVENTS, BEFORE, ago=HOUR)
    world.fail(EVENTS, LAST, ago=HOUR)
    assert said(world.tick().asks) == [("events", BEFORE, ())]
    world.events(BEFORE)
    del world.sight.failures[EVENTS, BEFORE]
    assert said(world.tick().asks) == [("events", LAST, ())]


def test_while_the_oldest_date_fails_for_good_no_later_one_is_tried():
    world = in_order()
    world.fail(EVENTS, BEFORE, ago=HOUR, retryable=False)
    assert world.asks() == ()
