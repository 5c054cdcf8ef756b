"""Watermarks of every kind: what a day is to them, ties, summer time, infinity, and integers that have no day."""

from __future__ import annotations

from datetime import timedelta

import pytest

from egress_assets.engine.dump import watermarks

pytestmark = pytest.mark.usefixtures("in_process")


def table(days, kind: str, **given) -> None:
    days.place.db.run("DROP TABLE events", f"CREATE TABLE events (id int, at {kind} NOT NULL)")
    days.place.tables[days.table] = {"watermark": "at", **given}


def add(days, *rows: tuple[int, object]) -> None:
    days.place.db.run(*(f"INSERT INTO events VALUES ({i}, '{at}')" for i, at in rows))


def made(days, *dates: str) -> list[list[int]]:
    for date in dates:
        days.make(date)
    return [sorted(int(row.partition(",")[0]) for row in days.rows(date)) for date in dates]


def test_timestamptz_is_cut_by_the_instants_of_the_day_in_the_catalog_s_timezone(days):
    """In London 2020-06-01 began at 23:00 UTC of the day before."""
    days.place.dataset["start"] = "2020-05-30"
    table(days, "timestamptz")
    add(days, (1, "2020-05-31 22:59:59.999999+00"), (2, "2020-05-31 23:00+00"), (3, "2020-06-01 05:00+09"))
    assert made(days, "2020-05-30", "2020-05-31", "2020-06-01") == [[], [1, 3], [2]]


def test_timestamp_is_cut_by_the_wall_clock(days):
    days.place.dataset["start"] = "2020-05-30"
    table(days, "timestamp")
    add(days, (1, "2020-05-31 23:59:59.999999"), (2, "2020-06-01 00:00"))
    assert made(days, "2020-05-31", "2020-06-01") == [[1], [2]]


@pytest.mark.parametrize(("allowed", "found"), [(timedelta(hours=1), [2, 3]), (timedelta(0), [])])
def test_a_wall_clock_that_goes_back_hides_no_row_because_it_gets_an_hour_more(days, monkeypatch, allowed, found):
    """The last row that was read says 01:59, those after the change 01:00 and 01:30."""
    monkeypatch.setattr(watermarks, "_WALL_CLOCK", allowed)
    days.place.dataset["start"] = "2020-10-25"
    table(days, "timestamp", overlap="10m")
    add(days, (1, "2020-10-25 01:59"))
    days.make("2020-10-25")
    add(days, (2, "2020-10-25 01:00"), (3, "2020-10-25 01:30"))
    assert made(days, "2020-10-26") == [found]
    assert days.says("2020-10-26")["missed_rows"] == 2 - len(found)


def test_dates_are_whole_days_and_a_row_of_the_day_before_may_be_late(days):
    table(days, "date")
    add(days, (1, "2020-03-01"), (2, "2020-03-02"))
    days.make("2020-03-01")
    add(days, (3, "2020-03-01"), (4, "2020-02-29"), (5, "2020-02-28"))
    assert made(days, "2020-03-02") == [[2, 3, 4]]
    assert days.says("2020-03-02")["missed_rows"] == 1


@pytest.mark.parametrize("kind", ["smallint", "integer", "bigint"])
def test_integers_have_no_day_and_ids_that_were_committed_out_of_order_are_found(days, kind):
    table(days, kind, overlap=100)
    add(days, (1, 10), (2, 30000))
    days.make("2020-03-01")
    add(days, (3, 29950), (4, 29900), (5, 30001))
    assert made(days, "2020-03-01", "2020-03-02", "2020-03-03") == [[1, 2], [3, 5], []]
    assert days.says("2020-03-02")["missed_rows"] == 1


def test_the_lowest_and_highest_values_are_no_trouble(days):
    table(days, "bigint", overlap=2**62)
    add(days, (1, -(2**63)), (2, -(2**63) + 5))
    days.make("2020-03-01")
    add(days, (3, 2**63 - 1), (4, -(2**63) + 1))
    assert made(days, "2020-03-02", "2020-03-03") == [[3, 4], []]


def test_minus_infinity_and_years_before_christ_are_rows_like_others(days):
    table(days, "timestamptz")
    add(days, (1, "-infinity"), (2, "4000-03-01 12:00 BC"))
    assert made(days, "2020-03-01", "2020-03-02") == [[1, 2], []]
    assert days.says("2020-03-02")["watermark"].endswith("BC")


def test_an_empty_table_begins_when_its_first_row_comes(days):
    table(days, "timestamptz")
    assert made(days, "2020-03-01") == [[]]
    assert days.record("2020-03-01").index is None
    add(days, (1, "2019-01-01"))
    assert made(days, "2020-03-02", "2020-03-03") == [[1], []]


def test_a_run_day_ends_when_it_is_read(days):
    days.place.dataset["date_label"] = "run_day"
    days.place.dataset["start"] = "2020-03-01"
    table(days, "timestamptz")
    days.place.db.run("INSERT INTO events VALUES (1, '2020-03-02 01:00+00')")
    assert made(days, "2020-03-01", "2020-03-02") == [[], [1]]
