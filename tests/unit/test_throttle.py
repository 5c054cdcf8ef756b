"""How fast a source is read: the bucket by a clock of the test, shares of several workers, hours."""

from __future__ import annotations

import sys
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egress_assets.engine.catalog.operate import Throttle
from egress_assets.engine.dump.throttle import PIECE, Pace, Throttling

LONDON = ZoneInfo("Europe/London")


class Clock:
    """Seconds that pass when somebody waits."""

    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


def read(pace: Pace, clock: Clock, row: int, seconds: float) -> tuple[int, int]:
    """(rows, bytes) that a worker reads within `seconds`, in pieces as the copy takes them; reading takes no time."""
    rows, ends = 0, clock.at + seconds
    while clock.at < ends:
        piece = max(1, min(pace.piece("rows"), pace.piece("bytes") // row, 10**6))
        pace.count(rows=piece, bytes=piece * row)
        rows += piece
        clock.at += pace.owed()
    return rows, rows * row


@given(st.floats(1, 10**6), st.floats(3, 60))
def test_rows_a_second_are_kept_within_a_tenth(rate: float, seconds: float) -> None:
    clock = Clock()
    rows, _ = read(Pace({"rows": rate}, clock=clock), clock, 100, seconds)
    assert rate * seconds * 0.9 - 1 <= rows <= rate * (seconds + 2 * PIECE) + 1
    assert seconds < 5 or rows <= rate * seconds * 1.1 + 1


@given(st.floats(10**3, 10**9), st.integers(1, 10**3))
def test_bytes_a_second_are_kept_within_a_tenth(rate: float, row: int) -> None:
    clock = Clock()
    _, size = read(Pace({"bytes": rate}, clock=clock), clock, row, 30)
    assert rate * 30 * 0.9 - row <= size <= rate * 30 * 1.1 + row


def test_of_two_limits_the_stricter_one_holds() -> None:
    clock = Clock()
    rows, _ = read(Pace({"rows": 1000.0, "bytes": 10_000.0}, clock=clock), clock, 100, 20)
    assert rows == pytest.approx(100 * 20, rel=0.1)


def test_what_was_lost_by_waiting_for_others_is_not_made_up_for() -> None:
    clock = Clock()
    pace = Pace({"rows": 1000.0}, clock=clock)
    clock.at += 3600  # a store that took nothing for an hour
    rows, _ = read(pace, clock, 10, 10)
    assert rows <= 1000 * (10 + 2 * PIECE)


def test_a_larger_share_shortens_the_wait_that_is_under_way() -> None:
    clock = Clock()
    pace = Pace({"rows": 10.0}, clock=clock)
    pace.count(rows=1000, bytes=0)
    assert pace.owed() == pytest.approx(100)
    pace.change({"rows": 100.0})
    assert pace.owed() == pytest.approx(10)
    pace.change({})
    assert pace.owed() == 0


def test_a_share_that_did_not_change_forgives_nothing() -> None:
    clock = Clock()
    pace = Pace({"rows": 10.0, "bytes": 5.0}, clock=clock)
    pace.count(rows=100, bytes=100)
    before = pace.owed()
    pace.change({"rows": 10.0, "bytes": 5.0})
    assert pace.owed() == pytest.approx(before)


def test_without_a_limit_nobody_waits_and_pieces_are_as_large_as_they_were() -> None:
    pace = Pace(clock=Clock())
    pace.count(rows=10**9, bytes=10**12)
    assert (pace.owed(), pace.piece("rows"), pace.piece("bytes")) == (0, sys.maxsize, sys.maxsize)


def test_the_smallest_piece_is_one_row() -> None:
    assert Pace({"rows": 0.5}, clock=Clock()).piece("rows") == 1


@given(st.integers(1, 64), st.integers(1, 10**6))
def test_the_shares_of_all_workers_are_the_rate(running: int, rate: int) -> None:
    share = Throttling(Throttle(rows_per_second=rate), LONDON).share(running)
    assert share["rows"] * running == pytest.approx(rate)


def test_a_throttle_holds_in_its_hours_only(monkeypatch: pytest.MonkeyPatch) -> None:
    throttling = Throttling(Throttle(bytes_per_second=100, hours=["08:00-18:00"]), LONDON)
    monkeypatch.setenv("EGRESS_NOW", "2026-07-01T07:30:00+00:00")  # 08:30 in London
    assert throttling.share(2) == {"bytes": 50}
    monkeypatch.setenv("EGRESS_NOW", "2026-07-01T17:00:00+00:00")
    assert throttling.share(2) == {}


def test_a_throttle_is_told_to_people() -> None:
    throttle = Throttle(rows_per_second=1000, bytes_per_second="2MB", hours=["08:00-18:00"])  # type: ignore[arg-type]
    assert str(Throttling(throttle, LONDON)) == "1,000 rows and 2,000,000 bytes a second within 08:00-18:00"
