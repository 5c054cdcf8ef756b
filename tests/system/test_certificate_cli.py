"""`egress certificate`, `verify --certificate` and `key` as somebody types them."""

from __future__ import annotations

import json
import os
import secrets
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from egress_assets.engine.layout import escape
from egress_assets.engine.stores import open_store
from egress_assets.sandbox import start

ROOT = Path(__file__).parents[2]
Egress = Callable[..., subprocess.CompletedProcess[str]]
ENDPOINTS = """\
timezone: Europe/London
evidence: {store: evidence}
CERTIFICATES
sources:
  shop_db: {dsn: {env: SHOP_DSN}}
stores:
  evidence: {bucket: e, zone: trusted}
  lake: {bucket: l, zone: trusted}
"""
DATASET = """\
source: shop_db
start: 2026-01-01
scrub: {key: {env: SHOP_KEY}, epoch: 2026Q4}
tables:
  public.products: {id: keep, sku: keep, title: keep, description: null, price: keep, tags: keep, attributes: keep,
                    picture: null}
"""


def egress(folder: Path) -> Egress:
    """The command over a catalog of its own, in the sandbox that the other suites use."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("EGRESS_")}
    environment = {**inherited, "EGRESS_CATALOG": str(folder), "PYTHONPATH": str(ROOT)}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "egress_assets.cli", *words]
        return subprocess.run(
            command, env=environment, cwd=folder, capture_output=True, text=True, timeout=240, check=False
        )

    return run


@pytest.fixture(scope="module")
def dataset() -> Iterator[str]:
    """Its name; what was made under it, or under its name with `bare`, is removed: others use this sandbox too."""
    name = f"certified_{secrets.token_hex(4)}"
    sandbox = start()
    yield name
    for bucket in ("evidence", "lake"):
        store = open_store(sandbox.stores[bucket])
        for listed in list(store.list()):
            if escape(name) in listed.key:
                store.delete(listed.key)


@pytest.fixture(scope="module")
def cli(dataset: str, tmp_path_factory: pytest.TempPathFactory) -> Egress:
    folder = tmp_path_factory.mktemp("catalog")
    (folder / "endpoints.yaml").write_text(ENDPOINTS.replace("CERTIFICATES", "certificates: {key: {file: /none.pem}}"))
    (folder / f"{dataset}.yaml").write_text(DATASET)
    run = egress(folder)
    done = run("scrub", dataset)
    assert done.returncode == 0, done.stderr
    return run


def test_a_certificate_is_exported_and_verified_without_catalog_or_store(cli, dataset, tmp_path):
    given, public = tmp_path / "it.json", tmp_path / "egress.pub"
    done = cli("certificate", dataset, "--out", str(given))
    assert done.returncode == 0, done.stderr
    assert cli("certificate", dataset).stdout == given.read_text()
    assert cli("certificate", dataset, "--public-key", "--out", str(public)).returncode == 0
    document = json.loads(cli("certificate", dataset, "--json").stdout)
    assert (document["certificate"] + "\n", document["public_key"]) == (given.read_text(), public.read_text())

    away = egress(tmp_path)  # a folder without a catalog
    done = away("verify", "--certificate", str(given), "--public-key", str(public))
    assert done.returncode == 0, done.stderr
    assert f"scrub/{dataset}/shared" in done.stdout
    assert "none read: give --objects" in done.stdout
    assert cli("verify", "--certificate", str(given)).returncode == 0  # by the catalog's own key
    stored = json.loads(cli("verify", "--certificate", str(given), "--objects", "lake", "--json").stdout)
    assert stored["ok"]
    assert stored["objects"]["read"] == stored["objects"]["ok"] > 0
    elsewhere = away("verify", "--certificate", str(given), "--public-key", str(public), "--objects", str(tmp_path))
    assert elsewhere.returncode == 40
    assert "missing: scrub/" in elsewhere.stdout


def test_what_was_changed_ends_with_the_integrity_familys_code(cli, dataset, tmp_path):
    envelope = json.loads(cli("certificate", dataset).stdout)
    public = tmp_path / "egress.pub"
    public.write_text(cli("certificate", dataset, "--public-key").stdout)
    forged = tmp_path / "forged.json"
    forged.write_text(json.dumps({**envelope, "payload": envelope["payload"][:-8] + "fX0K"}))
    done = egress(tmp_path)("verify", "--certificate", str(forged), "--public-key", str(public), "--json")
    assert done.returncode == 40
    assert json.loads(done.stdout)["error"]["code"] == "certificate_invalid"
    assert cli("verify", "--certificate", str(tmp_path / "none.json")).returncode == 10
    assert cli("verify", "--public-key", str(public)).returncode == 2
    assert cli("verify", f"scrub/{dataset}/shared", "--certificate", str(forged)).returncode == 2


def test_status_and_verify_say_whether_a_scrub_is_certified(cli, dataset, tmp_path):
    unit = f"scrub/{dataset}/shared"
    (verified,) = json.loads(cli("verify", unit, "--json").stdout)["verified"]
    assert verified["certificate"] == "verified"
    assert "no certificate" not in cli("status", "--days", "1").stdout

    (tmp_path / "endpoints.yaml").write_text(ENDPOINTS.replace("CERTIFICATES", ""))
    bare = f"{dataset}_bare"
    (tmp_path / f"{bare}.yaml").write_text(DATASET)
    without = egress(tmp_path)
    assert without("scrub", bare).returncode == 0
    (verified,) = json.loads(without("verify", f"scrub/{bare}/shared", "--json").stdout)["verified"]
    assert verified["certificate"] == "no certificate"
    rows = json.loads(without("status", "--days", "1", "--json").stdout)["rows"]
    assert [(row["state"], row["detail"]) for row in rows] == [("done", "no certificate")]
    refused = without("certificate", bare)
    assert (refused.returncode, "no certificates are made here" in refused.stderr) == (10, True)


def test_a_key_is_checked_and_another_one_made_without_being_shown(cli, dataset, tmp_path):
    (said,) = json.loads(cli("key", "check", dataset, "--json").stdout)["keys"]
    assert (said["bytes"], said["epoch"], said["from"], len(said["dates"])) == (32, "2026Q4", "sandbox", 1)
    whole = cli("key", "check")
    assert whole.returncode == 0, whole.stderr
    assert "certificates: signed by" in whole.stdout

    out = tmp_path / "next.key"
    done = cli("key", "rotate", dataset, "--out", str(out))
    assert done.returncode == 0, done.stderr
    made = out.read_text().strip()
    assert len(bytes.fromhex(made)) == 32
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    scrub_key = start().scrub_key
    assert made not in done.stdout + done.stderr
    assert scrub_key not in done.stdout + whole.stdout + whole.stderr
    assert f"{dataset}.yaml:3" in done.stdout
    assert f"{{key: {{file: {out}}}, epoch: 20" in done.stdout
    again = cli("key", "rotate", dataset, "--out", str(out))
    assert again.returncode == 10  # a key that is there is never overwritten
    assert out.read_text().strip() == made
    planned = json.loads(cli("key", "rotate", dataset, "--epoch", "next", "--json").stdout)
    assert planned["now"] == {"key_id": "", "epoch": "next", "file": ""}
    assert cli("key", "rotate", dataset, "--epoch", "2026Q4").returncode == 10
