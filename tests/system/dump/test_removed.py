"""A table goes: dropped from the database, taken out of the catalog, renamed, dropped and created again."""

from __future__ import annotations

import logging

import pytest

from egress_assets.engine.catalog.models import TableModel
from egress_assets.engine.dump.plan import plan
from egress_assets.engine.dump.run import run
from egress_assets.engine.errors import HistoryUnavailable, SchemaDrift, TableMissing, Unclassified
from egress_assets.engine.housekeeping import keep_house
from egress_assets.engine.layout import dump_unit, scrub_unit
from egress_assets.engine.scrub.run import run as scrub

DAY = "2026-11-19"
UNIT, SCRUB = dump_unit("shop"), scrub_unit("shop", "shared")
ORDERS = {"id": "keep", "customer_id": "keep", "total": "keep"}


def entries(place, date=DAY, unit=UNIT):
    pointer = place.platform.evidence.pointer(unit, date)
    return set(pointer.entries) if pointer else set()


def statuses(place, date=DAY):
    platform = place.platform
    return {(v.table, v.status) for v in platform.evidence.verify(UNIT, date, platform.store("lake"))}


# ------------------------------------------------------------------------------------------- dropped from the database
def test_a_dropped_table_is_named_with_its_line_in_the_catalog_and_the_way_out(place):
    run(place.platform, "shop", DAY)
    place.db.run("DROP TABLE orders")
    for again in (False, True):
        with pytest.raises(TableMissing) as refused:
            run(place.platform, "shop", DAY, again=again)
        assert refused.value.message.endswith("public.orders; in the catalog at catalog/shop.yaml:7")
        assert "take the tables out of it" in refused.value.hint
        assert refused.value.tables == ("public.orders",)
    (line,) = plan(place.platform, "shop", DAY)
    assert (line.sign, "catalog/shop.yaml:7" in line.detail) == ("!", True)
    assert entries(place) == {"public.customers", "public.orders", "public.nothing"}
    assert {status for _, status in statuses(place)} == {"ok"}


def test_a_scrub_of_a_dropped_table_names_the_line_too_and_publishes_nothing(place):
    place.tables = {"public.nothing": {"id": "keep"}, "public.orders": ORDERS}
    place.dataset["scrub"] = {"key": "k"}
    place.db.run("DROP TABLE orders")
    with pytest.raises(TableMissing, match=r"public\.orders; in the catalog at catalog/shop\.yaml:7"):
        scrub(place.platform, "shop", DAY)
    assert (entries(place, unit=SCRUB), place.objects()) == (set(), {})


def test_another_dataset_of_the_same_database_goes_on(place):
    place.db.run("DROP TABLE orders")
    platform = place.platform
    other = platform.catalog.dataset("shop").model_copy(update={"tables": {"public.customers": TableModel()}})
    platform.catalog.datasets["other"] = other
    with pytest.raises(TableMissing):
        run(platform, "shop", DAY)
    assert run(platform, "other", DAY).how == "moved"


# --------------------------------------------------------------------------------------------- taken out of the catalog
def test_the_next_run_leaves_exactly_the_catalogs_tables_and_says_why_it_ran(place, caplog):
    place.dataset["drift"] = {"removed_table": "accept"}
    run(place.platform, "shop", DAY)
    del place.tables["public.orders"]
    assert plan(place.platform, "shop", DAY)[1].detail.startswith("public.orders left the catalog")
    with caplog.at_level(logging.INFO):
        result = run(place.platform, "shop", DAY)
    assert "public.orders left the catalog" in caplog.text
    assert (result.how, entries(place)) == ("moved", {"public.customers", "public.nothing"})
    assert run(place.platform, "shop", DAY).how == "nothing"
    assert {status for _, status in statuses(place)} == {"ok"}


def test_dates_that_are_not_run_again_keep_the_table_readable_and_whole(place, monkeypatch):
    run(place.platform, "shop", DAY)
    monkeypatch.setenv("EGRESS_NOW", "2026-11-25T02:30:00+00:00")
    before = place.objects()
    place.dataset["drift"] = "accept"
    del place.tables["public.orders"]
    place.db.run("DROP TABLE orders")
    with pytest.raises(HistoryUnavailable):
        run(place.platform, "shop", DAY)
    assert run(place.platform, "shop", "2026-11-24").how == "moved"
    keep_house(place.platform)
    assert entries(place) == {"public.customers", "public.orders", "public.nothing"}
    assert entries(place, "2026-11-24") == {"public.customers", "public.nothing"}
    assert statuses(place) == {(table, "ok") for table in entries(place)}
    assert before.items() <= place.objects().items()


def test_what_left_the_catalog_may_come_back(place):
    place.dataset["drift"] = "accept"
    run(place.platform, "shop", DAY)
    kept = place.tables.pop("public.orders")
    run(place.platform, "shop", DAY)
    place.tables["public.orders"] = kept
    assert run(place.platform, "shop", DAY).how == "moved"
    assert entries(place) == {"public.customers", "public.orders", "public.nothing"}


# -------------------------------------------------------------------------------------------------------------- renamed
def test_a_renamed_table_is_missing_under_its_old_name_and_unclassified_under_its_new_one(place):
    place.tables = {"public.orders": ORDERS}
    place.dataset["scrub"] = {"key": "k"}
    scrub(place.platform, "shop", DAY)
    place.db.run("ALTER TABLE orders RENAME TO purchases")
    with pytest.raises(TableMissing, match=r"public\.orders; in the catalog"):
        scrub(place.platform, "shop", DAY)
    place.tables = {"public.purchases": {}}
    with pytest.raises(Unclassified, match=r"public\.purchases"):
        scrub(place.platform, "shop", DAY)
    assert entries(place, unit=SCRUB) == {"public.orders"}
    place.tables = {"public.purchases": ORDERS}
    with pytest.raises(SchemaDrift, match=r"public\.orders since 2026-11-19: - the table, which left the catalog"):
        scrub(place.platform, "shop", DAY)
    assert scrub(place.platform, "shop", DAY, accept_drift=True).how == "moved"
    assert entries(place, unit=SCRUB) == {"public.purchases"}


# ------------------------------------------------------------------------------------------- dropped and created anew
RECREATE = (
    "DROP TABLE orders",
    "CREATE TABLE orders (id int PRIMARY KEY, customer_id int, total numeric(12,2))",
    "INSERT INTO orders VALUES (1, 1, 1)",
)


@pytest.mark.parametrize("make", [run, scrub])
def test_a_table_created_anew_with_equal_columns_is_read_again_once(place, make, caplog):
    place.tables = {"public.orders": ORDERS, "public.nothing": {"id": "keep"}}
    place.dataset["scrub"] = {"key": "k"}
    if make is run:
        place.tables, place.dataset = {"public.orders": {}, "public.nothing": {}}, {}
    make(place.platform, "shop", DAY)
    place.db.run(*RECREATE)
    with caplog.at_level(logging.INFO):
        second = make(place.platform, "shop", DAY)
    assert "it was dropped and created anew" in caplog.text
    assert (second.how, second.tables["public.orders"].rows) == ("moved", 1)
    assert "oids" not in second.facts
    assert make(place.platform, "shop", DAY).how == "nothing"


def test_a_table_created_anew_with_the_same_rows_is_read_again_once_and_keeps_its_entry(place):
    place.tables = {"public.nothing": {}}
    first = run(place.platform, "shop", DAY)
    place.db.run("DROP TABLE nothing", "CREATE TABLE nothing (id int)")
    assert plan(place.platform, "shop", DAY)[0].detail.startswith("it was dropped and created anew")
    second = run(place.platform, "shop", DAY)
    assert (second.how, second.generation) == ("unchanged", 2)
    assert second.tables["public.nothing"].attempt == first.tables["public.nothing"].attempt
    assert run(place.platform, "shop", DAY).how == "nothing"


def test_other_columns_are_a_change_of_the_schema(place):
    run(place.platform, "shop", DAY)
    place.db.run("DROP TABLE orders", "CREATE TABLE orders (id int, note text)")
    assert plan(place.platform, "shop", DAY)[-2].detail.startswith("its columns have changed")
    with pytest.raises(SchemaDrift, match=r"public\.orders since 2026-11-19: .*\+ note text, - customer_id integer"):
        run(place.platform, "shop", DAY)
    place.tables["public.orders"] = {"drift": "accept"}
    result = run(place.platform, "shop", DAY)
    assert [column.name for column in result.tables["public.orders"].columns] == ["id", "note"]


def test_a_window_date_is_not_replaced_by_a_new_table_that_has_nothing_of_it(place, caplog):
    place.db.run("ALTER TABLE customers ADD day date DEFAULT '2026-11-19'")
    place.tables, place.dataset = {"public.customers": {"window": "day"}}, {"extract": "window"}
    run(place.platform, "shop", DAY)
    place.db.run("DROP TABLE customers", "CREATE TABLE customers (id int NOT NULL, email text, day date)")
    again = run(place.platform, "shop", DAY)
    assert (again.how, again.tables["public.customers"].rows) == ("nothing", 50)
    assert "public.customers was dropped and created anew since dump/shop 2026-11-19 was read" in caplog.text
    assert run(place.platform, "shop", DAY, again=True).tables["public.customers"].rows == 0
