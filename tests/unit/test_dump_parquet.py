"""Parquet without a server: the digest of a cell, row groups, types by their modifier, statements with literals."""

from __future__ import annotations

import io
import random
import struct
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from psycopg import sql

from egress_assets.engine.dump.cells import select_of
from egress_assets.engine.dump.parquet import writing
from egress_assets.engine.dump.parquet.digest import CellDigest
from egress_assets.engine.dump.parquet.session import bound
from egress_assets.engine.dump.parquet.shape import _digits
from egress_assets.engine.dump.parquet.writing import encoded
from egress_assets.engine.dump.tasks import Cell
from egress_assets.engine.evidence.records import TableRecord

COLUMNS = {
    "n": pa.array([1, None, -3, 2**40, 5, None]),
    "t": pa.array(["a", "", None, "caf\u00e9", "x" * 300, ""]),
    "b": pa.array([b"\x00", None, b"", b"\xff" * 9, b"1", b"2"]),
    "f": pa.array([True, None, False, True, False, True]),
    "d": pa.array([Decimal("1.50"), None, Decimal("-2.00"), None, Decimal("0.01"), Decimal("9.99")]),
    "u": pa.array([bytes(range(16)), None, b"\xff" * 16, None, b"\x00" * 16, b"\x01" * 16], pa.uuid()),
    "j": pa.array(['{"a": 1}', None, "null", "[]", None, "1"], pa.json_()),
    "at": pa.array([datetime(2026, 1, n + 1, tzinfo=UTC) for n in range(6)], pa.timestamp("us", "UTC")),
}


def digested(*batches: pa.RecordBatch) -> str:
    digest = CellDigest(len(COLUMNS))
    for batch in batches:
        digest.update(batch.columns)
    return digest.hexdigest()


def batch_of(**changed: pa.Array) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({**COLUMNS, **changed})


@pytest.mark.parametrize("seed", range(5))
def test_the_digest_is_the_same_however_the_rows_are_cut_into_batches(seed: int) -> None:
    cuts = sorted(random.Random(seed).choices(range(7), k=3))
    whole = batch_of()
    pieces = [whole.slice(start, end - start) for start, end in zip([0, *cuts], [*cuts, 6], strict=True)]
    assert digested(*pieces) == digested(whole)


def test_the_digest_is_what_the_page_says_by_plain_python() -> None:
    """Without Arrow, so that another version of it is not another content of every table."""
    numbers = [1, None, -3, 2**40, 5, None]
    words = ["a", "", None, "caf\u00e9", "x" * 300, ""]
    encoded_words = [word.encode() for word in words if word is not None]
    pieces = [
        bytes(value is not None for value in numbers), b"",
        struct.pack("<4q", *(value for value in numbers if value is not None)),
        bytes(value is not None for value in words),
        struct.pack("<5i", *map(len, encoded_words)), b"".join(encoded_words),
    ]  # fmt: skip
    digest = CellDigest(2)
    assert digest.update(batch_of().select(["n", "t"]).columns) == 32 + len(pieces[-1])
    assert digest.hexdigest() == sha256(b"".join(sha256(piece).digest() for piece in pieces)).hexdigest()
    assert digested(batch_of()) == "05a859addb9d9d00188794c8e47ae5479edad57aad4514219dc03fe784f4f846"


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("n", [1, 0, -3, 2**40, 5, None]),  # 0 is not NULL
        ("t", ["a", None, None, "caf\u00e9", "x" * 300, ""]),  # '' is not NULL
        ("t", ["", "a", None, "caf\u00e9", "x" * 300, ""]),  # the same bytes end to end
        ("f", [True, False, False, True, False, True]),
    ],
)
def test_a_cell_of_other_values_has_another_digest(name: str, values: list) -> None:
    assert digested(batch_of(**{name: pa.array(values)})) != digested(batch_of())


def test_what_lies_beneath_a_null_is_not_digested() -> None:
    beneath = pa.Array.from_buffers(
        pa.int64(), 6, [COLUMNS["n"].buffers()[0], pa.array([1, 77, -3, 2**40, 5, 88]).buffers()[1]], null_count=2
    )
    assert digested(batch_of(n=beneath)) == digested(batch_of())


def test_a_file_has_row_groups_of_a_bounded_size_and_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "ROW_GROUP", 1000)
    batches = [batch_of() for _ in range(20)]
    body = b"".join(encoded(batches, batches[0].schema, level=1))
    file = pq.ParquetFile(io.BytesIO(body))
    assert file.metadata.num_rows == 120
    assert file.metadata.num_row_groups > 5
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"
    assert file.read().equals(pa.Table.from_batches(batches))


@pytest.mark.parametrize(
    ("modifier", "digits"),
    [(-1, (0, 0)), ((12 << 16 | 2) + 4, (12, 2)), ((3 << 16 | 0x7FE) + 4, (5, 0)), ((2 << 16 | 5) + 4, (5, 5))],
)
def test_a_numeric_s_digits_hold_every_value_of_it(modifier: int, digits: tuple[int, int]) -> None:
    assert _digits(modifier) == digits


def test_a_statement_has_its_parameters_as_literals() -> None:
    query = "SELECT format('%%I', x) FROM unnest(%s::text[]) x WHERE x <> %s"
    assert bound(query, (["a", "it's"], "b")) == (
        "SELECT format('%I', x) FROM unnest('{a,it''s}'::text[]) x WHERE x <> 'b'"
    )
    assert bound(sql.SQL("SELECT 1 % 2"), ()) == "SELECT 1 % 2"


def test_the_statement_of_a_cell_is_read_without_its_copy() -> None:
    cell = Cell("t", 'COPY (SELECT "a" FROM ONLY "s"."t"', " WHERE (x)) TO STDOUT (FORMAT csv, ENCODING 'UTF8')")
    assert select_of(cell) == 'SELECT "a" FROM ONLY "s"."t" WHERE (x)'


def test_a_record_without_texts_is_read_and_written_as_before() -> None:
    plain = TableRecord((), "digest")
    assert "texts" not in plain.to_json()
    assert TableRecord.from_json(plain.to_json()) == plain
    told = TableRecord((), "digest", texts={"a": "why"})
    assert TableRecord.from_json(told.to_json()) == told


@pytest.mark.parametrize("module", ["egress_assets.engine.worker", "egress_assets.engine.dump.run"])
def test_only_a_worker_that_reads_parquet_loads_arrow(module: str) -> None:
    code = f"import sys, {module}; print(*({{'pyarrow', 'adbc_driver_manager', 'numpy'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
