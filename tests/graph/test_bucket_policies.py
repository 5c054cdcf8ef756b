"""Buckets as assets, over a real S3 server (moto, which keeps all three configurations). S0-6."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import dagster as dg
import pytest
from moto.server import ThreadedMotoServer

from egress_assets.definitions import build
from egress_assets.engine.catalog.loader import load_catalog
from egress_assets.engine.errors import StoreDenied
from egress_assets.engine.stores.s3 import S3Store
from tests.graph.conftest import SHOP

LAKE, EVIDENCE = dg.AssetKey(["bucket_policy", "lake"]), dg.AssetKey(["bucket_policy", "evidence"])
DAYS = "expire_days: {dump: 7, scrub: 14}, policy: apply"
ENDPOINTS = """
timezone: Europe/London
evidence: {{store: evidence}}
sources:
  shop_db: {{dsn: postgresql://nobody}}
stores:
  evidence: {{bucket: shop-evidence, zone: trusted, endpoint: "{url}", access_key: a, secret_key: canary-secret}}
  lake: {{bucket: shop-egress, zone: trusted, endpoint: "{url}", access_key: a, secret_key: canary-secret, {lake}}}
  ceph: {{kind: ceph, bucket: mirror, zone: external, endpoint: "{url}", access_key: a, secret_key: canary-secret}}
  inbox: {{bucket: foreign}}
recipients:
  acme: {{transfer_type: sft, url: "https://sft.acme.example:8091/DA"}}
"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(url: str) -> Iterator[Any]:
    """The server, with empty buckets."""
    client = boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    for bucket in ("shop-evidence", "shop-egress", "mirror"):
        client.create_bucket(Bucket=bucket)
    yield client
    for bucket in ("shop-evidence", "shop-egress", "mirror"):
        client.delete_bucket(Bucket=bucket)
    client.close()


@pytest.fixture
def graph(url: str, s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dg.Definitions]:
    monkeypatch.setenv("EGRESS_ENV", "dev")

    def built(lake: str = DAYS) -> dg.Definitions:
        (tmp_path / "endpoints.yaml").write_text(ENDPOINTS.format(url=url, lake=lake))
        (tmp_path / "shop.yaml").write_text(SHOP)
        return build(load_catalog(tmp_path, env="dev"))

    return built


def materialise(defs: dg.Definitions, instance: dg.DagsterInstance, key: dg.AssetKey = LAKE) -> Any:
    return defs.resolve_implicit_global_asset_job_def().execute_in_process(
        asset_selection=[key], instance=instance, raise_on_error=False
    )


def checked(defs: dg.Definitions, instance: dg.DagsterInstance) -> dict[str, Any]:
    """What the daily job says of each bucket."""
    done = defs.resolve_job_def("bucket_policy").execute_in_process(instance=instance, raise_on_error=False)
    return {check.asset_key.path[-1]: check for check in done.get_asset_check_evaluations()}


def days(s3: Any) -> dict[str, int]:
    rules = s3.get_bucket_lifecycle_configuration(Bucket="shop-egress")["Rules"]
    return {rule["Filter"]["Prefix"]: rule["Expiration"]["Days"] for rule in rules if "Expiration" in rule}


def test_materialising_applies_and_twice_changes_nothing(graph: Callable, instance: dg.DagsterInstance, s3: Any):
    first = materialise(graph(), instance)
    assert first.success
    assert days(s3) == {"dump/": 7, "scrub/": 14}
    assert s3.get_bucket_encryption(Bucket="shop-egress")["ServerSideEncryptionConfiguration"]["Rules"]
    assert materialise(graph(), instance).success
    changed = [e.metadata["changed"].value for e in events(instance)]
    assert changed == ["nothing", "lifecycle, encryption, public access"]
    assert [check.passed for check in first.get_asset_check_evaluations()] == [True], "checked in the same run"


def events(instance: dg.DagsterInstance) -> list[Any]:
    """Materialisations of the lake's policy, the newest first."""
    found = instance.fetch_materializations(LAKE, limit=10).records
    return [record.asset_materialization for record in found]


def test_the_daily_check_tells_drift_and_writes_nothing(graph: Callable, instance: dg.DagsterInstance, s3: Any):
    found = checked(graph(), instance)
    assert found.keys() == {"ceph", "evidence", "lake"}
    lake = found["lake"]
    assert (lake.passed, lake.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "lifecycle missing: 'dump/': expires after 7 d" in lake.description
    assert lake.metadata["drift"].value == 5
    assert {r.data["state"] for r in lake.metadata["items"].records} == {"missing"}
    with pytest.raises(s3.exceptions.ClientError, match="NoSuchLifecycleConfiguration"):
        days(s3)
    materialise(graph(), instance)
    assert checked(graph(), instance)["lake"].passed


def test_a_changed_catalog_is_drift_and_an_outdated_asset(graph: Callable, instance: dg.DagsterInstance, s3: Any):
    before, after = graph(), graph(DAYS.replace("7", "9"))
    materialise(before, instance)
    versions = {defs.resolve_asset_graph().get(LAKE).code_version for defs in (before, after)}
    assert len(versions) == 2
    assert "'dump/': expires after 7 d" in checked(after, instance)["lake"].description
    materialise(after, instance)
    assert days(s3)["dump/"] == 9


def test_a_store_of_report_is_checked_and_cannot_be_materialised(graph: Callable, instance: dg.DagsterInstance):
    defs = graph("expire_days: {dump: 7}")
    node = defs.resolve_asset_graph().get(LAKE)
    assert not node.is_materializable
    assert not checked(defs, instance)["lake"].passed


def test_a_rule_that_would_delete_evidence_is_an_error_of_its_own(
    graph: Callable, instance: dg.DagsterInstance, s3: Any
):
    rule = {"ID": "all", "Filter": {"Prefix": ""}, "Status": "Enabled", "Expiration": {"Days": 7}}
    for bucket in ("shop-evidence", "shop-egress"):
        s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [rule]})
    found = checked(graph(), instance)
    assert found["evidence"].severity == dg.AssetCheckSeverity.ERROR
    assert "evidence never expires" in found["evidence"].description
    assert found["lake"].severity == dg.AssetCheckSeverity.WARN


def test_what_the_server_refuses_fails_with_its_reason_and_without_a_secret(
    graph: Callable, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, s3: Any
):
    def refuse(self: S3Store, subject: str, *_rest: object) -> None:
        raise StoreDenied(f"PUT {subject}: answer 403 AccessDenied")

    monkeypatch.setattr(S3Store, "configure", refuse)
    done = materialise(graph(), instance)
    assert not done.success
    (failed,) = [e for e in done.all_node_events if e.is_step_failure and "drift" not in (e.step_key or "")]
    text = str(failed.event_specific_data)
    assert "answer 403 AccessDenied" in text
    assert "canary" not in text


def test_it_is_looked_at_every_day_from_the_start_in_the_catalogs_timezone(graph: Callable):
    (found,) = (s for s in graph().schedules if s.name == "bucket_policy_daily")
    assert found.default_status is dg.DefaultScheduleStatus.RUNNING
    assert (found.cron_schedule, found.execution_timezone) == ("40 5 * * *", "Europe/London")
