"""A dataset's ceiling while it is read: by table, early, exact at the end."""

from __future__ import annotations

import pytest

from egress_assets.engine.catalog.operate import Limits
from egress_assets.engine.errors import LimitExceeded
from egress_assets.engine.limits import Amount, Ceiling


def ceiling(**kept: Amount) -> Ceiling:
    return Ceiling("dump/shop 2026-11-20", Limits(rows=100, bytes="1kB"), "catalog/shop.yaml:7", dict(kept))  # type: ignore[arg-type]


def test_as_much_as_the_limit_is_allowed() -> None:
    one = ceiling()
    one.note("a", Amount(60, 600), is_whole=False)
    one.note("b", Amount(40, 400), is_whole=True)


def test_one_row_more_is_refused_with_both_values_the_largest_table_and_the_way_out() -> None:
    one = ceiling()
    one.note("a", Amount(60, 600), is_whole=False)
    with pytest.raises(LimitExceeded) as refused:
        one.note("b", Amount(41, 400), is_whole=True)
    assert refused.value.message == (
        "dump/shop 2026-11-20 comes to 101 rows, its limit is 100: the largest table is a with 60"
    )
    assert "raise `limits` at catalog/shop.yaml:7" in refused.value.hint


def test_bytes_are_counted_apart_and_a_table_that_is_under_way_is_enough() -> None:
    with pytest.raises(LimitExceeded, match=r"comes to 1,001 bytes so far, its limit is 1,000: .* b with 1,001"):
        ceiling().note("b", Amount(1, 1001), is_whole=False)


def test_later_counts_of_a_table_replace_earlier_ones() -> None:
    one = ceiling()
    for rows in (10, 50, 100):
        one.note("a", Amount(rows, rows), is_whole=False)


def test_what_the_date_has_of_other_tables_already_counts() -> None:
    with pytest.raises(LimitExceeded, match=r"comes to 101 rows.* largest table is kept with 90"):
        ceiling(kept=Amount(90, 1)).note("a", Amount(11, 1), is_whole=True)
