"""What a mask refuses at plan time, before a row is read."""

from __future__ import annotations

import pytest

from egress_assets.engine import masks
from egress_assets.engine.dump.tasks import ColumnInfo
from egress_assets.engine.errors import CatalogError
from egress_assets.engine.masks.seam import Site

ID = ColumnInfo("id", "bigint", "int8", nullable=False)


def problems(mask: str, type_: str, base: str, *, nullable: bool = True, **params) -> list[str]:
    column = ColumnInfo("c", type_, base, nullable)
    known = masks.find(mask)
    site = Site(column, {"c": column, "id": ID, "seen": ColumnInfo("seen", "real", "float4", nullable=True)})
    return list(known.check(site, masks.parse_params(known, params)))


def test_null_on_a_not_null_column_is_refused():
    assert problems("null", "text", "text", nullable=False) == ["mask null empties the column, the column is NOT NULL"]
    assert problems("null", "text", "text") == []


def test_email_needs_room_for_38_characters():
    assert (
        "up to 38 characters, the column is character varying(10)"
        in problems("email", "character varying(10)", "varchar")[0]
    )
    assert problems("email", "character varying(38)", "varchar") == []
    assert problems("email", "character varying", "varchar") == []


def test_hash_on_an_integer_is_refused():
    assert (
        "takes bpchar | citext | name | text | varchar, the column is integer" in problems("hash", "integer", "int4")[0]
    )


def test_hash_of_a_uuid_column_must_give_uuids():
    assert problems("hash", "uuid", "uuid")
    assert problems("hash", "uuid", "uuid", encoding="uuid") == []


@pytest.mark.parametrize(
    ("params", "length"), [({}, 64), ({"length": 20}, 20), ({"encoding": "base64url"}, 43), ({"encoding": "uuid"}, 36)]
)
def test_hash_fits_a_column_exactly_as_long_as_its_output(params, length):
    assert problems("hash", f"character varying({length})", "varchar", **params) == []
    assert problems("hash", f"character({length - 1})", "bpchar", **params)


@pytest.mark.parametrize("params", [{"length": 15}, {"length": 65}, {"encoding": "uuid", "length": 20}])
def test_hash_refuses_lengths_that_collide_or_do_not_exist(params):
    with pytest.raises(CatalogError):
        masks.parse_params(masks.find("hash"), params)


def test_name_needs_room_for_its_longest_name():
    assert problems("name", "character varying(12)", "varchar")
    assert problems("name", "character varying(24)", "varchar") == []
    assert problems("name", "character varying(9)", "varchar", part="given") == []
    assert problems("name", "date", "date")


@pytest.mark.parametrize(("type_", "base"), [("date", "date"), ("timestamp with time zone", "timestamptz")])
def test_date_shift_takes_dates_and_an_entity_column(type_, base):
    assert problems("date_shift", type_, base, by="id") == []
    assert "names column 'gone', the table has c, id" in problems("date_shift", type_, base, by="gone")[0]
    assert "seen is real" in problems("date_shift", type_, base, by="seen")[0]


def test_date_shift_refuses_other_types_and_demands_by():
    assert problems("date_shift", "integer", "int4", by="id")
    with pytest.raises(CatalogError, match=r"date_shift\.by"):
        masks.parse_params(masks.find("date_shift"), {})


@pytest.mark.parametrize(
    ("base", "type_", "value"),
    [
        ("int2", "smallint", 40000),
        ("int4", "integer", "x"),
        ("int8", "bigint", 2**63),
        ("numeric", "numeric", "1,5"),
        ("date", "date", "yesterday"),
        ("timestamptz", "timestamp with time zone", "noon"),
        ("uuid", "uuid", "0"),
        ("bool", "boolean", "maybe"),
        ("varchar", "character varying(3)", "four"),
        ("text", "text", "a\x00b"),
    ],
)
def test_a_constant_must_fit_its_column(base, type_, value):
    assert problems("constant", type_, base, value=value)


@pytest.mark.parametrize(
    ("base", "type_", "value"),
    [
        ("int2", "smallint", 4),
        ("int8", "bigint", -(2**63)),
        ("numeric", "numeric", "1.5"),
        ("date", "date", "2000-01-01"),
        ("bool", "boolean", False),
        ("varchar", "character varying(4)", "four"),
        ("jsonb", "jsonb", "{}"),
    ],
)
def test_a_constant_that_fits_is_taken(base, type_, value):
    assert problems("constant", type_, base, value=value) == []


def test_an_unknown_mask_is_refused_with_the_valid_ones():
    with pytest.raises(CatalogError) as caught:
        masks.find("emial")
    assert "email" in caught.value.hint


def test_a_misspelt_or_coerced_parameter_is_refused_without_its_value():
    for params in ({"domian": "x"}, {"length": "20"}, {"domain": "Not A Domain"}):
        with pytest.raises(CatalogError) as caught:
            masks.parse_params(masks.find("hash"), params)
        assert "Not A Domain" not in f"{caught.value} {caught.value.hint}"


def test_every_mask_is_described_for_people():
    described = list(masks.describe())
    assert [name for name, _, _ in described] == sorted(masks.registry())
    assert all(text and not text.endswith(".") for _, text, _ in described)
    assert all("None (" not in text for _, _, params in described for text in params.values())
