"""`where` and `select`: which rows and columns a dump has, and which SQL is none of a data owner's business (S0-1)."""

from __future__ import annotations

import pytest

from egress_assets.engine.catalog.models import TableModel
from egress_assets.engine.dump.relations import describe
from egress_assets.engine.dump.rows import require_condition
from egress_assets.engine.dump.run import run
from egress_assets.engine.errors import CatalogError, SourceError, TableMissing
from egress_assets.engine.layout import dump_unit, scrub_unit
from egress_assets.engine.scrub.run import run as scrub
from egress_assets.engine.stream import decompressed

DAY = "2026-11-19"
ORDERS = "public.orders"


def rows(place, unit=None, table=ORDERS):
    platform = place.platform
    pointer = platform.evidence.pointer(unit or dump_unit("shop"), DAY)
    _, record = platform.evidence.tables(pointer)[table]
    found = (b"".join(decompressed(platform.store("lake").get(o.key), record.format)) for o in record.objects)
    return b"".join(found).decode().splitlines()


def test_only_the_rows_of_the_condition_and_the_columns_of_the_selection_are_dumped(place):
    place.tables[ORDERS] = {"where": "total > 700 OR id = 3", "select": ["total", "id"]}
    result = run(place.platform, "shop", DAY)
    assert rows(place) == ["4.50,3", *(f"{n * 1.5:.2f},{n}" for n in range(467, 501))]
    assert [column.name for column in result.tables[ORDERS].columns] == ["total", "id"]
    assert run(place.platform, "shop", DAY).how == "nothing"


@pytest.mark.parametrize("change", [{"where": "id > 1"}, {"where": "id > 2"}, {"select": ["id"]}])
def test_another_choice_is_another_dump(place, change):
    place.dataset["drift"] = "accept"
    place.tables[ORDERS] = {"where": "id > 0"}
    run(place.platform, "shop", DAY)
    place.tables[ORDERS] = change
    assert ORDERS in {t for t, found in run(place.platform, "shop", DAY).tables.items() if found.moved}


def test_a_table_without_choice_stands_for_what_it_stood_for_before_there_was_one(place):
    run(place.platform, "shop", DAY)
    place.tables[ORDERS] = {"where": None}
    assert run(place.platform, "shop", DAY).how == "nothing"


def test_a_condition_joins_the_window(place, db):
    db.run("ALTER TABLE orders ADD at date", "UPDATE orders SET at = date '2026-11-18' + id % 3")
    place.dataset["extract"] = "window"
    place.tables.clear()
    place.tables[ORDERS] = {"window": "at", "where": "id < 10 OR id > 495", "select": ["id"]}
    run(place.platform, "shop", DAY)
    assert rows(place) == ["1", "4", "7", "496", "499"]


def test_a_scrub_counts_what_it_chose(place):
    place.dataset["scrub"] = {"key": "k" * 64, "format": "csv"}
    place.tables.clear()
    place.tables[ORDERS] = {"where": "id <= 7", "columns": {"id": "keep", "customer_id": "keep", "total": "keep"}}
    result = scrub(place.platform, "shop", DAY)
    assert result.tables[ORDERS].rows == 7
    assert all(check.passed for check in result.tables[ORDERS].checks)
    assert len(rows(place, scrub_unit("shop", "shared"))) == 7


def test_a_column_that_is_not_there_is_named(place):
    place.tables[ORDERS] = {"select": ["id", "colour", "size"]}
    with pytest.raises(TableMissing, match=r"public\.orders has no column colour, size"):
        run(place.platform, "shop", DAY)


@pytest.mark.parametrize(
    "condition", ["id > 0", "note = '50 % {of} it'", "at < now() AND (id) IN (1, 2)", "flag", "NULL"]
)
def test_conditions_of_every_kind_are_taken(any_db, condition):
    any_db.run("CREATE TYPE mood AS ENUM ('sad', 'glad')", HERE)
    probe(any_db, condition)


HERE = 'CREATE TABLE t (id int, note varchar(20), at timestamptz, flag bool, "the mood" mood, tags text[])'


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("id", "DatatypeMismatch"),
        ("nothing > 1", "UndefinedColumn"),
        ("id >", "SyntaxError"),
        ("true) OR (true", "SyntaxError"),
        ("true] || ARRAY[true", "SyntaxError"),
        ("true, true", "DatatypeMismatch"),
        ("true) TO STDOUT", "SyntaxError"),
        ("note = 'open", "SyntaxError"),
        ('"id = 1', "SyntaxError"),
        ("$$ = note", "SyntaxError"),
        ("true ORDER BY id", "SyntaxError"),
        ("true GROUP BY id", "SyntaxError"),
        ("count(*) > 1", "GroupingError"),
        ("generate_series(1, 2) = 1", "FeatureNotSupported"),
        ("id IN (SELECT 1)", "subquery"),
        ("EXISTS (SELECT FROM pg_class)", "subquery"),
        ("id = (SELECT max(oid::int) FROM pg_class)", "subquery"),
        ("t.id = 1", "UndefinedTable"),
        ("ctid = '(0,1)'", "UndefinedColumn"),
    ],
)
def test_whatever_is_no_condition_over_the_own_columns_is_refused(any_db, condition, words):
    any_db.run("CREATE TYPE mood AS ENUM ('sad', 'glad')", HERE)
    with pytest.raises(CatalogError, match=words) as caught:
        probe(any_db, condition)
    assert "`where` of public.t" in caught.value.message


def probe(db, condition):
    with db.connect() as session:
        session.execute("SET search_path = pg_catalog")
        relation = describe(session, ["public.t"], "here")["public.t"]
        require_condition(TableModel(where=condition), relation, session)


def test_a_refused_condition_ends_the_run_before_anything_is_written(place):
    place.tables[ORDERS] = {"where": "true) OR (true"}
    with pytest.raises(CatalogError, match=r"`where` of public\.orders is no boolean expression"):
        run(place.platform, "shop", DAY)
    assert place.objects() == {}


def test_a_condition_that_fails_on_a_row_tells_no_value(place):
    place.tables["public.customers"] = {"where": "email::int > 0"}
    with pytest.raises(SourceError, match="22P02") as caught:
        run(place.platform, "shop", DAY)
    assert "@example" not in f"{caught.value!r} {caught.value.hint}"
