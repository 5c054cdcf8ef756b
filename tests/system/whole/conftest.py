"""A sandbox of its own for runs of the real command: a dataset over it that goes through every stage (`whole`), and
catalogs of tests' own that reach its servers from EGRESS_ENV=dev (`hostile`)."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from egress_assets.engine.catalog.loader import load_catalog
from egress_assets.engine.endpoints import open_platform
from egress_assets.engine.layout import Unit
from egress_assets.engine.platform import Platform
from egress_assets.engine.stores import ManagedStore, open_store
from egress_assets.engine.stores.settings import StoreSettings
from egress_assets.sandbox import Sandbox, remove, start
from egress_assets.sandbox.ports import answers
from egress_assets.sandbox.provider import SandboxProvider

ROOT = Path(__file__).resolve().parents[3]

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
drift: {retyped: accept}             # the test of one table by hand widens a column
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
            self.complete(stage)

    def complete(self, stage: str, *options: str) -> None:
        """One stage to its end; a killed sender's claim may first have to expire."""
        for _ in range(12):
            code, said = self.stage(stage, *options)
            if code == 0:
                return
            assert stage == "delivery", said
            assert "another run has claimed" in said, said
            time.sleep(1)
        raise AssertionError(f"{stage} does not complete: {said}")

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
            if process.stdout is not None:  # a test that failed has not read it to its end
                process.stdout.close()


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


# ---------------------------------------------------------------------------------------------------- hostile catalogs
HOSTILE_ENDPOINTS = """
timezone: UTC
evidence: {store: evidence}
sources:
  db: {dsn: {env: HOSTILE_DSN}, tls: disable, workers: 1, connect_timeout: 3, lock_timeout: 3}
stores:
  evidence: {bucket: evidence, zone: trusted, endpoint: {env: HOSTILE_S3_URL}, <access to evidence>}
  lake: {bucket: lake, zone: trusted, endpoint: {env: HOSTILE_S3_URL}, <access to lake>}
  ceph: {bucket: mirror, zone: external, endpoint: {env: HOSTILE_CEPH_URL}, <access to mirror>}
recipients:
  acme: {transfer_type: sft, knows: idempotent, <access to acme>}
  drop: {transfer_type: folder, path: <folder>/drop}
"""


@dataclass(frozen=True, slots=True)
class Said:
    """How the command ended."""

    code: int
    out: str
    err: str

    @property
    def all(self) -> str:
        return self.out + self.err


@dataclass(frozen=True, slots=True)
class Hostile:
    """A catalog of its own over the sandbox's servers, reached as in dev: by variables and files, never by name.

    Each has its own prefix in every bucket, so that what one leaves behind is nowhere in another's way.
    """

    sandbox: Sandbox
    folder: Path
    environment: Mapping[str, str]

    @property
    def catalog(self) -> Path:
        return self.folder / "catalog"

    @property
    def day(self) -> str:
        """The last complete date; outside the sandbox nothing sets the clock."""
        return (datetime.now(UTC).date() - timedelta(days=1)).isoformat()

    def write(self, name: str, content: str | Mapping[str, Any]) -> None:
        """A file of the catalog. JSON is YAML."""
        text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, indent=1)
        (self.catalog / f"{name}.yaml").write_text(text, encoding="utf-8")

    def dataset(self, name: str, tables: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
        """Scrubbed unless `fields` has `dump`; as written."""
        made = {"source": "db", "start": "2026-01-01", "tables": tables, **fields}
        if "dump" not in fields:
            made["scrub"] = {"key": {"env": "HOSTILE_KEY"}, "format": "csv"} | fields.get("scrub", {})
        self.write(name, made)
        return made

    def overlay(self, **sections: Mapping[str, Any]) -> None:
        """Endpoints that differ for this test."""
        self.write("endpoints.dev", sections)

    def begin(self, *arguments: str, **streams: Any) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "egress_assets.cli", *arguments]
        return subprocess.Popen(command, **{"env": self.environment, "cwd": self.folder} | streams)

    def run(self, *arguments: str, largest_file: int | None = None, **variables: str) -> Said:
        """`largest_file` is in bytes: writing more to one fails, as on a full disk, which takes no rights to make."""
        limit = ["prlimit", f"--fsize={largest_file}"] if largest_file else []
        done = subprocess.run(
            [*limit, sys.executable, "-m", "egress_assets.cli", *arguments], env={**self.environment, **variables},
            cwd=self.folder, capture_output=True, stdin=subprocess.DEVNULL, timeout=120, check=False,
        )  # fmt: skip
        return Said(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))

    def at_once(self, *commands: Sequence[str], variables: Sequence[Mapping[str, str]] = ()) -> list[Said]:
        """Independent runs, as many at a time as there are cores; each with its own `variables`, if there are any."""
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            each = variables or [{}] * len(commands)
            return list(threads.map(lambda command, own: self.run(*command, **own), commands, each))

    def done(self, *arguments: str, **variables: str) -> Any:
        """The document of a run that ends well."""
        said = self.run(*arguments, "--json", **variables)
        assert said.code == 0, said.all
        return json.loads(said.out)

    def refused(self, said: Said, code: int, *words: str) -> Said:
        """One clear error: the family's code, the object, a way out; no traceback and no credential."""
        assert said.code == code, said.all
        assert said.err.count("error: ") == 1, said.all
        assert said.err.count("HINT: ") == 1, said.all
        for word in words:
            assert word in said.err, f"{word!r} is not in: {said.err}"
        for wrong in ("Traceback", "unexpected", *self.sandbox.state.secrets.values()):
            assert wrong not in said.all, said.all
        return said

    def session(self) -> psycopg.Connection:
        return psycopg.connect(**self.sandbox.admin_dsn("shop").settings, autocommit=True)

    def execute(self, *statements: str) -> None:
        with self.session() as session:
            for statement in statements:
                session.execute(statement.encode())

    def platform(self) -> Platform:
        """The same evidence and stores, from in here."""
        catalog = load_catalog(self.catalog, "dev")
        with pytest.MonkeyPatch.context() as patch:
            for name in ("DSN", "S3_URL", "CEPH_URL", "KEY"):
                patch.setenv(f"HOSTILE_{name}", self.environment[f"HOSTILE_{name}"])
            platform = open_platform(catalog, "dev")
            for name in catalog.endpoints.stores:
                platform.store(name)
        return platform


@pytest.fixture(scope="session")
def servers() -> Iterator[Sandbox]:
    """The sandbox of all hostile tests."""
    home = Path(tempfile.mkdtemp(prefix="egress-h-", dir="/var/tmp"))
    home.chmod(0o711)
    try:
        yield start(home / "s")
    finally:
        remove(home / "s")
        subprocess.run(["rm", "-rf", home], check=False)


@pytest.fixture
def hostile(servers: Sandbox, tmp_path: Path) -> Hostile:
    """Endpoints by reference and no dataset yet."""
    return _hostile(servers, tmp_path)


@pytest.fixture(scope="session")
def make_hostile() -> Callable[[Sandbox, Path], Hostile]:
    """For fixtures that live longer than a test."""
    return _hostile


def _hostile(servers: Sandbox, folder: Path) -> Hostile:
    case, access = f"h{secrets.token_hex(4)}", folder / "access"
    for each in (folder / "catalog", folder / "drop", access):
        each.mkdir()
    at = servers.receiver
    text = HOSTILE_ENDPOINTS.replace("<folder>", str(folder)).replace(
        "<access to acme>", f"url: {at.url}, ca: {{file: {at.ca}}}, cert: {{file: {at.cert}}}, key: {{file: {at.key}}}"
    )
    for bucket in ("evidence", "lake", "mirror"):
        settings = servers.stores[bucket]
        (access / f"{bucket}.id").write_text(settings.access_key)
        (access / f"{bucket}.secret").write_text(f"{settings.secret_key}\n")  # a newline, as editors leave it
        keys = f"access_key: {{file: {access}/{bucket}.id}}, secret_key: {{file: {access}/{bucket}.secret}}"
        text = text.replace(f"<access to {bucket}>", f"prefix: {case}, {keys}")
    (folder / "catalog" / "endpoints.yaml").write_text(text)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EGRESS_")}
    own = {
        "EGRESS_ENV": "dev",
        "EGRESS_CATALOG": str(folder / "catalog"),
        "HOSTILE_DSN": servers.dsn("shop").conninfo,
        "HOSTILE_S3_URL": servers.stores["lake"].endpoint,
        "HOSTILE_CEPH_URL": servers.stores["mirror"].endpoint,
        "HOSTILE_KEY": servers.scrub_key,
    }
    return Hostile(servers, folder, kept | own)


@dataclass(frozen=True, slots=True)
class Fault:
    """An S3 server in memory that takes every key and misbehaves when told to; its bucket is for one test."""

    endpoint: str
    bucket: str

    def control(self, verb: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(f"{self.endpoint}/_ctl/{verb}", data=data, timeout=10) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def fault(self, *operations: str, **fields: object) -> None:
        """From now on, each such request ends so; without operations all is well again."""
        self.control("fault", [{"op": op, "skip": 0, "times": 10**6, **fields} for op in operations])

    def contents(self) -> set[str]:
        """What lies there, and parts that nobody completed."""
        found = self.control("state").get(self.bucket, {"objects": {}, "uploads": {}})
        return set(found["objects"]) | set(found["uploads"])

    @property
    def settings(self) -> dict[str, str]:
        """For `stores:` of a catalog."""
        return {"bucket": self.bucket, "endpoint": self.endpoint, "access_key": "a", "secret_key": "s"}

    def open(self) -> ManagedStore:
        return open_store(StoreSettings(name="fault", **self.settings))


@pytest.fixture(scope="session")
def _fault_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    program, source = ROOT / "tools" / "bin" / "s3mem", ROOT / "tools" / "s3mem"
    if not program.exists() or program.stat().st_mtime < max(file.stat().st_mtime for file in source.iterdir()):
        program.parent.mkdir(exist_ok=True)
        subprocess.run(["go", "build", "-o", str(program), "."], cwd=source, check=True, timeout=240)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([program, "-addr", f"127.0.0.1:{port}"], stdin=subprocess.DEVNULL)
    try:
        ends = time.monotonic() + 10
        while not answers(port):
            assert time.monotonic() < ends, "s3mem does not start"
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def fault(_fault_server: str) -> Iterator[Fault]:
    made = Fault(_fault_server, f"b{secrets.token_hex(4)}")
    made.control("reset")
    yield made
    made.fault()
