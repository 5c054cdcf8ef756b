"""What a catalog may say of certificates, and how its references are resolved (S1-2)."""

from __future__ import annotations

from pathlib import Path

import pytest

from egress_assets.engine.catalog.loader import load_catalog
from egress_assets.engine.endpoints import CatalogProvider
from egress_assets.engine.errors import CatalogError
from tests.certificates import NEW, OLD, public

ENDPOINTS = """\
evidence: {store: evidence}
certificates:
  CERTIFICATES
sources:
  db: {dsn: "postgresql:///x"}
stores:
  evidence: {bucket: e, zone: trusted}
  lake: {bucket: l, zone: trusted}
"""
SHOP = """\
source: db
start: 2026-11-01
scrub: {key: k, CONSISTENCY}
tables:
  public.orders: {id: keep}
"""


def written(folder: Path, certificates: str, consistency: str = "consistency: dataset") -> Path:
    (folder / "endpoints.yaml").write_text(ENDPOINTS.replace("CERTIFICATES", certificates))
    (folder / "shop.yaml").write_text(SHOP.replace("CONSISTENCY", consistency))
    return folder


ARN = "arn:aws:kms:eu-west-2:111122223333:key/1"


@pytest.mark.parametrize(
    "said",
    [
        "key: {env: SIGNING}", "key: {file: /run/key.pem}", f'key: {{kms: "{ARN}"}}',
        'key: {kms: "arn:aws-cn:kms:cn-north-1:111122223333:alias/egress"}',
    ],
)  # fmt: skip
def test_a_signing_key_is_a_reference(tmp_path, said):
    assert load_catalog(written(tmp_path, said), "prod").endpoints.certificates


@pytest.mark.parametrize(
    ("said", "match"),
    [
        ("key: not-a-reference", "certificates.key"),
        ("key: {env: A, file: /b}", "exactly one of `env`, `file` and `kms`"),
        ("key: {}", "exactly one of `env`, `file` and `kms`"),
        ('key: {kms: "1234abcd-12ab-34cd-56ef-1234567890ab"}', "kms"),
        ("required: true", "key"),
        ("key: {env: A, vault: b}", "vault"),
    ],
)
def test_what_is_no_reference_is_refused(tmp_path, said, match):
    with pytest.raises(CatalogError) as caught:
        load_catalog(written(tmp_path, said), "prod")
    assert match in "\n".join(caught.value.problems)


def test_a_required_certificate_and_tables_released_one_by_one_exclude_each_other(tmp_path):
    table = "consistency: table"
    with pytest.raises(CatalogError) as caught:
        load_catalog(written(tmp_path, "{key: {env: A}, required: true}", table), "prod")
    (problem,) = caught.value.problems
    assert "requires certificates" in problem
    assert "shop.yaml:3" in problem
    assert load_catalog(written(tmp_path, "key: {env: A}", table), "prod")
    assert load_catalog(written(tmp_path, "{key: {env: A}, required: true}"), "prod")


def test_keys_are_read_when_they_are_used_and_named_when_they_are_not_there(tmp_path, monkeypatch):
    (tmp_path / "old.pub").write_text(public(OLD))
    said = f"{{key: {{env: SIGNING}}, trusted: [{{file: {tmp_path / 'old.pub'}}}]}}"
    provider = CatalogProvider(load_catalog(written(tmp_path, said), "prod"))
    monkeypatch.delenv("SIGNING", raising=False)
    with pytest.raises(CatalogError, match=r"endpoints\.yaml:3.*certificates.*SIGNING is not set"):
        provider.signing_key()
    monkeypatch.setenv("SIGNING", NEW)
    assert provider.signing_key() == NEW.rstrip("\n")
    assert provider.trusted_keys() == [public(OLD).rstrip("\n")]
