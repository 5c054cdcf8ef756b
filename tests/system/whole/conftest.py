"""A sandbox of its own for runs of the real command, and a dataset over it that goes through every stage."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from egress_assets.engine.catalog.loader import load_catalog
from egress_assets.engine.layout import Unit
from egress_assets.engine.platform import Platform
from egress_assets.sandbox import Sandbox, remove, start
from egress_assets.sandbox.provider import SandboxProvider

DATE, NOW = "2026-11-19", "2026-11-20T03:00:00+00:00"
SHORT_CLAIMS = (
    "import sys, egress_assets.engine.evidence.deliver as d; "
    "d.TTL, d.MARGIN = 2 * d.SECOND, 1 * d.SECOND; from egress_assets.cli import main; sys.exit(main())"
)
"""The command with claims that live seconds: what a killed sender leaves is taken over within the test's time."""

ENDPOINTS = """
timezone: Europe/London
evidence: {store: evidence}
sources: {shop_db: {dsn: {env: NOWHERE}, workers: 2}}
stores:
  evidence: {kind: s3, bucket: evidence, zone: trusted}
  lake: {kind: s3, bucket: lake, zone: trusted, part_bytes: 5242880}
  quarantine: {kind: s3, bucket: quarantine, zone: trusted, part_bytes: 5242880}
  ceph: {kind: ceph, bucket: mirror, zone: external, part_bytes: 5242880}
recipients:
  acme: {transfer_type: sft, url: "https://acme.example/DA", cert: {file: /c}, key: {file: /k}, ca: {file: /a}}
"""
DATASET = """
source: shop_db
start: 2026-11-01
dump: {format: csv}
scrub: {key: {env: NOWHERE}, quarantine: quarantine, format: csv}
tables:
  whole.people: {id: keep, version: keep, email: email, filler: keep}
  whole.deeds: {id: keep, version: keep, person: {mask: hash, domain: person}, filler: keep}
mirrors:
  whole: {to: ceph}
deliveries:
  acme/deeds: {from: whole.deeds, format: csv.gz, destination_prefix: "in/{date:%Y/%m/%d}/"}
"""
STAGES = {
    "dump": ["dump", "whole"],
    "scrub": ["scrub", "whole"],
    "mirror": ["mirror", "whole"],
    "delivery": ["deliver", "acme/deeds"],
}
UNITS = {
    "dump": Unit("dump", ("whole",)),
    "scrub": Unit("scrub", ("whole", "shared")),
    "mirror": Unit("mirror", ("whole",)),
    "delivery": Unit("delivery", ("acme", "deeds")),
}


@dataclass(slots=True)
class Whole:
    """The dataset `whole` in a sandbox: two tables of `rows` rows, each row of version 1 marked in the first ten."""

    sandbox: Sandbox
    folder: Path
    platform: Platform
    environment: Mapping[str, str]
    version: int = 1
    date: str = DATE
    stages: Mapping[str, list[str]] = field(default_factory=lambda: STAGES)
    units: Mapping[str, Unit] = field(default_factory=lambda: UNITS)
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def command(self, *arguments: str, short_claims: bool = True) -> list[str]:
        entry = ["-c", SHORT_CLAIMS] if short_claims else ["-m", "egress_assets.cli"]
        return [sys.executable, *entry, *arguments]

    def begin(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            self.command(*arguments), env={**self.environment, **environment}, cwd=self.folder, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        self.started.append(process)
        return process

    def run(self, *arguments: str, **environment: str) -> tuple[int, str]:
        process = self.begin(*arguments, **environment)
        said, _ = process.communicate(timeout=240)
        return process.returncode, said

    def stage(self, stage: str, *options: str) -> tuple[int, str]:
        return self.run(*STAGES[stage], "--date", DATE, *options)

    def chain(self) -> None:
        """Every stage once, to the end."""
        for stage in STAGES:
            code, said = self.stage(stage)
            assert code == 0, f"{stage}: {said}"

    def session(self) -> psycopg.Connection:
        return psycopg.connect(**self.sandbox.admin_dsn("shop").settings, autocommit=True)

    def next_version(self) -> int:
        """Both tables change in one transaction: a mix of versions in a dataset is a torn snapshot."""
        self.version += 1
        with self.session() as session, session.transaction():
            for table in ("people", "deeds"):
                session.execute(f"UPDATE whole.{table} SET version = {self.version} WHERE id <= 10".encode())
        return self.version

    def workers(self) -> set[int]:
        """Worker processes of this sandbox's runs that still live."""
        found = set()
        for proc in Path("/proc").iterdir():
            if proc.name.isdigit():
                try:
                    if b"egress_assets.engine.worker" in (proc / "cmdline").read_bytes():
                        ours = f"EGRESS_SANDBOX_DIR={self.environment['EGRESS_SANDBOX_DIR']}".encode()
                        found |= {int(proc.name)} if ours in (proc / "environ").read_bytes() else set()
                except OSError:
                    continue
        return found

    def wait_for_workers(self, seconds: float = 5.0) -> None:
        """A dead parent's workers cancel their query and end by themselves."""
        ends = time.monotonic() + seconds
        while self.workers() and time.monotonic() < ends:
            time.sleep(0.05)
        assert not self.workers(), "workers outlive their parent"

    def inbox(self) -> dict[str, bytes]:
        """What the recipient can see."""
        root = self.sandbox.receiver.inbox
        visible = [
            p for p in root.rglob("*") if p.is_file() and not any(x.startswith(".") for x in p.relative_to(root).parts)
        ]
        return {str(p.relative_to(root)): p.read_bytes() for p in visible}


@contextmanager
def private_sandbox() -> Iterator[dict[str, str]]:
    """The environment of a sandbox that only this test module knows."""
    home = tempfile.mkdtemp(prefix="egress-w-", dir="/var/tmp")
    Path(home).chmod(0o711)
    said = {"EGRESS_SANDBOX_DIR": f"{home}/s", "EGRESS_NOW": NOW}
    before = {name: os.environ.get(name) for name in said}
    os.environ.update(said)
    try:
        yield said
    finally:
        remove()
        subprocess.run(["rm", "-rf", home], check=False)
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    """Tables of 60,000 rows, about 12 MB each as CSV: several parts of 5 MiB."""
    with private_sandbox() as said:
        sandbox = start()
        folder = tmp_path_factory.mktemp("whole")
        catalog = folder / "catalog"
        catalog.mkdir()
        (catalog / "endpoints.yaml").write_text(ENDPOINTS)
        (catalog / "whole.yaml").write_text(DATASET)
        with psycopg.connect(**sandbox.admin_dsn("shop").settings, autocommit=True) as session:
            session.execute(TABLES.encode())
        loaded = load_catalog(catalog)
        made = Whole(sandbox, folder, Platform(loaded, SandboxProvider(loaded)), _environment(said, catalog))
        yield made
        for process in made.started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _environment(said: Mapping[str, str], catalog: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EGRESS_")}
    return kept | dict(said) | {"EGRESS_CATALOG": str(catalog)}


TABLES = """
CREATE SCHEMA whole;
CREATE TABLE whole.people (id int PRIMARY KEY, version int NOT NULL, email text, filler text);
CREATE TABLE whole.deeds (id int PRIMARY KEY, version int NOT NULL, person text, filler text);
INSERT INTO whole.people SELECT g, 1, 'p' || g || '@example.com', repeat(md5(g::text), 5)
FROM generate_series(1, 60000) g;
INSERT INTO whole.deeds SELECT g, 1, 'person ' || g % 977, repeat(md5((g * 7)::text), 5)
FROM generate_series(1, 60000) g;
GRANT USAGE ON SCHEMA whole TO egress_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA whole TO egress_reader;
"""


def facts(said: str) -> Any:
    """The one JSON document of a `--json` run."""
    return json.loads(said[said.index("{") :])
