"""What the catalog page says of an asset before it ever ran: names, places, deadlines; and what a source observes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from egress_assets import sources
from egress_assets.definitions import build
from egress_assets.engine.catalog.loader import load_catalog
from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.dump import snapshot
from egress_assets.engine.dump.tasks import ColumnInfo, Relation
from egress_assets.engine.evidence.records import Position
from tests.graph.conftest import DELIVERY, DUMP, ENDPOINTS, MIRROR, SCRUB, SHOP, StandIn

Load = Callable[..., Any]
SOURCE = dg.AssetKey(["source", "shop"])


@pytest.fixture
def graph(tmp_path: Path) -> Load:
    def loaded(shop: str = SHOP, endpoints: str = ENDPOINTS) -> Any:
        (tmp_path / "endpoints.yaml").write_text(endpoints)
        (tmp_path / "shop.yaml").write_text(shop)
        catalog: Catalog = load_catalog(tmp_path, env="sandbox")
        return build(catalog, engine=StandIn()).resolve_asset_graph()

    return loaded


def deadlines(found: Any) -> dict[str, str]:
    policies = {"/".join(key.path): found.get(key).freshness_policy for key in found.get_all_asset_keys()}
    return {name: policy.deadline_cron for name, policy in policies.items() if policy}


def test_nobody_waits_for_a_dataset_that_names_no_hour(graph: Load):
    without = ENDPOINTS.replace(', sla: "06:00"', "")
    assert deadlines(graph(endpoints=without)) == {}


def test_a_datasets_hour_is_that_of_every_asset_which_it_makes(graph: Load):
    found = deadlines(graph(SHOP + 'sla: "05:30"\n'))
    assert set(found) == {"/".join(key.path) for key in (*DUMP.values(), *SCRUB.values(), MIRROR, DELIVERY)}
    assert set(found.values()) == {"30 5 * * *"}


@pytest.mark.parametrize(
    ("dataset", "recipient", "hour"),
    [
        ("05:30", "06:00", "30 5 * * *"),
        ("07:15", "06:00", "0 6 * * *"),
        ("00:30", "06:00", "0 6 * * *"),  # before the run begins at 01:30: the next day's is meant
        ("01:30", "01:00", "0 1 * * *"),  # both the next day's
    ],
)
def test_the_earlier_of_both_is_a_deliverys_hour(graph: Load, dataset: str, recipient: str, hour: str):
    endpoints = ENDPOINTS.replace('sla: "06:00"', f'sla: "{recipient}"')
    assert deadlines(graph(SHOP + f'sla: "{dataset}"\n', endpoints))["/".join(DELIVERY.path)] == hour


def test_every_asset_says_its_names_as_people_write_them(graph: Load):
    odd = SHOP.replace("public.orders:", "public.name#sft:").replace("from: public.orders", "from: public.name#sft")
    found = graph(odd)
    of_all = ("overview", "bucket_policy")
    ours = [key for key in found.get_all_asset_keys() if key.path[0] not in of_all]
    for key in ours:
        node = found.get(key)
        assert node.metadata["dataset"] == "shop"
        assert node.group_name == "shop"
        assert node.owners == ["team:shop"]
    scrub = next(key for key in ours if key.path[0] == "scrub" and "name" in key.path[-1])
    assert found.get(scrub).metadata["dagster/table_name"] == "public.name#sft"
    assert "`public.name#sft`" in found.get(scrub).description
    assert "`public.name#sft` as `csv.gz`" in found.get(DELIVERY).description


def test_braces_in_a_prefix_are_no_placeholders_of_ours(graph: Load):
    shop = SHOP.replace("{from: public.orders}", '{from: public.orders, destination_prefix: "in/{date:%Y}/"}')
    assert "under `in/{date:%Y}/`" in graph(shop).get(DELIVERY).description


def test_places_are_told_by_the_names_of_the_stores(graph: Load):
    found = graph()
    assert found.get(SOURCE).metadata["dagster/uri"] == "postgresql://shop_db/"
    assert found.get(SCRUB["public.orders"]).metadata["dagster/uri"] == "s3://lake/"
    assert found.get(MIRROR).metadata["dagster/uri"] == "s3://ceph/"
    assert "dagster/uri" not in found.get(DELIVERY).metadata


# -------------------------------------------------------------------------------------------------------------- sources
ID, MAIL = ColumnInfo("id", "bigint", "int8", nullable=False), ColumnInfo("email", "text", "text", nullable=True)


@dataclass
class Leader:
    """An open snapshot, as far as an observation looks at it."""

    position: Position = field(default_factory=lambda: Position("7300000000000000001/1", 0x16_B374D848))
    columns: tuple[ColumnInfo, ...] = (ID, MAIL)
    tables: tuple[str, ...] = ("public.customers",)
    as_of: str = "2026-11-20T03:00:00.000000+00:00"
    server_version: str = "18.4"

    @property
    def relations(self) -> dict[str, Relation]:
        leaves = (("public", "customers"),)
        return {t: Relation(t, "public", t, 1, "r", self.columns, leaves, 20_000, 4096) for t in self.tables}

    def __enter__(self) -> "Leader":
        return self

    def __exit__(self, *_: object) -> None:
        return None


def look(monkeypatch: pytest.MonkeyPatch, leader: Leader) -> tuple[str, dict[str, Any]]:
    monkeypatch.setattr(snapshot, "open_snapshot", lambda *_, **__: leader)
    return sources.look(None, leader.tables)  # type: ignore[arg-type]


def test_a_source_tells_where_its_log_stands_and_what_its_tables_look_like(monkeypatch: pytest.MonkeyPatch):
    version, found = look(monkeypatch, Leader())
    assert (found["lsn"], found["timeline"]) == ("16/B374D848", "7300000000000000001/1")
    assert found["schema_digest"] == version
    assert (found["tables"], found["columns"], found["estimated_rows"]) == (1, 2, 20_000)
    assert [dict(record.data) for record in found["by_table"].records] == [
        {"table": "public.customers", "columns": 2, "leaves": 1, "estimated_rows": 20_000, "heap_bytes": 4096}
    ]
    columns = found["dagster/column_schema"].columns
    assert [(c.name, c.type, c.constraints.nullable) for c in columns] == [
        ("public.customers.id", "bigint", False),
        ("public.customers.email", "text", True),
    ]


def test_a_server_without_an_lsn_is_told_by_its_clock(monkeypatch: pytest.MonkeyPatch):
    _, found = look(monkeypatch, Leader(Position("as_of", 1_795_143_600_000_000)))
    assert found["position"] == "as of 2026-11-20T03:00:00Z; the server does not tell its LSN"
    assert not {"lsn", "timeline"} & found.keys()


def test_a_new_column_gives_another_data_version_and_new_rows_do_not(monkeypatch: pytest.MonkeyPatch):
    before, _ = look(monkeypatch, Leader())
    later, _ = look(monkeypatch, Leader(Position("7300000000000000001/1", 0x17_00000000)))
    changed, _ = look(monkeypatch, Leader(columns=(ID,)))
    assert before == later != changed


def test_very_many_columns_are_counted_and_not_listed(monkeypatch: pytest.MonkeyPatch):
    tables = tuple(f"public.t{n}" for n in range(sources.MANY_COLUMNS // 2 + 1))
    _, found = look(monkeypatch, Leader(tables=tables))
    assert found["columns"] > sources.MANY_COLUMNS
    assert not {"by_table", "dagster/column_schema"} & found.keys()
