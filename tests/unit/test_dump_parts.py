"""How cells become parts, and what parts come to as a table."""

from __future__ import annotations

import pytest

from egress_assets.engine.catalog.models import DumpModel
from egress_assets.engine.dump.parts import PART_SIZE, SMALLEST, part_tasks, parts_of
from egress_assets.engine.dump.tasks import KEPT, Cell, PartDone, Relation, TableDone

MIB = 2**20


def cells(*sizes):
    return [Cell(f"c{number}", "", expected_bytes=size) for number, size in enumerate(sizes)]


def counts(*sizes, part_size=PART_SIZE):
    return [len(part) for part in parts_of(cells(*sizes), part_size)]


@pytest.mark.parametrize("sizes", [(), (0,), (16 * MIB,), (16 * MIB, 15 * MIB), (16 * MIB, 16 * MIB, 9 * MIB)])
def test_a_small_table_is_one_part(sizes):
    assert counts(*sizes) == [len(sizes)]


@pytest.mark.parametrize("number", [4, 20, 33, 100, 257, 1000])
def test_parts_hold_every_cell_once_in_order_and_are_of_one_size(number):
    given = cells(*[16 * MIB] * number)
    parts = parts_of(given)
    assert [cell for part in parts for cell in part] == given
    sizes = [sum(cell.expected_bytes for cell in part) for part in parts]
    assert len(set(sizes[:-1])) == 1
    assert sizes[0] / 2 <= sizes[-1] <= sizes[0] * 1.5
    assert SMALLEST <= sizes[0] <= PART_SIZE + 16 * MIB


def test_a_large_table_has_enough_parts_for_workers_to_end_together():
    for gigabytes in (1, 2, 4):
        assert 14 <= len(counts(*[16 * MIB] * 64 * gigabytes)) <= 17
    assert len(counts(*[16 * MIB] * 64 * 20)) == 80


def test_a_smaller_part_size_is_kept_as_far_as_cells_go():
    assert counts(*[16 * MIB] * 4, part_size=16 * MIB) == [1, 1, 1, 1]
    assert counts(*[16 * MIB] * 4, part_size=MIB) == [1, 1, 1, 1]


def test_many_small_leaves_share_a_part():
    assert counts(*[8192] * 500) == [500]


def test_one_huge_leaf_is_not_hidden_among_small_ones():
    assert counts(8192, 8192, 500 * MIB, 8192, 500 * MIB) == [3, 2]


def test_tasks_are_numbered_name_their_objects_and_lock_what_they_read():
    relation = Relation("s.t", "s", "t", 1, "p", (), (("s", "a"), ("s", "b")))
    given = [Cell("", "", reads=("s", name), expected_bytes=32 * MIB) for name in "aab"]
    tasks = part_tasks(relation, given, "k/{}".format, format="csv")
    assert [(task.part, task.key, task.expected_bytes) for task in tasks] == [
        (number, f"k/{number}", 32 * MIB) for number in range(3)
    ]
    assert [task.lock for task in tasks] == [(("s", "a"),), (("s", "a"),), (("s", "b"),)]


def test_a_relation_that_is_read_whole_is_as_large_as_its_leaves():
    relation = Relation("s.t", "s", "t", 1, "p", (), (("s", "a"),), heap_bytes=77)
    (task,) = part_tasks(relation, [Cell("s.t", "", reads=("s", "t"))], str, format="csv")
    assert task.expected_bytes == 77


def test_the_catalog_s_default_is_the_engine_s():
    assert DumpModel().part_size == PART_SIZE


def part(number, raw, **findings):
    return PartDone("s.t", f"k{number}", (), 1, raw, 1, "", "", findings, part=number)


def found(*offsets, shapes=("a",), count=None):
    return {"count": count or len(offsets), "offsets": list(offsets), "shapes": list(shapes)}


def test_findings_of_parts_are_told_by_their_place_in_the_table():
    table = TableDone("s.t", (part(0, 100, email=found(5, 9)), part(1, 50), part(2, 10, email=found(0), nino=found(3))))
    assert table.findings == {"email": found(5, 9, 150), "nino": found(153)}
    assert TableDone("s.t", (part(0, 100),)).findings == {}


def test_no_more_offsets_and_shapes_are_kept_than_of_one_part():
    each = found(*range(KEPT), shapes=[str(n) for n in range(KEPT)], count=100)
    other = found(*range(KEPT), shapes=[str(-n) for n in range(KEPT)], count=100)
    together = TableDone("s.t", (part(0, 100, email=each), part(1, 100, email=other))).findings["email"]
    assert (together["count"], len(together["offsets"]), len(together["shapes"])) == (200, KEPT, KEPT)
    assert each["count"] == 100
