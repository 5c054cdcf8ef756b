"""Recipients for the conformance suite of transfers: real ones, and a scripted HTTPS server for what they never do."""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import ssl
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from egress_assets.engine.catalog.models import Basis
from egress_assets.engine.layout import mirror_unit
from egress_assets.engine.release import ReleasedObject, release_prefix
from egress_assets.engine.stores.s3 import S3Store
from egress_assets.engine.transfers import Parcel, Sent, Transfer, open_transfer, send
from tests.platforms import platform

LATER = timedelta(minutes=5)
BODY = b"id,name\n" + b"7,x\n" * 50_000


def parcel(body: bytes, destination: str, **changed: Any) -> Parcel:
    """A released object of these bytes; `changed` says what its release says instead."""
    basis = Basis(basis="internal", reason="test")
    scope = ("foreign", "in/")
    release = release_prefix(platform(), mirror_unit("all"), "2026-11-20", scope=scope, basis=basis, recipient="acme")
    said = {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest(), **changed}
    return Parcel(release, ReleasedObject("objects", "foreign", "in/x", said["bytes"], said["sha256"]), destination)


def chunked(body: bytes, size: int = 65536) -> Iterator[bytes]:
    return (body[i : i + size] for i in range(0, len(body), size))


def later() -> datetime:
    return datetime.now(UTC) + LATER


class Peer(Protocol):
    """A recipient as its owner sees it."""

    transfer_type: str
    settings: Mapping[str, Any]

    def visible(self) -> dict[str, bytes]:
        """What the recipient has, by destination."""
        ...


def opened(peer: Peer, **changed: Any) -> Transfer:
    return open_transfer(peer.transfer_type, {**peer.settings, **changed}, recipient="acme")


def give(peer: Peer, body: bytes = BODY, name: str = "in/a.csv", identity: str = "i-1", **changed: Any) -> Sent:
    return send(opened(peer, **changed), parcel(body, name), chunked(body), identity=identity, not_after=later())


@dataclass
class Folder:
    root: Path
    transfer_type: str = "folder"

    @property
    def path(self) -> Path:
        return self.root / "watched"

    @property
    def staging(self) -> Path:
        return self.root / ".watched.egress"

    @property
    def settings(self) -> Mapping[str, Any]:
        self.path.mkdir(exist_ok=True)
        return {"path": str(self.path)}

    def visible(self) -> dict[str, bytes]:
        files = (p for p in self.path.rglob("*") if p.is_file())
        return {str(p.relative_to(self.path)): p.read_bytes() for p in files}


@dataclass
class Bucket:
    store: S3Store
    settings: Mapping[str, Any]
    transfer_type: str = "s3"

    def visible(self) -> dict[str, bytes]:
        return {listed.key: b"".join(self.store.get(listed.key)) for listed in self.store.list()}


@dataclass
class Receiver:
    """The sandbox's recipient, as a process of its own."""

    home: Path
    port: int
    transfer_type: str = "sft"

    @property
    def settings(self) -> Mapping[str, Any]:
        files = {name: str(self.home / path) for name, path in FILES.items()}
        return {"url": f"https://127.0.0.1:{self.port}/DA", "knows": "idempotent", **files}

    def visible(self) -> dict[str, bytes]:
        return {p.name.replace("~", "/"): p.read_bytes() for p in (self.home / "inbox").iterdir()}

    def faults(self, **faults: float) -> None:
        fresh = self.home / "faults.new"
        fresh.write_text(json.dumps(faults))
        fresh.replace(self.home / "faults.json")

    def empty(self) -> None:
        self.faults()
        for folder in ("inbox", "keys", "receipts"):
            for path in (self.home / folder).iterdir():
                path.unlink()


FILES = {"ca": "ca.pem", "cert": "client.pem", "key": "client.key"}


def receiver_command(home: Path, port: int) -> list[str]:
    """Makes its certificates, too."""
    from egress_assets.sandbox import certificates

    certificates.ensure(home)
    config = home / "config.json"
    config.write_text(json.dumps({"home": str(home), "port": port}))
    return [sys.executable, "-m", "egress_assets.sandbox.receiver", "--config", str(config)]


@dataclass
class Seen:
    """What one request looked like to the scripted server."""

    head: str = ""
    body: bytes = b""
    error: str = ""


@dataclass
class Scripted:
    """An HTTPS server that answers each connection by a function of the test's."""

    home: Path
    script: Callable[[ssl.SSLSocket, Seen], None]
    seen: list[Seen] = field(default_factory=list)
    port: int = 0

    @property
    def settings(self) -> dict[str, Any]:
        files = {name: str(self.home / path) for name, path in FILES.items()}
        return {"url": f"https://127.0.0.1:{self.port}/DA", **files}


@contextlib.contextmanager
def scripted(home: Path, script: Callable[[ssl.SSLSocket, Seen], None], *, newest: Any = None) -> Iterator[Scripted]:
    """Serve until the block ends; `newest` is the highest TLS version that the server knows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(home / "server.pem", home / "server.key")
    context.load_verify_locations(home / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    if newest is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # TLS 1.1 is what the test is about
            context.minimum_version = context.maximum_version = newest
    server, listener = Scripted(home, script), socket.create_server(("127.0.0.1", 0))
    server.port = listener.getsockname()[1]
    thread = threading.Thread(target=_serve, args=(server, listener, context), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


def _serve(server: Scripted, listener: socket.socket, context: ssl.SSLContext) -> None:
    while True:
        try:
            plain, _ = listener.accept()
        except OSError:
            return
        seen = Seen()
        server.seen.append(seen)
        plain.settimeout(10)
        with plain, contextlib.suppress(OSError), context.wrap_socket(plain, server_side=True) as secured:
            seen.head = _head(secured)
            server.script(secured, seen)


def _head(secured: ssl.SSLSocket) -> str:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = secured.recv(1)
        if not piece:
            return ""
        data += piece
    return data.decode()


def take(secured: ssl.SSLSocket, seen: Seen, size: int) -> None:
    """Read `size` bytes of the body, or as many as come."""
    while len(seen.body) < size:
        piece = secured.recv(65536)
        if not piece:
            return
        seen.body += piece


def answer(secured: ssl.SSLSocket, status: int, body: bytes = b"", **headers: str) -> None:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    secured.sendall(f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n{lines}\r\n".encode() + body)
