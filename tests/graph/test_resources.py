"""Resources: the catalog's references stay references, secrets show nowhere, the engine gets whole settings."""

from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest

from egress_assets.definitions import build
from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.catalog.operate import CertificatesModel
from egress_assets.engine.catalog.values import Ref
from egress_assets.engine.endpoints import NOT_SETTINGS
from egress_assets.engine.errors import CatalogError, ReleaseRefused
from egress_assets.engine.transfers import registry
from resources.ceph import CephResource
from resources.endpoints import resources
from resources.provider import ResourceProvider
from resources.references import referred, resolved
from resources.sandbox import SandboxEndpoint
from tests.graph.conftest import Runner

CANARIES = {"SHOP_DSN": "postgresql://reader:canary-dsn@db.example/shop", "SHOP_SCRUB_KEY": "canary-scrub-key"}


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**CANARIES, "CEPH_URL": "https://ceph.example"}.items():
        monkeypatch.setenv(name, value)


def test_a_resource_for_each_endpoint_of_the_catalog(catalog: Catalog):
    found = resources(catalog, "prod")
    assert {key: type(value).__name__ for key, value in found.items()} == {
        "source_shop_db": "RdsResource",
        "store_evidence": "S3Resource",
        "store_lake": "S3Resource",
        "store_ceph": "CephResource",
        "store_inbox": "S3Resource",
        "recipient_acme": "SftResource",
        "key_shop": "KeyResource",
    }


def test_the_keys_of_certificates_are_a_resource_that_is_read_at_use(catalog: Catalog, monkeypatch: pytest.MonkeyPatch):
    said = CertificatesModel.model_validate({"key": {"env": "SIGNING"}, "trusted": ["literal", {"env": "OLD"}]})
    signing = catalog.model_copy(update={"endpoints": catalog.endpoints.model_copy(update={"certificates": said})})
    found = resources(signing, "prod")
    monkeypatch.setenv("SIGNING", "canary-signing-key")
    monkeypatch.setenv("OLD", "old public key")
    provider = ResourceProvider(SimpleNamespace(**found), signing)
    assert provider.signing_key() == "canary-signing-key"
    assert provider.trusted_keys() == ["literal", "old public key"]
    assert "canary" not in repr(found)
    assert isinstance(resources(signing, "sandbox")["certificates_key"], SandboxEndpoint)
    build(signing)


def test_references_are_not_resolved_when_definitions_load(catalog: Catalog, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EGRESS_ENV", "prod")
    for name in CANARIES:
        monkeypatch.delenv(name, raising=False)
    build(catalog)


SETTINGS = {
    "folder": {"path": "/srv/out", "staging": {"env": "STAGING"}},
    "s3": {"bucket": "inbox", "access_key": {"env": "INBOX_KEY"}, "secret_key": {"env": "INBOX_SECRET"}},
    "sft": {"url": "https://sft.example/DA", "cert": {"env": "SFT_CERT"}},
}


@pytest.mark.parametrize("transfer_type", registry())
def test_every_transfer_type_loads_and_gives_the_engine_its_settings(
    transfer_type: str, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
):
    """A type that Dagster's configuration does not know ends the load of the whole catalog."""
    for name in ("STAGING", "INBOX_KEY", "INBOX_SECRET", "SFT_CERT"):
        monkeypatch.setenv(name, f"value-of-{name}")
    monkeypatch.setenv("EGRESS_ENV", "prod")
    model = catalog.endpoints.recipients["acme"].model_validate(
        {"transfer_type": transfer_type, **SETTINGS[transfer_type]}
    )
    endpoints = catalog.endpoints.model_copy(update={"recipients": {"acme": model}})
    said = catalog.model_copy(update={"endpoints": endpoints})
    build(said)
    settings = resources(said, "prod")["recipient_acme"].settings()
    assert registry()[transfer_type].Settings.model_validate(dict(settings))


def test_no_secret_is_in_a_repr_or_in_what_dagster_shows(catalog: Catalog, secrets, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EGRESS_ENV", "prod")
    defs = build(catalog)
    seen = [repr(resource) for resource in resources(catalog, "prod").values()]
    job = defs.resolve_job_def("shop")
    for name, definition in job.resource_defs.items():
        seen.append(
            f"{name} {definition.config_schema.default_value if definition.config_schema.default_provided else ''}"
        )
    with dg.DagsterInstance.ephemeral() as instance:
        run = instance.create_run_for_job(job)
        seen.append(repr(run.run_config))
    assert "canary" not in "".join(seen)
    assert "SHOP_DSN" in "".join(seen)  # the name shows, so that a person knows what to set


def test_inside_a_run_the_repr_holds_no_secret_and_the_settings_hold_it(catalog: Catalog, secrets, tmp_path: Path):
    found = resources(catalog, "prod")
    key = tmp_path / "ceph"
    key.write_text("canary-file\n")
    said = catalog.endpoints.stores["ceph"].model_copy(update={"secret_key": Ref(file=str(key))})
    found["store_ceph"] = CephResource(name="ceph", **referred({k: v for k, v in said if k not in NOT_SETTINGS}))
    seen: dict[str, object] = {}

    @dg.op(required_resource_keys=set(found))
    def look(context: dg.OpExecutionContext) -> None:
        provider = ResourceProvider(context.resources, catalog)
        seen["reprs"] = [
            repr(getattr(context.resources, name)) for name in ("source_shop_db", "store_ceph", "key_shop")
        ]
        seen["dsn"] = provider.source("shop_db")
        seen["ceph"] = provider.store("ceph")
        seen["key"] = provider.secret(catalog.dataset("shop").scrub.key)  # type: ignore[union-attr]

    @dg.job(resource_defs=found)
    def looking() -> None:
        look()

    assert looking.execute_in_process().success
    assert "canary" not in repr(seen["reprs"])
    assert "canary" not in repr(seen["dsn"])
    assert "canary" not in repr(seen["ceph"])
    assert seen["dsn"].dsn == CANARIES["SHOP_DSN"]  # type: ignore[attr-defined]
    assert seen["dsn"].ca == "/secrets/rds.pem"  # type: ignore[attr-defined] - libpq reads it from its path
    assert seen["ceph"].secret_key == "canary-file"  # type: ignore[attr-defined] - the newline is no part of it
    assert seen["ceph"].endpoint == "https://ceph.example"  # type: ignore[attr-defined]
    assert (seen["ceph"].kind, seen["ceph"].zone) == ("ceph", "external")  # type: ignore[attr-defined]
    assert seen["key"] == CANARIES["SHOP_SCRUB_KEY"]


def test_a_secret_that_is_not_mounted_is_named_by_field_and_file(tmp_path: Path):
    with pytest.raises(CatalogError, match=r"secret_key of store ceph can't be read from .*/ceph: FileNotFoundError"):
        resolved({"secret_key": f"file:{tmp_path}/ceph"}, of="store ceph")


def test_an_endpoint_that_the_stage_did_not_declare_is_not_there(catalog: Catalog):
    class Nothing:
        pass

    with pytest.raises(CatalogError, match="resource store_lake is not among those of this run"):
        ResourceProvider(Nothing(), catalog).store("lake")


def test_a_recipient_for_prod_is_refused_in_dev(catalog: Catalog, monkeypatch: pytest.MonkeyPatch):
    acme = catalog.endpoints.recipients["acme"].model_copy(update={"env": "prod"})
    endpoints = catalog.endpoints.model_copy(update={"recipients": {"acme": acme}})
    monkeypatch.setenv("EGRESS_ENV", "dev")
    with pytest.raises(ReleaseRefused, match="recipient acme is for prod, this is dev"):
        ResourceProvider(object(), catalog.model_copy(update={"endpoints": endpoints})).recipient("acme")


def test_in_the_sandbox_every_endpoint_is_replaced_under_its_name_and_nothing_starts(
    catalog: Catalog, runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("EGRESS_SANDBOX_DIR", str(tmp_path / "sandbox"))
    found = resources(catalog, "sandbox")
    assert set(found) == set(resources(catalog, "prod"))
    assert all(isinstance(resource, SandboxEndpoint) for resource in found.values())
    assert runner.run().success  # the engine stands in here: no setting is asked for
    assert not (tmp_path / "sandbox").exists()
