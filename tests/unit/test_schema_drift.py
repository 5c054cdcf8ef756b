"""What a run compares its columns with, what the catalog says of a difference, and how it is said."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

import pytest

from egress_assets.engine.catalog.models import DatasetModel
from egress_assets.engine.errors import SchemaDrift
from egress_assets.engine.evidence.records import Column, Draft, Pointer, Position, TableRecord, digest
from egress_assets.engine.layout import manifest_key
from egress_assets.engine.platform import Platform
from egress_assets.engine.schema_drift import (
    DAYS,
    POINTERS,
    Before,
    Drifted,
    before,
    drifted,
    facts_of,
    noted,
    settled,
    words,
)
from tests.platforms import DUMP, A, B, memory, platform

C = "public.parts"
ID, NOTE = Column("id", "integer", nullable=False), Column("note", "text")
TOTAL, WIDER = Column("total", "numeric(12,2)"), Column("total", "numeric(14,2)")
KNOWN = frozenset({A, B})


def day(back: int) -> str:
    return (date(2026, 11, 20) - timedelta(days=back)).isoformat()


def hold(p: Platform, back: int, tables: Mapping[str, tuple[Column, ...]], *, part: bool = False) -> None:
    """What a run of that date left: of these tables alone, or (`part`) beside those that were there."""

    def work(base: Pointer | None, me: str) -> Draft:
        made = {
            t: TableRecord((), digest([t, [c.to_json() for c in columns]]), columns) for t, columns in tables.items()
        }
        return Draft(made, Position("as_of", base.generation + 1 if base else 1), me, "", "lake")

    p.evidence.materialise(DUMP, day(back), work, tables=frozenset(tables) if part else None)


def look(p: Platform, *wanted: str, back: int = 0, known: frozenset[str] = KNOWN) -> Before:
    return before(p.evidence, DUMP, day(back), wanted or (A, B), known)


def model(drift: Any = None, table: Any = None) -> DatasetModel:
    tables = {A: {"drift": table} if table else {}, B: {}}
    given = {"source": "db", "start": "2026-11-01", "dump": {}, "tables": tables}
    return DatasetModel.model_validate(given | ({"drift": drift} if drift else {}))


def compared(catalog: DatasetModel, was: tuple[Column, ...], now: tuple[Column, ...]) -> list[tuple[str, str]]:
    found = drifted(catalog, Before({A: (day(1), was)}), {A: now}, whole=True)
    return [(each.line, each.how) for each in found]


# --------------------------------------------------------------------------------------------------- what is compared
def test_a_first_dump_has_nothing_to_compare_with():
    p = platform()
    assert look(p) == Before()
    assert drifted(model(), look(p), {A: (ID,)}, whole=True) == ()


def test_the_same_date_comes_before_the_date_before():
    p = platform()
    hold(p, 1, {A: (ID,), B: (ID,)})
    hold(p, 0, {A: (ID, NOTE), B: (ID,)})
    assert look(p).columns == {A: (day(0), (ID, NOTE)), B: (day(0), (ID,))}
    assert look(p, back=1).columns[A] == (day(1), (ID,))


def test_a_later_date_is_not_compared_with():
    p = platform()
    hold(p, 0, {A: (ID, NOTE), B: (ID,)})
    assert look(p, back=1) == Before()


def test_a_table_that_a_run_by_hand_left_out_is_looked_for_on_the_date_before():
    p = platform()
    hold(p, 1, {A: (ID,), B: (ID,), C: (ID,)})
    hold(p, 0, {A: (ID, NOTE)}, part=True)
    found = look(p)
    assert found.columns == {A: (day(0), (ID, NOTE)), B: (day(1), (ID,))}
    assert found.left == {C: day(1)}


def test_a_table_that_left_long_ago_and_was_accepted_is_not_found_again_because_another_one_is_new():
    p = platform()
    hold(p, 5, {A: (ID,), C: (ID,)})
    hold(p, 4, {A: (ID,)})
    hold(p, 3, {A: (ID,)})
    found = look(p)
    assert (found.left, set(found.columns)) == ({}, {A})
    hold(p, 1, {A: (ID,), C: (ID,)})
    assert look(p).left == {C: day(1)}


def test_a_look_reads_one_listing_one_pointer_and_one_manifest():
    p = platform()
    for back in range(1, 9):
        hold(p, back, {A: (ID,), B: (ID,)})
    evidence = memory(p, "evidence")
    evidence.asked.clear()
    look(p)
    assert (evidence.times("list"), evidence.times("read")) == (1, 2)


def test_a_new_table_is_looked_for_in_bounds():
    p = platform()
    for back in [*range(1, POINTERS + 6), DAYS, DAYS + 1]:
        hold(p, back, {A: (ID,)})
    evidence = memory(p, "evidence")
    evidence.asked.clear()
    look(p)
    assert evidence.times("read") == POINTERS + 1  # the pointers, and the manifest that has A
    assert look(p, back=DAYS - 1).columns[A][0] == day(DAYS)


def test_a_dataset_that_rested_is_still_compared_and_not_for_ever():
    p = platform()
    hold(p, DAYS, {A: (ID,)})
    assert A in look(p).columns
    assert look(p, back=-1) == Before()


def test_a_date_whose_evidence_can_not_be_read_is_passed_over_and_named(caplog: pytest.LogCaptureFixture):
    p = platform()
    hold(p, 2, {A: (ID,), B: (ID,)})
    hold(p, 1, {A: (ID, NOTE), B: (ID,)})
    pointer = p.evidence.pointer(DUMP, day(1))
    assert pointer
    memory(p, "evidence").objects[manifest_key(DUMP, day(1), pointer.by)].body = b"{"
    assert look(p).columns[A] == (day(2), (ID,))
    assert f"columns of dump/shop {day(1)} are not compared with" in caplog.text


# ------------------------------------------------------------------------------------------------ what the catalog says
def test_by_default_every_kind_fails():
    was, now = (ID, TOTAL, NOTE), (WIDER, Column("id", "integer"), Column("phone", "text"))
    assert compared(model(), was, now) == [
        ("* total: numeric(12,2) -> numeric(14,2)", "fail"),
        ("* id: NOT NULL -> may be NULL", "fail"),
        ("+ phone text", "fail"),
        ("- note text", "fail"),
        ("* order of columns: id, total -> total, id, phone", "fail"),
    ]


@pytest.mark.parametrize(
    ("dataset", "table", "expected"),
    [
        (None, None, ("fail", "fail")),
        ("warn", None, ("warn", "warn")),
        ({"added": "accept"}, None, ("accept", "fail")),
        ("accept", {"retyped": "fail"}, ("accept", "fail")),
        ({"retyped": "warn"}, {"added": "accept"}, ("accept", "warn")),
        ({"added": "warn"}, "fail", ("fail", "fail")),
    ],
)
def test_a_table_is_asked_before_its_dataset_and_each_kind_by_itself(dataset: Any, table: Any, expected: tuple):
    found = compared(model(dataset, table), (ID, TOTAL), (ID, WIDER, NOTE))
    assert found == [("* total: numeric(12,2) -> numeric(14,2)", expected[1]), ("+ note text", expected[0])]


def test_a_changed_mask_is_no_drift():
    assert compared(model(), (Column("id", "integer", mask="keep"),), (Column("id", "integer", mask="hash"),)) == []


def test_only_a_run_over_all_tables_takes_one_away():
    past = Before({A: (day(1), (ID,))}, {C: day(1)})
    assert drifted(model(), past, {A: (ID,)}, whole=False) == ()
    (gone,) = drifted(model({"removed_table": "warn"}), past, {A: (ID,)}, whole=True)
    assert (gone.table, gone.line, gone.how) == (C, "- the table, which left the catalog", "warn")


# ----------------------------------------------------------------------------------------------------- what comes of it
def one(how: str, table: str = A, column: str = "note") -> Drifted:
    return Drifted(table, day(1), "added", column, "", "text", how)


def test_what_fails_is_an_error_with_the_difference_by_table_and_every_way_to_accept_it():
    p = platform()
    found = (one("fail"), one("warn", B), Drifted(B, day(2), "removed", "x", "date", "", "fail"))
    with pytest.raises(SchemaDrift) as refused:
        settled(p.catalog, DUMP, day(0), found, accept=False)
    assert refused.value.message == (
        f"schema drift of dump/shop {day(0)}: {A} since {day(1)}: + note text; {B} since {day(2)}: - x date"
    )
    assert f"`egress dump shop --date {day(0)} --accept-drift`" in refused.value.hint
    assert "job shop_range, `accept_drift: true`" in refused.value.hint
    assert "`drift: {added: accept, removed: accept}` at shop.yaml" in refused.value.hint
    assert [row["table"] for row in refused.value.found] == [A, B]
    copy = pickle.loads(pickle.dumps(refused.value))
    assert (copy.message, copy.found, copy.retryable) == (refused.value.message, refused.value.found, False)


def test_what_is_accepted_once_is_noted_as_that_and_the_log_says_it(caplog: pytest.LogCaptureFixture):
    found = (one("fail"), one("accept", B))
    with caplog.at_level(logging.INFO, logger="egress_assets"):
        went = settled(platform().catalog, DUMP, day(0), found, accept=True)
    assert [each.how for each in went] == ["accepted once", "accept"]
    levels = {record.levelname: record.getMessage() for record in caplog.records}
    assert levels["WARNING"] == f"schema drift of dump/shop {day(0)} (accepted once): {A} since {day(1)}: + note text"
    assert levels["INFO"].startswith(f"schema drift of dump/shop {day(0)} (accept): {B}")


def test_the_manifest_has_what_it_went_on_with_by_table():
    found = (one("warn"), one("accept", B))
    facts = facts_of(found)
    assert tuple(noted(facts)) == found
    assert tuple(noted(facts, B)) == found[1:]
    assert facts_of(()) == {}
    assert tuple(noted({})) == ()


def test_a_long_difference_is_cut_in_the_message_alone():
    found = [one("fail", column=f"c{n}") for n in range(50)]
    assert words(found).endswith("+ c19 text; and 30 more")
    with pytest.raises(SchemaDrift) as refused:
        settled(platform().catalog, DUMP, day(0), found, accept=False)
    assert len(refused.value.found) == 50
