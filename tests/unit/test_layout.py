"""Names survive the way into keys and back, whatever people call their tables."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egress_assets.engine import layout
from egress_assets.engine.layout import Unit, asset_key, escape, parse_asset_key, unescape

DAGSTER_NAME = re.compile(r"[A-Za-z0-9_]+")
HOSTILE = [
    "..", ".", "../../etc/passwd", "a/b", "a\\b", "name#sft", "order items", "Größe", "表", "a__b", "_a", "a_", "__",
    "Z", "Z5F", "Z5f", "%2e%2e", "a\x00b", "\n", "'; DROP TABLE x; --", "date=2026-11-20", "x_gate",
    "a=20261120T000000000-00000000", "_gate", "gate", "a.b.c", "😀", "CON", "-rf", "~", "$(id)", "{date}", "ZZ",
]  # fmt: skip
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8) | st.sampled_from(HOSTILE)
likely_to_collide = st.text(st.sampled_from("aZ_5F./#-"), min_size=1, max_size=8)


@given(names | likely_to_collide)
def test_every_name_comes_back(name: str) -> None:
    assert unescape(escape(name)) == name


@given(likely_to_collide, likely_to_collide)
def test_two_names_never_become_one(one: str, other: str) -> None:
    assert (escape(one) == escape(other)) == (one == other)


@given(names | likely_to_collide)
def test_an_escaped_name_is_one_that_dagster_takes(name: str) -> None:
    text = escape(name)
    assert DAGSTER_NAME.fullmatch(text)
    assert "__" not in text
    assert text[0] != "_"
    assert text[-1] != "_"
    assert not text.endswith(tuple("_" + check for check in layout.CHECKS))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_stays_in_its_folder(name: str) -> None:
    key = layout.part_key(layout.dump_unit(name), "2026-11-20", "20261120T020000000-0a0b0c0d",
                          table=f"{name.replace('.', '_')}.{name}", part=0, suffix="csv.zst")  # fmt: skip
    folder = re.compile(r"dump/\w+/date=2026-11-20/a=20261120T020000000-0a0b0c0d/\w+\.\w+/part-00000\.csv\.zst", re.A)
    assert folder.fullmatch(key)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("order_items", "order_items"), ("name#sft", "nameZ23sft"), ("orders_gate", "ordersZ5Fgate"), ("Zoo", "Z5Aoo")],
)
def test_ordinary_names_stay_readable(name: str, expected: str) -> None:
    assert escape(name) == expected


units = st.one_of(
    st.builds(Unit, st.sampled_from(["dump", "mirror", "archive"]), st.tuples(names)),
    st.builds(Unit, st.sampled_from(["scrub", "delivery", "archive_scrub", "load"]), st.tuples(names, names)),
)


@given(units)
def test_a_unit_comes_back_from_its_text_and_its_pointer(unit: Unit) -> None:
    assert Unit.parse(str(unit)) == unit
    assert layout.parse_pointer_key(layout.pointer_key(unit, "2026-11-20")) == (unit, "2026-11-20")


@given(units, names.filter(lambda n: "." not in n), names)
def test_an_asset_key_comes_back(unit: Unit, schema: str, table: str) -> None:
    full = f"{schema}.{table}" if unit.stage in ("dump", "scrub") else ""
    assert parse_asset_key(asset_key(unit, full)) == (unit, full)


@given(units, units, names)
def test_no_two_assets_share_an_output_of_dagster(one: Unit, other: Unit, table: str) -> None:
    """Dagster names an output by joining the key with `__`, a check's by adding `_<check>`."""

    def outputs(unit: Unit) -> set[str]:
        name = "__".join(asset_key(unit, f"public.{table}" if unit.stage in ("dump", "scrub") else ""))
        return {name, *(f"{name}_{check}" for check in layout.CHECKS)}

    assert one == other or not outputs(one) & outputs(other)


def test_an_attempt_is_known_by_its_shape() -> None:
    attempt = "20261120T020000000-0a0b0c0d"
    key = layout.attempt_prefix(layout.dump_unit("shop"), "2026-11-20", attempt) + "public.orders/part-00000.csv"
    assert layout.attempt_of(key) == attempt
    assert layout.attempt_of("foreign/a=20261120/file.csv") == ""
    assert layout.is_attempt(attempt)
    assert not layout.is_attempt(attempt + "0")


def test_evidence_lists_in_order() -> None:
    assert sorted(layout.ledger_key(n) for n in (2, 10, 1)) == [layout.ledger_key(n) for n in (1, 2, 10)]


def test_a_destination_of_any_length_has_one_claim() -> None:
    assert layout.claim_key("acme", "in/x") != layout.claim_key("acme", "in/y")
    assert len(layout.claim_key("acme", "x" * 5000)) < 120
