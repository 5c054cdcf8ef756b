"""The index of an overlap: two sorted streams, equal rows counted, in bounded memory."""

from __future__ import annotations

from binascii import hexlify
from collections import Counter
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql

from egress_assets.engine.dump import overlap
from egress_assets.engine.dump.overlap import WIDTH, RowKey, digests, plain_digest
from egress_assets.engine.dump.tasks import ColumnInfo, Relation
from egress_assets.engine.errors import SourceError
from egress_assets.engine.scrub.keys import MasterKey

RELATION = Relation("a.b", "a", "b", 1, "p", (ColumnInfo("id", "integer", "int4", False),), (("a", "x"), ("a", "y")))
ROWS = st.lists(st.integers(0, 6), max_size=30)


def of(number: int) -> bytes:
    return sha256(bytes([number])).digest()[:WIDTH]


def lines(rows: list[int]) -> list[bytes]:
    return sorted(hexlify(of(row)) + b"\t0\t(0,%d)" % place for place, row in enumerate(rows, 1))


@given(now=ROWS, before=ROWS)
def test_what_is_left_is_the_difference_of_two_multisets(now: list[int], before: list[int]) -> None:
    known = map(hexlify, sorted(map(of, before)))
    left = Counter(line[: 2 * WIDTH] for line in overlap._without(lines(now), known))
    assert left == Counter(hexlify(of(row)) for row in (Counter(now) - Counter(before)).elements())


@given(rows=ROWS, size=st.integers(1, 70))
def test_an_index_is_read_in_whatever_chunks_it_comes(rows: list[int], size: int) -> None:
    body = b"".join(sorted(map(of, rows)))
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    assert list(overlap._entries(chunks)) == sorted(map(of, rows))


def test_an_index_is_written_in_chunks_and_one_beyond_bounds_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap, "_CHUNK", 3 * WIDTH)
    monkeypatch.setattr(overlap, "MOST_ROWS", 7)
    digest = [hexlify(of(n)) for n in range(8)]
    assert [len(chunk) for chunk in overlap._chunks(digest[:7], "a.b")] == [3 * WIDTH, 3 * WIDTH, WIDTH]
    with pytest.raises(SourceError, match="more than 7 rows within the overlap"):
        list(overlap._chunks(digest, "a.b"))


def test_more_late_rows_than_this_process_can_hold_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap, "MOST_LATE", 2)
    monkeypatch.setattr(overlap, "_lines", lambda *_given: iter(lines([1, 2, 3])))
    with pytest.raises(SourceError, match=r"more than 2 rows of a\.b within the overlap have changed"):
        overlap.not_in_index(None, sql.SQL("").format(), [], RELATION)  # type: ignore[arg-type]  # asked for nothing


def test_every_leaf_is_read_and_no_value_or_key_stands_in_the_statement() -> None:
    keys = MasterKey.parse("5c" * 32).audience("shared", "1")
    key = keys.row_key()
    query = digests(RELATION, ["id"], sql.SQL("true"), key, places=True).as_string()
    assert [query.count(f'FROM ONLY "a"."{leaf}"') for leaf in "xy"] == [1, 1]
    assert not any(secret in query + repr(key) for secret in key.session.values())
    assert key.session == MasterKey.parse("5c" * 32).audience("shared", "2").row_key().session
    assert key.session != MasterKey.parse("5c" * 32).audience("acme", "1").row_key().session
    assert not set(key.session) & set(keys.session(["row_versions", "hash"]))
    assert (
        "current_setting"
        not in digests(RELATION, ["id"], sql.SQL("true"), RowKey(plain_digest), places=False).as_string()
    )
