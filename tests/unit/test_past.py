"""What the dates before held: read once, in bounds, and told where it could not be read."""

from __future__ import annotations

import threading
from datetime import date, timedelta

from egress_assets.engine.errors import StoreUnavailable
from egress_assets.engine.glance import glance
from egress_assets.engine.past import DAYS, Past
from egress_assets.engine.platform import Platform
from tests.platforms import SCRUB, A, B, Made, materialise, memory, platform


def day(back: int) -> str:
    return (date(2026, 11, 20) - timedelta(days=back)).isoformat()


def filled(*backs: int) -> Platform:
    p = platform()
    for back in backs:
        materialise(p, SCRUB, Made({A: b"1,x\n" * (back + 1), B: b"1,y\n"}, format="csv"), date=day(back))
    return p


def past(p: Platform, back: int = 0) -> Past:
    return Past(p.evidence, SCRUB, day(back))


def test_bytes_are_told_by_date_in_order_without_dates_to_come():
    p = filled(0, 2, 1, 5)
    assert past(p).days(A) == {day(5): 24, day(2): 12, day(1): 8, day(0): 4}
    assert list(past(p, 2).days(A)) == [day(5), day(2)]


def test_nothing_older_than_the_window_is_read():
    p = filled(0, DAYS - 1, DAYS, DAYS + 40)
    assert list(past(p).days(A)) == [day(DAYS - 1), day(0)]


def test_all_tables_are_answered_from_one_look():
    p = filled(*range(4))
    found, evidence = past(p), memory(p, "evidence")
    evidence.asked.clear()
    assert found.days(A)
    assert found.days(B)
    assert found.before(A)
    assert (evidence.times("list"), evidence.times("read")) == (1, 2 * 4)


def test_a_date_whose_tables_were_made_one_by_one_costs_no_more_than_three_manifests():
    p = platform()
    tables = [f"public.t{n}" for n in range(6)]
    for table in tables:
        materialise(p, SCRUB, Made({table: b"1,x\n"}), date=day(0))
    evidence = memory(p, "evidence")
    evidence.asked.clear()
    found = past(p)
    assert sum(bool(found.days(table)) for table in tables) == 3
    assert evidence.times("read") == 1 + 3


def test_the_nearest_earlier_date_with_the_table_is_the_one_before():
    p = filled(0, 3, 7)
    materialise(p, SCRUB, Made({B: b"1,y\n"}), date=day(1))
    before = past(p).before(A)
    assert before is not None
    assert (before[0], before[1].bytes) == (day(3), 16)
    assert past(p, 7).before(A) is None
    assert past(p).before("public.unknown") is None


def test_a_date_that_can_not_be_read_is_left_out_and_named():
    p = filled(0, 1, 2)
    evidence = memory(p, "evidence")
    key = next(key for key in evidence.objects if key.startswith("manifests/") and day(1) in key)
    evidence.failing["read", key] = StoreUnavailable("store evidence does not answer")
    found = past(p)
    assert list(found.days(A)) == [day(2), day(0)]
    assert found.failed == f"{day(1)}: store evidence does not answer"


def test_evidence_that_does_not_answer_at_all_is_no_error():
    p = filled(0)
    memory(p, "evidence").failing["list", "*"] = StoreUnavailable("store evidence does not answer")
    found = past(p)
    assert found.days(A) == {}
    assert found.before(A) is None
    assert found.failed == "store evidence does not answer"


def test_what_is_said_to_be_too_much_is_not_read():
    p = filled(0)
    memory(p, "evidence").asked.clear()
    assert Past(p.evidence, SCRUB, day(0), failed="too many").days(A) == {}
    assert memory(p, "evidence").asked == []


def test_a_read_that_hangs_holds_nobody_up_and_is_said():
    let_go = threading.Event()
    try:
        found, failed = glance({"slow": lambda: let_go.wait(30), "quick": lambda: 1}, seconds=0.05)
    finally:
        let_go.set()
    assert found == {"quick": 1}
    assert failed == {"slow": "no answer within 0.05 s"}


def test_errors_that_nobody_foresaw_are_told_by_their_kind_alone():
    def boom() -> int:
        raise ValueError("ann.smith@example.org")

    assert glance({"x": boom}) == ({}, {"x": "ValueError"})
    assert glance({}) == ({}, {})
