"""What every transfer type promises, over real recipients; then what is each one's own.

A new type adds its recipient to `PEERS`; the suite fails until it does.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import ssl
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from egress_assets.engine.errors import (
    CatalogError,
    ChecksumMismatch,
    DeliveryRefused,
    DeliveryUnavailable,
    StoreUnavailable,
)
from egress_assets.engine.transfers import Sent, open_transfer, registry, send
from tests.conformance.conftest import Server, free_ports
from tests.conformance.transfer_peers import (
    BODY,
    Bucket,
    Folder,
    Peer,
    Receiver,
    Scripted,
    answer,
    chunked,
    give,
    later,
    opened,
    parcel,
    receiver_command,
    scripted,
    take,
)

PEERS = ("folder", "s3", "sft")


@pytest.fixture(scope="module")
def receiver(launch: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Receiver:
    peer = Receiver(tmp_path_factory.mktemp("receiver"), free_ports(1))

    def ready() -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", peer.port)) == 0

    launch(receiver_command(peer.home, peer.port), ready)
    return peer


def make_folder(request: pytest.FixtureRequest) -> Peer:
    return Folder(request.getfixturevalue("tmp_path"))


def make_s3(request: pytest.FixtureRequest) -> Peer:
    server: Server = request.getfixturevalue("seaweedfs")
    fields: dict[str, Any] = {"prefix": secrets.token_hex(4), "zone": "external", "part_bytes": 5 * 2**20}
    settings = {"bucket": "egress-test", "endpoint": server.endpoint, **fields}
    keys = {"access_key": server.access_key, "secret_key": server.secret_key}
    return Bucket(server.open(**fields), settings | keys)


def make_sft(request: pytest.FixtureRequest) -> Peer:
    peer: Receiver = request.getfixturevalue("receiver")
    peer.empty()
    return peer


MAKERS = {"folder": make_folder, "s3": make_s3, "sft": make_sft}


@pytest.fixture(params=PEERS)
def peer(request: pytest.FixtureRequest) -> Peer:
    return MAKERS[request.param](request)


def test_every_type_of_the_registry_is_under_test():
    assert tuple(registry()) == PEERS == tuple(MAKERS)


# ----------------------------------------------------------------------------------------------------------- all types
@pytest.mark.parametrize("size", [0, 1, 65_536, 3 * 2**20 + 1, 11 * 2**20])
def test_a_file_arrives_whole_under_its_name(peer, size):
    body = os.urandom(size)
    sent = give(peer, body)
    assert sent.answer == "ok"
    assert peer.visible() == {"in/a.csv": body}
    assert opened(peer).ask("in/a.csv") == "i-1"


def test_nothing_is_there_before_and_it_says_so(peer):
    assert opened(peer).ask("in/a.csv") is None


def test_facts_are_evidence_without_floats(peer):
    facts = give(peer).facts
    assert all(isinstance(value, str | int) for value in facts.values())
    assert facts.get("sha256") == parcel(BODY, "x").sha256


@pytest.mark.parametrize("sent", [BODY + b"x", BODY[:-1], b"y" + BODY[1:], b""])
def test_bytes_that_are_not_the_releases_never_appear(peer, sent):
    with pytest.raises(ChecksumMismatch):
        send(opened(peer), parcel(BODY, "in/a.csv"), chunked(sent), identity="i", not_after=later())
    assert peer.visible() == {}
    assert opened(peer).ask("in/a.csv") is None


def test_a_source_that_breaks_off_leaves_nothing_and_its_error_comes_through(peer):
    def broken() -> Iterator[bytes]:
        yield BODY[:70_000]
        raise StoreUnavailable("the lake is down")

    with pytest.raises(StoreUnavailable, match="the lake is down"):
        send(opened(peer), parcel(BODY, "in/a.csv"), broken(), identity="i", not_after=later())
    assert peer.visible() == {}


def test_the_last_byte_never_leaves_after_the_deadline(peer):
    past = datetime.now(UTC) - timedelta(seconds=1)
    if peer.transfer_type == "sft":  # ours looks at the deadline before it asks for the body
        sent = send(opened(peer), parcel(BODY, "in/a.csv"), chunked(BODY), identity="i", not_after=past)
        assert (sent.answer, sent.facts["status"]) == ("refused", 410)
    else:
        with pytest.raises(DeliveryUnavailable, match="before the last byte"):
            send(opened(peer), parcel(BODY, "in/a.csv"), chunked(BODY), identity="i", not_after=past)
    assert peer.visible() == {}


def test_the_same_delivery_again_is_one_file(peer):
    for _ in range(3):
        assert give(peer).answer == "ok"
    assert peer.visible() == {"in/a.csv": BODY}


def test_a_newer_delivery_replaces_an_older_one_at_the_same_name(peer):
    for n, body in enumerate((b"x", b"y", b"x")):
        assert give(peer, body, identity=f"i-{n}").answer == "ok"
        assert peer.visible() == {"in/a.csv": body}
        assert opened(peer).ask("in/a.csv") == f"i-{n}"


def test_eight_at_once_are_one_whole_file(peer):
    with ThreadPoolExecutor(8) as threads:
        answers = [each.answer for each in threads.map(lambda _: give(peer), range(8))]
    assert "ok" in answers
    assert peer.visible() == {"in/a.csv": BODY}


HOSTILE = [
    "sp ace.csv", "a+b%20%.csv", "ünïcøde-日本.csv", "quote'\"$`;&|.csv", "-rf", "a=b?c#d.csv", "x" * 200,
    "..", "../up.csv", "/abs.csv", "in/../../up.csv", ".hidden", "in//a.csv", "in/", "", "a\r\nx-evil: 1", "nul\0.csv",
    "back\\slash", "a\u202egpj.csv", "x" * 300,
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_hostile_name_arrives_as_it_is_or_is_refused_before_anything_is_sent(request, peer, name):
    """S2-12: and never leaves the recipient's folder."""
    transfer = opened(peer)
    try:
        transfer.admit(name)
    except DeliveryRefused:
        assert peer.visible() == {}
        return
    body = secrets.token_bytes(10)
    sent = send(transfer, parcel(body, name), chunked(body), identity="i", not_after=later())
    if sent.answer == "ok":
        assert peer.visible() == {name: body}
        assert transfer.ask(name) == "i"
    else:
        assert sent.answer == "refused"
        assert peer.visible() == {}
    root = request.getfixturevalue("tmp_path")
    assert {p.name for p in root.parent.iterdir() if p.name.startswith("up")} == set()


def test_ping_reaches_the_recipient_and_leaves_nothing(peer):
    assert opened(peer).ping()
    assert peer.visible() == {}


def test_settings_are_strict_and_errors_show_no_value(peer):
    with pytest.raises(CatalogError) as caught:
        opened(peer, unheard_of="hunter2-secret")
    assert "unheard_of" in str(caught.value)
    assert "hunter2" not in str(caught.value) + caught.value.hint + " ".join(caught.value.problems)


def test_an_unknown_type_names_the_known_ones():
    with pytest.raises(CatalogError) as caught:
        open_transfer("carrier_pigeon", {}, recipient="acme")
    assert all(name in caught.value.hint for name in PEERS)


# ---------------------------------------------------------------------------------------------------------------- sft
def status(code: int, body: bytes = b"", *, after: int = -1, **headers: str):
    """A script: read `after` bytes of the body first (-1: all of it), then answer."""

    def script(secured: ssl.SSLSocket, seen) -> None:
        if after:
            secured.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            take(secured, seen, len(BODY) if after < 0 else after)
        answer(secured, code, body, **headers)
        if after > 0:
            time.sleep(0.5)  # neither reads nor closes

    return script


def give_scripted(home: Path, script, body: bytes = BODY, **changed: Any) -> tuple[Sent, Scripted]:
    with scripted(home, script) as server:
        settings = {**server.settings, **changed}
        transfer = open_transfer("sft", settings, recipient="acme")
        sent = send(transfer, parcel(body, "a.csv"), chunked(body), identity="i-1", not_after=later())
    return sent, server


@pytest.mark.parametrize(
    ("code", "expected", "retryable"),
    [
        (200, "ok", False),
        (201, "ambiguous", False),
        (204, "ambiguous", False),
        (302, "ambiguous", False),
        (400, "refused", False),
        (403, "refused", False),
        (409, "refused", False),
        (410, "refused", True),
        (422, "refused", False),
        (429, "refused", True),
        (500, "ambiguous", True),
        (503, "ambiguous", True),
    ],
)
def test_success_is_exactly_200_and_a_no_is_only_what_can_not_follow_storing(receiver, code, expected, retryable):
    """S2-14."""
    sent, server = give_scripted(receiver.home, status(code, location="https://127.0.0.1:1/"))
    assert (sent.answer, bool(sent.facts.get("retryable"))) == (expected, retryable)
    assert sent.facts["status"] == code
    assert server.seen[0].body == BODY
    assert len(server.seen) == 1  # nothing is repeated or followed in here


@pytest.mark.parametrize("code", [413, 503, 500])
def test_a_refusal_of_the_head_costs_no_byte_of_the_body(receiver, code):
    sent, server = give_scripted(receiver.home, status(code, after=0))
    assert sent.answer == "refused"
    assert server.seen[0].body == b""


def test_a_refusal_in_the_middle_stops_the_body_though_the_other_side_neither_reads_nor_closes(receiver):
    taken = []

    def large() -> Iterator[bytes]:
        for _ in range(400):
            taken.append(1)
            yield bytes(2**18)

    with scripted(receiver.home, status(413, after=2**18)) as server:
        transfer = open_transfer("sft", server.settings, recipient="acme")
        began = time.monotonic()
        goods = parcel(b"", "a.csv", bytes=400 * 2**18)
        sent = send(transfer, goods, large(), identity="i", not_after=later())
        assert time.monotonic() - began < 5
    assert (sent.answer, sent.facts["status"]) == ("refused", 413)
    assert len(taken) < 100


def test_a_server_that_does_not_know_expect_gets_the_body_after_a_second(receiver):
    def silent(secured: ssl.SSLSocket, seen) -> None:
        take(secured, seen, len(BODY))
        answer(secured, 200)

    sent, server = give_scripted(receiver.home, silent)
    assert sent.answer == "ok"
    assert server.seen[0].body == BODY


def test_a_connection_that_ends_inside_the_body_is_a_no_and_one_after_it_is_a_doubt(receiver):
    def cut(after: int):
        def script(secured: ssl.SSLSocket, seen) -> None:
            secured.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            take(secured, seen, after)

        return script

    large = bytes(40 * 2**20)
    sent, _ = give_scripted(receiver.home, cut(1000), large)
    assert (sent.answer, sent.facts["retryable"]) == ("refused", True)
    sent, _ = give_scripted(receiver.home, cut(len(BODY)))
    assert sent.answer == "ambiguous"


def test_a_receipt_of_other_bytes_is_no_success(receiver):
    body = b'{"sha256": "' + b"0" * 64 + b'", "identity": "i-1"}'
    sent, _ = give_scripted(receiver.home, status(200, body))
    assert sent.answer == "ambiguous"


def test_a_success_before_the_body_is_believed_only_with_the_receipt_of_this_delivery(receiver):
    sent, _ = give_scripted(receiver.home, status(200, after=0))
    assert sent.answer == "ambiguous"
    sent, server = give_scripted(receiver.home, status(200, b'{"identity": "i-1"}', after=0))
    assert sent.answer == "ok"
    assert server.seen[0].body == b""


def test_what_the_request_says(receiver):
    """S2-14."""
    said = {"apikey": "s3cr3t", "headers": {"x-route": "billing"}}
    _, server = give_scripted(receiver.home, status(200), **said)
    head = server.seen[0].head
    for line in (
        "POST /DA HTTP/1.1", "filename: a.csv", "idempotency-key: i-1", "x-egress-identity: i-1", "apikey: s3cr3t",
        f"x-egress-sha256: {parcel(BODY, 'x').sha256}", f"content-length: {len(BODY)}", "expect: 100-continue",
        "x-route: billing", "x-egress-not-after: 20",
    ):  # fmt: skip
        assert line in head
    _, server = give_scripted(receiver.home, status(200), framing="chunked")
    assert "transfer-encoding: chunked" in server.seen[0].head


def test_a_chunked_body_arrives_whole(receiver):
    receiver.empty()
    assert give(receiver, framing="chunked").answer == "ok"
    assert receiver.visible() == {"in/a.csv": BODY}


@pytest.mark.parametrize("fault", ["drop_before_store", "drop_after_store"])
def test_a_lost_answer_is_a_doubt_that_the_same_key_settles_with_one_copy(receiver, fault):
    receiver.empty()
    receiver.faults(**{fault: 1})
    assert give(receiver, identity=fault).answer == "ambiguous"
    sent = give(receiver, identity=fault)
    assert (sent.answer, sent.facts["identity"]) == ("ok", fault)
    assert receiver.visible() == {"in/a.csv": BODY}


def test_the_recipients_refusals_are_definite(receiver):
    receiver.empty()
    receiver.faults(answer_503=1)
    sent = give(receiver, identity="busy")
    assert (sent.answer, sent.facts["status"], sent.facts["retryable"]) == ("refused", 503, True)
    assert give(receiver, identity="busy").answer == "ok"
    assert give(receiver, b"other", identity="busy").facts["status"] == 409


@pytest.mark.parametrize("given", ["path", "text"])
def test_certificates_are_paths_or_text(receiver, given):
    receiver.empty()
    files = {name: receiver.settings[name] for name in ("ca", "cert", "key")}
    changed = files if given == "path" else {name: Path(path).read_text() for name, path in files.items()}
    assert give(receiver, **changed).answer == "ok"


def certificate_of_another_authority(home: Path) -> dict[str, str]:
    from egress_assets.sandbox import certificates

    certificates.ensure(home)
    return {"cert": str(home / "client.pem"), "key": str(home / "client.key")}


def test_both_sides_are_verified(receiver, tmp_path):
    """S2-14: nothing is sent to whom we can't verify, nor by whom the recipient can't."""
    receiver.empty()
    rogue = certificate_of_another_authority(tmp_path)
    for changed in ({"ca": ""}, {"ca": str(tmp_path / "ca.pem")}, rogue, {"cert": "", "key": ""}):
        sent = give(receiver, **changed)
        assert sent.answer == "refused", changed
        assert "retryable" in sent.facts
    with pytest.raises(DeliveryUnavailable, match="does not verify"):
        opened(receiver, ca=str(tmp_path / "ca.pem")).ping()
    assert receiver.visible() == {}


def test_the_hostname_is_verified(receiver):
    receiver.empty()
    url = receiver.settings["url"].replace("127.0.0.1", "127.0.0.2")
    with scripted(receiver.home, status(200)) as server:
        settings = {**server.settings, "url": server.settings["url"].replace("127.0.0.1", "localhost.localdomain")}
        sent = give(receiver, **{**settings, "url": url})
    assert sent.answer == "refused"


def test_tls_below_1_2_is_not_spoken(receiver):
    with scripted(receiver.home, status(200), newest=ssl.TLSVersion.TLSv1_1) as server:
        sent = send(
            open_transfer("sft", server.settings, recipient="acme"),
            parcel(BODY, "a"), chunked(BODY), identity="i", not_after=later(),
        )  # fmt: skip
    assert (sent.answer, server.seen[0].head) == ("refused", "")


@pytest.mark.parametrize(
    "changed",
    [
        {"url": "http://127.0.0.1/DA"},
        {"url": "https://user:pw@127.0.0.1/DA"},
        {"headers": {"x": "a\r\nb: c"}},
        {"cert": "/nonexistent.pem"},
        {"ca": "-----BEGIN CERTIFICATE-----\nrubbish\n-----END CERTIFICATE-----\n"},
    ],
)
def test_settings_that_can_not_be_safe_are_refused_when_opened(receiver, changed):
    with pytest.raises(CatalogError):
        opened(receiver, **changed)


def test_no_secret_is_in_a_repr(receiver):
    text = Path(receiver.settings["key"]).read_text()
    settings = registry()["sft"].Settings(
        **{**receiver.settings, "key": text, "apikey": "k3y", "headers": {"a": "t0k"}}
    )
    assert not [secret for secret in ("PRIVATE", "k3y", "t0k") if secret in repr(settings)]


def test_memory_stays_a_chunk_whatever_the_body(receiver):
    size, piece = 64 * 2**20, bytes(2**18)

    def swallow(secured: ssl.SSLSocket, seen) -> None:
        secured.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        left = size
        while left and (got := secured.recv(2**18)):
            left -= len(got)
        answer(secured, 200)

    with scripted(receiver.home, swallow) as server:
        transfer = open_transfer("sft", server.settings, recipient="acme")
        digest = hashlib.sha256(piece * 256).hexdigest()
        goods = parcel(b"", "a.csv", bytes=size, sha256=digest)
        tracemalloc.start()
        sent = send(transfer, goods, (piece for _ in range(256)), identity="i", not_after=later())
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert sent.answer == "ok"
    assert peak < 8 * 2**20
