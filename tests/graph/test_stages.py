"""From the catalog's words to ops and assets: names, parents, endpoints, what counts as a change."""

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from egress_assets.definitions import accepted, build
from egress_assets.engine.catalog.loader import load_catalog
from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.layout import parse_asset_key
from egress_assets.engine.mirror.run import run as publish
from egress_assets.graph import ops
from egress_assets.results import metadata
from egress_assets.specs import specs
from egress_assets.stages import Stage
from tests.graph.conftest import ENDPOINTS, SHOP, StandIn
from tests.platforms import DATE, NOW
from tests.publishes import UNIT, lying, made

Load = Callable[..., Catalog]
ODD = ("public.order_items", "public.name#sft", "public.orders_gate", "public._", "Sales Ö.Zwölf Z%", "a.b.c", "a__b.c")
AUTHORISED = (
    "{basis: authorised, reason: fraud, recipients: [acme, ceph], purpose: audit, legal_basis: contract, "
    "approved_by: dpo@shop.example, until: 2099-01-01}"
)
SECOND = """
start: 2026-03-01
mirrors:
  bucket:
    {to: ceph, from: {store: inbox, prefix: drop/}, select: bucket, prefix: b/, release: {basis: public, reason: maps}}
deliveries:
  acme/all: {from: mirror/shop, destination_prefix: "all/"}
"""


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def loaded(**datasets: str) -> Catalog:
        (tmp_path / "endpoints.yaml").write_text(ENDPOINTS)
        for name, text in datasets.items():
            (tmp_path / f"{name}.yaml").write_text(text)
        return load_catalog(tmp_path, env="sandbox")

    return loaded


def by_name(catalog: Catalog) -> dict[str, Stage]:
    return {stage.name: stage for stage in ops(catalog)}


def raw(*tables: str, more: str = "") -> str:
    listed = "".join(f"  {table!r}: {{}}\n" for table in tables)
    return f"source: shop_db\nstart: 2026-03-01\ndump: {{}}\ntables:\n{listed}{more}"


def test_any_table_name_becomes_an_asset_of_its_own_and_can_be_read_back(load: Load, engine: StandIn):
    catalog = load(odd=raw(*ODD))
    defs = build(catalog, engine=engine)
    keys = [key for key in defs.resolve_asset_graph().get_all_asset_keys() if key.path[0] == "dump"]
    assert {parse_asset_key(tuple(key.path))[1] for key in keys} == set(ODD)
    outputs = [name for each in defs.resolve_asset_graph().assets_defs for name in each.node_keys_by_output_name]
    assert len(outputs) == len(set(outputs))


def test_datasets_whose_names_differ_by_underscores_are_different_ops(load: Load, engine: StandIn):
    catalog = load(a=raw("p.t"), a_=raw("p.t"), a__b=raw("p.t"), a_b=raw("p.t"))
    build(catalog, engine=engine)
    assert len(by_name(catalog)) == 4


def test_an_op_has_the_endpoints_that_it_opens_and_no_others(load: Load):
    scrubbed = SHOP.replace("SHOP_SCRUB_KEY}", "SHOP_SCRUB_KEY}, quarantine: quarantine")
    endpoints = ENDPOINTS.replace("  inbox:", "  quarantine: {bucket: q, zone: trusted}\n  inbox:")
    assert endpoints != ENDPOINTS
    folder = Path(load(shop=SHOP).files["shop"]).parent
    (folder / "endpoints.yaml").write_text(endpoints)
    (folder / "shop.yaml").write_text(scrubbed)
    stages = by_name(load_catalog(folder, env="sandbox"))
    lake, evidence = "store_lake", "store_evidence"
    assert stages["dump__shop"].endpoints == {"source_shop_db", lake, evidence}
    assert stages["scrub__shop__shared"].endpoints == {
        "source_shop_db", "key_shop", lake, "store_quarantine", evidence,
    }  # fmt: skip
    assert stages["mirror__shop"].endpoints == {lake, "store_ceph", evidence}
    assert stages["delivery__acme__orders"].endpoints == {"recipient_acme", lake, evidence}


def test_one_database_or_recipient_is_one_pool(load: Load):
    pools = {name: stage.pool for name, stage in by_name(load(shop=SHOP)).items()}
    assert pools == {
        "dump__shop": "source_shop_db",
        "scrub__shop__shared": "source_shop_db",
        "mirror__shop": None,
        "delivery__acme__orders": "recipient_acme",
    }


def test_a_mirror_copies_the_scrub_unless_it_says_dump_or_there_is_none(load: Load):
    said = SHOP.replace("{to: ceph}", f"{{to: ceph, from: dump, release: {AUTHORISED}}}")
    parents = {key.path[0] for key in by_name(load(shop=said))["mirror__shop"].parents[""]}
    assert parents == {"dump"}
    alone = raw("p.t", more=f"mirrors:\n  m: {{to: ceph, release: {AUTHORISED}}}\n")
    assert {key.path[0] for key in by_name(load(shop=alone))["mirror__m"].parents[""]} == {"dump"}


def test_a_foreign_bucket_has_no_parent_and_nothing_that_could_move_it(load: Load, engine: StandIn):
    catalog = load(shop=SHOP, second=SECOND)
    assert by_name(catalog)["mirror__bucket"].parents == {}
    graph = build(catalog, engine=engine).resolve_asset_graph()
    assert graph.get(dg.AssetKey(["mirror", "bucket"])).automation_condition is None
    assert graph.get(dg.AssetKey(["mirror", "shop"])).automation_condition is not None


def test_a_delivery_may_send_what_another_datasets_mirror_copied(load: Load):
    assert by_name(load(shop=SHOP, second=SECOND))["delivery__acme__all"].parents == {
        "": (dg.AssetKey(["mirror", "shop"]),)
    }


def test_a_delivery_of_raw_data_depends_on_the_dump(load: Load):
    said = SHOP.replace("{from: public.orders}", f"{{from: dump/public.orders, release: {AUTHORISED}}}")
    (parent,) = by_name(load(shop=said))["delivery__acme__orders"].parents[""]
    assert parent.path == ["dump", "shop", "public", "orders"]


def versions(catalog: Catalog) -> dict[str, str | None]:
    with accepted():
        return {"/".join(s.key.path): s.code_version for stage in ops(catalog) for s in specs(stage, "{table}")}


def test_a_changed_mask_makes_its_table_outdated_and_no_other(load: Load):
    before = versions(load(shop=SHOP))
    after = versions(load(shop=SHOP.replace("email: email", "email: name")))
    changed = {key for key in before if before[key] != after[key]}
    assert changed == {"scrub/shop/shared/public/customers"}


def test_where_the_scrub_key_lies_is_no_part_of_the_code_version(load: Load):
    before = versions(load(shop=SHOP))
    assert versions(load(shop=SHOP.replace("{env: SHOP_SCRUB_KEY}", "{file: /secrets/key}"))) == before
    assert versions(load(shop=SHOP.replace("SHOP_SCRUB_KEY}}", 'SHOP_SCRUB_KEY}, epoch: "2"}'))) != before


def test_the_recipients_hour_is_the_deliverys_deadline(load: Load, engine: StandIn):
    graph = build(load(shop=SHOP), engine=engine).resolve_asset_graph()
    policy = graph.get(dg.AssetKey(["delivery", "acme", "orders"])).freshness_policy
    assert policy is not None
    assert (policy.deadline_cron, policy.timezone) == ("0 6 * * *", "Europe/London")  # type: ignore[attr-defined]
    assert graph.get(dg.AssetKey(["mirror", "shop"])).freshness_policy is None


def test_a_scrub_has_a_blocking_gate_of_each_date(load: Load, engine: StandIn):
    graph = build(load(shop=SHOP), engine=engine).resolve_asset_graph()
    keys = [key for key in graph.asset_check_keys if key.asset_key.path[0] != "bucket_policy"]
    found = [graph.get_check_spec(key) for key in keys if key.name == "gate"]
    assert {(spec.name, spec.blocking, spec.asset_key.path[0]) for spec in found} == {("gate", True, "scrub")}
    assert all(spec.partitions_def == graph.get(spec.asset_key).partitions_def for spec in found)


# -------------------------------------------------------------------------------------------------------------- publish
PUBLISH = """{publish: {files: {to: lake, path: "x/{date}/{table}.{ext}", flag: "x/{date}/done"}}}"""


def test_a_publish_is_a_mirror_of_its_stage_with_a_name_that_no_other_dataset_can_have(load: Load, engine: StandIn):
    said = SHOP.replace("dump: {}", f"dump: {PUBLISH}")
    catalog = load(shop=said)
    stage = by_name(catalog)["mirror__shop_files"]
    assert {key.path[0] for key in stage.parents[""]} == {"dump"}
    assert stage.endpoints == {"store_lake", "store_evidence"}
    graph = build(catalog, engine=engine).resolve_asset_graph()
    node = graph.get(dg.AssetKey(["mirror", "shop_files"]))
    assert node.automation_condition is not None
    assert "under fixed names in `lake`: `x/2026-03-01/customers.csv.zst`, the flag last" in (node.description or "")
    (place,) = node.metadata["dagster/code_references"].code_references
    assert "publish:" in Path(place.file_path).read_text().splitlines()[place.line_number - 1]


def test_another_path_makes_what_was_published_outdated_and_nothing_else(load: Load):
    said = SHOP.replace("dump: {}", f"dump: {PUBLISH}")
    before, after = versions(load(shop=said)), versions(load(shop=said.replace('path: "x/', 'path: "y/')))
    assert {key for key in before if before[key] != after[key]} == {"mirror/shop_files"}


def test_a_published_date_is_materialised_with_the_numbers_of_any_mirror(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EGRESS_NOW", NOW)
    p = made()
    stage = next(stage for stage in ops(p.catalog) if stage.unit == UNIT)
    result = publish(p, "shop_files", DATE)
    told = metadata(stage, "", result, result.tables["objects"], platform=p)
    assert (told["rows"], told["objects"], told["bytes"]) == (3, 3, sum(map(len, lying(p).values())))
    assert told["dagster/uri"] == "s3://inside/"
    assert told["facts"].value == {"sent_objects": 3}
    named = {column.name for column in told["dagster/column_schema"].columns}
    assert named == {f"public.{t}.{c}" for t in ("customers", "orders") for c in ("id", "name, or what")}
