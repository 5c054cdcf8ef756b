"""Records are canonical JSON, equal records are equal bytes, and version 1 is read for ever."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egress_assets.engine.errors import ManifestInvalid
from egress_assets.engine.evidence.proofs import Claim, Event, Hold, LedgerEntry, Receipt
from egress_assets.engine.evidence.records import (
    CheckRecord,
    Column,
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
    parse_pointer,
    parse_record,
    tombstone,
)
from egress_assets.engine.layout import dump_unit

GOLDEN = Path(__file__).parent / "evidence_v1"
UNIT, DATE, ATTEMPT = dump_unit("shop"), "2026-11-20", "20261121T021500123-0a1b2c3d"
SHA = sha256(b"part").hexdigest()
OBJECT = ObjectRecord(
    f"dump/shop/date={DATE}/a={ATTEMPT}/public.orders/part-00000.csv.zst", 4, SHA, 2, "d41d8cd9", {"etag": "x"}, 9
)
TABLE = TableRecord(
    (OBJECT,), "c0ffee", (Column("id", "bigint", False), Column("name", "text", True, "name")), "csv.zst", 2, "9011c7",
    (CheckRecord("row_counts_match", True, {"rows": 2}),),
)  # fmt: skip
DRAFT = Draft(
    {"public.orders": TABLE, "public.größe": replace(TABLE, rows=None)}, Position("7301/1", 81985529216486895),
    "00000003-1", "2026-11-21T02:15:00Z", "lake", "5bec", "4ey", "shared", {"basis": "scrubbed"},
    {"dump/shop": {"public.orders": ["a", "b"]}}, {"version": "18.0"},
)  # fmt: skip
MANIFEST = Manifest(UNIT, DATE, ATTEMPT, "0" * 32, 3, "20261120T021500000-00000000", DRAFT)
ENTRY = Entry(ATTEMPT, "d1" * 32, "c0ffee", DRAFT.position, DRAFT.snapshot)
POINTER = Pointer(UNIT, DATE, 4, {"public.orders": ENTRY}, ATTEMPT, "ab" * 32, "1" * 32, "5bec", "4ey")
NOTE = Note(ATTEMPT, "host", "boot pid:[4026531836]", 42, "123456")
CLAIM = Claim("1d" * 32, 2, (DATE, 4), "run", "2" * 32, 7, False, 600_000_000)
RECEIPT = Receipt(
    "1d" * 32, "run", "resent", "acme", "orders", (DATE, 4), "in/2026/11/20/orders.csv.gz", SHA, 4, 2,
    1_795_227_300_000_001, {"unit": "scrub/shop/shared", "attempt": ATTEMPT}, {"status": 201},
)  # fmt: skip
EVENT = Event("hold", "recipient/acme", "amy", "wrong columns", "3" * 32)
HOLD = Hold(True, EVENT)
LEDGER = LedgerEntry(5, "cd" * 32, {f"{DATE}/{'1d' * 32}": "ef" * 32}, (EVENT,), "run", "4" * 32)
RECORDS: dict[str, tuple[Any, Any]] = {
    "manifest": (MANIFEST, Manifest.parse),
    "pointer": (POINTER, parse_pointer),
    "note": (NOTE, Note.parse),
    "claim": (CLAIM, Claim.parse),
    "receipt": (RECEIPT, Receipt.parse),
    "hold": (HOLD, Hold.parse),
    "ledger": (LEDGER, LedgerEntry.parse),
}


@pytest.mark.parametrize("name", RECORDS)
def test_version_1_is_read_for_ever_and_written_byte_for_byte(name: str) -> None:
    record, parse = RECORDS[name]
    golden = (GOLDEN / f"{name}.json").read_bytes()
    assert canonical(record.to_json()) == golden
    read = parse(golden)
    assert canonical(read.to_json()) == golden
    stored = {"digest", "body", "etag", "modified", "seen"}
    for field in fields(record):
        if field.name not in stored:
            assert getattr(read, field.name) == getattr(record, field.name)


def test_a_manifest_knows_the_digest_of_its_own_bytes() -> None:
    golden = (GOLDEN / "manifest.json").read_bytes()
    manifest = Manifest.parse(golden)
    assert manifest
    assert manifest.digest == sha256(golden).hexdigest()


def test_a_tombstone_is_no_manifest() -> None:
    golden = (GOLDEN / "tombstone.json").read_bytes()
    assert canonical(tombstone(ATTEMPT, "host 42", "5" * 32)) == golden
    assert Manifest.parse(golden) is None


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_without_one_of_its_fields_is_refused_not_guessed(name: str) -> None:
    _, parse = RECORDS[name]
    whole = json.loads((GOLDEN / f"{name}.json").read_bytes())
    optional = {"kind", "spec_digest", "key_id"} if name == "pointer" else {"kind"}
    for field in set(whole) - optional:
        broken = {k: v for k, v in whole.items() if k != field}
        with pytest.raises(ManifestInvalid):
            parse(canonical(broken))


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"{}", b"\xff", b'{"format":"1"}'])
def test_what_is_no_record_is_refused(body: bytes) -> None:
    with pytest.raises(ManifestInvalid):
        parse_record(body)


def test_evidence_of_the_future_is_refused_with_the_way_out() -> None:
    with pytest.raises(ManifestInvalid) as caught:
        parse_record(b'{"format":2}')
    assert caught.value.hint == "Upgrade Egress to read newer evidence."


plain = st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
values = st.recursive(
    plain,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("aé\U0001f600", max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(values)
def test_canonical_json_comes_back_and_is_a_fixed_point(value: Any) -> None:
    body = canonical(value)
    assert json.loads(body) == value
    assert canonical(json.loads(body)) == body
    assert digest(value) == digest(body) == sha256(body).hexdigest()


@given(st.dictionaries(st.text("ab", max_size=3), st.integers(), max_size=5))
def test_order_of_writing_does_not_show(value: dict[str, int]) -> None:
    assert canonical(dict(reversed(value.items()))) == canonical(value)


@pytest.mark.parametrize("value", [1.5, float("nan"), [0.0], {"a": {"b": (1, 2.0)}}])
def test_floats_are_refused_wherever_they_hide(value: Any) -> None:
    with pytest.raises(TypeError, match="no floats"):
        canonical(value)


@given(st.integers(), st.integers())
def test_positions_of_one_line_are_ordered_and_others_are_not(a: int, b: int) -> None:
    left, right = Position("7301/1", a), Position("7301/1", b)
    assert left.compare(right) == ("equal" if a == b else "older" if a < b else "newer")
    assert left.compare(Position("7301/2", b)) == "incomparable"
    assert Position.from_json(left.to_json()) == left


def test_moved_is_attempt_or_content_and_nothing_else() -> None:
    later = replace(ENTRY, position=Position("7301/1", 0), snapshot="other", manifest_digest="x")
    assert later.same_content(ENTRY)
    assert not replace(ENTRY, attempt="other").same_content(ENTRY)
    assert not replace(ENTRY, content_digest="other").same_content(ENTRY)
    assert not ENTRY.same_content(None)


def test_consistent_is_exactly_the_tables_of_one_snapshot() -> None:
    both = replace(POINTER, entries={"a": ENTRY, "b": ENTRY})
    assert both.consistent(frozenset("ab"))
    assert not both.consistent(frozenset("abc"))
    assert not both.consistent(frozenset("a"))
    assert not replace(both, entries={"a": ENTRY, "b": replace(ENTRY, snapshot="x")}).consistent(frozenset("ab"))
