"""Templates of fixed names: what a field becomes, what is refused, and when two of them can give one key."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egress_assets.engine.path_template import (
    DIGIT,
    OF_DATES,
    Named,
    PathTemplate,
    begins,
    common_head,
    meet,
)

ORDERS = Named("shop", "public.orders", "csv.gz")
DAYS = st.dates(date(2001, 1, 1), date(2068, 12, 31)).map(date.isoformat)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=12)


def key(template: str, named: Named = ORDERS, day: str = "2026-11-20", part: int = 0) -> str:
    return PathTemplate.parse(template).key(named, day, part)


def shape(template: str, named: Named = ORDERS) -> str:
    return PathTemplate.parse(template).shape(named)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("p/{table}/{date:%Y-%m-%d-%H-%M-%S}/{table}.csv", "p/orders/2026-11-20-00-00-00/orders.csv"),
        ("p/{date:%Y-%m-%d}/{table}.csv.gz", "p/2026-11-20/orders.csv.gz"),
        ("{date}", "2026-11-20"),
        ("{dataset}/{schema}.{table}/{date:%Y/%j}/part-{part}.{ext}", "shop/public.orders/2026/324/part-00007.csv.gz"),
        ("{date:%G-W%V-%u}", "2026-W47-5"),
        ("{{{date:%Y%m%d}}}%/{date:100%%%y%m%d}", "{20261120}%/100%261120"),
    ],
)
def test_fields_become_what_they_stand_for(template: str, expected: str) -> None:
    """S0-1."""
    assert key(template, part=7) == expected


def test_a_name_stands_as_it_is() -> None:
    assert key("{table}/{date}", Named("shop", "public.order items.v2", "csv")) == "order items.v2/2026-11-20"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{tabel}/{date}", "{tabel} is not a field; valid: dataset, schema, table, date, part, ext"),
        ("{date", "is not a template"),
        ("{}/{date}", "{} is not a field"),
        ("{table!r}/{date}", "written without"),
        ("{part:03d}/{date}", "written without"),
        ("{date:%B}", "%B is no code of a date here; valid: %Y, %m"),
        ("{date:%-d}", "%- is no code"),
        ("{date:%Y-%m}", "the same for several dates"),
        ("{date:%H}", "the same for several dates"),
        ("{date:today}", "the same for several dates"),
        ("{date:{table}}", "the same for several dates"),
        ("{date:%Y%m%d%}", "% is no code"),
    ],
)
def test_what_is_no_template_is_refused_in_words(template: str, said: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        PathTemplate.parse(template)
    assert said in str(caught.value)


def test_a_flag_has_no_table() -> None:
    with pytest.raises(ValueError, match="valid: dataset, date"):
        PathTemplate.parse("{table}/{date}", OF_DATES)


# --------------------------------------------------------------------------------------------------------------- shapes
TEMPLATES = [
    "{table}/{date}", "{date:%Y%m%d}{table}", "x{table}{date:%j%Y}.{ext}", "{schema}{table}-{date:%y%m%d}-{part}",
    "{date:%G%V%u}/{dataset}/{table}", "2026{date:%m%d%Y}{table}", "{date:%Y%m%d}0{table}",
]  # fmt: skip


@given(st.sampled_from(TEMPLATES), NAMES, DAYS, st.integers(0, 99_999))
def test_a_key_is_of_its_shape_and_of_its_date(template: str, name: str, day: str, part: int) -> None:
    named = Named("shop", f"public.{name}", "csv")
    made, parsed = key(template, named, day, part), PathTemplate.parse(template)
    form = parsed.shape(named)
    assert meet(form, made)
    assert len(form) == len(made)
    assert parsed.date_of(named, made) == day


@given(st.sampled_from(TEMPLATES), st.sampled_from(TEMPLATES), NAMES, NAMES, DAYS, DAYS)
def test_templates_that_give_one_key_meet(one: str, other: str, name: str, second: str, day: str, later: str) -> None:
    first, last = Named("shop", f"public.{name}", "csv"), Named("shop", f"public.{second}", "csv")
    if key(one, first, day) == key(other, last, later):
        assert meet(shape(one, first), shape(other, last))


def test_a_literal_digit_meets_a_dates_digit_and_no_letter_does() -> None:
    assert meet(shape("a/2026{date:%m%d%Y}"), shape("a/{date:%Y%m%d}0000"))
    assert not meet(shape("a/{date:%Y%m%d}"), shape("a/{date:%Y%m%d}0"))
    assert not meet(shape("a/{date:%Y%m%d}x"), shape("a/{date:%Y%m%d}y"))
    assert begins(shape("{date}/{table}"), "20")
    assert not begins(shape("{date}/{table}"), "dump/")
    assert not begins("a", "ab")


def test_a_key_of_another_template_has_no_date() -> None:
    parsed = PathTemplate.parse("p/{date:%Y%m%d}/{table}.csv")
    wrong = ("p/20261120/other.csv", "p/20261320/orders.csv", "p/20261120/orders.csv.gz", "q", f"p/{DIGIT}", "")
    assert [parsed.date_of(ORDERS, each) for each in wrong] == [""] * len(wrong)
    twice = PathTemplate.parse("{date:%Y%m%d}/{date:%Y%m%d}")
    assert twice.date_of(ORDERS, "20261120/20261120") == "2026-11-20"
    assert twice.date_of(ORDERS, "20261120/20261121") == ""


def test_every_day_has_a_key_of_its_own() -> None:
    days = [(date(2024, 1, 1) + timedelta(days=n)).isoformat() for n in range(800)]
    for template in ("{date:%Y%m%d}", "{date:%Y%j}", "{date:%G%V%u}", "{date:%y-%j}", "{date:%d.%m.%y}"):
        assert len({key(template, day=day) for day in days}) == len(days)


def test_what_all_begin_with() -> None:
    assert common_head(["a/b", "a/c", "a/bd"]) == "a/"
    assert common_head(["a"]) == "a"
    assert common_head([]) == ""
