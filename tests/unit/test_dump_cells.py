"""COPY statements and the rows of a day, as text; what they do is in tests/system/dump."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import date
from zoneinfo import ZoneInfo

import pytest
from psycopg import sql

from egress_assets.engine.dump.cells import cell_locks, copy_cells, window_clause
from egress_assets.engine.dump.extract import useful
from egress_assets.engine.dump.relations import split
from egress_assets.engine.dump.tasks import Cell, ColumnInfo, PartTask, Relation
from egress_assets.engine.errors import CatalogError, TableMissing
from egress_assets.engine.partition import Calendar
from egress_assets.engine.worker import task_of

LONDON = Calendar(ZoneInfo("Europe/London"), date(2026, 1, 1))


def relation(kind="v", leaves=(("s", "t"),), **columns):
    found = tuple(ColumnInfo(name, base, base, nullable=True) for name, base in columns.items())
    return Relation("s.t", "s", "t", 1, kind, found, leaves)


def statement(select=None, where=None, **columns):
    (cell,) = copy_cells(relation(**columns), select, where, None)  # type: ignore[arg-type]  # a view asks nothing
    return cell.sql


def test_columns_are_named_in_the_table_s_order_and_quoted():
    assert statement(b="text", **{'a "q" b': "int4"}) == (
        """COPY (SELECT "b", "a ""q"" b" FROM "s"."t") TO STDOUT (FORMAT csv, ENCODING 'UTF8')"""
    )


def test_a_selection_names_its_expressions_and_a_filter_is_kept_together():
    select = [("x", sql.SQL("1 + 1"))]
    where = sql.SQL("a OR b")
    assert 'SELECT 1 + 1 AS "x" FROM "s"."t" WHERE (a OR b))' in statement(select, where, a="bool", b="bool")


@pytest.mark.parametrize(
    ("day", "start", "end"),
    [
        ("2026-11-19", "2026-11-19 00:00:00+00", "2026-11-20 00:00:00+00"),
        ("2026-06-01", "2026-05-31 23:00:00+00", "2026-06-01 23:00:00+00"),
        ("2026-03-29", "2026-03-29 00:00:00+00", "2026-03-29 23:00:00+00"),  # 23 hours
        ("2026-10-25", "2026-10-24 23:00:00+00", "2026-10-26 00:00:00+00"),  # 25 hours
    ],
)
def test_a_timestamptz_lies_in_the_day_by_its_instants(day, start, end):
    clause = window_clause(relation(at="timestamptz"), "at", day, LONDON).as_string()
    assert clause == f"\"at\" >= '{start}'::timestamptz AND \"at\" < '{end}'::timestamptz"


@pytest.mark.parametrize("base", ["timestamp", "date"])
def test_a_wall_clock_column_lies_in_the_day_by_its_date(base):
    clause = window_clause(relation(at=base), "at", "2026-03-29", LONDON).as_string()
    assert clause == f"\"at\" >= '2026-03-29'::{base} AND \"at\" < '2026-03-30'::{base}"


def test_a_window_of_another_type_or_name_is_refused():
    with pytest.raises(CatalogError, match=r"s\.t\.at is of type text"):
        window_clause(relation(at="text"), "at", "2026-03-29", LONDON)
    with pytest.raises(TableMissing, match="no column there"):
        window_clause(relation(at="text"), "there", "2026-03-29", LONDON)


def test_a_worker_locks_the_leaves_it_reads_or_the_parent_it_reads():
    leaves = (("s", "a"), ("s", "b"))
    parent = relation("p", leaves)
    a, again, b, whole = (Cell("", "", reads=("s", name)) for name in "aabt")
    assert cell_locks(parent, [a, again, b]) == leaves
    assert cell_locks(parent, [b]) == leaves[1:]
    assert cell_locks(parent, [whole]) == (("s", "t"),)
    assert cell_locks(relation("p", ()), []) == ()
    assert cell_locks(relation("v"), [whole]) == (("s", "t"),)
    assert cell_locks(relation("m"), [whole]) == ()  # LOCK TABLE refuses materialized views


def test_a_table_s_name_is_split_at_its_first_dot():
    assert split("public.a.b") == ("public", "a.b")


def test_small_tables_share_one_worker_and_unknown_sizes_have_their_own():
    assert useful([8192, 8192, 8192]) == 1
    assert useful([2**30, 8192]) == 16
    assert useful([0, 0, 8192]) == 2


def test_a_task_comes_through_json_as_it_was():
    cells = (Cell("s.t", "COPY", " TO", ("s", "t"), 7), Cell("s.v", "COPY"))
    task = PartTask("s.t", cells, "k", "csv", {"a": "b"}, ("email",), (("s", "t"),), 7, 3, 2)
    assert task_of(json.loads(json.dumps(asdict(task)))) == task
    assert "'b'" not in repr(task)  # a session's settings are secrets
