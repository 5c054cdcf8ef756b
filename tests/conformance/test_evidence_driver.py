"""Evidence over real stores: processes that race, are killed between any two requests, and lose answers."""

from __future__ import annotations

import importlib.util
import json
import logging
import secrets
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from egress_assets.engine.errors import ManifestInvalid, Missing, ObjectMissing, OutcomeUnknown, StoreUnavailable
from egress_assets.engine.evidence import deliver, sweep
from egress_assets.engine.evidence.driver import Evidence
from egress_assets.engine.evidence.proofs import LedgerEntry
from egress_assets.engine.evidence.records import Draft, Pointer
from egress_assets.engine.layout import attempt_of, date_prefix, ledger_key, receipt_key
from egress_assets.engine.stores import Answer, Store
from egress_assets.engine.stores.settings import StoreSettings

WORKER = Path(__file__).parent / "evidence_worker.py"
spec = importlib.util.spec_from_file_location("evidence_worker", WORKER)
assert spec
assert spec.loader
worker = importlib.util.module_from_spec(spec)
spec.loader.exec_module(worker)
UNIT, DATE, TABLES = worker.UNIT, worker.DATE, worker.TABLES


class Place:
    """Evidence and bytes under a prefix of their own on one server, and processes that work there."""

    def __init__(self, server: Any, kind: str = "s3") -> None:
        self.settings = StoreSettings(
            kind=kind, bucket="egress-test", endpoint=server.endpoint, prefix=f"evidence-{secrets.token_hex(4)}",
            access_key=server.access_key, secret_key=server.secret_key, name=server.name,
        )  # fmt: skip
        self.evidence, self.data = worker.opened(self.settings)

    def start(self, verb: str, **arguments: Any) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(WORKER), verb, json.dumps(arguments)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdin
        process.stdin.write(self.settings.model_dump_json())
        process.stdin.close()
        process.stdin = None
        return process

    def materialise(self, content: str, position: int, tables: frozenset[str] | None = None, **more: Any):
        def work(_base: Pointer | None, attempt: str) -> Draft:
            return worker.draft(self.data, attempt, content, position)

        return self.evidence.materialise(UNIT, DATE, work, self.data, tables, **more)

    def attempts(self) -> set[str]:
        prefix = date_prefix(UNIT, DATE)
        return {attempt_of(k.key) for store in (self.data.list(prefix), self.data.uploads(prefix)) for k in store}

    def contents(self) -> list[str]:
        """What a reader sees in each table."""

        def consume(_pointer: Pointer, tables: Any) -> list[str]:
            records = [record for _, record in tables.values()]
            return [b"".join(self.data.get(o.key)).decode().split()[1] for r in records for o in r.objects]

        return self.evidence.read(UNIT, DATE, consume)

    def assert_whole(self) -> None:
        results = list(self.evidence.verify(UNIT, DATE, self.data))
        assert {r.status for r in results} == {"ok"}
        assert {r.table for r in results} == set(TABLES)


@pytest.fixture
def place(seaweedfs: Any) -> Place:
    return Place(seaweedfs)


@pytest.fixture(params=["seaweedfs", pytest.param("ceph_rgw", marks=pytest.mark.ceph)])
def any_place(request: pytest.FixtureRequest) -> Place:
    """On each server that evidence may live on; RGW answers lost races with 409 and 500 too."""
    kind = "ceph" if request.param == "ceph_rgw" else "s3"
    return Place(request.getfixturevalue(request.param), kind)


def ended(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


@pytest.mark.slow
def test_processes_that_race_leave_one_unbroken_line_of_truth(any_place: Place) -> None:
    racers = [any_place.start("materialise", content=c, position=0, rounds=4) for c in "xy"]
    seen = [how for racer in racers for how in ended(racer).split()]
    assert len(seen) == 8
    assert set(seen) <= {"moved", "unchanged", "superseded", "outcome_unknown"}
    pointer = any_place.evidence.pointer(UNIT, DATE)
    assert pointer
    any_place.assert_whole()
    assert len(set(any_place.contents())) == 1, "half of one run and half of the other"
    generation, by, walked = pointer.generation, pointer.by, []
    while generation:
        manifest = any_place.evidence.manifest(UNIT, DATE, by)
        assert manifest.base_generation == generation - 1
        generation, by = manifest.base_generation, manifest.base_by
        walked.append(manifest.draft.position.at)
    assert len(walked) == seen.count("moved")
    assert walked == sorted(walked, reverse=True), "an older truth replaced a newer one"


@pytest.mark.slow
def test_a_process_killed_before_any_of_its_requests_leaves_the_previous_truth(any_place: Place) -> None:
    lines = ended(any_place.start("deaths")).splitlines()
    found = [json.loads(line) for line in lines if line.startswith("{")]
    assert [f["status"] for f in found] == [-signal.SIGKILL] * (len(found) - 1) + [0]
    assert len(found) > 10, "a run has at least that many requests"
    assert all(f["statuses"] == ["ok", "ok"] for f in found)
    assert [f["contents"] for f in found] == [["before0"] * 2] * (len(found) - 1) + [["after0"] * 2]


def test_the_next_start_sweeps_what_a_killed_process_left(any_place: Place) -> None:
    killed = any_place.start("materialise", content="lost", position=1, die=8)
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    orphans = any_place.attempts()
    assert len(orphans) == 1
    any_place.materialise("kept", 2)
    assert any_place.attempts() == {e.attempt for e in any_place.evidence.pointer(UNIT, DATE).entries.values()}  # type: ignore
    with pytest.raises(ManifestInvalid, match="has a tombstone"):
        any_place.evidence.manifest(UNIT, DATE, orphans.pop())


def test_a_live_attempt_is_not_swept(place: Place) -> None:
    def work(_base: Pointer | None, attempt: str) -> Draft:
        made = worker.draft(place.data, attempt, "slow", 1)
        assert place.evidence.sweep(UNIT, DATE, place.data).attempts == ()
        return made

    assert place.evidence.materialise(UNIT, DATE, work, place.data).how == "moved"
    place.assert_whole()


def test_readers_keep_an_overtaken_attempt_for_their_time_and_receipts_keep_it_for_good(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = [place.materialise(c, p).attempt for p, c in enumerate("abc")]
    assert place.attempts() == set(attempts)
    assert place.evidence.sweep(UNIT, DATE, place.data).attempts == (), "readers of the old pointer may still be at it"
    one = delivery(source={"unit": str(UNIT), "attempt": attempts[0]})
    assert place.evidence.deliver(one).ending == "delivered"
    monkeypatch.setattr(sweep, "READER_LIMIT", -1)
    removed = place.evidence.sweep(UNIT, DATE, place.data, kept=lambda a: a == "other")
    assert removed.attempts == (attempts[1],)
    assert removed.objects == 2
    assert place.attempts() == {attempts[0], attempts[2]}


def test_equal_content_keeps_the_old_attempt_until_it_is_damaged(any_place: Place) -> None:
    first = any_place.materialise("x", 1)
    again = any_place.materialise("x", 2)
    assert (again.how, again.moved) == ("unchanged", frozenset())
    assert again.pointer.generation == 2
    entry = again.pointer.entries["public.a"]
    assert (entry.attempt, entry.position.at, entry.snapshot) == (first.attempt, 2, "2")
    _, record = any_place.evidence.tables(again.pointer)["public.a"]
    any_place.data.put(record.objects[0].key, b"rotten")
    assert [r.status for r in any_place.evidence.verify(UNIT, DATE, any_place.data)] == ["corrupt", "ok"]
    healed = any_place.materialise("x", 3)
    assert (healed.how, healed.moved) == ("moved", frozenset({"public.a"}))
    assert healed.pointer.entries["public.b"].attempt == first.attempt
    any_place.assert_whole()


def test_a_subset_replaces_its_own_entries_and_drops_none(place: Place) -> None:
    first = place.materialise("x", 1)
    part = place.materialise("y", 2, frozenset({"public.b"}))
    assert part.moved == {"public.b"}
    assert part.pointer.entries["public.a"] == first.pointer.entries["public.a"]
    assert not part.pointer.consistent(frozenset(TABLES))
    assert place.contents() == ["x", "y"]
    whole = place.materialise("y", 3)
    assert whole.moved == {"public.a"}
    assert whole.pointer.consistent(frozenset(TABLES))


def test_gone_bytes_are_missing_or_when_their_expiry_is_due_expired(place: Place) -> None:
    truth = place.materialise("x", 1).pointer
    _, record = place.evidence.tables(truth)["public.b"]
    place.data.delete(record.objects[0].key)
    statuses = [(r.table, r.status) for r in place.evidence.verify(UNIT, DATE, place.data)]
    assert statuses == [("public.a", "ok"), ("public.b", "missing")]
    with pytest.raises(Missing):
        place.contents()
    due = [r.status for r in place.evidence.verify(UNIT, DATE, place.data, expire_days=0)]
    assert due == ["ok", "expired"]
    ticks: list[Any] = []
    list(place.evidence.verify(UNIT, DATE, place.data, listener=ticks.append))
    assert [(t.item, t.done, t.total, t.finished) for t in ticks] == [(t, 10, 10, True) for t in TABLES]


def test_all_pointers_and_all_dates_that_were_ever_begun_can_be_walked(place: Place) -> None:
    with pytest.raises(ObjectMissing, match="no data of"):
        list(place.evidence.verify(UNIT, DATE, place.data))
    for position in (1, 2):
        place.materialise("x", position)
    assert list(place.evidence.pointers()) == list(place.evidence.pointers(UNIT)) == [(UNIT, DATE)]
    assert list(place.evidence.noted()) == [(UNIT, DATE)]


# --------------------------------------------------------------------------------------------------------------- faults
class Lossy:
    """A store whose next conditional writes end as told: `lost` did not take effect, `done` did; both say nothing."""

    def __init__(self, store: Store, *fates: str) -> None:
        self.store, self.fates = store, list(fates)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def put_if(self, key: str, body: bytes, *, etag: str | None) -> Answer:
        fate = self.fates.pop(0) if self.fates else "ok"
        if fate == "lost":
            return "ambiguous"
        answer = self.store.put_if(key, body, etag=etag)
        return "ambiguous" if fate == "done" else answer


@pytest.mark.parametrize(
    "fates", [("done",) * 3, ("lost",) * 4, ("lost", "done", "done", "lost", "done"), ("done",) * 9]
)
def test_lost_answers_and_lost_writes_are_settled_by_reading_back(place: Place, fates: tuple[str, ...]) -> None:
    place.evidence = Evidence(Lossy(place.evidence.store, *fates))  # type: ignore[arg-type]
    assert place.materialise("x", 1).how == "moved"
    pointer = place.evidence.pointer(UNIT, DATE)
    assert pointer
    assert pointer.generation == 1
    place.assert_whole()


def test_a_store_that_answers_nothing_is_neither_success_nor_superseded(place: Place) -> None:
    place.materialise("x", 1)
    real = place.evidence
    place.evidence = Evidence(Lossy(real.store, "ok", "ok", *["lost"] * 6))  # type: ignore[arg-type]
    with pytest.raises(OutcomeUnknown) as caught:
        place.materialise("y", 2)
    assert caught.value.retryable
    place.evidence = real
    assert place.contents() == ["x", "x"]
    assert place.materialise("y", 3).how == "moved"


@pytest.mark.parametrize("action", ["409", "500", "reset", "resetafter"])
def test_a_server_that_fails_conditional_writes_is_asked_again(s3mem: Any, action: str) -> None:
    s3mem.open().ensure_bucket()
    place = Place(s3mem)
    s3mem.fault("PutObject", action, times=2)
    assert place.materialise("x", 1).how == "moved"
    place.assert_whole()


def test_an_interrupt_between_requests_leaves_the_previous_truth(place: Place) -> None:
    place.materialise("x", 1)

    def work(_base: Pointer | None, attempt: str) -> Draft:
        worker.draft(place.data, attempt, "y", 2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        place.evidence.materialise(UNIT, DATE, work, place.data)
    assert place.contents() == ["x", "x"]


# ------------------------------------------------------------------------------------------------------------- delivery
def delivery(send: Any = None, **fields: Any) -> deliver.Delivery:
    calls = {
        "policy": lambda: "hold",
        "check_bytes": lambda: True,
        "send": send or (lambda _identity, _not_after: deliver.Sent("ok", {"status": 201})),
        "ask": lambda: None,
    }
    given = {"recipient": "acme", "pipeline": "orders", "order": (DATE, 1), "destination": "in/orders.csv.gz"}
    return deliver.Delivery(
        **{**given, "sha256": "5a" * 32, "bytes": 4, "knows": "head", "by": "run", **calls, **fields}
    )


def test_delivering_twice_leaves_one_receipt_in_one_ledger_entry(any_place: Place) -> None:
    sent: list[str] = []

    def send(identity: str, not_after: int) -> deliver.Sent:
        assert not_after > 1_700_000_000_000_000
        sent.append(identity)
        return deliver.Sent("ok", {"status": 201})

    first = any_place.evidence.deliver(delivery(send))
    again = any_place.evidence.deliver(delivery(send, by="another run"))
    assert (first.ending, first.how, again.ending) == ("delivered", "sent", "before")
    assert sent == [first.identity] == [again.identity]
    (receipt,) = any_place.evidence.receipts(DATE)
    assert (receipt.identity, receipt.by, receipt.facts) == (first.identity, "run", {"status": 201})
    assert any_place.evidence.verify_ledger().pending == (f"{DATE}/{first.identity}",)
    assert any_place.evidence.append_ledger(DATE, run="run") == 0
    assert any_place.evidence.append_ledger(DATE, run="run") is None
    assert any_place.evidence.append_ledger() is None
    state = any_place.evidence.verify_ledger()
    assert (state.entries, state.covered, state.pending, state.problems) == (1, 1, (), ())


@pytest.mark.parametrize(
    ("answer", "ending", "next_ending"),
    [("refused", "refused", "delivered"), ("ambiguous", "unknown", "busy")],
)
def test_a_definite_no_frees_the_destination_and_silence_does_not(
    place: Place, answer: Answer, ending: str, next_ending: str
) -> None:
    assert place.evidence.deliver(delivery(lambda *_: deliver.Sent(answer))).ending == ending
    assert list(place.evidence.receipts()) == []
    assert place.evidence.deliver(delivery()).ending == next_ending


@pytest.mark.parametrize(
    ("knows", "fields", "ending", "how"),
    [
        ("idempotent", {}, "delivered", "sent"),
        ("head", {}, "delivered", "sent"),
        ("head", {"ask": "identity"}, "delivered", "found"),
        ("head", {"ask": "of another day"}, "delivered", "sent"),
        ("write-only", {}, "unknown", None),
        ("write-only", {"policy": "resend"}, "delivered", "resent"),
    ],
)
def test_doubt_is_cleared_by_what_the_recipient_knows(
    place: Place, monkeypatch: pytest.MonkeyPatch, knows: deliver.Knows, fields: dict[str, str], ending: str, how: str
) -> None:
    silent = place.evidence.deliver(delivery(lambda *_: deliver.Sent("ambiguous"), knows=knows))
    assert silent.ending == "unknown"
    monkeypatch.setattr(deliver, "MARGIN", -2 * deliver.TTL)
    says = {"ask": silent.identity if fields.get("ask") == "identity" else fields.get("ask")}
    calls = {"ask": lambda: says["ask"], "policy": lambda: fields.get("policy", "hold")}
    resolved = place.evidence.deliver(delivery(knows=knows, **calls))
    assert (resolved.ending, resolved.how) == (ending, how)
    assert resolved.identity == silent.identity


def test_wrong_bytes_never_leave_and_do_not_block_the_destination(place: Place) -> None:
    def send(*_: Any) -> deliver.Sent:
        raise AssertionError("sent")

    assert place.evidence.deliver(delivery(send, check_bytes=lambda: False)).ending == "corrupt"
    assert place.evidence.deliver(delivery()).ending == "delivered"


def test_an_older_release_does_not_get_a_newer_ones_destination(any_place: Place) -> None:
    assert any_place.evidence.deliver(delivery(order=(DATE, 2))).ending == "delivered"
    assert any_place.evidence.deliver(delivery(order=(DATE, 1), sha256="6b" * 32)).ending == "superseded"
    assert any_place.evidence.deliver(delivery(order=(DATE, 3), sha256="6b" * 32)).ending == "delivered"
    assert any_place.evidence.deliver(delivery(order=(DATE, 4))).ending == "delivered", "x, y, x is three deliveries"
    assert len(list(any_place.evidence.receipts(DATE))) == 3


def test_a_hold_stops_deliveries_until_it_is_lifted_and_both_are_in_the_ledger(place: Place) -> None:
    evidence = place.evidence
    evidence.hold("recipient", "acme", by="amy", reason="wrong columns")
    evidence.hold("dataset", "shop/Größe", by="amy", reason="audit")
    held = evidence.held("recipient", "acme")
    assert held
    assert (held.event.by, held.event.reason) == ("amy", "wrong columns")
    assert len(list(evidence.holds())) == 2
    assert evidence.deliver(delivery()).ending == "held"
    evidence.unhold("recipient", "acme", by="ben", reason="fixed")
    assert evidence.held("recipient", "acme") is None
    assert evidence.deliver(delivery(holds=(("dataset", "shop/Größe"),))).ending == "held"
    assert evidence.deliver(delivery()).ending == "delivered"
    entries = [LedgerEntry.parse(evidence.store.read(ledger_key(n))[0]) for n in range(3)]  # type: ignore[index]
    told = [(e.what, e.name, e.by) for entry in entries for e in entry.events]
    assert told == [
        ("hold", "recipient/acme", "amy"), ("hold", "dataset/shop/Größe", "amy"), ("unhold", "recipient/acme", "ben"),
    ]  # fmt: skip
    assert evidence.append_ledger() == 3, "the closer covers the receipt and repeats no event"
    assert LedgerEntry.parse(evidence.store.read(ledger_key(3))[0]).events == ()  # type: ignore[index]


def test_a_hold_that_comes_while_bytes_are_verified_still_stops_them(place: Place) -> None:
    def check() -> bool:
        place.evidence.hold("recipient", "acme", by="amy", reason="stop")
        return True

    assert place.evidence.deliver(delivery(check_bytes=check)).ending == "held"
    place.evidence.unhold("recipient", "acme", by="amy", reason="go")
    assert place.evidence.deliver(delivery()).ending == "delivered", "nothing was sent, so nothing is in doubt"


@pytest.mark.slow
def test_eight_processes_that_race_for_the_ledger_cover_every_receipt_exactly_once(any_place: Place) -> None:
    racers = [any_place.start("ledger", run=f"run{n}", receipts=3) for n in range(8)]
    for racer in racers:
        ended(racer)
    any_place.evidence.append_ledger(run="closer")
    state = any_place.evidence.verify_ledger()
    assert state.unbroken, state.problems
    assert (state.covered, state.pending) == (24, ())
    names = Counter(
        name
        for n in range(state.entries)
        for name in LedgerEntry.parse(any_place.evidence.store.read(ledger_key(n))[0]).receipts  # type: ignore[index]
    )
    assert len(names) == 24
    assert set(names.values()) == {1}


def test_a_receipt_that_was_changed_or_removed_shows(place: Place) -> None:
    first = place.evidence.deliver(delivery())
    other = place.evidence.deliver(delivery(destination="in/other"))
    place.evidence.append_ledger(DATE)
    place.evidence.store.put(receipt_key(DATE, first.identity), b"{}")
    place.evidence.store.delete(receipt_key(DATE, other.identity))
    problems = place.evidence.verify_ledger().problems
    assert len(problems) == 2
    assert any("the ledger says" in p and first.identity in p for p in problems)
    assert any("is gone" in p and other.identity in p for p in problems)


def test_a_sweep_that_fails_does_not_stop_the_run(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Lossy):
        def uploads(self, _prefix: str = "") -> Iterator[Any]:
            raise StoreUnavailable("uploads can not be listed")

    place.data = Broken(place.data)  # type: ignore[assignment]
    with caplog.at_level(logging.WARNING):
        assert place.materialise("x", 1).how == "moved"
    assert "left unswept dump/shop 2026-11-20: uploads can not be listed" in caplog.text
