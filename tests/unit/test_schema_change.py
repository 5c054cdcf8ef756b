"""What differs between two schemas of a table, and what a reader by position would meet."""

from __future__ import annotations

import pytest

from egress_assets.engine.evidence.records import Column
from egress_assets.engine.schema_change import Change, changes

ID = Column("id", "integer", nullable=False, mask="keep")
MAIL = Column("email", "text", mask="email")
NOTE = Column("note", "text")


def named(names: str) -> list[Column]:
    return [Column(name, "text") for name in names]


@pytest.mark.parametrize(
    ("was", "now", "expected"),
    [
        ((ID, MAIL), (ID, MAIL), []),
        ((ID, MAIL), (MAIL, ID), [Change("", "order", "id, email", "email, id")]),
        ((ID,), (ID, MAIL), [Change("email", "added", "", "text")]),
        ((ID, MAIL), (ID,), [Change("email", "removed", "text", "")]),
        ((), (ID,), [Change("id", "added", "", "integer")]),
        ((MAIL,), (Column("email", "text", mask="hash"),), [Change("email", "mask", "email", "hash")]),
        ((ID,), (Column("id", "integer", mask="keep"),), [Change("id", "null", "NOT NULL", "may be NULL")]),
        (
            (ID,),
            (Column("id", "bigint", mask="null"),),
            [
                Change("id", "type", "integer", "bigint"),
                Change("id", "null", "NOT NULL", "may be NULL"),
                Change("id", "mask", "keep", "null"),
            ],
        ),
        (
            (ID, MAIL),
            (ID, NOTE, MAIL),
            [Change("note", "added", "", "text"), Change("", "order", "email", "note, email")],
        ),
    ],
)
def test_what_changed_between_two_schemas(was: tuple[Column, ...], now: tuple[Column, ...], expected: list[Change]):
    assert changes(was, now) == expected


@pytest.mark.parametrize(
    ("was", "now", "moved"),
    [
        ("abc", "abcx", False),  # a reader of the first three columns sees what it saw
        ("abc", "bc", False),  # what is removed is said as that
        ("abc", "acx", False),
        ("abc", "xabc", True),
        ("abc", "acb", True),
        ("abc", "ca", True),
        ("abc", "axc", True),  # b removed and x added in its place
        ("abc", "xyz", False),  # nothing stays
    ],
)
def test_the_order_is_a_change_where_a_column_that_stays_is_somewhere_else(was: str, now: str, moved: bool):
    assert any(change.what == "order" for change in changes(named(was), named(now))) is moved


def test_the_order_of_a_wide_table_is_cut_short():
    names = [f"c{n}" for n in range(100)]
    columns = [Column(name, "text") for name in names]
    (change,) = changes(columns, [columns[0], *reversed(columns[1:])])
    assert change.was == "c1, c2, c3, c4, c5, c6, c7, c8 and 91 more"
    assert change.now == "c99, c98, c97, c96, c95, c94, c93, c92 and 91 more"
