"""The embedded HTTPS recipient over real TLS: who may send, what becomes visible, and what is answered twice."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from egress_assets.sandbox import certificates, ports, processes
from egress_assets.sandbox.model import Receiver, Sandbox
from egress_assets.sandbox.recipient import Recipient
from egress_assets.sandbox.state import State, make_folders


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def receipt(self) -> dict[str, Any]:
        assert self.status == 200, self.body
        return json.loads(self.body)


class Peer:
    """A client of one recipient, with or without a certificate."""

    def __init__(self, server: Recipient) -> None:
        self.server = server
        self.at: Receiver = Sandbox(server.state).receiver

    def context(self, cert: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.at.ca))
        context.verify_flags |= ssl.VERIFY_X509_STRICT  # what Python 3.13 does by default
        context.load_cert_chain(cert or self.at.cert, key or self.at.key)
        return context

    def post(self, body: bytes | Iterable[bytes], name: str = "a.csv", **headers: str) -> Answer:
        fields = {"filename": name} | {field.replace("_", "-"): value for field, value in headers.items()}
        return self.request("POST", "/DA", body, fields)

    def head(self, name: str) -> Answer:
        return self.request("HEAD", f"/DA/{name}")

    def request(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        connection = http.client.HTTPSConnection("localhost", self.server.port, context=self.context(), timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path, body=body, headers=headers or {})
            response = connection.getresponse()
            named = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, named, response.read())

    @contextlib.contextmanager
    def raw(self, **headers: str) -> Iterator[ssl.SSLSocket]:
        """A connection on which the head of a POST was sent, and no body."""
        lines = [f"{field.replace('_', '-')}: {value}" for field, value in {"host": "localhost", **headers}.items()]
        plain = socket.create_connection(("127.0.0.1", self.server.port), timeout=10)
        with plain, self.context().wrap_socket(plain, server_hostname="localhost") as secured:
            secured.sendall(("POST /DA HTTP/1.1\r\n" + "\r\n".join(lines) + "\r\n\r\n").encode())
            yield secured

    def visible(self) -> set[str]:
        return {path.name for path in self.at.inbox.iterdir()}

    def coming(self) -> list[Path]:
        return list((self.at.inbox.parent / "incoming").iterdir())

    def stored(self, name: str) -> int:
        return self.server.log.read_text().count(f"stored '{name}'")

    def faults(self, **faults: float) -> None:
        new = self.at.faults.with_suffix(".new")
        new.write_text(json.dumps(faults))
        new.replace(self.at.faults)


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer]:
    folder = Path(tempfile.mkdtemp(prefix="egs-", dir="/tmp"))
    make_folders(folder)
    port = ports.choose("receiver", 1, kept=None, taken=())
    server = Recipient(State(folder=folder, ports={"receiver": port}, secrets={}), "receiver")
    try:
        server.start()
        yield Peer(server)
    finally:
        server.stop()
        shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def _no_faults_left(peer: Peer) -> Iterator[None]:
    yield
    peer.at.faults.unlink(missing_ok=True)


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def until(condition: Any, seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_without_a_client_certificate_nothing_is_served(peer: Peer) -> None:
    bare = ssl.create_default_context(cafile=str(peer.at.ca))
    with pytest.raises(ssl.SSLError, match=r"(?i)certificate.required"):
        shake_hands(peer, bare)


def test_a_certificate_of_another_authority_is_refused(peer: Peer, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    rogue = certificates.make_client(certificates.make_authority(now), now)
    for name, content in zip(("cert", "key"), rogue, strict=True):
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ssl.SSLError, match=r"(?i)unknown.ca|decrypt.error"):
        shake_hands(peer, peer.context(tmp_path / "cert", tmp_path / "key"))


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_tls_1_1_is_refused(peer: Peer) -> None:
    old = peer.context()
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError, match=r"(?i)protocol.version"):
        shake_hands(peer, old)


def shake_hands(peer: Peer, context: ssl.SSLContext) -> None:
    """TLS 1.3 tells a client what is wrong with its certificate after the handshake, with the first read."""
    plain = socket.create_connection(("127.0.0.1", peer.server.port), timeout=10)
    with plain, context.wrap_socket(plain, server_hostname="localhost") as secured:
        secured.recv(1)


def test_a_file_arrives_whole_and_is_found_by_head(peer: Peer) -> None:
    body = os.urandom(300_000)
    answer = peer.post(body, "whole.bin", x_egress_identity="unit-7", x_egress_sha256=sha256(body).upper())
    receipt = answer.receipt
    assert {key: receipt[key] for key in ("filename", "bytes", "sha256", "identity")} == {
        "filename": "whole.bin", "bytes": len(body), "sha256": sha256(body), "identity": "unit-7",
    }  # fmt: skip
    assert datetime.now(UTC) - datetime.fromisoformat(receipt["received_at"]) < timedelta(seconds=60)
    assert (peer.at.inbox / "whole.bin").read_bytes() == body
    head = peer.head("whole.bin")
    assert head.status == 200
    found = [head.headers[name] for name in ("x-egress-identity", "x-egress-sha256", "content-length")]
    assert found == ["unit-7", sha256(body), "300000"]
    assert peer.head("absent.bin").status == 404
    assert peer.head("..%2F..%2Fcredentials.json").status == 404


@pytest.mark.parametrize("sizes", [[], [1], [70_000, 1, 65_536]])
def test_chunked_bodies_of_any_cut_are_equal(peer: Peer, sizes: list[int]) -> None:
    chunks = [os.urandom(size) for size in sizes]
    assert peer.post(iter(chunks), "chunked.bin").receipt["sha256"] == sha256(b"".join(chunks))
    assert (peer.at.inbox / "chunked.bin").read_bytes() == b"".join(chunks)


def test_one_connection_carries_many_files(peer: Peer) -> None:
    connection = http.client.HTTPSConnection("localhost", peer.server.port, context=peer.context(), timeout=30)
    with contextlib.closing(connection):
        for number in range(5):
            connection.request("POST", "/DA", body=b"x" * number, headers={"filename": f"many-{number}"})
            assert json.loads(connection.getresponse().read())["bytes"] == number


@pytest.mark.parametrize(
    "name", ["../up.csv", "/etc/cron.d/x", "a/b", "a\\b", "..", ".", "", ".hidden", "x" * 256, "bell\x07", "del\x7f"]
)
def test_a_name_that_is_not_plain_is_refused_and_nothing_written(peer: Peer, name: str) -> None:
    home = peer.at.inbox.parent.parent
    before = {str(path) for path in home.rglob("*")}
    assert peer.post(b"x", name).status == 400
    assert {str(path) for path in home.rglob("*")} == before


def test_a_unicode_name_is_utf_8(peer: Peer) -> None:
    name = "übersicht-نص.csv"
    assert peer.post(b"x", name.encode().decode("latin-1")).receipt["filename"] == name
    assert name in peer.visible()
    assert peer.post(b"x", "\xff\xfe").status == 400


@pytest.mark.parametrize("length", ["1000000", None], ids=["content-length", "chunked"])
def test_a_disconnect_mid_body_leaves_nothing(peer: Peer, length: str | None) -> None:
    framing = {"content_length": length} if length else {"transfer_encoding": "chunked"}
    with peer.raw(filename="broken.csv", idempotency_key="broken", **framing) as connection:
        connection.sendall(b"x" * 500 if length else b"1f4\r\n" + b"x" * 500 + b"\r\n")
        until(lambda: peer.coming())
        assert "broken.csv" not in peer.visible()
    until(lambda: not peer.coming())
    assert "broken.csv" not in peer.visible()
    assert peer.head("broken.csv").status == 404
    assert peer.post(b"whole", f"after-{length}.csv", idempotency_key=f"broken {length}").status == 200


@pytest.mark.parametrize(
    "framing",
    [{"content_length": "5", "transfer_encoding": "chunked"}, {"content_length": "5, 6"}, {"content_length": "-1"},
     {"transfer_encoding": "gzip, chunked"}],
)  # fmt: skip
def test_a_body_of_which_two_readers_could_differ_is_refused(peer: Peer, framing: dict[str, str]) -> None:
    with peer.raw(filename="smuggled", **framing) as connection:
        assert connection.recv(1000).startswith(b"HTTP/1.1 400 ")
    assert "smuggled" not in peer.visible()


def test_a_wrong_digest_is_422_and_nothing_is_kept(peer: Peer) -> None:
    assert peer.post(b"body", "digest.csv", x_egress_sha256=sha256(b"other"), idempotency_key="d").status == 422
    assert "digest.csv" not in peer.visible()
    assert peer.coming() == []
    assert peer.post(b"body", "digest.csv", x_egress_sha256=sha256(b"body"), idempotency_key="d").status == 200
    assert peer.post(b"body", "digest.csv", x_egress_sha256="abc").status == 400


def test_eight_at_once_with_one_key_store_one(peer: Peer) -> None:
    body = os.urandom(200_000)
    barrier = threading.Barrier(8)

    def send(_: int) -> Answer:
        barrier.wait()
        return peer.post(iter([body[:100_000], body[100_000:]]), "once.csv", idempotency_key="once")

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, range(8)))
    assert {answer.body for answer in answers} == {answers[0].body}
    assert answers[0].receipt["sha256"] == sha256(body)
    assert peer.stored("once.csv") == 1
    assert peer.coming() == []


def test_the_same_key_for_another_file_is_409(peer: Peer) -> None:
    first = peer.post(b"body", "key.csv", idempotency_key="k1")
    assert peer.post(b"body", "key.csv", idempotency_key="k1").body == first.body
    assert peer.post(b"other", "key.csv", idempotency_key="k1").status == 409
    assert peer.post(b"body", "key-2.csv", idempotency_key="k1").status == 409
    assert (peer.at.inbox / "key.csv").read_bytes() == b"body"
    assert "key-2.csv" not in peer.visible()


def test_a_late_request_is_410(peer: Peer) -> None:
    past, future = datetime.now(UTC) - timedelta(seconds=1), datetime.now(UTC) + timedelta(seconds=60)
    assert peer.post(b"x", "late.csv", x_egress_not_after=past.isoformat(timespec="milliseconds")).status == 410
    assert peer.post(b"x", "late.csv", x_egress_not_after=str(past.timestamp())).status == 410
    assert "late.csv" not in peer.visible()
    assert peer.post(b"x", "late.csv", x_egress_not_after=f"{future.timestamp():.3f}").status == 200
    assert peer.post(b"x", "late.csv", x_egress_not_after="soon").status == 400


def test_a_body_that_ends_after_its_deadline_is_410(peer: Peer) -> None:
    def slowly() -> Iterator[bytes]:
        yield b"x"
        time.sleep(0.5)
        yield b"y"

    deadline = (datetime.now(UTC) + timedelta(milliseconds=300)).isoformat(timespec="milliseconds")
    assert peer.post(slowly(), "slow.csv", x_egress_not_after=deadline).status == 410
    assert "slow.csv" not in peer.visible()


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (400, {"filename": "../up"}),
        (410, {"filename": "x", "x_egress_not_after": "1"}),
        (411, {"filename": "x", "content_length": ""}),
    ],
)
def test_expect_is_refused_before_the_body(peer: Peer, status: int, headers: dict[str, str]) -> None:
    with peer.raw(**({"content_length": "1000000", "expect": "100-continue"} | headers)) as connection:
        assert connection.recv(1000).startswith(f"HTTP/1.1 {status} ".encode())


def test_expect_is_continued_or_answered_with_the_earlier_receipt(peer: Peer) -> None:
    head = {"filename": "expect.csv", "content_length": "4", "expect": "100-continue", "idempotency_key": "e",
            "x_egress_sha256": sha256(b"body")}  # fmt: skip
    with peer.raw(**head) as connection:
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"body")
        first = connection.recv(4096)
    assert first.startswith(b"HTTP/1.1 200 ")
    with peer.raw(**head) as connection:  # the body is not sent again
        again = connection.recv(4096)
    assert again.startswith(b"HTTP/1.1 200 ")
    assert again.rpartition(b"\r\n")[2] == first.rpartition(b"\r\n")[2]
    assert peer.stored("expect.csv") == 1


def test_other_paths_and_methods_are_refused(peer: Peer) -> None:
    assert peer.request("POST", "/other", b"x", {"filename": "x"}).status == 404
    assert peer.request("GET", "/DA/whole.bin").status == 405
    assert peer.request("PUT", "/DA", b"x", {"filename": "x"}).status == 405


def test_memory_stays_bounded_whatever_the_size(peer: Peer) -> None:
    process = peer.server.process()
    assert process is not None
    block = os.urandom(2**20)
    assert peer.post((block for _ in range(200)), "large.bin").receipt["bytes"] == 200 * 2**20
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    assert peak < 60 * 1024  # KiB; 27 MiB measured, of which Python itself has 20
    (peer.at.inbox / "large.bin").unlink()


def test_files_receipts_and_keys_survive_a_kill(peer: Peer) -> None:
    first = peer.post(b"body", "durable.csv", idempotency_key="durable", x_egress_identity="unit-9")
    process = peer.server.process()
    assert process is not None
    with peer.raw(filename="half.csv", content_length="10") as connection:
        connection.sendall(b"half")
        until(lambda: peer.coming())
        os.kill(process.pid, signal.SIGKILL)
        until(lambda: processes.identify(process.pid) is None)
    peer.server.stop()
    peer.server.start()
    assert peer.coming() == []
    assert "half.csv" not in peer.visible()
    assert peer.head("durable.csv").headers["x-egress-identity"] == "unit-9"
    assert peer.post(b"body", "durable.csv", idempotency_key="durable").body == first.body
    assert peer.stored("durable.csv") == 1


def test_a_lost_answer_leaves_the_file_and_its_key(peer: Peer) -> None:
    peer.faults(drop_after_store=1)
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError, ssl.SSLError)):
        peer.post(b"body", "lost.csv", idempotency_key="lost")
    assert peer.head("lost.csv").status == 200
    assert peer.post(b"body", "lost.csv", idempotency_key="lost").status == 200
    assert peer.stored("lost.csv") == 1


def test_the_other_faults_store_nothing(peer: Peer) -> None:
    peer.faults(answer_503=1, drop_before_store=1)
    assert peer.post(b"body", "fault.csv").status == 503
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError, ssl.SSLError)):
        peer.post(b"body", "fault.csv")
    assert "fault.csv" not in peer.visible()
    assert peer.post(b"body", "fault.csv").status == 200
    peer.faults(delay_before_store=0.3)
    began = time.monotonic()
    assert peer.post(b"body", "fault.csv").status == 200
    assert time.monotonic() - began >= 0.3


def test_certificates_are_kept_until_a_month_before_they_end(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    assert certificates.ensure(tmp_path, now=now)
    first = (tmp_path / "ca.pem").read_bytes()
    assert not certificates.ensure(tmp_path, now=now + timedelta(days=334))
    assert certificates.ensure(tmp_path, now=now + timedelta(days=336))
    assert (tmp_path / "ca.pem").read_bytes() != first
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    (tmp_path / "client.key").unlink()
    assert certificates.ensure(tmp_path, now=now + timedelta(days=337))


def test_a_recipient_with_old_certificates_counts_as_not_running(peer: Peer) -> None:
    assert peer.server.running()
    year_ago = time.time() - 340 * 86_400
    made = peer.at.ca.stat().st_mtime
    os.utime(peer.at.ca, (year_ago, year_ago))
    try:
        assert not peer.server.running()
    finally:
        os.utime(peer.at.ca, (made, made))
