"""Reaching a source: each way to write its address, TLS that verifies, refusals in words without secrets (S0-5)."""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
from collections.abc import Iterator

import psycopg
import pytest

from egress_assets.engine.dump.snapshot import look, open_snapshot
from egress_assets.engine.dump.source import SourceSettings, connect, ping
from egress_assets.engine.errors import SourceDenied, SourceError, SourceUnavailable, TableMissing


def test_s0_5_a_jdbc_url_and_secrets_with_a_trailing_newline_are_taken_as_they_are(db):
    plain = db.settings()
    jdbc = f"jdbc:postgresql://127.0.0.1:{db.cluster.port}/{db.name}?reWriteBatchedInserts=true&ApplicationName=x\n"
    settings = SourceSettings(jdbc=jdbc, user="reader\n", password=plain.password + "\r\n", tls="disable")
    assert ping(settings) == ping(plain)
    assert ping(settings).endswith("as reader, no TLS")


@pytest.mark.parametrize("form", ["dsn url", "dsn keywords", "jdbc in dsn", "jdbc with user", "fields"])
def test_each_form_of_an_address_reaches_the_same_database(db, form):
    port, name, word = db.cluster.port, db.name, db.settings().password
    given = {
        "dsn url": {"dsn": f"postgresql://reader:{word}@127.0.0.1:{port}/{name}"},
        "dsn keywords": {"dsn": f"host=127.0.0.1 port={port} dbname={name} user=reader password={word}"},
        "jdbc in dsn": {"dsn": f"jdbc:postgresql://127.0.0.1:{port}/{name}", "user": "reader", "password": word},
        "jdbc with user": {"jdbc": f"jdbc:postgresql://127.0.0.1:{port}/{name}?user=reader&password={word}"},
        "fields": {"host": "127.0.0.1", "port": port, "database": name, "user": "reader", "password": word},
    }[form]
    with connect(SourceSettings(tls="disable", **given), application_name="t") as session:
        assert session.execute("SELECT current_database()").fetchone() == (name,)


def test_an_iam_token_takes_the_password_s_place(monkeypatch):
    for name, value in {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret"}.items():
        monkeypatch.setenv(name, value)
    settings = SourceSettings(host="db.example", port=5433, user="reader", iam=True, region="eu-west-2")
    token = settings.keywords()["password"]
    assert token.startswith("db.example:5433/?")
    assert "DBUser=reader" in token
    assert "eu-west-2" in token
    assert "secret" not in token


def refusal(settings: SourceSettings, kind: type[SourceError]) -> SourceError:
    with pytest.raises(SourceError) as caught:
        ping(settings)
    assert type(caught.value) is kind
    assert caught.value.hint
    assert settings.password not in f"{caught.value} {caught.value.hint} {caught.value.__cause__}"
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return caught.value


def test_a_wrong_password_is_denied_and_stays_secret(db):
    error = refusal(db.settings(password="not-the-password"), SourceDenied)
    assert "refused the password" in error.message
    assert not error.retryable


def test_a_server_that_is_down_is_unavailable_and_may_be_tried_again(db):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        error = refusal(db.settings(port=unused.getsockname()[1]), SourceUnavailable)
    assert "nobody listens" in error.message
    assert error.retryable


def test_a_server_that_says_nothing_is_given_up_after_connect_timeout(db):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        error = refusal(db.settings(port=mute.getsockname()[1], connect_timeout=2), SourceUnavailable)
    assert "connect_timeout" in error.message


def test_a_host_without_address_and_a_database_that_is_not_there_are_named(db):
    assert "no address" in refusal(db.settings(host="nowhere.invalid"), SourceUnavailable).message
    assert "does not exist" in refusal(db.settings(database="nowhere"), SourceError).message


# ------------------------------------------------------------------------------------------------------------------ TLS
@pytest.fixture
def tls(tls_cluster, db):
    """Settings of Debian's server; its certificate names `localhost` and 127.0.0.2."""

    def settings(**fields):
        given = {"port": tls_cluster.cluster.port, "database": "postgres", "host": "localhost", "tls": "verify-full"}
        return db.settings(**{**given, "ca": str(tls_cluster.ca), **fields})

    return settings


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_verify_full_accepts_the_name_in_the_certificate_only(tls, host):
    if host == "localhost":
        assert ping(tls(host=host)).endswith("as reader, TLS")
    else:
        assert "another host name" in refusal(tls(host=host), SourceDenied).message


def test_verify_ca_does_not_ask_for_the_name_and_pem_text_serves_as_well_as_a_path(tls, tls_cluster):
    assert ping(tls(host="127.0.0.1", tls="verify-ca")).endswith("TLS")
    assert ping(tls(ca=tls_cluster.ca.read_text())).endswith("TLS")


def test_a_certificate_of_another_authority_is_denied(tls, tls_cluster):
    assert "not signed by the CA" in refusal(tls(ca=str(tls_cluster.other_ca)), SourceDenied).message
    assert "not signed by the CA" in refusal(tls(ca=""), SourceDenied).message  # the system's bundle


def test_a_server_without_tls_is_denied_by_default(db):
    fields = {name: getattr(db.settings(), name) for name in ("host", "port", "database", "user", "password")}
    assert "offers no TLS" in refusal(SourceSettings(**fields), SourceDenied).message


def test_a_dsn_can_not_weaken_the_catalog_s_tls_but_can_strengthen_it(tls, tls_cluster):
    address = f"host=127.0.0.1 port={tls_cluster.cluster.port} dbname=postgres"
    weak = tls(host="", dsn=f"{address} sslmode=disable")
    assert "another host name" in refusal(weak, SourceDenied).message
    strong = tls(host="", dsn=f"{address} sslmode=verify-full", tls="disable")
    assert "another host name" in refusal(strong, SourceDenied).message


# --------------------------------------------------------------------------------------------------------------- rights
def test_missing_tables_are_all_named_at_once(db):
    db.run("CREATE TABLE a (id int)")
    for act in (look, lambda s, t: open_snapshot(s, t).__enter__()):
        with pytest.raises(TableMissing) as caught:
            act(db.settings(), ["public.b", "public.a", "nowhere.c"])
        assert "public.b, nowhere.c" in caught.value.message
        assert "public.a" not in caught.value.message


def test_tables_without_grant_are_all_named_at_once(db):
    db.run("CREATE TABLE a (id int)", "CREATE TABLE b (id int)", "CREATE SCHEMA s", "CREATE TABLE s.c (id int)")
    with db.connect() as session:
        session.execute("REVOKE SELECT ON b FROM reader; GRANT SELECT ON s.c TO reader")
    with pytest.raises(SourceDenied) as caught, open_snapshot(db.settings(), ["public.a", "public.b", "s.c"]):
        pass
    assert "may not read public.b, s.c in" in caught.value.message
    assert "Grant SELECT" in caught.value.hint


def test_a_grant_on_columns_alone_is_refused_before_any_lock(db):
    db.run("CREATE TABLE a (id int, b int)")
    with db.connect() as session:
        session.execute("REVOKE SELECT ON a FROM reader; GRANT SELECT (id) ON a TO reader")
    with pytest.raises(SourceDenied, match="may not read"), open_snapshot(db.settings(), ["public.a"]):
        pass


def test_an_old_server_is_named_with_the_oldest_that_works(db, monkeypatch):
    monkeypatch.setattr("egress_assets.engine.dump.source.OLDEST_SERVER", 99)
    assert "99 is the oldest" in refusal(db.settings(), SourceError).message


# -------------------------------------------------------------------------------------------------------------- poolers
def test_a_transaction_pooler_is_refused_and_a_session_pooler_is_not(db):
    refused = pytest.raises(SourceError, match="transaction pooler")
    with transaction_pooler(db) as port, refused, open_snapshot(db.settings(port=port), []):
        pass
    with session_pooler(db) as port, open_snapshot(db.settings(port=port), []) as leader:
        assert leader.snapshot


@contextlib.contextmanager
def served(handle) -> Iterator[int]:
    """A TCP server that gives each connection to `handle` in a thread."""
    threads = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = server.accept()
                    threads.append(threading.Thread(target=handle, args=(client,), daemon=True))
                    threads[-1].start()

        accepting = threading.Thread(target=accept)
        accepting.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    for thread in [accepting, *threads]:
        thread.join(10)
        assert not thread.is_alive()


def own(session: psycopg.Connection) -> socket.socket:
    """The session's socket, blocking, under a descriptor of its own."""
    sock = socket.socket(fileno=socket.dup(session.pgconn.socket))
    sock.setblocking(True)
    return sock


def message(stream) -> bytes:
    kind = stream.read(1)
    size = stream.read(4)
    return kind + size + stream.read(struct.unpack("!I", size)[0] - 4) if size else b""


def greet(client, stream) -> None:
    """What a pooler tells a client: welcome, and a cancel key of its own."""
    stream.read(struct.unpack("!I", stream.read(4))[0] - 4)
    client.sendall(b"R" + struct.pack("!II", 8, 0))
    for name, value in (("server_version", "18.0"), ("client_encoding", "UTF8"), ("standard_conforming_strings", "on")):
        body = f"{name}\0{value}\0".encode()
        client.sendall(b"S" + struct.pack("!I", len(body) + 4) + body)
    client.sendall(b"K" + struct.pack("!III", 12, 424242, 7) + b"Z" + struct.pack("!I", 5) + b"I")


@contextlib.contextmanager
def transaction_pooler(db) -> Iterator[int]:
    """One server session for everybody, lent for a transaction at a time."""
    one = psycopg.connect(**db.settings().keywords(), autocommit=True)
    lent = threading.Lock()

    def handle(client: socket.socket) -> None:
        with client, client.makefile("rb") as stream, own(one) as server, server.makefile("rb") as answers:
            greet(client, stream)
            while (asked := message(stream)) and asked[:1] != b"X":
                with lent:
                    server.sendall(asked)
                    while asked[:1] not in b"QS":  # the extended protocol is answered at its Sync
                        asked = message(stream)
                        server.sendall(asked)
                    while (answer := message(answers))[:1] != b"Z":
                        client.sendall(answer)
                    client.sendall(answer)

    with one, served(handle) as port:
        yield port


@contextlib.contextmanager
def session_pooler(db) -> Iterator[int]:
    """A server session for each client; only the start of the session is the pooler's own."""

    def handle(client: socket.socket) -> None:
        session = psycopg.connect(**db.settings().keywords(), autocommit=True)
        with client, client.makefile("rb") as stream, session, own(session) as server:
            greet(client, stream)
            with selectors.DefaultSelector() as both:
                both.register(client, selectors.EVENT_READ, server)
                both.register(server, selectors.EVENT_READ, client)
                while relay(both):
                    pass

    with served(handle) as port:
        yield port


def relay(both: selectors.BaseSelector) -> bool:
    for key, _ in both.select():
        data = key.fileobj.recv(65536)
        if not data:
            return False
        key.data.sendall(data)
    return True
