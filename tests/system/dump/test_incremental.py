"""Incremental dumps date after date: each row version in exactly one date, in order, or a word of what is not so."""

from __future__ import annotations

from collections import Counter

import pytest

from egress_assets.engine.dump import plan as dump_plan
from egress_assets.engine.dump import run as dump_run
from egress_assets.engine.errors import CatalogError, HistoryUnavailable, OutOfOrder, SourceError
from egress_assets.engine.layout import dump_unit

pytestmark = pytest.mark.usefixtures("in_process")

UNIT = dump_unit("shop")


def add(days, *rows: tuple[int, str, str]) -> None:
    days.place.db.run(*(f"INSERT INTO events VALUES ({i}, '{at}', '{note}')" for i, at, note in rows))


def ids(rows: list[str]) -> list[int]:
    return sorted(int(row.partition(",")[0]) for row in rows)


def test_each_date_has_what_is_new_or_changed_since_the_date_before(days):
    add(days, (1, "2020-03-01 10:00+00", "a"), (2, "2020-03-01 11:00+00", "b"))
    assert days.make("2020-03-01").tables["public.events"].rows == 2
    add(days, (3, "2020-03-02 10:00+00", "c"))
    days.place.db.run("UPDATE events SET note = 'A', at = '2020-03-02 12:00+00' WHERE id = 1")
    days.make("2020-03-02")
    days.make("2020-03-03")
    assert ids(days.rows("2020-03-01")) == [1, 2]
    assert days.rows("2020-03-02") == ["3,2020-03-02 10:00:00+00,c", "1,2020-03-02 12:00:00+00,A"]
    assert days.rows("2020-03-03") == []
    assert days.says("2020-03-03")["watermark"] == "2020-03-02 12:00:00+00"


def test_a_row_that_was_committed_late_is_in_the_next_date_once(days):
    add(days, (1, "2020-03-01 10:00+00", "a"))
    with days.place.db.connect() as slow:
        slow.autocommit = False
        slow.execute("INSERT INTO events VALUES (2, '2020-03-01 23:40+00', 'late')")
        add(days, (3, "2020-03-01 23:50+00", "c"))
        days.make("2020-03-01")
        slow.commit()
    add(days, (4, "2020-03-02 01:00+00", "d"))
    for date in ("2020-03-02", "2020-03-03"):
        days.make(date)
    assert [ids(days.rows(f"2020-03-0{n}")) for n in (1, 2, 3)] == [[1, 3], [2, 4], []]
    assert (days.says("2020-03-02")["late_rows"], days.says("2020-03-02")["missed_rows"]) == (1, 0)


def test_a_change_within_the_overlap_that_leaves_the_watermark_is_seen_and_one_below_it_is_counted(days, caplog):
    add(days, (1, "2020-03-01 10:00+00", "a"), (2, "2020-03-01 23:30+00", "b"), (3, "2020-03-01 23:40+00", "c"))
    days.make("2020-03-01")
    days.place.db.run("UPDATE events SET note = 'changed' WHERE id <= 2")
    days.make("2020-03-02")
    assert days.rows("2020-03-02") == ["2,2020-03-01 23:30:00+00,changed"]
    assert (days.says("2020-03-02")["late_rows"], days.says("2020-03-02")["missed_rows"]) == (1, 1)
    assert "1 rows that were written since the date before and are dated below the overlap" in caplog.text
    days.make("2020-03-03")
    assert (days.rows("2020-03-03"), days.says("2020-03-03")["missed_rows"]) == ([], 0)


def test_a_row_that_comes_later_than_the_overlap_is_missed_and_counted_unless_that_is_left_out(days):
    add(days, (1, "2020-03-01 23:50+00", "a"))
    with days.place.db.connect() as slow:
        slow.autocommit = False
        slow.execute("INSERT INTO events VALUES (2, '2020-03-01 12:00+00', 'too late')")
        days.make("2020-03-01")
        slow.commit()
    days.make("2020-03-02")
    assert (days.rows("2020-03-02"), days.says("2020-03-02")["missed_rows"]) == ([], 1)
    days.place.tables[days.table]["late"] = "ignore"
    days.place.db.run("UPDATE events SET note = 'unseen' WHERE id = 2")
    days.make("2020-03-03")
    assert (days.rows("2020-03-03"), days.says("2020-03-03")["missed_rows"]) == ([], None)


def test_a_longer_overlap_finds_it(days):
    days.place.tables[days.table]["overlap"] = "12h"
    add(days, (1, "2020-03-01 23:50+00", "a"))
    with days.place.db.connect() as slow:
        slow.autocommit = False
        slow.execute("INSERT INTO events VALUES (2, '2020-03-01 12:00+00', 'not too late')")
        days.make("2020-03-01")
        slow.commit()
    days.make("2020-03-02")
    assert (ids(days.rows("2020-03-02")), days.says("2020-03-02")["missed_rows"]) == ([2], 0)


def test_without_the_index_rows_of_the_overlap_come_twice_so_it_is_what_keeps_them_once(days, monkeypatch):
    add(days, (1, "2020-03-01 23:40+00", "a"), (2, "2020-03-01 23:50+00", "b"))
    days.make("2020-03-01")
    monkeypatch.setattr("egress_assets.engine.dump.incremental.index_chunks", lambda *_given: iter(()))
    days.make("2020-03-02")
    assert ids(days.rows("2020-03-02")) == [1, 2]


def test_equal_rows_are_counted_and_not_collapsed(days):
    days.place.db.run("DROP TABLE events", "CREATE TABLE events (at timestamptz NOT NULL, note text)")
    same = "INSERT INTO events VALUES ('2020-03-01 23:50+00', 'same')"
    days.place.db.run(same, same)
    days.make("2020-03-01")
    days.place.db.run(same)
    days.make("2020-03-02")
    days.make("2020-03-03")
    assert [len(days.rows(f"2020-03-0{n}")) for n in (1, 2, 3)] == [2, 1, 0]


def test_rows_at_the_watermark_itself_are_found_whenever_they_come(days):
    add(days, (1, "2020-03-01 12:00+00", "a"))
    days.make("2020-03-01")
    add(days, (2, "2020-03-01 12:00+00", "tie"))
    days.make("2020-03-02")
    assert ids(days.rows("2020-03-02")) == [2]


def test_deleted_rows_neither_come_back_nor_lower_the_watermark(days):
    add(days, (1, "2020-03-01 12:00+00", "a"), (2, "2020-03-01 23:00+00", "b"))
    days.make("2020-03-01")
    days.place.db.run("DELETE FROM events")
    days.make("2020-03-02")
    assert days.says("2020-03-02")["watermark"] == "2020-03-01 23:00:00+00"
    add(days, (3, "2020-03-02 23:59+00", "c"))
    days.make("2020-03-03")
    assert [ids(days.rows(f"2020-03-0{n}")) for n in (2, 3)] == [[], [3]]


def test_a_date_ends_with_its_day_and_a_clock_that_runs_ahead_blinds_no_later_date(days, caplog):
    add(days, (1, "2020-03-01 12:00+00", "a"), (2, "2020-03-02 00:00+00", "next day"))
    add(days, (3, "9999-01-01 00:00+00", "sentinel"), (4, "infinity", "for ever"))
    days.make("2020-03-01")
    assert "2 rows whose at is in the future" in caplog.text
    add(days, (5, "2020-03-02 12:00+00", "c"))
    days.make("2020-03-02")
    assert [ids(days.rows(f"2020-03-0{n}")) for n in (1, 2)] == [[1], [2, 5]]
    assert [days.says(f"2020-03-0{n}")["ahead_rows"] for n in (1, 2)] == [2, 2]


def test_without_that_cap_a_row_of_the_future_would_hide_what_comes(days, monkeypatch):
    monkeypatch.setattr("egress_assets.engine.dump.watermarks.Watermark.of_date", lambda *_given: None)
    add(days, (1, "2020-03-01 12:00+00", "a"), (3, "9999-01-01 00:00+00", "sentinel"))
    days.make("2020-03-01")
    add(days, (5, "2020-03-02 12:00+00", "c"))
    days.make("2020-03-02")
    assert days.rows("2020-03-02") == []


def test_rows_without_a_watermark_are_refused_and_can_be_left_out_knowingly(days):
    days.place.db.run("ALTER TABLE events ALTER at DROP NOT NULL", "INSERT INTO events VALUES (1, NULL, 'never')")
    add(days, (2, "2020-03-01 12:00+00", "a"))
    with pytest.raises(SourceError, match="rows whose watermark at is NULL") as refused:
        days.make("2020-03-01")
    assert "at IS NOT NULL" in refused.value.hint
    days.place.tables[days.table]["where"] = "at IS NOT NULL"
    days.make("2020-03-01")
    assert ids(days.rows("2020-03-01")) == [2]


# ------------------------------------------------------------------------------------------------------------- in order
def test_dates_are_made_in_order_and_only_the_newest_one_again(days):
    add(days, (1, "2020-03-01 12:00+00", "a"))
    days.make("2020-03-01")
    with pytest.raises(OutOfOrder, match="2020-03-01 is the last one") as refused:
        days.make("2020-03-03")
    assert "Make 2020-03-02 first" in refused.value.hint
    assert refused.value.retryable
    days.make("2020-03-02")
    days.make("2020-03-03")
    assert days.make("2020-03-01").how == "nothing"
    with pytest.raises(HistoryUnavailable, match="2020-03-02 continues from it"):
        days.make("2020-03-01", again=True)
    assert days.make("2020-03-03", again=True).how == "unchanged"


def test_the_newest_date_made_again_has_its_rows_and_the_late_ones(days):
    add(days, (1, "2020-03-01 12:00+00", "a"))
    days.make("2020-03-01")
    add(days, (2, "2020-03-02 12:00+00", "b"))
    days.make("2020-03-02")
    add(days, (3, "2020-03-02 12:30+00", "c"))
    assert days.make("2020-03-02", again=True).how == "moved"
    days.make("2020-03-03")
    assert [ids(days.rows(f"2020-03-0{n}")) for n in (1, 2, 3)] == [[1], [2, 3], []]


def test_a_date_before_the_first_one_is_history(days):
    days.make("2020-03-05")
    with pytest.raises(HistoryUnavailable):
        days.make("2020-03-04")


def test_several_dates_at_once_later_have_each_their_own_rows(days):
    """An outage of three days: what did not change since is in the date that it is dated in."""
    days.make("2020-03-01")
    add(days, (2, "2020-03-02 12:00+00", "b"), (3, "2020-03-03 12:00+00", "c"), (4, "2020-03-04 12:00+00", "d"))
    for date in ("2020-03-02", "2020-03-03", "2020-03-04"):
        days.clock.setenv("EGRESS_NOW", "2020-03-09T02:30:00+00:00")
        dump_run.run(days.place.platform, "shop", date)
    assert [ids(days.rows(f"2020-03-0{n}")) for n in (2, 3, 4)] == [[2], [3], [4]]


def test_a_date_whose_parent_was_replaced_under_it_is_made_again_before_another_one_follows(days, monkeypatch):
    add(days, (1, "2020-03-01 12:00+00", "a"))
    days.make("2020-03-01")
    days.make("2020-03-02")
    add(days, (2, "2020-03-01 13:00+00", "b"))
    with monkeypatch.context() as unguarded:
        for guard in ("require_order", "require_still"):
            unguarded.setattr(f"egress_assets.engine.dump.chain.Chain.{guard}", lambda *_given: None)
        days.make("2020-03-01", again=True)
    with pytest.raises(OutOfOrder, match="an entry of 2020-03-01 that was replaced"):
        days.make("2020-03-03")
    assert [line.sign for line in dump_plan.plan(days.place.platform, "shop", "2020-03-03")] == ["!", "+"]
    assert days.make("2020-03-02").how == "moved"
    days.make("2020-03-03")
    found = Counter(row for n in (1, 2, 3) for row in ids(days.rows(f"2020-03-0{n}")))
    assert found == {1: 1, 2: 1}


def test_a_date_that_came_in_between_ends_the_run_before_its_seal(days, monkeypatch):
    add(days, (1, "2020-03-01 12:00+00", "a"))
    days.make("2020-03-01")
    real = dump_run.extract

    def meanwhile(*given, **options):
        monkeypatch.setattr(dump_run, "extract", real)
        days.make("2020-03-02")
        return real(*given, **options)

    monkeypatch.setattr(dump_run, "extract", meanwhile)
    with pytest.raises(OutOfOrder, match="at the same time"):
        days.make("2020-03-01", again=True)
    assert days.says("2020-03-02")["after"].startswith("2020-03-01/")


def test_the_first_run_of_a_date_is_over_all_tables(days):
    days.place.db.run("CREATE TABLE other (at timestamptz NOT NULL)")
    days.place.tables["public.other"] = {"watermark": "at"}
    with pytest.raises(CatalogError, match=r"public\.other would have a gap"):
        days.make("2020-03-01", tables=["public.events"])
    days.make("2020-03-01")
    assert days.make("2020-03-01", tables=["public.events"], again=True).how == "unchanged"


def test_another_start_begins_anew_with_all_rows(days):
    add(days, (1, "2020-03-01 12:00+00", "a"))
    days.make("2020-03-01")
    days.make("2020-03-02")
    days.place.dataset["start"] = "2020-03-02"
    assert days.make("2020-03-02").how == "moved"
    assert ids(days.rows("2020-03-02")) == [1]


def test_plan_tells_from_where_and_what_would_refuse(days):
    days.make("2020-03-01")
    days.clock.setenv("EGRESS_NOW", "2020-03-09T02:30:00+00:00")
    plan = {date: dump_plan.plan(days.place.platform, "shop", date) for date in ("2020-03-02", "2020-03-04")}
    assert [(line.sign, line.detail) for line in plan["2020-03-02"]] == [("+", "what has changed since 2020-03-01")]
    assert [line.sign for line in plan["2020-03-04"]] == ["!", "+"]
    assert "Make 2020-03-02 first" in plan["2020-03-04"][0].detail


# -------------------------------------------------------------------------------------------------- what may change
def test_a_table_that_was_created_anew_begins_anew(days, caplog):
    add(days, (1, "2020-03-01 12:00+00", "a"))
    days.make("2020-03-01")
    days.place.dataset["drift"] = "accept"
    days.place.db.run("DROP TABLE events", "CREATE TABLE events (id int, at timestamptz NOT NULL, note text)")
    add(days, (7, "2020-02-01 12:00+00", "older than anything"))
    days.make("2020-03-02")
    assert ids(days.rows("2020-03-02")) == [7]
    assert "begins anew with all rows: it was dropped and created anew" in caplog.text


def test_a_new_column_doubles_nothing_and_a_dropped_one_takes_the_overlap_again(days):
    add(days, (1, "2020-03-01 23:50+00", "a"))
    days.make("2020-03-01")
    days.place.dataset["drift"] = "accept"
    days.place.db.run("ALTER TABLE events ADD more int DEFAULT 5")
    add(days, (2, "2020-03-01 23:55+00", "late"))
    days.make("2020-03-02")
    assert (ids(days.rows("2020-03-02")), days.says("2020-03-02")["again"]) == ([2], "")
    days.place.db.run("ALTER TABLE events DROP note")
    days.make("2020-03-03")
    assert (ids(days.rows("2020-03-03")), days.says("2020-03-03")["again"]) == ([1, 2], "columns have changed")


@pytest.mark.parametrize("harm", ["delete", "damage"])
def test_an_index_that_is_gone_or_rotten_costs_rows_twice_and_none_is_lost(days, harm):
    add(days, (1, "2020-03-01 23:50+00", "a"))
    days.make("2020-03-01")
    index = days.record("2020-03-01").index
    if harm == "delete":
        days.place.data.delete(index.key)
    else:
        days.place.data.put(index.key, b"\0" * index.bytes)
    add(days, (2, "2020-03-01 23:55+00", "late"))
    days.make("2020-03-02")
    assert ids(days.rows("2020-03-02")) == [1, 2]
    assert "its index can't be read" in days.says("2020-03-02")["again"]


def test_a_date_whose_index_is_gone_is_made_again_and_heals(days):
    add(days, (1, "2020-03-01 23:50+00", "a"))
    days.make("2020-03-01")
    days.place.data.delete(days.record("2020-03-01").index.key)
    assert days.make("2020-03-01").how == "moved"
    assert days.make("2020-03-01").how == "nothing"


def test_another_watermark_column_begins_anew(days):
    days.place.db.run("ALTER TABLE events ADD changed timestamptz NOT NULL DEFAULT '2020-01-01'")
    days.place.db.run("INSERT INTO events VALUES (1, '2020-03-01 12:00+00', 'a')")
    days.make("2020-03-01")
    days.place.tables[days.table] = {"watermark": "changed"}
    days.make("2020-03-02")
    assert (ids(days.rows("2020-03-02")), days.says("2020-03-02")["begins"]) == (
        [1],
        "its watermark column has changed",
    )


def test_a_full_dataset_that_becomes_incremental_begins_with_all_rows(days):
    add(days, (1, "2020-03-01 12:00+00", "a"))
    days.place.dataset["extract"], days.place.tables[days.table] = "full", {}
    days.make("2020-03-01")
    days.place.dataset["extract"], days.place.tables[days.table] = "incremental", {"watermark": "at"}
    days.make("2020-03-02")
    assert ids(days.rows("2020-03-02")) == [1]


def test_partitions_are_one_table_and_a_row_that_moves_between_them_is_one_row(days):
    days.place.db.run(
        "DROP TABLE events",
        "CREATE TABLE events (id int, at timestamptz NOT NULL, home int) PARTITION BY LIST (home)",
        "CREATE TABLE events_1 PARTITION OF events FOR VALUES IN (1)",
        "CREATE TABLE events_2 PARTITION OF events FOR VALUES IN (2)",
        "INSERT INTO events VALUES (1, '2020-03-01 23:50+00', 1), (2, '2020-03-01 23:51+00', 2)",
    )
    days.make("2020-03-01")
    days.place.db.run("UPDATE events SET home = 2 WHERE id = 1", "UPDATE events SET home = 1 WHERE id = 2")
    days.place.db.run("UPDATE events SET home = 2 WHERE id = 2")
    days.make("2020-03-02")
    assert days.rows("2020-03-02") == ["1,2020-03-01 23:50:00+00,2"]


def test_a_partition_that_is_attached_with_old_rows_is_counted_and_its_late_ones_are_read(days):
    days.place.db.run(
        "DROP TABLE events",
        "CREATE TABLE events (id int, at timestamptz NOT NULL, home int) PARTITION BY LIST (home)",
        "CREATE TABLE events_1 PARTITION OF events FOR VALUES IN (1)",
        "INSERT INTO events VALUES (1, '2020-03-01 23:50+00', 1)",
        "CREATE TABLE events_2 (LIKE events)",
        "INSERT INTO events_2 VALUES (2, '2020-02-01 00:00+00', 2), (3, '2020-03-01 23:40+00', 2)",
    )
    days.make("2020-03-01")
    days.place.db.run("ALTER TABLE events ATTACH PARTITION events_2 FOR VALUES IN (2)")
    for date in ("2020-03-02", "2020-03-03"):
        days.make(date)
    assert [ids(days.rows(f"2020-03-0{n}")) for n in (1, 2, 3)] == [[1], [3], []]
    assert [days.says(f"2020-03-0{n}")["missed_rows"] for n in (2, 3)] == [1, 0]


def test_another_condition_begins_anew_since_older_rows_may_meet_it(days):
    add(days, (1, "2020-03-01 12:00+00", "a"), (2, "2020-03-01 12:30+00", "b"))
    days.place.tables[days.table]["where"] = "note = 'a'"
    days.make("2020-03-01")
    del days.place.tables[days.table]["where"]
    days.make("2020-03-02")
    assert (ids(days.rows("2020-03-02")), days.says("2020-03-02")["begins"]) == ([1, 2], "its `where` has changed")


def test_late_rows_are_written_in_the_dialect_of_the_others(days):
    days.place.dataset["dump"] = {"csv": {"delimiter": ";"}}
    add(days, (1, "2020-03-01 23:50+00", "a"))
    days.make("2020-03-01")
    add(days, (2, "2020-03-01 23:40+00", "late"), (3, "2020-03-02 12:00+00", "new"))
    days.make("2020-03-02")
    assert days.rows("2020-03-02") == ["3;2020-03-02 12:00:00+00;new", "2;2020-03-01 23:40:00+00;late"]


@pytest.mark.parametrize(
    ("ddl", "given", "said"),
    [
        ("ALTER TABLE events ADD x text", {"watermark": "x"}, "is of type text"),
        ("ALTER TABLE events ADD x bigint", {"watermark": "x"}, "needs an `overlap` of so many values"),
        ("ALTER TABLE events ADD x date", {"watermark": "x", "overlap": 5}, "its `overlap` is a number"),
        ("ALTER TABLE events ADD x date", {"watermark": "y"}, "has no column y"),
        ("ALTER TABLE events RENAME TO e; CREATE VIEW events AS SELECT * FROM e", {"watermark": "at"}, "not a table"),
    ],
)
def test_a_watermark_that_can_t_be_one_is_refused_by_name(days, ddl, given, said):
    days.place.db.run(*ddl.split(";"))
    days.place.tables[days.table] = given
    with pytest.raises((CatalogError, SourceError), match=said):
        days.make("2020-03-01")


def test_a_killed_or_failing_run_leaves_the_date_before_to_continue_from(days, monkeypatch):
    add(days, (1, "2020-03-01 12:00+00", "a"))
    days.make("2020-03-01")
    add(days, (2, "2020-03-02 12:00+00", "b"))

    def dies(*_given, **_options):
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(dump_run, "table_record", dies)  # bytes and index are written, the seal is not
        with pytest.raises(KeyboardInterrupt):
            days.make("2020-03-02")
    assert days.place.platform.evidence.pointer(UNIT, "2020-03-02") is None
    days.make("2020-03-02")
    assert ids(days.rows("2020-03-02")) == [2]


def test_the_index_is_no_part_of_what_is_mirrored_or_delivered(days):
    add(days, (1, "2020-03-01 12:00+00", "a"))
    days.make("2020-03-01")
    record = days.record("2020-03-01")
    assert record.index is not None
    assert record.index.key not in {each.key for each in record.objects}
    assert days.place.lake.here()[0][record.index.key]
