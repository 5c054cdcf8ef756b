"""Suggested masks fit their column and err on the side of removing."""

from __future__ import annotations

import pytest
import yaml

from egress_assets.engine import masks
from egress_assets.engine.dump.tasks import ColumnInfo
from egress_assets.engine.masks.seam import Site
from egress_assets.engine.scrub.suggest import patch, suggest

ID = ColumnInfo("id", "bigint", "int8", nullable=False)


def column(name: str, base: str = "text", type_: str = "", *, nullable: bool = True) -> ColumnInfo:
    return ColumnInfo(name, type_ or base, base, nullable)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (column("email"), "email"),
        (column("contact_e_mail"), "email"),
        (column("email", "varchar", "character varying(10)"), "null"),
        (column("first_name"), "name"),
        (column("filename"), "null"),
        (column("date_of_birth", "date"), "{mask: date_shift, by: id}"),
        (column("created_at", "timestamptz"), "keep  # timestamptz: keep it if it names nobody"),
        (column("age", "int4"), "null"),
        (column("price", "numeric"), "keep  # numeric: keep it if it names nobody"),
        (column("token", "uuid", nullable=False), "{mask: hash, encoding: uuid}"),
        (column("body", nullable=False), "{mask: constant, value: removed}"),
        (column("data", "jsonb", nullable=False), '{mask: constant, value: "{}"}'),
        (column("place", "point", nullable=False), "{mask: constant, value: }  # NOT NULL: say which value"),
    ],
)
def test_a_suggestion_follows_name_and_type(given, expected):
    assert suggest(given, [ID, given]) == expected


def test_a_birthday_without_an_entity_is_removed():
    assert suggest(column("born", "date"), [column("born", "date")]) == "null"


def test_every_suggestion_that_is_whole_passes_its_masks_own_check():
    columns = [ID, column("email"), column("name"), column("born", "date"), column("token", "uuid", nullable=False)]
    read = yaml.safe_load(patch({"public.people": columns}))["public.people"]
    for info in columns:
        said = read[info.name] or "null"
        name, params = (said, {}) if isinstance(said, str) else (said.pop("mask"), said)
        mask = masks.find(name)
        assert mask.check(Site(info, {c.name: c for c in columns}), masks.parse_params(mask, params)) in ((), [])


@pytest.mark.parametrize("name", ["Order", "on", "with space", "null", 'quote"d', "naïve", "a: b"])
def test_odd_names_survive_yaml(name):
    read = yaml.safe_load(patch({f"public.{name}": [column(name)]}))
    assert read == {f"public.{name}": {name: None}}
