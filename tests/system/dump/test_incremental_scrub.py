"""Incremental scrubs: the same dates as of a dump, masked; what they leave behind tells nobody a raw row."""

from __future__ import annotations

from hashlib import sha256

import pytest

from egress_assets.engine.errors import GateFailed
from egress_assets.engine.layout import scrub_unit
from egress_assets.engine.scrub import plan as scrub_plan

pytestmark = pytest.mark.usefixtures("in_process")
NOTE = {"mask": "hash", "length": 16}


@pytest.fixture
def scrubs(days):
    days.unit = scrub_unit("shop", "shared")
    days.place.dataset |= {"scrub": {"key": "k" * 64}, "dump": None}
    del days.place.dataset["dump"]
    days.place.tables = {"public.events": {"watermark": "at", "columns": {"id": "keep", "at": "keep", "note": NOTE}}}
    return days


def add(days, *rows: tuple[int, str, str]) -> None:
    days.place.db.run(*(f"INSERT INTO events VALUES ({i}, '{at}', '{note}')" for i, at, note in rows))


def ids(rows: list[str]) -> list[int]:
    return sorted(int(row.partition(",")[0]) for row in rows)


def test_each_date_has_its_rows_masked_and_late_ones_once(scrubs):
    add(scrubs, (1, "2020-03-01 12:00+00", "a"), (2, "2020-03-01 23:30+00", "b"))
    scrubs.make("2020-03-01")
    scrubs.place.db.run("UPDATE events SET note = 'changed' WHERE id = 2")
    add(scrubs, (3, "2020-03-01 23:20+00", "late"), (4, "2020-03-02 12:00+00", "new"))
    scrubs.make("2020-03-02")
    scrubs.make("2020-03-03")
    assert [ids(scrubs.rows(f"2020-03-0{n}")) for n in (1, 2, 3)] == [[1, 2], [2, 3, 4], []]
    assert scrubs.says("2020-03-02")["late_rows"] == 2
    (counts,) = [check for check in scrubs.record("2020-03-02").checks if check.name == "row_counts_match"]
    assert counts.facts == {"output": 3, "source": 3}
    assert not any(word in "".join(scrubs.rows("2020-03-02")) for word in ("changed", "late", "new"))


def test_the_index_of_a_scrub_can_t_be_guessed_from_a_row(scrubs, place):
    add(scrubs, (1, "2020-03-01 23:30+00", "b"))
    scrubs.make("2020-03-01")
    row = '(1,"2020-03-01 23:30:00+00",b)'
    index = scrubs.record("2020-03-01").index
    stored = b"".join(place.data.get(index.key))
    assert len(stored) == 16
    assert sha256(row.encode()).digest()[:16] != stored
    ((said,),) = place.db.rows("SELECT sha256(convert_to(ROW(id, at, note)::text, 'UTF8')) FROM events")
    assert said == sha256(row.encode()).digest()


@pytest.mark.parametrize("change", [{"epoch": "2"}, {"detectors": []}])
def test_another_epoch_or_policy_sends_no_row_of_the_overlap_again(scrubs, change):
    add(scrubs, (1, "2020-03-01 23:30+00", "b"))
    scrubs.make("2020-03-01")
    scrubs.place.dataset["scrub"] |= change
    scrubs.make("2020-03-02")
    assert scrubs.rows("2020-03-02") == []


def test_another_mask_of_the_newest_date_makes_it_again_and_an_older_date_stays(scrubs):
    add(scrubs, (1, "2020-03-01 12:00+00", "a"))
    scrubs.make("2020-03-01")
    add(scrubs, (2, "2020-03-02 12:00+00", "b"))
    scrubs.make("2020-03-02")
    scrubs.place.tables[scrubs.table]["columns"]["note"] = "null"
    assert scrubs.make("2020-03-02").how == "moved"
    assert scrubs.rows("2020-03-02") == ["2,2020-03-02 12:00:00+00,"]
    scrubs.clock.setenv("EGRESS_NOW", "2020-03-09T02:30:00+00:00")
    signs = [line.sign for line in scrub_plan.plan(scrubs.place.platform, "shop", "2020-03-01")]
    assert signs == ["!", "*", "*", "*", "*"]


def test_a_failed_gate_leaves_no_index_and_the_date_before_to_continue_from(scrubs, place):
    add(scrubs, (1, "2020-03-01 12:00+00", "a"))
    scrubs.make("2020-03-01")
    before = set(place.lake.here()[0])
    scrubs.place.tables[scrubs.table]["columns"]["note"] = "keep"
    add(scrubs, (2, "2020-03-02 12:00+00", "ann@example.org"))
    with pytest.raises(GateFailed):
        scrubs.make("2020-03-02")
    assert set(place.lake.here()[0]) == before
    scrubs.place.tables[scrubs.table]["columns"]["note"] = NOTE
    scrubs.make("2020-03-02")
    assert ids(scrubs.rows("2020-03-02")) == [2]


def test_with_quarantine_the_index_lies_where_the_date_does(scrubs, place):
    scrubs.place.dataset["scrub"] |= {"quarantine": "evidence"}
    add(scrubs, (1, "2020-03-01 23:30+00", "a"))
    scrubs.make("2020-03-01")
    add(scrubs, (2, "2020-03-01 23:40+00", "late"))
    scrubs.make("2020-03-02")
    assert ids(scrubs.rows("2020-03-02")) == [2]
    assert scrubs.record("2020-03-02").index.key in place.lake.here()[0]
