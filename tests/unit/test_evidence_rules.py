"""The limits, clocks and digests that the verbs rest on, with their real values."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from egress_assets.engine.errors import (
    ChecksumMismatch,
    EgressError,
    ManifestInvalid,
    Missing,
    ObjectMissing,
    OutcomeUnknown,
)
from egress_assets.engine.evidence import conditional, deliver, here, ledger, reader, sweep
from egress_assets.engine.evidence.proofs import Claim, LedgerEntry
from egress_assets.engine.evidence.records import (
    Draft,
    Entry,
    Manifest,
    Note,
    ObjectRecord,
    Pointer,
    Position,
    TableRecord,
    canonical,
    digest,
)
from egress_assets.engine.evidence.requests import HOUR, SECOND, Call, Found, Get, List, Now, Put, Wait
from egress_assets.engine.layout import (
    Unit,
    copy_key,
    dump_unit,
    ledger_key,
    manifest_key,
    note_key,
    parse_note_key,
    pointer_key,
    scrub_unit,
)

UNIT, DATE, ATTEMPT = dump_unit("shop"), "2026-11-20", "20261121T021500123-0a1b2c3d"
CLAIM = Claim("id", 0, (DATE, 1), "run", "n", 0, False, deliver.TTL)


class Shelf:
    """Keys and bodies; performs a verb's requests in order. `answers` overrides what a Put says, once each."""

    def __init__(self, *answers: str) -> None:
        self.kept: dict[str, Found] = {}
        self.answers = list(answers)
        self.asked: list[Any] = []

    def keep(self, key: str, body: bytes, age: int = 0) -> None:
        self.kept[key] = Found(body, sha256(body).hexdigest(), 0, age)

    def drive(self, verb: Any) -> Any:
        answer, error = None, None
        while True:
            try:
                request = verb.throw(error) if error else verb.send(answer)
            except StopIteration as end:
                return end.value
            self.asked.append(request)
            try:
                answer, error = self.answer(request), None
            except EgressError as raised:
                answer, error = None, raised

    def answer(self, request: Any) -> Any:
        match request:
            case Get(key):
                return self.kept.get(key)
            case Put(key, body, etag):
                there = self.kept.get(key)
                said = self.answers.pop(0) if self.answers else "ok"
                if said != "lost" and (there.etag if there else None) == etag:
                    self.keep(key, body)
                    return said
                return "ambiguous" if said == "lost" else "refused"
            case List(prefix, after):
                return sorted(k for k in self.kept if k.startswith(prefix) and k > after)
            case Call(_, function):
                return function()
            case Now() | Wait():
                return 0
        raise AssertionError(request)


# --------------------------------------------------------------------------------------------------- conditional writes
@pytest.mark.parametrize(
    ("answers", "verdict"),
    [
        (["ok"], "mine"),
        (["ambiguous"], "mine"),  # it took effect, its answer was lost
        (["refused"], "mine"),  # an earlier try of the same body landed
        (["lost", "lost", "ok"], "mine"),
        (["lost"] * conditional.TRIES, "unknown"),
    ],
)
def test_what_lies_at_the_key_decides_whatever_was_answered(answers: list[str], verdict: str) -> None:
    assert Shelf(*answers).drive(conditional.put_conditionally("k", b"mine", None)) == verdict


def test_another_body_is_another_writers_also_after_a_lost_request() -> None:
    shelf = Shelf("lost")
    shelf.keep("k", b"theirs")
    assert shelf.drive(conditional.put_conditionally("k", b"mine", None)) == "other"
    assert shelf.drive(conditional.put_conditionally("k", b"mine", "an older etag")) == "other"
    assert shelf.kept["k"].body == b"theirs"


# ---------------------------------------------------------------------------------------------------- limits and clocks
def whole(at: int) -> int:
    """As Date and Last-Modified tell it."""
    return at - at % SECOND


@pytest.mark.parametrize("phase", [0, 1, 499_999, 999_999])
@pytest.mark.parametrize("skew", [-60, 0, 60])
def test_a_claim_never_expires_while_its_request_may_be_under_way(phase: int, skew: int) -> None:
    wrote = 1_000 * SECOND + phase
    not_after = deliver.deadline(wrote + skew * SECOND, CLAIM.ttl)  # by a sender whose clock is a minute off
    for late in (0, 1, SECOND - 1):
        seen = not_after + 30 * SECOND + late  # the recipient refuses by its own clock, at most 30 s behind
        assert not deliver.expired(Found(b"", "", whole(wrote), whole(seen)), CLAIM)
    over = wrote + CLAIM.ttl + deliver.MARGIN + 2 * SECOND
    assert deliver.expired(Found(b"", "", whole(wrote), whole(over)), CLAIM)


def test_more_bytes_live_longer() -> None:
    calls: dict[str, Any] = dict.fromkeys(("policy", "check_bytes", "send", "ask"), lambda: None)
    small = deliver.Delivery("r", "p", (DATE, 1), "d", "s", 0, "head", "run", **calls)
    assert deliver.life(small) == deliver.TTL
    assert deliver.life(replace(small, bytes=3_600_000_000)) == deliver.TTL + HOUR


def test_readers_outlive_runs_and_attempts() -> None:
    assert sweep.READER_LIMIT >= 2 * sweep.STALE == 48 * HOUR
    assert deliver.MARGIN >= (60 + 2 + 30) * SECOND


@pytest.mark.parametrize(("age", "stale"), [(24 * HOUR, False), (24 * HOUR + 1, True)])
def test_an_attempt_is_stale_by_its_notes_age(age: int, stale: bool) -> None:
    shelf = Shelf()
    shelf.keep(note_key(UNIT, DATE, ATTEMPT), canonical(Note(ATTEMPT).to_json()), age)
    rule = sweep.Sweep(UNIT, DATE, "me", lambda _: False, lambda _: False)
    assert shelf.drive(sweep.is_stale(rule, ATTEMPT)) is stale


def test_bytes_without_a_note_get_one_and_their_time_starts_with_it() -> None:
    shelf = Shelf()
    rule = sweep.Sweep(UNIT, DATE, "me", lambda _: False, lambda _: True)
    assert shelf.drive(sweep.is_stale(rule, ATTEMPT)) is False
    assert Note.parse(shelf.kept[note_key(UNIT, DATE, ATTEMPT)].body) == Note(ATTEMPT)


# ----------------------------------------------------------------------------------------------------------- processes
def test_this_process_is_not_gone() -> None:
    note = here.this(ATTEMPT)
    assert (note.attempt, note.pid) == (ATTEMPT, os.getpid())
    assert not here.is_gone(note)


def test_a_process_that_ended_is_gone_and_so_is_one_whose_pid_was_reused() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    note = replace(here.this(ATTEMPT), pid=child.pid, started=here.started(child.pid))
    assert not here.is_gone(note)
    assert here.is_gone(replace(note, started="1"))
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert here.is_gone(note), "a zombie does not write any more"
    child.communicate()
    assert here.is_gone(note)


@pytest.mark.parametrize("other", [{"host": "elsewhere"}, {"boot": "another boot"}, {"boot": ""}])
def test_of_another_host_boot_or_pid_namespace_nothing_is_said(other: dict[str, str]) -> None:
    assert not here.is_gone(replace(here.this(ATTEMPT), started="1", **other))


# -------------------------------------------------------------------------------------------------------------- reading
def object_of(body: bytes) -> ObjectRecord:
    return ObjectRecord("key", len(body), sha256(body).hexdigest())


@pytest.mark.parametrize("cut", [1, 3, 10])
def test_verified_bytes_come_through_unchanged(cut: int) -> None:
    body = b"0123456789"
    chunks = [body[i : i + cut] for i in range(0, len(body), cut)]
    assert b"".join(reader.verified(object_of(body), chunks)) == body
    assert list(reader.verified(object_of(b""), [])) == []


@pytest.mark.parametrize("found", [b"012345678", b"01234567890", b"012345678x", b""])
def test_the_last_chunk_of_wrong_bytes_never_comes_out(found: bytes) -> None:
    seen = bytearray()
    chunks = reader.verified(object_of(b"0123456789"), [found[:5], found[5:]])
    with pytest.raises(ChecksumMismatch):
        seen.extend(itertools.chain.from_iterable(chunks))
    assert len(seen) <= 5


def shelf_with_truth(age: int = 0) -> tuple[Shelf, Pointer]:
    shelf, table = Shelf(), TableRecord((object_of(b"x"),), "content")
    draft = Draft({"t": table}, Position("as_of", 1), "1", "", "lake")
    body = canonical(Manifest(UNIT, DATE, ATTEMPT, "", 0, "", draft).to_json())
    shelf.keep(manifest_key(UNIT, DATE, ATTEMPT), body)
    shelf.keep(note_key(UNIT, DATE, ATTEMPT), canonical(Note(ATTEMPT).to_json()), age)
    entry = Entry(ATTEMPT, digest(body), "content", draft.position, "1")
    pointer = Pointer(UNIT, DATE, 1, {"t": entry}, ATTEMPT, "", "")
    shelf.keep(pointer_key(UNIT, DATE), canonical(pointer.to_json()))
    return shelf, pointer


def gone(*_: object) -> None:
    raise ObjectMissing("key is gone")


def test_the_same_pointer_again_means_missing_or_when_expiry_is_due_expired() -> None:
    shelf, _ = shelf_with_truth(age=7 * 24 * HOUR)
    with pytest.raises(Missing, match="is not whole: key is gone"):
        shelf.drive(reader.read(UNIT, DATE, gone))
    with pytest.raises(Missing):
        shelf.drive(reader.read(UNIT, DATE, gone, expire_days=8))
    with pytest.raises(ObjectMissing, match="expired after 7 days"):
        shelf.drive(reader.read(UNIT, DATE, gone, expire_days=7))


def test_rotten_bytes_are_said_to_be_so_not_missing() -> None:
    shelf, _ = shelf_with_truth()
    with pytest.raises(ChecksumMismatch):
        shelf.drive(reader.read(UNIT, DATE, lambda *_: list(reader.verified(object_of(b"x"), [b"y"]))))


def test_reading_a_date_that_was_never_materialised_says_so() -> None:
    with pytest.raises(ObjectMissing, match="dump/shop has no data of 2026-11-20"):
        Shelf().drive(reader.read(UNIT, DATE, gone))


def test_a_manifest_that_the_pointer_does_not_mean_is_refused() -> None:
    shelf, pointer = shelf_with_truth()
    shelf.keep(manifest_key(UNIT, DATE, ATTEMPT), shelf.kept[manifest_key(UNIT, DATE, ATTEMPT)].body + b" ")
    with pytest.raises(ManifestInvalid, match="the pointer says"):
        shelf.drive(reader.read_tables(pointer))


def test_a_pointer_of_another_date_is_refused() -> None:
    shelf, _ = shelf_with_truth()
    shelf.kept[pointer_key(UNIT, "2026-11-21")] = shelf.kept[pointer_key(UNIT, DATE)]
    with pytest.raises(ManifestInvalid, match="says it is of dump/shop 2026-11-20"):
        shelf.drive(reader.read_pointer(UNIT, "2026-11-21"))


# --------------------------------------------------------------------------------------------------------------- ledger
def shelf_with_ledger(count: int) -> Shelf:
    shelf, previous = Shelf(), ""
    for n in range(count):
        body = canonical(LedgerEntry(n, previous, {f"{DATE}/r{n}": "s"}, (), "run", str(n)).to_json())
        shelf.keep(ledger_key(n), body)
        previous = digest(body)
    return shelf


@pytest.mark.parametrize("after", [0, 1, 3, 4])
def test_an_append_reads_from_the_anchor_and_still_knows_the_last_link(after: int) -> None:
    shelf = shelf_with_ledger(4)
    chain = shelf.drive(ledger.read_chain(after, DATE))
    assert (chain.length, chain.previous) == (4, digest(shelf.kept[ledger_key(3)].body))
    assert set(chain.covered) >= {f"{DATE}/r{n}" for n in range(after, 4)}
    assert len([r for r in shelf.asked if isinstance(r, Get)]) == min(4, 5 - after)


def test_an_append_refuses_a_chain_that_lies() -> None:
    shelf = shelf_with_ledger(3)
    shelf.keep(ledger_key(1), canonical(LedgerEntry(1, "0" * 64, {}, (), "run", "").to_json()))
    with pytest.raises(ManifestInvalid, match="says that sha256 of the entry before it is"):
        shelf.drive(ledger.append("run", DATE))
    del shelf.kept[ledger_key(1)]
    with pytest.raises(ManifestInvalid, match="where entry 1 should be"):
        shelf.drive(ledger.append("run", DATE))
    assert not shelf.drive(ledger.verify_chain()).unbroken


def test_a_ledger_that_shrank_is_not_built_on() -> None:
    with pytest.raises(ManifestInvalid, match="it was 5 entries long before"):
        shelf_with_ledger(2).drive(ledger.read_chain(5, None))


def test_receipts_that_can_not_be_covered_now_are_left_and_events_are_not_forgotten_silently() -> None:
    shelf = Shelf(*["lost"] * conditional.TRIES)
    shelf.keep(f"receipts/{DATE}/r", b"x")
    assert shelf.drive(ledger.append("run", DATE)) is None
    assert shelf.drive(ledger.append("run", DATE)) == 0
    shelf.answers = ["ok", *["lost"] * conditional.TRIES]
    event = ledger.Event("hold", "recipient/acme", "amy", "why", "n")
    with pytest.raises(OutcomeUnknown):
        shelf.drive(ledger.set_hold("recipient", event))
    assert shelf.drive(ledger.close("closer")) == 1, "the closer notes what its writer could not"
    assert LedgerEntry.parse(shelf.kept[ledger_key(1)].body).events == (event,)
    assert shelf.drive(ledger.close("closer")) is None


# ----------------------------------------------------------------------------------------------------------------- keys
@pytest.mark.parametrize("unit", [UNIT, scrub_unit("Größe/..", "a=b"), Unit("mirror", ("date=2026-01-01",))])
def test_a_notes_key_comes_back_whatever_the_names(unit: Unit) -> None:
    assert parse_note_key(note_key(unit, DATE, ATTEMPT)) == (unit, DATE, ATTEMPT)


def test_the_copy_lies_beside_the_bytes_where_no_table_can_be() -> None:
    assert copy_key(UNIT, DATE, ATTEMPT) == f"dump/shop/date={DATE}/a={ATTEMPT}/_manifest.json"
