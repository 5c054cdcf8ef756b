"""The wire below a store: framing, kept-alive connections, TLS, and where credentials come from."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from egress_assets.engine.errors import CatalogError, StoreDenied, StoreError, StoreUnavailable
from egress_assets.engine.stores import credentials, open_store
from egress_assets.engine.stores.s3 import S3Store
from egress_assets.engine.stores.settings import StoreSettings

DATES = "Date: Sat, 21 Nov 2026 13:57:01 GMT\r\nLast-Modified: Sat, 21 Nov 2026 13:57:01 GMT\r\n"
EMPTY = b'HTTP/1.1 200 OK\r\nETag: "e"\r\nContent-Length: 0\r\n\r\n'
DENIED = b"<Error><Code>AccessDenied</Code></Error>"


class Scripted:
    """A server whose connections are answered by one function each, in order; the last one serves all later ones."""

    def __init__(self, *scripts: Callable[[socket.socket], None]) -> None:
        self._scripts = list(scripts)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.connections = 0
        self.requests: list[bytes] = []
        self.closing = threading.Event()
        self._current: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def store(self, **fields: object) -> S3Store:
        given = {"name": "scripted", "bucket": "b", "endpoint": self.endpoint, "access_key": "a", "secret_key": "s"}
        store = open_store(StoreSettings.model_validate({**given, "retry_deadline": 5.0, **fields}))
        assert isinstance(store, S3Store)
        return store

    def request(self, connection: socket.socket) -> bool:
        """Read one request with its body; False at the end of the stream."""
        data = b""
        while b"\r\n\r\n" not in data:
            piece = connection.recv(65536)
            if not piece:
                return False
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        while len(body) < length:
            body += connection.recv(65536)
        self.requests.append(head)
        return True

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            script = self._scripts[min(self.connections, len(self._scripts) - 1)]
            self.connections += 1
            with connection, contextlib.suppress(OSError):  # a client may hang up on any of it
                self._current = connection
                script(connection)
                self._current = None

    def close(self) -> None:
        self.closing.set()
        if (current := self._current) is not None:
            with contextlib.suppress(OSError):
                current.shutdown(socket.SHUT_RDWR)
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Scripted]]:
    monkeypatch.setattr("egress_assets.engine.stores.client._BACKOFF_LIMIT", 0.01)
    running: list[Scripted] = []

    def start(*scripts: Callable[[Scripted, socket.socket], None]) -> Scripted:
        server = Scripted(*[lambda sock, script=script: script(server, sock) for script in scripts])
        running.append(server)
        return server

    yield start
    for server in running:
        server.close()


def always(*answers: bytes, pieces: int = 0) -> Callable[[Scripted, socket.socket], None]:
    """Answer requests of one connection, the last answer for ever."""

    def script(server: Scripted, sock: socket.socket) -> None:
        count = 0
        while server.request(sock):
            answer = answers[min(count, len(answers) - 1)]
            count += 1
            step = pieces or len(answer)
            for at in range(0, len(answer), step):
                sock.sendall(answer[at : at + step])

    return script


def once(answer: bytes) -> Callable[[Scripted, socket.socket], None]:
    """Answer one request and close the connection, as a server does with an idle one."""

    def script(server: Scripted, sock: socket.socket) -> None:
        if server.request(sock):
            sock.sendall(answer)

    return script


def whole(body: bytes, extra: str = "") -> bytes:
    return f'HTTP/1.1 200 OK\r\n{DATES}{extra}ETag: "e"\r\nContent-Length: {len(body)}\r\n\r\n'.encode() + body


def test_requests_share_one_connection(serve):
    server = serve(always(whole(b"x")))
    store = server.store()
    for _ in range(5):
        assert store.read("a")[0] == b"x"
    assert server.connections == 1


def test_a_connection_that_the_server_closed_while_idle_is_replaced_even_for_a_conditional_put(serve):
    server = serve(once(EMPTY), once(EMPTY), always(EMPTY))
    store = server.store()
    for _ in range(3):
        assert store.put_if("a", b"", etag=None) == "ok"
        threading.Event().wait(0.05)  # the close arrives
    assert server.connections == 3
    assert len(server.requests) == 3


def test_closing_a_store_closes_its_connections_and_it_stays_usable(serve):
    server = serve(always(whole(b"x")))
    store = server.store()
    store.read("a")
    store.close()
    assert store.read("a")[0] == b"x"
    assert server.connections == 2


@pytest.mark.parametrize("pieces", [0, 1])
def test_a_chunked_answer_with_extensions_and_trailers_is_read(serve, pieces: int):
    body = b"4;ext=1\r\nabcd\r\n0003\r\nefg\r\n0\r\nTrailer: x\r\n\r\n"
    head = f'HTTP/1.1 200 OK\r\n{DATES}ETag: "e"\r\nTransfer-Encoding: chunked\r\n\r\n'.encode()
    server = serve(always(head + body, pieces=pieces))
    store = server.store()
    for _ in range(2):
        assert store.read("a")[0] == b"abcdefg"
        assert b"".join(store.get("a")) == b"abcdefg"
    assert server.connections == 1


def test_interim_answers_are_skipped(serve):
    store = serve(always(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\nX: y\r\n\r\n" + whole(b"x"))).store()
    assert store.read("a")[0] == b"x"


def test_an_answer_without_length_ends_with_its_connection(serve):
    server = serve(once(f'HTTP/1.0 200 OK\r\n{DATES}ETag: "e"\r\n\r\nbody'.encode()))
    store = server.store()
    assert store.read("a")[0] == b"body"
    assert store.read("a")[0] == b"body"
    assert server.connections == 2


def test_a_connection_with_more_than_the_answer_is_not_used_again(serve):
    server = serve(always(whole(b"x") + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"))
    store = server.store()
    assert [store.read("a")[0] for _ in range(3)] == [b"x"] * 3
    assert server.connections == 3


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\nxx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabcd\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 200_000,
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200",
        b"",
    ],
    ids=range(11),
)
def test_an_answer_that_is_not_whole_is_no_answer(serve, answer: bytes):
    store = serve(once(answer)).store()
    with pytest.raises(StoreUnavailable, match="no answer"):
        store.read("a")


def test_a_listing_page_beyond_any_honest_size_is_refused(serve, monkeypatch):
    monkeypatch.setattr("egress_assets.engine.stores.client.XML_LIMIT", 1_000)
    store = serve(once(whole(b"x" * 2_000))).store()
    with pytest.raises(StoreUnavailable, match="longer than 1000"):
        list(store.list())


@pytest.mark.parametrize("drains", [True, False])
def test_a_refusal_in_the_middle_of_a_body_is_heard(serve, drains: bool):
    """A server may say no and read no further; the reason must not drown in a broken pipe or a stall."""

    def refuse(server: Scripted, sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(
            b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(DENIED) + DENIED
        )
        if not drains:
            server.closing.wait(10)
        while sock.recv(65536):
            pass

    store = serve(refuse).store(part_bytes=64 * 2**20)
    with pytest.raises(StoreDenied, match="403 AccessDenied"):
        store.put("a", bytes(32 * 2**20))


def test_a_server_that_goes_silent_is_given_up_after_the_read_timeout(serve):
    def silent(server: Scripted, sock: socket.socket) -> None:
        server.request(sock)
        sock.recv(1)

    store = serve(silent).store(read_timeout=0.2)
    with pytest.raises(StoreUnavailable, match="no byte moved"):
        store.read("a")


@pytest.mark.parametrize("missing", ["Date", "Last-Modified"])
def test_an_answer_without_the_stores_clock_is_refused(serve, missing: str):
    head = whole(b"x").replace(missing.encode() + b": S", b"X: S", 1)
    store = serve(always(head)).store()
    with pytest.raises(StoreError, match=missing.lower()):
        store.read("a")


def test_another_range_than_asked_is_refused_and_a_whole_answer_is_skipped_into(serve):
    server = serve(always(b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-2/5\r\nContent-Length: 3\r\n\r\nabc"))
    with pytest.raises(StoreError, match="answered by another"):
        list(server.store().get("a", start=2))
    assert b"".join(serve(always(whole(b"abcde"))).store().get("a", start=2)) == b"cde"


def test_a_resumed_read_without_etag_is_refused(serve):
    cut = f"HTTP/1.1 200 OK\r\n{DATES}Content-Length: 5\r\n\r\nabc".encode()
    with pytest.raises(StoreUnavailable, match="no ETag"):
        list(serve(once(cut)).store().get("a"))


def test_a_denied_head_without_a_date_is_denied(serve):
    with pytest.raises(StoreDenied, match="403"):
        serve(always(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\n")).store().head("a")


def test_metadata_comes_back_byte_for_byte(serve):
    answer = whole(b"", "x-amz-meta-a: =?UTF-8?B?w6k=?=\r\nX-Amz-Meta-B: é  x\r\n")
    head = serve(always(answer)).store().head("a")
    assert head.metadata == {"a": "=?UTF-8?B?w6k=?=", "b": "é  x"}


def test_an_answer_from_another_region_says_so(serve):
    moved = b"HTTP/1.1 301 Moved\r\nContent-Length: 48\r\n\r\n<Error><Code>PermanentRedirect</Code></Error>   "
    with pytest.raises(StoreError, match="301 PermanentRedirect") as caught:
        serve(always(moved)).store().put("a", b"")
    assert "region" in caught.value.hint


# TLS


def test_tls_with_an_own_ca_carries_whole_objects(s3mem_tls):
    store = s3mem_tls.open(part_bytes=5 * 2**20)
    body = b"0123456789abcdef" * 800_000
    uploaded = store.upload("tls", [body])
    assert uploaded.bytes == len(body)
    assert b"".join(store.get("tls")) == body
    store.close()


def test_a_certificate_of_an_unknown_ca_is_denied_at_once(s3mem_tls):
    store = s3mem_tls.open(ca="")
    for question in (
        lambda: store.head("a"),
        lambda: store.put_if("a", b"", etag=None),
        lambda: list(store.get("a")),
        lambda: list(store.list()),
    ):
        with pytest.raises(StoreDenied, match=r"certificate does not verify: .*certificate") as caught:
            question()
        assert "`ca`" in caught.value.hint


def test_a_certificate_for_another_host_is_denied_by_name(s3mem_tls):
    store = s3mem_tls.open(endpoint=s3mem_tls.endpoint.replace("localhost", "127.0.0.1"))
    with pytest.raises(StoreDenied, match=r"127\.0\.0\.1:\d+: certificate does not verify: IP address mismatch"):
        store.head("a")


def test_tls_to_a_port_that_speaks_none_is_unavailable(serve, s3mem):
    store = s3mem.open(endpoint=s3mem.endpoint.replace("http:", "https:"), retry_deadline=1)
    with pytest.raises(StoreUnavailable, match="TLS failed"):
        store.head("a")

    def mute(server: Scripted, sock: socket.socket) -> None:
        while sock.recv(65536):
            pass

    server = serve(mute)
    store = server.store(endpoint=server.endpoint.replace("http:", "https:"), connect_timeout=0.2, retry_deadline=0)
    with pytest.raises(StoreUnavailable, match="no TLS handshake in time"):
        store.head("a")


@pytest.mark.parametrize(
    "fields",
    [
        {"ca": "/no/such/ca.pem"},
        {"endpoint": "ftp://x"},
        {"endpoint": "nonsense"},
        {"endpoint": "http://h:99999"},
        {"endpoint": "http://[::1"},
        {"endpoint": "canary://user:canary@h"},
    ],
)
def test_settings_that_can_not_work_are_refused_before_any_connection(fields: dict):
    given = {"name": "s", "bucket": "b", "endpoint": "https://localhost", "access_key": "a", "secret_key": "s"}
    with pytest.raises(CatalogError, match="store 's'") as caught:
        open_store(StoreSettings.model_validate({**given, **fields}))
    assert "canary" not in str(caught.value)


def test_an_unknown_kind_is_refused_with_the_valid_ones():
    with pytest.raises(CatalogError, match="'gopher'") as caught:
        open_store(StoreSettings(kind="gopher", bucket="b"))
    assert caught.value.hint == "Valid kinds: ceph, s3."


# Credentials


@pytest.fixture
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A process that knows none: no environment, no files, no metadata service."""
    import os

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    return tmp_path


def test_without_credentials_a_store_is_denied(seaweedfs, no_credentials):
    with pytest.raises(StoreDenied, match="has no credentials"):
        seaweedfs.open(access_key="", secret_key="").head("a")


def test_credentials_come_from_the_environment(seaweedfs, no_credentials, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", seaweedfs.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", seaweedfs.secret_key)
    assert "answered" in seaweedfs.open(access_key="", secret_key="").ping()


def test_credentials_come_from_a_profile(seaweedfs, no_credentials: Path):
    (no_credentials / "credentials").write_text(
        f"[it]\naws_access_key_id = {seaweedfs.access_key}\naws_secret_access_key = {seaweedfs.secret_key}\n"
    )
    assert "answered" in seaweedfs.open(access_key="", secret_key="", profile="it").ping()
    with pytest.raises(StoreUnavailable, match="ProfileNotFound"):
        seaweedfs.open(access_key="", secret_key="", profile="other").ping()


def test_credentials_are_refreshed_before_they_expire(seaweedfs, no_credentials: Path, monkeypatch):
    script, count = no_credentials / "process.py", no_credentials / "count"
    soon = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
    answer = {"Version": 1, "AccessKeyId": seaweedfs.access_key, "SecretAccessKey": seaweedfs.secret_key}
    script.write_text(
        f"open({str(count)!r}, 'a').write('x')\nprint({json.dumps(json.dumps({**answer, 'Expiration': soon}))})\n"
    )
    (no_credentials / "config").write_text(f"[profile it]\ncredential_process = {sys.executable} {script}\n")
    store = seaweedfs.open(access_key="", secret_key="", profile="it")
    store.ping()
    before = len(count.read_text())
    store.ping()
    assert len(count.read_text()) == before  # not at every request
    monkeypatch.setattr(credentials, "_KEEP", 0.0)
    fresh = seaweedfs.open(access_key="", secret_key="", profile="it")
    fresh.ping()
    fresh.ping()
    assert len(count.read_text()) >= before + 2


def test_a_role_is_assumed_at_the_endpoint_with_the_stores_keys(moto, no_credentials):
    store = moto.open(role_arn="arn:aws:iam::123456789012:role/egress", external_id="id-1", prefix="role")
    store.put("a", b"1")
    assert store.read("a")[0] == b"1"
    signing = store._client._credentials.current()
    assert signing.token
    assert signing.access_key != moto.access_key
    assert signing.secret_key not in repr(signing)


STS = """<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
<AccessKeyId>ASIA{number}</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>token{number}</SessionToken>
<Expiration>{expires}</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"""


def sts_answer(number: int, minutes: int) -> bytes:
    expires = (datetime.now(UTC) + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")
    body = STS.format(number=number, expires=expires).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def test_a_roles_session_is_renewed_before_it_ends(serve, no_credentials, monkeypatch):
    monkeypatch.setattr(credentials, "_KEEP", 0.0)
    sts = serve(*(once(sts_answer(number, 60 if number == 3 else 5)) for number in (1, 2, 3)))
    store = sts.store(role_arn="arn:aws:iam::1:role/r")
    tokens = [store._client._credentials.current().token for _ in range(4)]
    assert tokens[-2:] == ["token3", "token3"]
    assert len(set(tokens)) > 1


@pytest.mark.parametrize(("status", "error"), [(403, StoreDenied), (503, StoreUnavailable)])
def test_a_role_that_can_not_be_had_names_the_role_and_no_key(serve, no_credentials, monkeypatch, status: int, error):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    body = b"<ErrorResponse><Error><Code>Oops</Code><Message>secret-canary</Message></Error></ErrorResponse>"
    answer = b"HTTP/1.1 %d X\r\nContent-Type: text/xml\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body
    store = serve(always(answer)).store(role_arn="arn:aws:iam::1:role/r")
    with pytest.raises(error, match=f"role/r.*{status}") as caught:
        store.head("a")
    assert "canary" not in str(caught.value)


def test_an_expired_token_is_renewed_where_it_can_be(s3mem, no_credentials, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    s3mem.fault("PutObject", "answer", status=400, code="ExpiredToken")
    s3mem.open(access_key="", secret_key="").put("a", b"1")
    s3mem.fault("PutObject", "answer", status=400, code="ExpiredToken")
    with pytest.raises(StoreDenied, match="ExpiredToken"):
        s3mem.open().put("a", b"1")
