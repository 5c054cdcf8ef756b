"""Deliveries to real recipients: HTTPS with client certificates, a bucket, a folder. Once, whatever breaks."""

from __future__ import annotations

import gzip
import json
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from egress_assets.engine.delivery.plan import plan
from egress_assets.engine.delivery.run import run
from egress_assets.engine.errors import (
    DeliveryBusy,
    DeliveryError,
    DeliveryRefused,
    DeliveryUnavailable,
    DeliveryUnknown,
    ReleaseRefused,
)
from egress_assets.engine.evidence import deliver
from egress_assets.sandbox import Sandbox
from tests.platforms import DATE, DUMP, NOW, ROWS, SCRUB, A, B, Made, child, materialise, over, sandboxed

RECIPIENTS = ("acme", "bucket", "agent")


@pytest.fixture(scope="module")
def servers() -> Iterator[Sandbox]:
    with sandboxed() as made:
        yield made


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setenv("EGRESS_NOW", NOW)


@pytest.fixture
def token(servers) -> Iterator[str]:
    """Names this test's stores and files; the recipient commits no fault before and after it."""
    yield secrets.token_hex(6)
    faults(servers)


def faults(servers: Sandbox, **said: float) -> None:
    fresh = servers.receiver.faults.with_suffix(".new")
    fresh.write_text(json.dumps(said))
    fresh.replace(servers.receiver.faults)


def deliveries(token: str, **model: Any) -> dict[str, Any]:
    """One a recipient; the names at the HTTPS one hold the token, since all tests share it."""
    said = {"from": A, "destination_prefix": f"{token}/{{date:%Y/%m/%d}}/", **model}
    return {f"{recipient}/customers": said for recipient in RECIPIENTS}


def sending(servers: Sandbox, token: str, *, made: Made | None = None, **given: Any):
    model = given.pop("model", {})
    p = over(servers, token, deliveries=deliveries(token, **model), **given)
    if p.evidence.pointer(SCRUB, DATE) is None:
        materialise(p, SCRUB, made)
    return p


def received(servers: Sandbox, p, token: str) -> dict[str, dict[str, bytes]]:
    """Files by recipient."""
    inbox = {f.name: f.read_bytes() for f in servers.receiver.inbox.iterdir() if f.name.startswith(token)}
    bucket = p.provider.recipient("bucket")
    store = servers.stores["recipient-inbox"].model_copy(update={"prefix": bucket["prefix"]})
    from egress_assets.engine.stores import open_store

    opened = open_store(store)
    drop = Path(p.provider.recipient("agent")["path"])
    return {
        "acme": inbox,
        "bucket": {x.key: b"".join(opened.get(x.key)) for x in opened.list()},
        "agent": {str(f.relative_to(drop)): f.read_bytes() for f in drop.rglob("*") if f.is_file()},
    }


def go(p, recipient: str = "acme"):
    return run(p, recipient, "customers", DATE)


def stored_times(servers: Sandbox, token: str) -> int:
    """How often the HTTPS recipient made a file of this test visible, by its own log."""
    log = (servers.state.logs / "receiver.log").read_text()
    return sum(1 for line in log.splitlines() if "stored '" in line and token in line)


# ---------------------------------------------------------------------------------------------------------- delivered
@pytest.mark.parametrize("recipient", RECIPIENTS)
def test_a_scrubbed_table_arrives_as_asked_for_with_a_receipt_and_once(servers, token, recipient):
    p = sending(servers, token, model={"header": True}, made=Made(parts=2))
    first = go(p, recipient)
    (body,) = received(servers, p, token)[recipient].values()
    assert gzip.decompress(body) == b'id,"name, or what"\n' + ROWS[A]
    (name,) = received(servers, p, token)[recipient]
    assert name.replace("~", "/") == f"{token}/2026/11/20/public.customers.csv.gz"
    assert (first.how, first.sent_bytes) == ("moved", len(body))
    second = go(p, recipient)
    assert (second.how, second.sent_bytes) == ("nothing", 0)
    (receipt,) = p.evidence.receipts(DATE)
    assert (receipt.recipient, receipt.how, receipt.bytes) == (recipient, "sent", len(body))
    assert p.evidence.verify_ledger().covered == 1
    assert stored_times(servers, token) == (recipient == "acme")


def test_stored_bytes_that_fit_are_sent_as_they_are(servers, token):
    p = sending(servers, token, model={"format": "csv.zst"})
    go(p)
    (body,) = received(servers, p, token)["acme"].values()
    lake = p.store("lake")
    assert body in [b"".join(lake.get(x.key)) for x in lake.list() if "customers" in x.key and "/part-" in x.key]
    assert not any(x.key.startswith("delivery/") for x in lake.list())


def test_hostile_table_names_arrive_under_safe_ones(servers, token):
    table = "public.we ird/../ünï\tx: y"
    tables = {name: {"columns": {"id": "keep"}} for name in (A, B, table)}
    p = sending(servers, token, model={"from": table}, tables=tables, made=Made(rows={**ROWS, table: b"1,x\n"}))
    for recipient in RECIPIENTS:
        go(p, recipient)
    for found in received(servers, p, token).values():
        (name,) = found
        assert name.endswith(".csv.gz")
        assert not set(name) & set(" \t:ü")
        assert ".." not in name


def test_a_large_file_streams_through(servers, token):
    rows = b"%012d,some text that does not compress too well %08x\n"
    body = b"".join(rows % (n, n * 2654435761 % 2**32) for n in range(500_000))
    p = sending(servers, token, model={"format": "csv"}, made=Made(rows={A: body, B: b"1,x\n"}))
    for recipient in RECIPIENTS:
        assert go(p, recipient).sent_bytes == len(body)
    assert all(list(found.values()) == [body] for found in received(servers, p, token).values())


# --------------------------------------------------------------------------------------------------------------- once
@pytest.mark.parametrize("recipient", RECIPIENTS)
def test_eight_at_once_send_one_file(servers, token, recipient):
    sending(servers, token)

    def one(_n: int) -> str:
        try:
            return go(sending(servers, token), recipient).how
        except DeliveryBusy:
            return "busy"

    with ThreadPoolExecutor(8) as threads:
        ended = list(threads.map(one, range(8)))
    p = sending(servers, token)
    assert ended.count("moved") == 1
    assert set(ended) <= {"moved", "nothing", "busy"}
    assert len(received(servers, p, token)[recipient]) == 1
    assert len(list(p.evidence.receipts(DATE))) == 1
    assert p.evidence.verify_ledger().unbroken
    assert stored_times(servers, token) == (recipient == "acme")


def test_a_lost_answer_after_storing_is_settled_by_the_same_key_in_the_same_run(servers, token):
    p = sending(servers, token)
    faults(servers, drop_after_store=1)
    assert go(p).facts["sent_files"] == 1
    assert stored_times(servers, token) == 1
    assert len(received(servers, p, token)["acme"]) == 1


def test_a_lost_answer_before_storing_is_sent_again_with_the_same_key(servers, token):
    p = sending(servers, token)
    faults(servers, drop_before_store=1)
    assert go(p).facts["sent_files"] == 1
    assert stored_times(servers, token) == 1


def short_claims(monkeypatch, ttl: float = 2.0) -> None:
    monkeypatch.setattr(deliver, "TTL", int(ttl * 1e6))
    monkeypatch.setattr(deliver, "MARGIN", 0)


def test_two_lost_requests_are_unknown_and_the_next_run_after_the_claim_settles_it(servers, token, monkeypatch):
    short_claims(monkeypatch)
    p = sending(servers, token)
    faults(servers, drop_before_store=2)
    with pytest.raises(DeliveryUnknown):
        go(p)
    with pytest.raises(DeliveryBusy):
        go(p)
    assert eventually(p).how == "moved"
    assert stored_times(servers, token) == 1


def eventually(p, recipient: str = "acme", seconds: float = 30):
    """Run until the claim of a dead sender has ended."""
    ends = time.monotonic() + seconds
    while True:
        try:
            return go(p, recipient)
        except DeliveryBusy:
            assert time.monotonic() < ends
            time.sleep(0.3)


def test_a_recipient_that_only_writes_is_held_and_sent_again_only_by_policy(servers, token, monkeypatch):
    short_claims(monkeypatch)
    acme = over(servers, token).provider.recipient("acme") | {"knows": "write-only"}
    p = sending(servers, token, settings={"acme": acme})
    faults(servers, drop_after_store=1)
    with pytest.raises(DeliveryUnknown):
        go(p)
    assert stored_times(servers, token) == 1
    with pytest.raises(DeliveryUnknown):
        eventually(p)
    assert stored_times(servers, token) == 1
    recipients = {"acme": {"transfer_type": "sft", "retry": "resend"}}
    again = sending(servers, token, settings={"acme": acme}, recipients=recipients)
    assert eventually(again).facts["sent_files"] == 1
    assert [r.how for r in p.evidence.receipts(DATE)] == ["resent"]


def test_a_recipient_that_can_be_asked_is_asked_before_anything_is_sent_again(servers, token, monkeypatch):
    """The answer is lost and so is the sender: HEAD finds this very delivery."""
    short_claims(monkeypatch)
    acme = over(servers, token).provider.recipient("acme") | {"knows": "head"}
    p = sending(servers, token, settings={"acme": acme})
    faults(servers, drop_after_store=1)
    with pytest.raises(DeliveryUnknown):
        go(p)
    result = eventually(p)
    assert (result.facts["found_files"], result.facts["sent_files"]) == (1, 0)
    assert [r.how for r in p.evidence.receipts(DATE)] == ["found"]
    assert stored_times(servers, token) == 1


SLOW = """
from egress_assets.engine.delivery import send
from egress_assets.engine.delivery.run import run
from egress_assets.engine.evidence import deliver
deliver.TTL, deliver.MARGIN = 4_000_000, 0
original = send.Dispatch._told
def slow(self, chunks):
    for n, chunk in enumerate(original(self, chunks)):
        if n == 6:
            print("sending", flush=True)
        if n >= 6:
            time.sleep(0.3)
        yield chunk
send.Dispatch._told = slow
run(p, {recipient!r}, "customers", "2026-11-20")
"""


@pytest.mark.parametrize("recipient", RECIPIENTS)
def test_a_sender_killed_inside_a_body_leaves_nothing_visible_and_the_next_run_completes(
    servers, token, recipient, monkeypatch
):
    rows = b"".join(b"%012d,%08x\n" % (n, n * 2654435761 % 2**32) for n in range(120_000))
    given = {"deliveries": deliveries(token, format="csv")}
    p = sending(servers, token, model={"format": "csv"}, made=Made(rows={A: rows, B: b"1,x\n"}))
    running = child(servers, token, SLOW.format(recipient=recipient), **given)
    assert running.stdout
    assert running.stdout.readline() == "sending\n"
    time.sleep(0.3)
    running.kill()
    running.communicate()
    assert received(servers, p, token)[recipient] == {}
    assert list(p.evidence.receipts(DATE)) == []
    short_claims(monkeypatch)
    with pytest.raises(DeliveryBusy):
        go(p, recipient)
    result = eventually(p, recipient)
    assert (result.how, result.sent_bytes) == ("moved", len(rows))
    assert list(received(servers, p, token)[recipient].values()) == [rows]


def test_a_definite_no_frees_the_destination_at_once(servers, token):
    p = sending(servers, token)
    faults(servers, answer_503=1)
    with pytest.raises(DeliveryUnavailable, match="status 503"):
        go(p)
    assert go(p).facts["sent_files"] == 1


def test_a_recipient_that_is_not_there_is_a_retryable_no(servers, token):
    acme = over(servers, token).provider.recipient("acme") | {"url": "https://127.0.0.1:9/DA"}
    p = sending(servers, token, settings={"acme": acme})
    with pytest.raises(DeliveryUnavailable) as caught:
        go(p)
    assert caught.value.retryable
    assert go(sending(servers, token)).facts["sent_files"] == 1


# ----------------------------------------------------------------------------------------------------------- refusals
def test_raw_rows_reach_no_recipient(servers, token):
    p = sending(servers, token, model={"from": f"dump/{A}"})
    materialise(p, DUMP, Made(passed=None))
    for recipient in RECIPIENTS:
        with pytest.raises(ReleaseRefused):
            go(p, recipient)
    assert not any(received(servers, p, token).values())


def test_a_recipient_of_production_gets_nothing_from_a_developer(servers, token):
    recipients = {"acme": {"transfer_type": "sft", "env": "prod"}}
    with pytest.raises(DeliveryRefused, match="of production"):
        go(sending(servers, token, recipients=recipients, env="dev"))
    assert go(sending(servers, token, recipients=recipients)).facts["sent_files"] == 1


def test_nothing_secret_is_in_errors_or_evidence(servers, token, caplog):
    caplog.set_level("DEBUG")
    key = Path(servers.receiver.key).read_text()
    settings = over(servers, token).provider.recipient("acme") | {"key": key, "apikey": "canary-4711"}
    p = sending(servers, token, settings={"acme": settings})
    go(p)
    with pytest.raises(DeliveryError):
        go(sending(servers, token + "x", settings={"acme": settings | {"url": "https://127.0.0.1:9/DA"}}))
    evidence = p.store("evidence")
    texts = [caplog.text, *(b"".join(evidence.get(x.key)).decode("utf-8", "replace") for x in evidence.list())]
    secret = key.splitlines()[1]
    assert not [text for text in texts if "canary-4711" in text or secret in text or "ann" in text.split(",")]


# ------------------------------------------------------------------------------------------------------------- parquet
@pytest.mark.parametrize("recipient", ["acme", "agent"])
@pytest.mark.parametrize("parts", [1, 3])
def test_parquet_arrives_as_it_is_stored_one_file_a_part_and_once(servers, token, recipient, parts):
    p, made = raw(servers, token, "parquet", parts)
    first = go(p, recipient)
    found = {name.replace("~", "/"): body for name, body in received(servers, p, token)[recipient].items()}
    folder, table = f"{token}/2026/11/20", "public.customers"
    names = [f"{table}.part-{n:05}-of-00003.parquet" for n in range(3)] if parts == 3 else [f"{table}.parquet"]
    assert found == {f"{folder}/{name}": body for name, body in zip(names, made, strict=True)}
    assert first.sent_bytes == sum(map(len, made))
    assert go(p, recipient).how == "nothing"
    assert len(list(p.evidence.receipts(DATE))) == parts


def test_a_date_that_was_dumped_in_another_format_is_refused_with_the_way_out(servers, token):
    p, _ = raw(servers, token, "csv.zst", 1)
    with pytest.raises(DeliveryRefused, match=r"is to be parquet, .* as csv\.zst") as caught:
        go(p)
    assert "again" in caught.value.hint
    assert [line.sign for line in plan(p, "acme", "customers", DATE)] == ["!"]
    assert received(servers, p, token)["acme"] == {}


def raw(servers: Sandbox, token: str, stored: str, parts: int) -> tuple[Any, list[bytes]]:
    """A raw table stored in `stored`, to be delivered as parquet; and its objects."""
    release = {
        "basis": "authorised", "reason": "r", "recipients": list(RECIPIENTS), "purpose": "p", "legal_basis": "l",
        "approved_by": "a", "until": "2099-01-01",
    }  # fmt: skip
    model = {"from": f"dump/{A}", "format": "parquet", "release": release}
    p = over(servers, token, deliveries=deliveries(token, **model))
    materialise(p, DUMP, Made(format=stored, parts=parts))
    _, record = p.evidence.tables(p.evidence.pointer(DUMP, DATE))[A]
    return p, [b"".join(p.store("lake").get(found.key)) for found in record.objects]
