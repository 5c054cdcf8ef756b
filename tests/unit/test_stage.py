"""What a source root compares before it works, and what its content digest stands for."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from hashlib import sha256
from zoneinfo import ZoneInfo

import pytest

from egress_assets.engine import stage
from egress_assets.engine.dialect import Dialect
from egress_assets.engine.dump.tasks import CellDone, PartDone, TableDone
from egress_assets.engine.errors import CatalogError, HistoryUnavailable, SourceChanged, SourceUnavailable
from egress_assets.engine.evidence.records import Column
from egress_assets.engine.partition import Calendar
from egress_assets.engine.stage import (
    Tally,
    Wanted,
    chosen_tables,
    content_digest,
    require_date,
    retried,
    table_record,
)

WANTED = Wanted("policy", (Column("id", "integer"), Column("at", "date")), "csv.zst")
CELLS = (CellDone("s.a", "aa", 2, 10), CellDone("s.b", "bb", 1, 5))
DONE = TableDone("s.t", (PartDone("s.t", "k", CELLS, 3, 15, 7, "cc", "etag"),))
CALENDAR = Calendar(ZoneInfo("UTC"), date(2026, 11, 1))


def test_a_record_differs_in_nothing_from_what_it_was_made_for():
    assert WANTED.difference(table_record(DONE, WANTED)) == ""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"policy_digest": "other"}, "policy"),
        ({"format": "csv"}, "csv.zst, csv is wanted"),
        ({"csv": Dialect(delimiter=";")}, "its rows were postgres (NULL '', delimiter ',', quote '\"'), postgres"),
        ({"columns": WANTED.columns[:1]}, "columns"),
        ({"columns": (Column("id", "bigint"), WANTED.columns[1])}, "columns"),
        ({"columns": (Column("id", "integer", nullable=False), WANTED.columns[1])}, "columns"),
        ({"columns": WANTED.columns[::-1]}, "columns"),
    ],
)
def test_each_change_of_the_spec_is_named_and_changes_the_content(change, words):
    other = replace(WANTED, **change)
    assert words in other.difference(table_record(DONE, WANTED))
    assert content_digest(other, CELLS) != content_digest(WANTED, CELLS)


def test_the_content_is_rows_in_order_and_not_how_they_are_stored():
    here = table_record(DONE, WANTED).content_digest
    stored_elsewhere = replace(DONE.parts[0], key="k2", bytes=1, sha256="zz", etag="", seconds=9.0)
    assert table_record(TableDone("s.t", (stored_elsewhere,)), WANTED).content_digest == here
    in_two = tuple(PartDone("s.t", f"k{n}", (cell,), 1, 1, 1, "", "", part=n) for n, cell in enumerate(CELLS))
    divided = table_record(TableDone("s.t", in_two), WANTED)
    assert divided.content_digest == here
    assert [found.key for found in divided.objects] == ["k0", "k1"]
    assert content_digest(WANTED, CELLS[::-1]) != here
    assert content_digest(WANTED, (replace(CELLS[0], sha256="ab"), CELLS[1])) != here
    assert content_digest(WANTED, (replace(CELLS[0], rows=3), CELLS[1])) != here


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_cell_without_rows_is_no_content(place):
    empty = CellDone("s.c", sha256(b"").hexdigest(), 0, 0)
    assert content_digest(WANTED, (*CELLS[:place], empty, *CELLS[place:])) == content_digest(WANTED, CELLS)


def test_tables_come_in_the_catalog_s_order_and_unknown_ones_are_named():
    assert chosen_tables(["b", "a", "c"], None, "shop") == ("b", "a", "c")
    assert chosen_tables(["b", "a", "c"], ["a", "b"], "shop") == ("b", "a")
    with pytest.raises(CatalogError, match="no table x, y"):
        chosen_tables(["b"], ["y", "x"], "shop")


def test_a_full_extract_stands_for_now_and_a_window_for_its_day(monkeypatch):
    monkeypatch.setenv("EGRESS_NOW", "2026-11-20T12:00:00+00:00")
    assert require_date(CALENDAR, "2026-11-19", extract="full", relabel=False) == {}
    assert require_date(CALENDAR, "2026-11-02", extract="window", relabel=False) == {}
    with pytest.raises(HistoryUnavailable):
        require_date(CALENDAR, "2026-11-02", extract="full", relabel=False)
    assert require_date(CALENDAR, "2026-11-02", extract="full", relabel=True) == {"relabelled": True}
    for extract in ("full", "window"):
        with pytest.raises(CatalogError):
            require_date(CALENDAR, "2026-11-20", extract=extract, relabel=True)


def failing(*errors):
    left = list(errors)

    def work() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return work


def test_only_a_changed_source_starts_over_and_not_for_ever(monkeypatch):
    paused = []
    monkeypatch.setattr(stage, "_pause", paused.append)
    assert retried(failing(SourceChanged("1"), SourceChanged("2"))) == "done"
    assert paused == [1.0, 2.0]
    with pytest.raises(SourceChanged, match="3"):
        retried(failing(*(SourceChanged(str(n)) for n in (1, 2, 3))))
    with pytest.raises(SourceUnavailable):
        retried(failing(SourceUnavailable("down")))


def test_phases_of_several_tries_add_up_and_evidence_gets_whole_milliseconds():
    tally = Tally()
    tally.spent("dump", tally.began - 1)
    tally.spent("dump", tally.began - 1)
    assert tally.phases["dump"] >= 2
    assert isinstance(tally.milliseconds()["dump"], int)
