"""A table's columns change at the source: refused before the first row, warned of, or accepted, as the catalog says."""

from __future__ import annotations

import logging

import pytest

from egress_assets.engine.dump.plan import plan
from egress_assets.engine.dump.run import run
from egress_assets.engine.errors import SchemaDrift, Unclassified
from egress_assets.engine.evidence.failures import last_failure
from egress_assets.engine.layout import dump_unit, scrub_unit
from egress_assets.engine.scrub.plan import plan as scrub_plan
from egress_assets.engine.scrub.run import run as scrub

DAY, NEXT = "2026-11-19", "2026-11-20"
UNIT, SCRUB = dump_unit("shop"), scrub_unit("shop", "shared")
ADDED = "ALTER TABLE orders ADD note text"
ROW = {
    "table": "public.orders", "since": DAY, "kind": "added", "column": "note", "was": "", "now": "text", "how": "warn",
}  # fmt: skip


@pytest.fixture
def next_day(place, monkeypatch):
    """`shop` as DAY's dump left it, on the day after."""
    run(place.platform, "shop", DAY)
    monkeypatch.setenv("EGRESS_NOW", "2026-11-21T02:30:00+00:00")
    return place


def held(place, unit=UNIT):
    """(objects in the lake, generations by date)"""
    pointers = {date: place.platform.evidence.pointer(unit, date) for date in (DAY, NEXT)}
    return place.objects(), {date: pointer and pointer.generation for date, pointer in pointers.items()}


@pytest.mark.parametrize("again", [False, True])
def test_an_added_column_stops_the_run_before_the_first_row_and_yesterday_stands(next_day, again):
    next_day.db.run(ADDED)
    before = held(next_day)
    with pytest.raises(SchemaDrift) as refused:
        run(next_day.platform, "shop", NEXT, again=again)
    assert refused.value.message == f"schema drift of dump/shop {NEXT}: public.orders since {DAY}: + note text"
    assert (held(next_day), next_day.lake.here()[1]) == (before, {})
    failure = last_failure(next_day.platform.evidence, UNIT, NEXT)
    assert failure is not None
    assert (failure.code, failure.retryable) == ("schema_drift", False)


@pytest.mark.parametrize(
    ("ddl", "line"),
    [
        ("ALTER TABLE orders DROP customer_id", "- customer_id integer"),
        ("ALTER TABLE orders ALTER total TYPE numeric(14,2)", "* total: numeric(12,2) -> numeric(14,2)"),
        ("ALTER TABLE orders ALTER total SET NOT NULL", "* total: may be NULL -> NOT NULL"),
        ("ALTER TABLE orders RENAME total TO sum", "+ sum numeric(12,2), - total numeric(12,2)"),
        (
            "ALTER TABLE orders ADD c int; UPDATE orders SET c = customer_id; ALTER TABLE orders DROP customer_id;"
            "ALTER TABLE orders RENAME c TO customer_id",
            "* order of columns: customer_id, total -> total, customer_id",
        ),
    ],
)
def test_every_kind_is_told_in_the_same_words_by_the_run_and_the_plan(next_day, ddl, line):
    next_day.db.run(ddl)
    with pytest.raises(SchemaDrift) as refused:
        run(next_day.platform, "shop", NEXT)
    assert refused.value.message.endswith(f"public.orders since {DAY}: {line}")
    lines = [(found.sign, found.what, found.detail) for found in plan(next_day.platform, "shop", NEXT)]
    refused_lines = [detail.partition(";")[0] for sign, what, detail in lines if (sign, what) == ("!", "public.orders")]
    assert ", ".join(refused_lines) == line
    assert lines[len(refused_lines)][:2] == ("!", UNIT.title)
    assert "--accept-drift" in lines[len(refused_lines)][2]
    assert [sign for sign, what, _ in lines if what == "public.customers"] == ["+"]


def test_warned_of_it_is_dumped_and_log_manifest_and_result_say_it(next_day, caplog):
    next_day.dataset["drift"] = {"added": "warn"}
    next_day.db.run(ADDED)
    first, *_ = plan(next_day.platform, "shop", NEXT)
    assert (first.sign, first.what) == ("*", "public.orders")
    with caplog.at_level(logging.WARNING):
        result = run(next_day.platform, "shop", NEXT)
    assert f"schema drift of dump/shop {NEXT} (warn): public.orders since {DAY}: + note text" in caplog.text
    assert (result.how, result.facts["drift"]) == ("moved", [ROW])
    assert [found.line for found in result.tables["public.orders"].drift] == ["+ note text"]
    assert result.tables["public.customers"].drift == ()
    evidence = next_day.platform.evidence
    (manifest, _) = evidence.tables(evidence.pointer(UNIT, NEXT))["public.orders"]
    assert manifest.draft.facts["drift"] == [ROW]
    told_again = run(next_day.platform, "shop", NEXT)
    assert (told_again.how, len(told_again.tables["public.orders"].drift)) == ("nothing", 1)


def test_accepted_once_the_next_date_compares_with_what_this_one_has(next_day, monkeypatch, caplog):
    next_day.db.run(ADDED)
    result = run(next_day.platform, "shop", NEXT, accept_drift=True)
    assert (result.how, result.facts["drift"][0]["how"]) == ("moved", "accepted once")
    assert "(accepted once): public.orders" in caplog.text
    assert run(next_day.platform, "shop", NEXT, again=True).how == "unchanged"
    monkeypatch.setenv("EGRESS_NOW", "2026-11-22T02:30:00+00:00")
    later = run(next_day.platform, "shop", "2026-11-21")
    assert (later.how, "drift" in later.facts) == ("moved", False)


def test_a_run_over_some_tables_compares_these_alone(next_day):
    next_day.db.run(ADDED)
    assert run(next_day.platform, "shop", NEXT, tables=["public.customers"]).how == "moved"
    with pytest.raises(SchemaDrift):
        run(next_day.platform, "shop", NEXT, tables=["public.orders"])
    with pytest.raises(SchemaDrift):
        run(next_day.platform, "shop", NEXT)


def test_a_change_that_commits_after_the_look_is_still_met_under_the_locks(next_day, monkeypatch):
    """The look finds nothing; DDL commits; the snapshot has the new column."""
    from egress_assets.engine.dump import run as module

    real = module.look

    def look(settings, tables):
        found = real(settings, tables)
        next_day.db.run(ADDED)
        return found

    monkeypatch.setattr(module, "look", look)
    with pytest.raises(SchemaDrift, match=r"\+ note text"):
        run(next_day.platform, "shop", NEXT)


def test_what_select_chooses_is_what_is_compared(next_day):
    next_day.tables["public.orders"] = {"select": ["id", "customer_id", "total"]}
    next_day.db.run(ADDED)
    assert run(next_day.platform, "shop", NEXT).how == "moved"
    next_day.tables["public.orders"] = {"select": ["total", "id"]}
    with pytest.raises(SchemaDrift, match=r"- customer_id integer, .* order of columns: id, total -> total, id"):
        run(next_day.platform, "shop", NEXT)


def test_a_scrub_wants_a_mask_first_and_then_a_decision_about_its_readers(place, monkeypatch):
    columns = {"id": "keep", "customer_id": "keep", "total": "keep"}
    place.tables, place.dataset = {"public.orders": columns}, {"dump": None, "scrub": {"key": "k"}}
    place.dataset.pop("dump")
    scrub(place.platform, "shop", DAY)
    monkeypatch.setenv("EGRESS_NOW", "2026-11-21T02:30:00+00:00")
    place.db.run(ADDED)
    for accept in (False, True):
        with pytest.raises(Unclassified, match=r"public\.orders\.note") as unnamed:
            scrub(place.platform, "shop", NEXT, accept_drift=accept)
        assert "readers then get columns more, which `drift` decides about" in unnamed.value.hint
    columns["note"] = "null"
    assert [line.sign for line in scrub_plan(place.platform, "shop", NEXT)][:2] == ["!", "!"]
    with pytest.raises(SchemaDrift, match=f"scrub/shop/shared {NEXT}: public.orders since {DAY}: \\+ note text"):
        scrub(place.platform, "shop", NEXT)
    assert set(held(place, SCRUB)[1].values()) == {1, None}
    place.dataset["drift"] = {"added": "accept"}
    assert scrub(place.platform, "shop", NEXT).tables["public.orders"].drift[0].how == "accept"
