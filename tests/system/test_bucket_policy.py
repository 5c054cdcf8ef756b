"""`egress bucket-policy` as people run it, against the embedded servers and the shipped catalog. S0-6."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
STORES = {"ceph", "evidence", "lake", "quarantine"}


@dataclass(frozen=True, slots=True)
class Cli:
    environment: dict[str, str]
    catalog: Path

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "egress_assets.cli", *arguments]
        return subprocess.run(
            command, env=self.environment | variables, capture_output=True, text=True, timeout=120, check=False
        )

    def policy(self, *arguments: str, code: int) -> Any:
        done = self.run("bucket-policy", *arguments, "--json")
        assert done.returncode == code, done.stderr + done.stdout
        return json.loads(done.stdout)

    def say(self, old: str, new: str) -> None:
        """Change the catalog."""
        file = self.catalog / "endpoints.yaml"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    catalog, folder = tmp_path_factory.mktemp("catalog"), tmp_path_factory.mktemp("sandbox")
    for file in (ROOT / "catalog").glob("*.yaml"):
        shutil.copy(file, catalog)
    unset = ("EGRESS_ENV", "EGRESS_NOW", "EGRESS_DEBUG", "EGRESS_SANDBOX_PORT")
    inherited = {name: value for name, value in os.environ.items() if name not in unset}
    made = Cli(inherited | {"EGRESS_SANDBOX_DIR": str(folder), "EGRESS_CATALOG": str(catalog)}, catalog)
    try:
        yield made
    finally:
        assert made.run("sandbox", "stop", "--delete").returncode == 0


def test_drift_is_told_applied_once_and_told_again_when_the_catalog_changes(cli: Cli) -> None:
    found = cli.policy(code=30)
    assert found["stores"].keys() == STORES
    assert {item["state"] for item in found["stores"]["lake"]["items"]} == {"missing", "not supported"}
    assert not any(item["what"] == "lifecycle" for item in found["stores"]["evidence"]["items"])

    applied = cli.policy("lake", "--apply", code=0)["stores"]["lake"]
    assert (applied["changed"], applied["as_said"]) == (["lifecycle", "encryption"], True)
    assert cli.policy("lake", "--apply", code=0)["stores"]["lake"]["changed"] == []

    cli.say("{dump: 7, scrub: 14}", "{dump: 8, scrub: 14}")
    shown = cli.run("bucket-policy", "lake")
    assert shown.returncode == 30
    (line,) = (each for each in shown.stdout.splitlines() if each.startswith("*"))
    assert "expires after 7 d" in line
    assert "catalog: 'dump/': expires after 8 d" in line
    live = json.loads(cli.run("check", "--live", "--json").stdout)
    (told,) = (each for each in live["findings"] if each["asked"] == "bucket policy")
    assert (told["what"], told["state"]) == ("store lake", "ok")
    assert "differs in 1 items" in told["detail"]
    assert cli.policy("lake", "--apply", code=0)["stores"]["lake"]["changed"] == ["lifecycle"]


def test_without_names_apply_writes_where_the_catalog_says_so_alone(cli: Cli) -> None:
    cli.say("policy: apply", "policy: report")
    changed = cli.policy("--apply", code=30)["stores"]
    assert {name: store["changed"] for name, store in changed.items()} == {name: [] for name in STORES}
    cli.say("policy: report", "policy: apply")


def test_a_named_store_that_is_not_managed_is_refused_with_the_way_out(cli: Cli) -> None:
    error = cli.policy("ceph", "--apply", code=10)["error"]
    assert "`policy: report`" in error["message"]
    assert "policy: apply" in error["hint"]


def test_a_store_that_is_away_does_not_hide_the_others(cli: Cli, tmp_path: Path) -> None:
    """Outside the sandbox: nothing listens at either endpoint, and no secret is in what is told."""
    for file in cli.catalog.glob("*.yaml"):
        shutil.copy(file, tmp_path)
    (tmp_path / "endpoints.dev.yaml").write_text(
        "stores:\n"
        + "".join(
            f"  {name}: {{endpoint: 'http://127.0.0.1:9', access_key: k, secret_key: canary-secret}}\n"
            for name in ("ceph", "lake")
        )
    )
    done = cli.run("bucket-policy", "lake", "ceph", "--json", EGRESS_ENV="dev", EGRESS_CATALOG=str(tmp_path))
    assert done.returncode == 30
    failed = json.loads(done.stdout)["failed"]
    assert {name: error["code"] for name, error in failed.items()} == {
        "lake": "store_unavailable", "ceph": "store_unavailable",
    }  # fmt: skip
    assert "canary" not in done.stdout + done.stderr
