"""Throwaway Postgres clusters (the sandbox's PostgreSQL 18, Debian's with TLS), an S3 server, and a platform over both.

A test has a database of its own. A missing server fails, nothing skips.
"""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from psycopg import sql

from egress_assets.engine.catalog.models import Catalog, DatasetModel, Endpoints
from egress_assets.engine.dump import extract
from egress_assets.engine.dump import run as dump_run
from egress_assets.engine.dump.bounds import Bounds
from egress_assets.engine.dump.copying import copy_part
from egress_assets.engine.dump.snapshot import Leader, joined
from egress_assets.engine.dump.source import SourceSettings, connect
from egress_assets.engine.dump.tasks import PartTask, TableDone
from egress_assets.engine.evidence.records import TableRecord
from egress_assets.engine.layout import Unit, dump_unit
from egress_assets.engine.partition import parse_date
from egress_assets.engine.platform import Platform
from egress_assets.engine.progress import Listener
from egress_assets.engine.result import StageResult
from egress_assets.engine.scrub import run as scrub_run
from egress_assets.engine.stores import Store, open_store
from egress_assets.engine.stores.settings import StoreSettings
from egress_assets.engine.stream import decompressed
from egress_assets.sandbox.postgres import binaries_folder, unprivileged_account

ROOT = Path(__file__).parents[3]
READER_PASSWORD = secrets.token_hex(16)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def answers(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@dataclass(frozen=True, slots=True)
class Cluster:
    """One server with a superuser `owner` and a role `reader` that may read what it was granted."""

    binaries: Path
    port: int
    password: str

    def connect(self, database: str = "postgres", **keywords: Any) -> psycopg.Connection:
        given = {"host": "127.0.0.1", "port": self.port, "user": "owner", "password": self.password}
        return psycopg.connect(**{**given, "dbname": database, "sslmode": "prefer", **keywords}, autocommit=True)

    def psql(self, database: str, query: str, stdin: bytes | None = None) -> bytes:
        command = [str(self.binaries / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1"]
        command += ["-p", str(self.port), "-U", "owner", "-d", database, "-c", query]
        environment = {**os.environ, "PGPASSWORD": self.password, "PGCLIENTENCODING": "UTF8"}
        done = subprocess.run(command, input=stdin, capture_output=True, env=environment, timeout=60, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout


@dataclass(frozen=True, slots=True)
class Database:
    """A test's own database."""

    cluster: Cluster
    name: str

    def connect(self, **keywords: Any) -> psycopg.Connection:
        return self.cluster.connect(self.name, **keywords)

    def run(self, *statements: str) -> None:
        """As the owner; then everything in `public` may be read by `reader`."""
        with self.connect() as session:
            for statement in statements:
                session.execute(statement.encode())
            session.execute("GRANT USAGE ON SCHEMA public TO reader")
            session.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")

    def rows(self, query: str, *arguments: object) -> list[tuple]:
        with self.connect() as session:
            return session.execute(query.encode(), arguments).fetchall()

    def psql(self, query: str, stdin: bytes | None = None) -> bytes:
        return self.cluster.psql(self.name, query, stdin)

    def settings(self, **fields: Any) -> SourceSettings:
        given = {"name": "db", "host": "127.0.0.1", "port": self.cluster.port, "database": self.name}
        given |= {"user": "reader", "password": READER_PASSWORD, "tls": "disable", "workers": 2, "lock_timeout": 5}
        return SourceSettings.model_validate({**given, **fields})

    def sessions(self, query: str = "%") -> list[tuple[int, str, str]]:
        """(pid, application, state) of the reader's sessions here, of those whose query is LIKE `query`."""
        return self.rows(
            "SELECT pid, application_name, state FROM pg_stat_activity"
            " WHERE datname = current_database() AND usename = 'reader' AND query LIKE %s",
            query,
        )

    def terminate(self, application: str) -> int:
        return len(
            self.rows(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name LIKE %s",
                application,
            )
        )


def _run_as(account: Any, command: list[str], **options: Any) -> None:
    if account is not None:
        options |= {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    done = subprocess.run(command, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, check=False, **options)
    assert done.returncode == 0, done.stderr.decode()


def _start(home: Path, binaries: Path, options: str) -> Cluster:
    """initdb and a server that trusts nobody, below `home`, with small buffers so that scans synchronise early."""
    account, port, password = unprivileged_account(), free_port(), secrets.token_hex(16)
    data, note = home / "data", home / "password"
    note.write_text(password)
    if account is not None:
        for path in (home, *home.iterdir()):
            os.chown(path, account.pw_uid, account.pw_gid)
    command = [str(binaries / "initdb"), "-D", str(data), "-U", "owner", "-A", "scram-sha-256", f"--pwfile={note}"]
    _run_as(account, [*command, "--no-sync", "-E", "UTF8", "--locale=C"])
    flags = f"-h 127.0.0.1 -p {port} -k '' -c fsync=off -c shared_buffers=4MB -c timezone=UTC {options}"
    command = [str(binaries / "pg_ctl"), "start", "-w", "-s", "-D", str(data), "-l", str(home / "log"), "-o", flags]
    # pg_ctl hands its output to the server, which lives on: a pipe would never end
    options_out = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account else {}
    silent = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    done = subprocess.run(command, cwd="/", check=False, **silent, **options_out)
    assert done.returncode == 0, (home / "log").read_text()
    cluster = Cluster(binaries, port, password)
    with cluster.connect() as session:
        session.execute(sql.SQL("CREATE ROLE reader LOGIN PASSWORD {}").format(sql.Literal(READER_PASSWORD)))
    return cluster


def _running(binaries: Path, prepare: Callable[[Path], str]) -> Iterator[Cluster]:
    home = Path(tempfile.mkdtemp(prefix="egress-test-pg-", dir="/var/tmp"))
    home.chmod(0o711)
    try:
        yield _start(home, binaries, prepare(home))
    finally:
        _run_as(unprivileged_account(), [str(binaries / "pg_ctl"), "stop", "-m", "immediate", "-D", str(home / "data")])
        shutil.rmtree(home)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The sandbox's PostgreSQL 18."""
    yield from _running(binaries_folder(), lambda _home: "")


@dataclass(frozen=True, slots=True)
class TlsCluster:
    """Debian's server with a certificate for the name `localhost` only, signed by the authority in `ca`."""

    cluster: Cluster
    ca: Path
    other_ca: Path


@pytest.fixture(scope="session")
def tls_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsCluster]:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    assert found, "Debian's package postgresql is missing"
    folder = tmp_path_factory.mktemp("ca")

    def prepare(home: Path) -> str:
        _certificates(folder, home)
        return f"-c ssl=on -c ssl_cert_file={home}/server.pem -c ssl_key_file={home}/server.key"

    for running in _running(found[-1].parent, prepare):
        yield TlsCluster(running, folder / "ca.pem", folder / "other.pem")


def _certificates(authorities: Path, home: Path) -> None:
    key, name = _key(), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    (authorities / "ca.pem").write_bytes(_pem(_certificate(key, name, key, name, ca=True)))
    other, foreign = _key(), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "another authority")])
    (authorities / "other.pem").write_bytes(_pem(_certificate(other, foreign, other, foreign, ca=True)))
    mine = _key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    (home / "server.pem").write_bytes(_pem(_certificate(mine, subject, key, name, ca=False)))
    plain = serialization.NoEncryption()
    body = mine.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    (home / "server.key").touch(mode=0o600)
    (home / "server.key").write_bytes(body)


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _certificate(key: Any, subject: x509.Name, signer: Any, issuer: x509.Name, *, ca: bool) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.2"))])
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    made = made.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
    made = made.not_valid_after(now + datetime.timedelta(days=7))
    made = made.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    if not ca:
        made = made.add_extension(names, critical=False)
    return made.sign(signer, hashes.SHA256())


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


@pytest.fixture
def db(cluster: Cluster) -> Iterator[Database]:
    """A fresh database of PostgreSQL 18."""
    yield from _database(cluster)


@pytest.fixture(scope="module")
def module_db(cluster: Cluster) -> Iterator[Database]:
    """A database of PostgreSQL 18 for all tests of a file."""
    yield from _database(cluster)


@pytest.fixture
def debian_db(tls_cluster: TlsCluster) -> Iterator[Database]:
    """A fresh database of Debian's server."""
    yield from _database(tls_cluster.cluster)


@pytest.fixture(params=["sandbox", "debian"])
def any_db(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A fresh database of each server, one after the other."""
    if request.param == "sandbox":
        yield from _database(request.getfixturevalue("cluster"))
    else:
        yield from _database(request.getfixturevalue("tls_cluster").cluster)


def _database(cluster: Cluster) -> Iterator[Database]:
    made = Database(cluster, f"t_{secrets.token_hex(6)}")
    with cluster.connect() as session:
        session.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(made.name)))
    yield made
    with cluster.connect() as session:
        session.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(made.name)))


# --------------------------------------------------------------------------------------------------------- object store
@dataclass(frozen=True, slots=True)
class Buckets:
    """tools/s3mem with a bucket of its own for each test, and what the server itself holds."""

    endpoint: str
    bucket: str

    def settings(self, **fields: Any) -> StoreSettings:
        given = {"name": "lake", "bucket": self.bucket, "endpoint": self.endpoint}
        return StoreSettings.model_validate({**given, "access_key": "k", "secret_key": "s", **fields})

    def open(self, **fields: Any) -> Store:
        return open_store(self.settings(**fields))

    def control(self, verb: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(f"{self.endpoint}/_ctl/{verb}", data=data, timeout=10) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def fault(self, op: str, action: str, **fields: object) -> None:
        self.control("fault", [{"op": op, "action": action, "skip": 0, "times": 1, "ms": 60_000, **fields}])

    def here(self, bucket: str = "") -> tuple[dict[str, Any], dict[str, Any]]:
        """(objects, unfinished uploads) by key and by id."""
        state = self.control("state").get(bucket or self.bucket, {"objects": {}, "uploads": {}})
        return state["objects"], state["uploads"]


@pytest.fixture(scope="session")
def s3mem() -> Iterator[str]:
    port = free_port()
    binary = ROOT / "tools" / "bin" / "s3mem"
    assert binary.exists(), "make tools/bin/s3mem"
    process = subprocess.Popen([binary, "-addr", f"127.0.0.1:{port}"], stdin=subprocess.DEVNULL)
    wait_until(lambda: answers(port))
    yield f"http://127.0.0.1:{port}"
    process.kill()
    process.wait()


@pytest.fixture
def lake(s3mem: str) -> Iterator[Buckets]:
    made = Buckets(s3mem, f"b-{secrets.token_hex(6)}")
    yield made
    made.control("clear")


# ------------------------------------------------------------------------------------------------------------- platform
@dataclass(slots=True)
class Place:
    """A catalog with one dataset `shop` over the test's database, which a test may change between runs."""

    db: Database
    lake: Buckets
    tables: dict[str, Any]
    dataset: dict[str, Any] = field(default_factory=dict)
    source: dict[str, Any] = field(default_factory=dict)
    stored: dict[str, Any] = field(default_factory=dict)
    rules: dict[str, Any] = field(default_factory=dict)  # of the source, those that are read from the catalog

    @property
    def platform(self) -> Platform:
        stores = {name: {"bucket": name, "zone": "trusted"} for name in ("evidence", "lake")}
        given = {"timezone": "Europe/London", "evidence": {"store": "evidence"}, "stores": stores}
        endpoints = Endpoints.model_validate({**given, "sources": {"db": {"host": "db.example", **self.rules}}})
        shop = {"source": "db", "start": "2026-11-01", "dump": {}, "tables": self.tables, **self.dataset}
        lines = {f"shop.tables.{table}": line for line, table in enumerate(self.tables, 6)} | {"shop.limits": 5}
        datasets = {"shop": DatasetModel.model_validate(shop)}
        catalog = Catalog(endpoints=endpoints, datasets=datasets, files={"shop": "catalog/shop.yaml"}, lines=lines)
        return Platform(catalog, Given(self))

    @property
    def data(self) -> Store:
        return Given(self).open("lake")

    def objects(self) -> dict[str, Any]:
        """What the lake holds besides copies of manifests, by key."""
        return {key: found for key, found in self.lake.here()[0].items() if "/part-" in key}


@dataclass(frozen=True, slots=True)
class Given:
    """Settings of a Place, as a platform's provider."""

    place: Place

    def source(self, _name: str) -> SourceSettings:
        return self.place.db.settings(**self.place.source)

    def store(self, name: str) -> StoreSettings:
        own = self.place.lake.bucket + ("-evidence" if name == "evidence" else "")
        return self.place.lake.settings(**{**self.place.stored, "name": name, "bucket": own})

    def open(self, name: str) -> Store:
        return open_store(self.store(name))

    def recipient(self, name: str) -> dict[str, Any]:
        raise AssertionError(f"a dump has no recipient {name}")

    def secret(self, value: Any) -> str:
        """The scrub's key, whatever the catalog calls it."""
        return "5c" * 32 if value else ""


@pytest.fixture
def place(db: Database, lake: Buckets, monkeypatch: pytest.MonkeyPatch) -> Place:
    """`shop` with three small tables, at half past two on 2026-11-20."""
    monkeypatch.setenv("EGRESS_NOW", "2026-11-20T02:30:00+00:00")
    db.run(
        "CREATE TABLE customers (id int PRIMARY KEY, email text)",
        "INSERT INTO customers SELECT g, 'c' || g || '@example.com' FROM generate_series(1, 50) g",
        "CREATE TABLE orders (id int PRIMARY KEY, customer_id int, total numeric(12,2))",
        "INSERT INTO orders SELECT g, g % 50 + 1, g * 1.5 FROM generate_series(1, 500) g",
        "CREATE TABLE nothing (id int)",
    )
    return Place(db, lake, {"public.customers": {}, "public.orders": {}, "public.nothing": {}})


def wait_until(check: Callable[[], Any], seconds: float = 20) -> Any:
    """The first true answer of `check`."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if found := check():
            return found
        time.sleep(0.02)
    raise AssertionError(f"still not so after {seconds} s")


@pytest.fixture
def until() -> Callable[..., Any]:
    return wait_until


# ------------------------------------------------------------------------------------------------------------ extracts
def _extract(
    leader: Leader,
    tasks: Sequence[PartTask],
    store: StoreSettings,
    *,
    settings: SourceSettings,
    phase: str = "dump",
    bounds: Bounds | None = None,
    on: Listener,
    **_given: Any,
) -> dict[str, TableDone]:
    """What a worker does, by the same functions, for tests of many runs: a process takes a second to start."""
    reading = extract._Reading(tasks, phase, on, bounds or Bounds())
    with closing(connect(settings, application_name="egress worker")) as session:
        for task in tasks:
            with joined(session, leader.snapshot, task):
                done = copy_part(session, task, open_store(store), stop=threading.Event(), tell=lambda *_told: None)
            reading.hear({"done": asdict(done)})
    leader.verify()
    return reading.tables()


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dumps and scrubs read in this process."""
    monkeypatch.setattr("egress_assets.engine.dump.run.extract", _extract)
    monkeypatch.setattr("egress_assets.engine.scrub.run.extract", _extract)


# --------------------------------------------------------------------------------------------------- incremental dates
@dataclass(slots=True)
class Days:
    """A dataset `shop` of incremental tables, made one date after the other at half past two of the day after."""

    place: Place
    clock: pytest.MonkeyPatch
    unit: Unit
    table: str = "public.events"

    def make(self, date: str, **given: Any) -> StageResult:
        """In this process: its worker's part as well, with the fixture `in_process`."""
        self.clock.setenv("EGRESS_NOW", f"{parse_date(date) + datetime.timedelta(days=1)}T02:30:00+00:00")
        stage = dump_run if self.unit.stage == "dump" else scrub_run
        return stage.run(self.place.platform, "shop", date, **given)

    def record(self, date: str) -> TableRecord:
        pointer = self.place.platform.evidence.pointer(self.unit, date)
        assert pointer is not None
        return self.place.platform.evidence.tables(pointer)[self.table][1]

    def rows(self, date: str) -> list[str]:
        """The date's rows of the table, as CSV."""
        objects = self.record(date).objects
        found = (b"".join(decompressed(self.place.data.get(each.key), "csv.zst")) for each in objects)
        return b"".join(found).decode().splitlines()

    def says(self, date: str) -> dict[str, Any]:
        return dict(self.record(date).continues)


@pytest.fixture
def days(place: Place, monkeypatch: pytest.MonkeyPatch) -> Days:
    """Its table is `events` with the watermark `at`, long ago: no row may be dated after the server's own clock."""
    place.db.run("CREATE TABLE events (id int PRIMARY KEY, at timestamptz NOT NULL, note text)")
    place.tables = {"public.events": {"watermark": "at"}}
    place.dataset = {"start": "2020-03-01", "extract": "incremental"}
    return Days(place, monkeypatch, dump_unit("shop"))
