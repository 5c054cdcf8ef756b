"""A small catalog of every shape, and an engine that stands in for the data plane."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from egress_assets.definitions import accepted, build
from egress_assets.engine.catalog.loader import load_catalog
from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.errors import EgressError
from egress_assets.engine.evidence.records import CheckRecord, Column
from egress_assets.engine.layout import Unit, asset_key, delivery_unit, dump_unit, manifest_key, mirror_unit, scrub_unit
from egress_assets.engine.platform import Platform
from egress_assets.engine.result import StageResult, TableResult
from egress_assets.engine.schema_drift import Drifted
from tests.platforms import MemoryStore

ENDPOINTS = """
timezone: Europe/London
evidence: {store: evidence}
sources:
  shop_db: {dsn: {env: SHOP_DSN}, ca: {file: /secrets/rds.pem}}
stores:
  evidence: {bucket: shop-evidence, zone: trusted}
  lake: {bucket: shop-egress, zone: trusted}
  ceph: {kind: ceph, endpoint: {env: CEPH_URL}, bucket: mirror, secret_key: {file: /secrets/ceph}, zone: external}
  inbox: {bucket: foreign}
recipients:
  acme: {transfer_type: sft, url: "https://sft.acme.example:8091/DA", key: {file: /secrets/acme.key}, sla: "06:00"}
"""
SHOP = """
source: shop_db
start: 2026-03-01
schedule: "01:30"
owner: team:shop
scrub: {key: {env: SHOP_SCRUB_KEY}}
dump: {}
tables:
  public.customers: {id: keep, email: email}
  public.orders: {id: keep, total: keep}
mirrors:
  shop: {to: ceph}
deliveries:
  acme/orders: {from: public.orders}
watch:
  - {store: inbox, pattern: "in/{date:%Y-%m-%d}/pipeline_success.flag"}
"""
TABLES = ("public.customers", "public.orders")
DATE, OTHER = "2026-11-10", "2026-11-11"


@pytest.fixture(autouse=True)
def _sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EGRESS_ENV", "EGRESS_NOW", "EGRESS_CATALOG", "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def catalog_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("catalog")
    (folder / "endpoints.yaml").write_text(ENDPOINTS)
    (folder / "shop.yaml").write_text(SHOP)
    return folder


@pytest.fixture(scope="session")
def catalog(catalog_folder: Path) -> Catalog:
    return load_catalog(catalog_folder, env="sandbox")


@dataclass
class StandIn:
    """Answers as the engine would, without bytes: content is set by tests, failures too."""

    tables: tuple[str, ...] = TABLES
    content: dict[str, str] = field(default_factory=dict)  # by table or unit: "v1" unless said
    failures: dict[str, EgressError] = field(default_factory=dict)  # by stage
    calls: list[tuple[str, str, tuple[str, ...] | None]] = field(default_factory=list)  # stage, date, tables
    how: str = "moved"
    drift: dict[str, tuple[Drifted, ...]] = field(default_factory=dict)  # by table, of dumps and scrubs
    stores: dict[str, MemoryStore] = field(default_factory=dict)

    def __call__(self, stage: str) -> Callable[..., StageResult]:
        run = getattr(self, f"_{stage}")

        def called(platform: Platform, *arguments: Any, **options: Any) -> StageResult:
            """What is read beside the result is read from memory, where there is nothing unless a test put it there."""
            for name in platform.catalog.endpoints.stores:
                platform._stores[name] = self.stores.setdefault(name, MemoryStore(name))  # type: ignore[assignment]
            return run(platform, *arguments, **options)

        return called

    def _dump(self, _platform: Any, dataset: str, date: str, *, tables: Any = None, on: Any = None) -> StageResult:
        return self._answer("dump", dump_unit(dataset), date, tables)

    def _scrub(self, _platform: Any, dataset: str, date: str, *, tables: Any = None, on: Any = None) -> StageResult:
        return self._answer("scrub", scrub_unit(dataset, "shared"), date, tables)

    def _mirror(self, _platform: Any, name: str, date: str, *, on: Any = None) -> StageResult:
        return self._answer("mirror", mirror_unit(name), date, None)

    def _delivery(self, _platform: Any, recipient: str, pipeline: str, date: str, *, on: Any = None) -> StageResult:
        return self._answer("delivery", delivery_unit(recipient, pipeline), date, None)

    def _answer(self, stage: str, unit: Unit, date: str, tables: tuple[str, ...] | None) -> StageResult:
        self.calls.append((stage, date, tables))
        if stage in self.failures:
            raise self.failures[stage]
        names = (tables or self.tables) if stage in ("dump", "scrub") else ("objects",)
        results = {name: self._table(unit, date, name) for name in names}
        how: Any = self.how
        return StageResult(unit, date, how, 1, results, 2.0, {"read": 1.5}, sent_bytes=4_000_000, facts={"run": 1})

    def _table(self, unit: Unit, date: str, name: str) -> TableResult:
        attempt = "20261120T010203004-0a1b2c3d"
        version = self.content.get(name, self.content.get(unit.stage, "v1"))
        tabular = unit.stage in ("dump", "scrub")
        return TableResult(
            table=name,
            attempt=attempt,
            manifest=manifest_key(unit, date, attempt),
            content_digest=sha256(f"{unit}{date}{name}{version}".encode()).hexdigest(),
            moved=self.how == "moved",
            bytes=2_000_000,
            objects=2,
            rows=1000 if tabular else None,
            columns=(Column("id", "bigint", False, "keep"), Column("email", "text", True, "email")) if tabular else (),
            checks=(CheckRecord("identifiers", True, {"scanned": 9}),) if unit.stage == "scrub" else (),
            drift=self.drift.get(name, ()),
        )


@pytest.fixture
def engine() -> StandIn:
    return StandIn()


@pytest.fixture
def defs(catalog: Catalog, engine: StandIn) -> dg.Definitions:
    return build(catalog, engine=engine)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with accepted(), dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


def key(unit: Unit, table: str = "") -> dg.AssetKey:
    return dg.AssetKey(asset_key(unit, table))


DUMP = {table: key(dump_unit("shop"), table) for table in TABLES}
SCRUB = {table: key(scrub_unit("shop", "shared"), table) for table in TABLES}
MIRROR, DELIVERY = key(mirror_unit("shop")), key(delivery_unit("acme", "orders"))


def evaluations(result: dg.ExecuteInProcessResult, name: str = "gate") -> list[Any]:
    """What a run told of one kind of check."""
    return [found for found in result.get_asset_check_evaluations() if found.check_name == name]


@dataclass
class Runner:
    """Runs the job, or some of its assets, and says what Dagster then believes."""

    defs: dg.Definitions
    instance: dg.DagsterInstance

    def run(
        self, *keys: dg.AssetKey, date: str = DATE, tags: Mapping[str, str] | None = None
    ) -> dg.ExecuteInProcessResult:
        job = self.defs.resolve_job_def("shop")
        return job.execute_in_process(
            partition_key=date,
            asset_selection=list(keys) or None,
            instance=self.instance,
            raise_on_error=False,
            tags=dict(tags or {}),
        )

    def materialised(self, asset: dg.AssetKey) -> set[str]:
        return set(self.instance.get_materialized_partitions(asset))


@pytest.fixture
def runner(defs: dg.Definitions, instance: dg.DagsterInstance) -> Runner:
    return Runner(defs, instance)
