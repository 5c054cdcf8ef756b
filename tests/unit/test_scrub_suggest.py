"""Suggested masks fit their column and err on the side of removing."""

from __future__ import annotations

from itertools import product

import pytest
import yaml

from egress_assets.engine import masks
from egress_assets.engine.dump.tasks import ColumnInfo
from egress_assets.engine.masks.constant import PARSERS
from egress_assets.engine.masks.seam import TEXT_TYPES, Site
from egress_assets.engine.scrub.suggest import Sampled, patch, suggest

ID = ColumnInfo("id", "bigint", "int8", nullable=False)


def column(name: str, base: str = "text", type_: str = "", *, nullable: bool = True) -> ColumnInfo:
    return ColumnInfo(name, type_ or base, base, nullable)


KEEP = "keep  # review: {}: keep it if it names nobody"
GONE = "# review: {}: removed unless you know what is in it"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (column("email"), "email"),
        (column("contact_e_mail"), "email"),
        (column("email", "varchar", "character varying(10)"), "null"),
        (column("first_name"), "name"),
        (column("filename"), "null"),
        (column("date_of_birth", "date"), "{mask: date_shift, by: id}"),
        (column("created_at", "timestamptz"), KEEP.format("timestamptz")),
        (column("age", "int4"), "null"),
        (column("price", "numeric"), KEEP.format("numeric")),
        (column("customer_id", "int8"), "keep"),
        (column("customer_id", "uuid"), "keep"),
        (column("national_id", "int8"), "null"),
        (column("order_id", "text"), f"null  {GONE.format('text')}"),
        (column("token", "uuid", nullable=False), f"{{mask: hash, encoding: uuid}}  {GONE.format('uuid')}"),
        (column("body", nullable=False), "{mask: constant, value: removed}"),
        (
            column("code", "bpchar", "character(3)", nullable=False),
            f'{{mask: constant, value: ""}}  {GONE.format("character(3)")}',
        ),
        (column("data", "jsonb", nullable=False), f'{{mask: constant, value: "{{}}"}}  {GONE.format("jsonb")}'),
        (
            column("tags", "_text", "text[]", nullable=False),
            f'{{mask: constant, value: "{{}}"}}  {GONE.format("text[]")}',
        ),
        (column("age", "int4", nullable=False), '{mask: constant, value: "0"}'),
        (
            column("place", "hstore", nullable=False),
            "{mask: constant, value: removed}  # review: NOT NULL hstore: say which value",
        ),
    ],
)
def test_a_suggestion_follows_name_and_type(given, expected):
    assert str(suggest(given, [ID, given])) == expected


def test_a_birthday_without_an_entity_is_removed():
    assert str(suggest(column("born", "date"), [column("born", "date")])) == "null"


def test_an_enum_names_states_and_not_people():
    state = column("state", "mood", "public.mood", nullable=False)
    assert str(suggest(state, [state], is_enum=True)) == KEEP.format("public.mood")
    assert suggest(column("gender", "sex"), [], is_enum=True).mask == "null", "but for some"


@pytest.mark.parametrize(
    ("given", "sampled", "mask"),
    [
        (column("contact"), Sampled(100, {"email": 99}, {"email": 99}), "email"),
        (column("contact"), Sampled(100, {"email": 99}, {"email": 3}), "null"),
        (column("contact"), Sampled(100, {"email": 50}, {"email": 50}), "null"),
        (column("contact"), Sampled(100, {"email": 99, "phone": 1}, {"email": 99}), "null"),
        (column("line"), Sampled(10, {"phone": 10}, {"phone": 10}), "{mask: hash, domain: phone, length: 24}"),
        (column("line", "int8"), Sampled(10, {"phone": 10}, {"phone": 10}), "null"),
        (column("user_id", "int8", nullable=False), Sampled(9, {"nhs": 1}), '{mask: constant, value: "0"}'),
        (column("peer"), Sampled(10, {"ipv4": 10}, {"ipv4": 10}), "null"),
        (column("email"), Sampled(0), "email"),
    ],
)  # fmt: skip
def test_a_sample_never_makes_a_keep_and_says_what_was_seen(given, sampled, mask):
    found = suggest(given, [ID, given], sampled=sampled)
    assert found.mask == mask
    assert ("sampled values" in found.review) == bool(sampled.hits)


@pytest.mark.parametrize(
    "base", sorted({*PARSERS, *TEXT_TYPES, "point", "interval", "money", "tsrange", "_int4", "hstore"})
)
def test_every_suggestion_passes_its_masks_own_check(base):
    for name, nullable in product(("id", "email", "first_name", "born", "notes", "x"), (True, False)):
        info = column(name, base, nullable=nullable)
        columns = [ColumnInfo("key_id", "bigint", "int8", nullable=False), info]
        read = yaml.safe_load(patch({"public.t": columns}))["public.t"][name] or "null"
        said, params = (read, {}) if isinstance(read, str) else (read.pop("mask"), read)
        mask = masks.find(said)
        assert mask.check(Site(info, {c.name: c for c in columns}), masks.parse_params(mask, params)) in ((), [])


@pytest.mark.parametrize("name", ["Order", "on", "with space", "null", 'quote"d', "naïve", "a: b"])
def test_odd_names_survive_yaml(name):
    read = yaml.safe_load(patch({f"public.{name}": [column(name)]}))
    assert read == {f"public.{name}": {name: None}}
