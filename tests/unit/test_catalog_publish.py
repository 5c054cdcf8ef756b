"""`publish` in the catalog: a mirror to everybody who reads it, and every clash of names told where it is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from egress_assets.engine.bucket_policy.wanted import wanted
from egress_assets.engine.catalog.fixed_names import PublishModel
from egress_assets.engine.catalog.layouts import layout_of
from egress_assets.engine.catalog.loader import load_catalog
from egress_assets.engine.catalog.models import Catalog, Published
from egress_assets.engine.catalog.rules.publishes import unformed
from egress_assets.engine.catalog.units import dataset_of, parent_of, units_of
from egress_assets.engine.errors import CatalogError
from egress_assets.engine.evidence.records import digest
from egress_assets.engine.layout import asset_key, dump_unit, mirror_unit
from egress_assets.engine.mirror.spec import find_mirror
from egress_assets.engine.path_template import PathTemplate
from egress_assets.engine.platform import Platform

ENDPOINTS = """\
evidence: {store: evidence}
sources: {db: {dsn: x}}
stores:
  evidence: {bucket: e, zone: trusted}
  lake: {bucket: l, zone: trusted, prefix: lake}
  twin: {bucket: l, zone: trusted, prefix: lake/exports}
  out: {bucket: o, zone: external}
recipients:
  acme: {transfer_type: folder, path: /tmp/x}
"""
HEAD = "source: db\nstart: 2026-11-01\ntables: {public.a: {}, public.b: {}}\n"
GOOD = 'files: {to: lake, path: "exports/{date:%Y-%m-%d}/{table}.{ext}", flag: "exports/{date}/_SUCCESS"}'


@pytest.fixture
def load(tmp_path: Path):
    def loaded(*publishes: str, head: str = HEAD, rest: str = "", **others: str) -> Catalog:
        written = "dump:\n  publish:\n" + "".join(f"    {each}\n" for each in publishes)
        for name, text in {"endpoints": ENDPOINTS, "shop": head + written + rest, **others}.items():
            (tmp_path / f"{name}.yaml").write_text(text)
        return load_catalog(tmp_path)

    return loaded


def problems(load, *publishes: str, **rest: str) -> list[str]:
    with pytest.raises(CatalogError) as caught:
        load(*publishes, **rest)
    return [each.partition("shop.yaml:")[2] or each for each in caught.value.problems]


# ------------------------------------------------------------------------------------------------------- as a mirror is
def test_it_is_a_mirror_for_all_who_read_the_catalog(load) -> None:
    catalog = load(GOOD)
    unit = mirror_unit("shop_files")
    mirror = catalog.dataset("shop").mirrors["shop_files"]
    assert isinstance(mirror, Published)
    assert (mirror.to, mirror.from_, mirror.release) == ("lake", "dump", None)
    assert unit in units_of(catalog, "shop")
    assert dataset_of(catalog, unit) == "shop"
    assert parent_of(catalog, "shop", unit) == (dump_unit("shop"), "")
    assert asset_key(unit) == ("mirror", "shop_files")
    assert catalog.place("shop.mirrors.shop_files").endswith("shop.yaml:6")


def test_read_again_it_stays_the_same(load) -> None:
    catalog = load(GOOD)
    again = Catalog.model_validate({"endpoints": catalog.endpoints, "datasets": dict(catalog.datasets)})
    assert again.datasets == catalog.datasets


def test_deliveries_and_triggers_may_name_it(load) -> None:
    delivered = "deliveries: {acme/all: {from: mirror/shop_files, release: {basis: authorised, reason: r, "
    delivered += "recipients: [acme], purpose: p, legal_basis: l, approved_by: a, until: 2999-01-01}}}\n"
    load(GOOD, rest=delivered)
    found = problems(load, GOOD, rest="deliveries: {acme/all: {from: mirror/shop_files}}\n")
    assert found == [
        "7: deliveries.acme/all: raw rows leave without `authorised`: deliver the scrub, or say `release: {basis: "
        "authorised, reason, recipients, purpose, legal_basis, approved_by, until}`"
    ]


def test_what_lies_there_is_in_the_buckets_rules(load) -> None:
    rules = wanted(load(GOOD), "lake", prefix="lake", sse_kms_key="").rules
    assert {rule.prefix: rule.days for rule in rules} == {"lake/dump/": None, "lake/exports/": None}


def test_a_layout_tells_the_date_of_its_keys(load) -> None:
    catalog = load('files: {to: lake, path: "x/{table}-{part}/{date:%Y%m%d}.{ext}", format: csv, flag: "x/{date}"}')
    shop = catalog.dataset("shop")
    layout = layout_of("shop", shop, shop.mirrors["shop_files"])  # type: ignore[arg-type]
    assert layout.key("public.a", "2026-11-20", 3) == "x/a-00003/20261120.csv"
    assert layout.flag("2026-11-20") == "x/2026-11-20"
    keys = ("x/a-00003/20261120.csv", "x/2026-11-19", "x/c-00000/20261120.csv")
    assert [layout.date_of(key) for key in keys] == ["2026-11-20", "2026-11-19", ""]
    assert layout.head == "x/"
    assert not layout.is_joined


def test_a_layout_names_each_tables_schema(load) -> None:
    written = 'files: {to: lake, path: "x/{table}/{date}/{part}", schema: "y/{date:%Y/%m/%d}/{schema}.{table}.json"}'
    shop = load(written.replace("y/", "x/y/")).dataset("shop")
    layout = layout_of("shop", shop, shop.mirrors["shop_files"])  # type: ignore[arg-type]
    assert layout.schema("public.a", "2026-11-20") == "x/y/2026/11/20/public.a.json"
    assert [layout.date_of(f"x/y/2026/11/20/public.{t}.json") for t in "abc"] == ["2026-11-20", "2026-11-20", ""]
    assert layout.head == "x/"
    shop = load(written).dataset("shop")
    layout = layout_of("shop", shop, shop.mirrors["shop_files"])  # type: ignore[arg-type]
    assert layout.head == ""
    assert replace(layout, of_schema=None).schema("public.a", "2026-11-20") == ""


def test_what_was_published_before_it_had_a_schema_stands(load) -> None:
    """The digest that the no-op compares, of a publish without `schema`, has no trace of the key."""
    catalog = load(GOOD)
    mirror = find_mirror(Platform(catalog, None), "shop_files")  # type: ignore[arg-type]
    said = {"to": "lake", "format": None, "header": False, "flag": "exports/{date}/_SUCCESS"}
    said |= {"path": "exports/{date:%Y-%m-%d}/{table}.{ext}", "dataset": "shop", "parent": str(dump_unit("shop"))}
    assert mirror.spec_digest == digest(said)


# ----------------------------------------------------------------------------------------------------- what is refused
@pytest.mark.parametrize(
    ("written", "said"),
    [
        ('f: {to: lake, path: "x/{date}"}', "public.a and public.b would have one name: write {table} into it"),
        ('f: {to: lake, path: "x/{table}"}', "has no {date}: each date would replace the one before it"),
        ('f: {to: lake, path: "x/{tabel}/{date}"}', "{tabel} is not a field"),
        ('f: {to: lake, path: "../{table}/{date}"}', "'../a/0000-00-00' is no plain key"),
        ('f: {to: lake, path: "/x/{table}/{date}"}', "is no plain key"),
        ('f: {to: lake, path: "x//{table}/{date}"}', "is no plain key"),
        ('f: {to: lake, path: "x/{table}/{date}/"}', "is no plain key"),
        ('f: {to: lake, path: "dump/shop/{table}/{date}"}', "lies where dump/shop writes: give it another folder"),
        ('f: {to: evidence, path: "x/{table}/{date}"}', "lies where the evidence writes"),
        ('f: {to: lake, path: "x/{table}/{date}.csv"}', "ends in .csv, what is published is csv.zst: say `format`"),
        ('f: {to: lake, path: "x/{table}/{date}", flag: "x/a/{date}"}', None),
        ('f: {to: lake, path: "x/{table}/{date}", flag: "x/done"}', "has no {date}"),
        ('f: {to: lake, path: "x/{table}/{date}", flag: "x/{table}{date}"}', "{table} is not a field; valid: dataset"),
        ('f: {to: lake, path: "x/{table}/{date}", schema: "x/{date}"}', "public.a and public.b would have one name"),
        ('f: {to: lake, path: "x/{table}/{date}", schema: "x/{table}.json"}', "has no {date}: each date would replace"),
        ('f: {to: lake, path: "x/{table}/{date}", schema: "x/{table}{date}{part}"}', "{part} is not a field"),
        ('f: {to: lake, path: "x/{table}/{date}", schema: "y/../{table}/{date}"}', "'y/../a/0000-00-00' is no"),
        ('f: {to: lake, path: "x/{table}/{date}", schema: "dump/shop/{table}/{date}"}', "lies where dump/shop writes"),
        ('f: {to: lake, path: "x/{table}/{date}", schema: "x/a/{date:%Y-%m-%d}{table}", flag: "x/a/{date}a"}', None),
        ('f: {to: nope, path: "x/{table}/{date}"}', "'nope' is not a store; valid: evidence, lake, out, twin"),
        ('f: {to: out, path: "x/{table}/{date}"}', "a raw dump goes to out, of zone external, without `release`"),
        ('f: {to: lake, path: "x/{table}/{date}", prefix: x}', "unknown key; valid: flag, format, header, path,"),
        (f'f: {{to: lake, path: "{"x" * 1020}/{{table}}/{{date}}"}}', "a key may have 1024"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line(load, written: str, said: str | None) -> None:
    found = problems(load, written)
    assert found[0].startswith("6: dump.publish.f")
    assert (said or "is a name that mirror/shop_f writes too") in found[0]
    assert len(found) == 1


def test_parts_that_are_no_text_are_published_as_they_are_stored_one_by_one(load) -> None:
    catalog = load('files: {to: lake, path: "x/{table}/{date}", format: csv.gz, header: true}')
    shop = catalog.dataset("shop")
    layout = layout_of("shop", shop, shop.mirrors["shop_files"])  # type: ignore[arg-type]
    assert list(unformed(layout)) == []
    found = dict(unformed(replace(layout, stored="parquet")))
    assert set(found) == {"path", "format", "header"}
    assert found["path"] == "parts of parquet can't be joined: write {part} into it"
    plain = PublishModel.model_validate({"to": "lake", "path": "x/{table}-{part}/{date}.{ext}"})
    parts = replace(layout, stored="parquet", publish=plain, path=PathTemplate.parse(plain.path))
    assert list(unformed(parts)) == []
    assert parts.key("public.a", "2026-11-20") == "x/a-00000/2026-11-20.parquet"


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ('g: {to: lake, path: "exports/{date:%Y-%m-%d}/{table}.csv.zst"}', "is a name that mirror/shop_files writes"),
        ('g: {to: twin, path: "{date}/{schema}.{table}", flag: "{date}/_SUCCESS"}', "mirror/shop_files writes too"),
        ('g: {to: twin, path: "y/{date}/{table}", schema: "{date}/{table}.csv.zst"}', "mirror/shop_files writes too"),
        ('g: {to: twin, path: "2026-{date:%d-%m-%Y}/{table}"}', ""),
        ('g: {to: lake, path: "exports/{date:%Y%m%d}/{table}"}', ""),
    ],
)
def test_two_publishes_have_names_of_their_own_on_whichever_dates(load, second: str, said: str) -> None:
    if not said:
        load(GOOD, second)
        return
    (found,) = {each.partition(": ")[2].partition(": ")[2] for each in problems(load, GOOD, second)}
    assert said in found


def test_tables_of_several_schemas_need_the_schema(load) -> None:
    head = HEAD.replace("public.b", "other.a")
    assert "public.a and other.a would have one name: write {schema} into it" in problems(load, GOOD, head=head)[0]
    load(GOOD.replace("{table}", "{schema}.{table}"), head=head)


def test_a_tables_name_that_leads_elsewhere_is_refused(load) -> None:
    head = HEAD.replace("public.b", "'public../../up'")
    assert "is no plain key" in problems(load, GOOD, head=head)[0]


def test_a_mirror_of_that_name_is_told_in_the_same_file_and_in_others(load) -> None:
    rest = "mirrors: {shop_files: {to: lake, prefix: z}}\n"
    assert problems(load, GOOD, rest=rest) == [
        "6: dump.publish.files: is the mirror shop_files, and one of that name is written under `mirrors`: rename one"
    ]
    rest = 'scrub: {key: k, publish: {files: {to: lake, path: "y/{table}/{date}"}}}\n'
    head = HEAD.replace("{}", "{id: keep}")
    assert any("so is that of dump: rename one" in each for each in problems(load, GOOD, head=head, rest=rest))
    other = "start: 2026-11-01\nmirrors: {shop_files: {to: lake, from: {store: out}, select: bucket, prefix: z}}\n"
    assert any("it is unique in the whole catalog" in each for each in problems(load, GOOD, zoo=other))


def test_nobody_mirrors_or_watches_what_is_published(load) -> None:
    rest = 'watch: [{store: lake, pattern: "exports/{date:%Y-%m-%d}/_SUCCESS"}]\n'
    assert "mirror/shop_files writes there: only foreign prefixes can be watched" in problems(load, GOOD, rest=rest)[0]
    rest = "mirrors: {all: {to: out, from: {store: twin}, select: bucket, release: {basis: public, reason: r}}}\n"
    assert "mirror/shop_files writes there" in problems(load, GOOD, rest=rest)[0]


def test_one_with_a_mistake_is_still_known_by_its_name(load) -> None:
    rest = "deliveries: {acme/all: {from: mirror/shop_files, release: {basis: public, reason: r}}}\n"
    found = problems(load, 'files: {to: lake, path: "x"}', rest=rest)
    assert [each for each in found if "not a mirror" in each] == []
