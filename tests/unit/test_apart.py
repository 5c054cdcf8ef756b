"""What a person is told of a date whose tables were not made in one run."""

from __future__ import annotations

from egress_assets.engine.apart import apart
from egress_assets.engine.evidence.records import Entry, Pointer, Position
from egress_assets.engine.layout import scrub_unit

TABLES = frozenset({"public.a", "public.b", "public.c"})


def pointer(**snapshots: str) -> Pointer:
    """Tables by letter, snapshots `s<position>`."""
    entries = {
        f"public.{table}": Entry("20261120T010203004-0a1b2c3d", "m", f"c-{table}", Position("x", int(said[1:])), said)
        for table, said in snapshots.items()
    }
    return Pointer(scrub_unit("shop", "shared"), "2026-11-19", 1, entries, "", None, "n")


def test_tables_of_one_snapshot_are_a_whole():
    assert apart(pointer(a="s1", b="s1", c="s1"), TABLES) == ()


def test_a_table_that_was_never_made_is_named():
    assert apart(pointer(a="s1", b="s1"), TABLES) == ("public.c not made yet",)


def test_tables_of_different_snapshots_are_told_apart_the_oldest_first():
    assert apart(pointer(a="s2", b="s1", c="s1"), TABLES) == (
        "2 snapshots, the oldest first: public.b, public.c; public.a",
    )


def test_a_table_that_left_the_catalog_is_named():
    assert apart(pointer(a="s1", b="s1", c="s1", d="s1"), TABLES) == ("public.d left the catalog",)


def test_everything_is_said_at_once():
    assert len(apart(pointer(a="s1", b="s2", d="s1"), TABLES)) == 3


def test_hundreds_of_tables_are_not_listed():
    many = frozenset(f"t{n:03d}" for n in range(200))
    (said,) = apart(pointer(), many)
    assert said.startswith("t000, t001,")
    assert said.endswith("t009 and 190 more not made yet")
