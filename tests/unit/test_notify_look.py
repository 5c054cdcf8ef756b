"""What is wrong, as evidence says: failures until their unit succeeds, what is late or lost, what Dagster adds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from egress_assets.engine.errors import (
    DeliveryRefused,
    EgressError,
    GateFailed,
    Held,
    SourceQuiet,
    SourceUnavailable,
    StoreUnavailable,
)
from egress_assets.engine.evidence.failures import clear_failure, record_failure
from egress_assets.engine.evidence.proofs import Missed
from egress_assets.engine.layout import delivery_unit, dump_unit, failure_key, mirror_unit, scrub_unit
from egress_assets.engine.notify.incidents import Sight, Slot, Trouble
from egress_assets.engine.notify.look import Looker, Run, Runs
from egress_assets.engine.platform import Platform
from tests.platforms import materialise, memory, platform

DAY, NEXT = "2026-11-18", "2026-11-19"
EARLY = datetime(2026, 11, 19, 2, tzinfo=UTC)  # before DAY is due
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
DUMP, SCRUB = dump_unit("shop"), scrub_unit("shop", "shared")


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EGRESS_NOW", raising=False)


@pytest.fixture
def shop() -> Platform:
    return platform(
        recipients={"acme": {"transfer_type": "sft", "sla": "06:00"}}, start=DAY, schedule="02:15",
        deliveries={"acme/orders": {"from": "public.orders"}},
    )  # fmt: skip


def look(shop: Platform, *opened: Slot, runs: Runs | None = None, at: datetime = EARLY, **given: timedelta) -> Sight:
    return Looker(shop.catalog, shop.evidence).sight(set(opened), runs or Runs(), at, **given)


def found(sight: Sight) -> dict[tuple[str, str, str], Trouble]:
    return {(one.unit, one.date, one.code): one for one in sight.troubles}


def wrong(sight: Sight) -> set[tuple[str, str, str]]:
    return set(found(sight))


def fails(shop: Platform, unit: object, date: str = DAY, error: EgressError | None = None) -> None:
    record_failure(shop.evidence, unit, date, error or SourceUnavailable("shop_db does not answer", hint="Wait."))  # type: ignore[arg-type]


def test_a_failure_counts_until_its_unit_succeeds_for_the_date(shop: Platform):
    fails(shop, DUMP)
    fails(shop, DUMP)
    slot = (DUMP.title, DAY)
    one = found(look(shop))[*slot, "source_unavailable"]
    assert (one.message, one.hint, one.tries, one.dataset) == ("shop_db does not answer", "Wait.", 2, "shop")
    assert wrong(look(shop, slot)) == {(*slot, "source_unavailable")}
    clear_failure(shop.evidence, DUMP, DAY)
    sight = look(shop, slot)
    assert (sight.troubles, sight.made, sight.is_whole) == ((), {slot}, True)


def test_a_later_date_that_succeeds_after_it_settles_it_and_one_from_before_does_not(shop: Platform):
    materialise(shop, SCRUB, date=NEXT)
    fails(shop, SCRUB)
    slot = (SCRUB.title, DAY)
    assert wrong(look(shop, slot)) == {(*slot, "source_unavailable")}
    store = memory(shop, "evidence")
    noted = store.objects[failure_key(SCRUB, DAY)]
    noted.modified -= timedelta(minutes=5)
    pointer = store.objects[f"current/{SCRUB}/date={NEXT}.json"]
    pointer.modified = noted.modified + timedelta(minutes=1)
    sight = look(shop, slot)
    assert not sight.troubles
    assert slot in sight.made


def test_old_failures_begin_nothing_and_open_ones_stay_open_however_old(shop: Platform):
    fails(shop, DUMP, "2026-11-18")
    memory(shop, "evidence").objects[failure_key(DUMP, DAY)].modified -= timedelta(days=3)
    assert not look(shop).troubles
    assert wrong(look(shop, back=timedelta(days=4)))
    assert wrong(look(shop, (DUMP.title, DAY)))


@pytest.mark.parametrize(
    ("unit", "error", "cause"),
    [
        (DUMP, SourceUnavailable("x"), "source shop_db"),
        (SCRUB, SourceUnavailable("x"), "source shop_db"),
        (SCRUB, StoreUnavailable("x"), "store lake"),
        (mirror_unit("shop"), StoreUnavailable("x"), "store ceph"),
        (delivery_unit("acme", "orders"), DeliveryRefused("x"), "recipient acme"),
        (SCRUB, GateFailed("x"), "scrub/shop/shared"),
    ],
)
def test_what_does_not_answer_is_the_cause_and_else_the_unit(
    shop: Platform, unit: object, error: EgressError, cause: str
):
    fails(shop, unit, error=error)
    assert [one.cause for one in look(shop).troubles] == [cause]


def test_waiting_for_a_person_or_for_quiet_hours_is_no_failure(shop: Platform):
    fails(shop, SCRUB, error=Held("held"))
    fails(shop, DUMP, error=SourceQuiet("quiet until 06:00"))
    assert not look(shop).troubles
    late = wrong(look(shop, at=NOON))
    assert (DUMP.title, DAY, "late") in late, "but being late in them is"


def test_what_is_late_is_told_with_its_hour_where_no_failure_says_more(shop: Platform):
    assert not look(shop).troubles, "before its hour"
    sight = found(look(shop, at=NOON))
    assert {code for _, _, code in sight} == {"late"}
    one = sight[SCRUB.title, NEXT, "late"]
    assert (one.cause, one.message) == (
        "dataset shop", "2026-11-19 was due by 2026-11-20 03:15 and nothing is there"
    )  # fmt: skip
    materialise(shop, DUMP, date=DAY)
    fails(shop, DUMP, NEXT)
    assert {(date, code) for _, date, code in wrong(look(shop, at=NOON))} == {
        (DAY, "late"), (NEXT, "source_unavailable")
    }  # fmt: skip


def test_what_is_late_is_over_when_it_or_a_later_date_is_there(shop: Platform):
    materialise(shop, SCRUB, date=NEXT)
    sight = look(shop, (SCRUB.title, DAY), (SCRUB.title, NEXT), at=NOON)
    assert not {unit for unit, _, _ in found(sight)} & {SCRUB.title}
    assert sight.made == {(SCRUB.title, DAY), (SCRUB.title, NEXT)}


def test_a_date_that_is_lost_is_told_for_what_lost_it_alone(shop: Platform):
    shop.evidence.miss(Missed(SCRUB, NEXT, "no run made it until 36 h after the day", 1))
    sight = found(look(shop, at=NOON))
    assert [key for key in sight if key[2] == "missed"] == [(SCRUB.title, NEXT, "missed")]
    assert sight[SCRUB.title, NEXT, "missed"].message == "no run made it until 36 h after the day"


def run(**fields: object) -> Run:
    moment = datetime.now(UTC)
    return Run(**{
        "id": "0a1b", "name": "run of shop", "dataset": "shop", "date": DAY, "code": "run_failed", "message": "died",
        "hint": "Start it.", "began": moment - timedelta(minutes=1), "at": moment, **fields,
    })  # type: ignore[arg-type]  # fmt: skip


def test_a_run_that_died_without_a_word_counts_and_one_that_left_a_record_lends_its_link(shop: Platform):
    sight = found(look(shop, runs=Runs([run()])))
    assert sight["run of shop", DAY, "run_failed"].run == "0a1b"
    fails(shop, DUMP)
    (one,) = look(shop, runs=Runs([run()])).troubles
    assert (one.unit, one.code, one.run) == (DUMP.title, "source_unavailable", "0a1b")
    clear_failure(shop.evidence, DUMP, DAY)
    assert not look(shop, runs=Runs([run()])).troubles
    early = run(began=datetime.now(UTC) + timedelta(minutes=1))
    assert wrong(look(shop, runs=Runs([early]))) == {("run of shop", DAY, "run_failed")}


def test_an_observation_that_fails_is_of_the_same_cause_as_the_dump(shop: Platform):
    fails(shop, DUMP)
    seen = look(shop, runs=Runs([run(name="source/shop", date="", code="source_unavailable")]))
    assert [(one.unit, one.cause) for one in seen.troubles] == [
        (DUMP.title, "source shop_db"), ("source/shop", "source shop_db")
    ]  # fmt: skip


def test_other_jobs_count_too_and_their_success_is_theirs(shop: Platform):
    own = run(name="run of housekeeping", dataset="housekeeping", date="", code="store")
    (one,) = look(shop, runs=Runs([own])).troubles
    assert (one.unit, one.dataset, one.cause) == ("run of housekeeping", "", "run of housekeeping")
    made = ("run of housekeeping", "")
    assert made in look(shop, made, runs=Runs(made=frozenset({made}))).made


def test_evidence_that_can_not_be_read_is_the_trouble_itself(shop: Platform):
    store = memory(shop, "evidence")
    store.failing = {(verb, "*"): StoreUnavailable("evidence does not answer") for verb in ("list", "read", "head")}
    sight = look(shop, (DUMP.title, DAY))
    assert not sight.is_whole
    assert [(one.unit, one.code, one.cause) for one in sight.troubles] == [
        ("evidence", "store_unavailable", "store evidence")
    ]


def test_units_that_left_the_catalog_are_nobodys_trouble(shop: Platform):
    fails(shop, mirror_unit("gone"))
    sight = look(shop, ("mirror/gone", DAY))
    assert not sight.troubles


def test_a_second_look_reads_nothing_again(shop: Platform):
    fails(shop, DUMP)
    for date in (DAY, NEXT):
        materialise(shop, SCRUB, date=date)
    looker, store = Looker(shop.catalog, shop.evidence), memory(shop, "evidence")
    looker.sight(set(), Runs(), EARLY)
    reads = store.times("read")
    assert looker.sight(set(), Runs(), EARLY).troubles
    assert store.times("read") == reads
