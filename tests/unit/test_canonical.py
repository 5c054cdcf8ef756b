"""Stored text back to canonical rows, in bulk, against a reader that takes one field after the other (S0-2)."""

from __future__ import annotations

import random
import tracemalloc
from hashlib import sha256
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egress_assets.engine.canonical import BLOCK, canonical_rows
from egress_assets.engine.checksum import MODULUS, Checksum, Checksums, added, checksum
from egress_assets.engine.dialect import PLAIN, Dialect
from egress_assets.engine.errors import ChecksumMismatch
from egress_assets.engine.evidence.records import TableRecord
from egress_assets.engine.stored_rows import rows_checksum
from egress_assets.engine.stream import FORMATS, compressed
from tests.dialects import written

EVERY = [
    PLAIN, Dialect(delimiter=";"), Dialect(delimiter="\t", null="\\N"), Dialect(delimiter="|", quote="'"),
    Dialect(null="NULL", quote="`"), Dialect(delimiter="^", quote="]"), Dialect(delimiter="\x01"),
    Dialect("datapipeline", "\\N", ",", ""), Dialect("datapipeline", "\\N", "|", ""),
    Dialect("datapipeline", "\\Z", "\t", ""),
]  # fmt: skip
Row = tuple[str | None, ...]


def canonical(row: Row) -> bytes:
    """As engine/checksum.py says it, in the words that are easiest to check."""
    return b"".join((b"\xfe" if value is None else value.encode()) + b"\xff" for value in row)


def read(text: bytes, dialect: Dialect, columns: int, size: int = BLOCK) -> list[bytes]:
    """In chunks of `size`, and in blocks that are gathered to as much."""
    chunks = [text[start : start + size] for start in range(0, len(text), size)]
    return list(chain.from_iterable(canonical_rows(chunks, dialect, columns, block=size)))


SIGNS = [*"ab,;|\t\n\r\\\"'`]^.NZnrtbfv0\x01\x08\x0b\x0c ", "é", "\U0001f418", "NULL", "\\N", "\\.", '""', '"""']
values = st.none() | st.lists(st.sampled_from(SIGNS), max_size=6).map("".join)
dialects = st.sampled_from(EVERY)
tables = st.integers(0, 4).flatmap(lambda columns: st.lists(st.tuples(*[values] * columns), max_size=6))


@given(dialect=dialects, rows=tables)
def test_every_value_in_every_dialect_is_the_canonical_row_that_it_was(dialect: Dialect, rows: list[Row]):
    columns = len(rows[0]) if rows else 1
    assert read(written(rows, dialect), dialect, columns) == [canonical(row) for row in rows]


@given(dialect=dialects, rows=tables, size=st.integers(1, 9))
def test_it_does_not_matter_where_chunks_are_cut(dialect: Dialect, rows: list[Row], size: int):
    columns = len(rows[0]) if rows else 1
    assert read(written(rows, dialect), dialect, columns, size) == [canonical(row) for row in rows]


PAIRS = [
    ((None,), ("",)),
    (("", None), (None, "")),
    (("a", "b"), ("b", "a")),
    (("a,b",), ("a", "b")),
    (("ab", ""), ("a", "b")),
    (("",), ("", "")),
    ((), ("",)),
    (("\\N",), (None,)),
    (("NULL",), (None,)),
    (("a\n",), ("a",)),
    (("é",), ("e\u0301",)),
]


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=repr)
def test_rows_that_differ_anywhere_have_other_checksums(one: Row, other: Row):
    sums = [
        added(checksum(r) for r in canonical_rows([written([row], PLAIN)], PLAIN, len(row))) for row in (one, other)
    ]
    assert sums[0] != sums[1]
    assert [found.rows for found in sums] == [1, 1]


def test_the_checksum_is_of_the_multiset_of_rows_and_of_nothing_else():
    rows = [canonical((str(n % 50), "x" * (n % 7), None)) for n in range(500)]
    whole = checksum(rows)
    shuffled = random.Random(1).sample(rows, len(rows))
    assert checksum(shuffled) == added([checksum(shuffled[:123]), checksum(shuffled[123:])]) == whole
    assert whole == Checksum(500, sum(int.from_bytes(sha256(row).digest()[:8], "big") for row in rows) % MODULUS)
    assert checksum([*rows[1:], rows[0]]) == whole
    assert checksum(rows[1:]) != whole  # lost
    twice = checksum([*rows, rows[0]])
    assert twice != whole  # doubled
    assert checksum([*rows, rows[0], rows[0]]).sum != whole.sum  # an exclusive or would not see it
    assert checksum([*rows[2:], rows[0], rows[0]]) != whole  # one instead of another, as many as before


def test_the_same_sum_in_another_number_of_rows_is_another_checksum():
    assert Checksum(1, 5) + Checksum(0, MODULUS - 5) == Checksum(1, 0) != Checksum()


@pytest.mark.parametrize(
    "garbage", [b'"', b'a,"b', b'"a"b"c"\n', b"a", b"\xff\xfe\xfd\xfc\xfb\xfa\xf9\n", b'""""\n,,"\n', b"\x00\n"]
)
def test_what_no_copy_wrote_has_a_checksum_too_and_another_one(garbage: bytes):
    for dialect in EVERY:
        found = read(written([("x", "y")], dialect) + garbage, dialect, 2)
        assert len(found) >= 2
        assert found[0] == canonical(("x", "y"))


@pytest.mark.parametrize("suffix", FORMATS)
def test_objects_are_read_in_every_format(suffix: str):
    rows: list[Row] = [(str(n), "a,b\n" * (n % 3), None) for n in range(20_000)]
    text = written(rows, PLAIN)
    stored = b"".join(compressed([text[:7], text[7:]], suffix))
    found = rows_checksum([stored[:10], stored[10:]], suffix, PLAIN, 3)
    assert found == checksum([canonical(row) for row in rows])


@pytest.mark.parametrize("suffix", FORMATS[1:])
def test_bytes_that_do_not_decompress_are_no_rows(suffix: str):
    with pytest.raises(ChecksumMismatch):
        rows_checksum([b"\x00" * 5000], suffix, PLAIN, 1)
    stored = b"".join(compressed([b"a\n" * 100_000], suffix))
    with pytest.raises(ChecksumMismatch):
        rows_checksum([stored[:-3]], suffix, PLAIN, 1)


def test_memory_is_that_of_a_block_and_not_of_the_rows():
    row, block = b"1,,abc\n", 16 * 1024

    def peak(rows: int) -> int:
        chunks = (row * 1000 for _ in range(rows // 1000))
        tracemalloc.start()
        for found in canonical_rows(chunks, PLAIN, 3, block=block):
            checksum(found)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    few, many = peak(5_000), peak(30_000)
    assert many < few * 1.3
    assert many < 40 * (block + len(row) * 1000)


def test_a_row_of_many_chunks_is_looked_through_a_few_times_and_not_for_every_chunk(monkeypatch: pytest.MonkeyPatch):
    from egress_assets.engine import canonical as module

    looked = []
    cut = module._cut_outside_quotes
    monkeypatch.setattr(module, "_cut_outside_quotes", lambda held, dialect: looked.append(held) or cut(held, dialect))
    text = b'"' + b"a\n" * 2_000_000 + b'",b\n'
    assert read(text, PLAIN, 2, 10_000) == [canonical(("a\n" * 2_000_000, "b"))]
    assert len(looked) < 12


def test_a_record_keeps_both_checksums_and_older_ones_have_none():
    sums = Checksums(Checksum(3, 2**63 + 1), Checksum(3, 7))
    assert not sums.agree
    record = TableRecord((), "c", checksums=sums)
    plain = record.to_json()
    assert plain["checksums"]["source"] == {"rows": 3, "sum": "8000000000000001"}
    assert TableRecord.from_json(plain) == record
    assert "checksums" not in TableRecord((), "c").to_json()
