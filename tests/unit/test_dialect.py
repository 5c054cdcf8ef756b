"""Dialects of stored rows (S0-2): what the catalog takes, the statement it becomes, readers that keep to the record."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from egress_assets.engine.catalog.loader import load_catalog
from egress_assets.engine.catalog.rows import DELIMITERS, QUOTES, CsvModel, rows_dialect
from egress_assets.engine.dialect import PLAIN, Dialect, told
from egress_assets.engine.dump.cells import copy_cells
from egress_assets.engine.dump.tasks import ColumnInfo, Relation
from egress_assets.engine.errors import CatalogError
from egress_assets.engine.evidence.records import TableRecord
from egress_assets.engine.scrub.identifiers import AHEAD, BEHIND, scan
from egress_assets.engine.scrub.locate import columns_at
from egress_assets.engine.scrub.sample import parsed
from tests.dialects import written

PIPELINE = Dialect("datapipeline", "\\N", ",", "")
OTHERS = [
    Dialect(delimiter=";"), Dialect(delimiter="\t", null="\\N"), Dialect(delimiter="|", quote="'"),
    Dialect(null="NULL", quote="`"), Dialect(delimiter="^", quote="]"), Dialect(delimiter="\x01"),
    Dialect("datapipeline", "\\N", "|", ""), Dialect("datapipeline", "\\Z", "\t", ""),
]  # fmt: skip
EVERY = [PLAIN, PIPELINE, *OTHERS]

CATALOG = """\
source: shop_db
start: 2026-11-01
dump:
  csv:
    dialect: {dialect}
    {line}
tables:
  public.orders: {{}}
"""
ENDPOINTS = """\
evidence: {store: evidence}
sources: {shop_db: {dsn: {env: SHOP_DSN}}}
stores:
  evidence: {bucket: e, zone: trusted}
  lake: {bucket: l, zone: trusted}
"""


# ---------------------------------------------------------------------------------------------------------- the catalog
def problems(folder: Path, text: str) -> list[str]:
    (folder / "endpoints.yaml").write_text(ENDPOINTS)
    (folder / "shop.yaml").write_text(text)
    try:
        load_catalog(folder, "sandbox")
    except CatalogError as error:
        return [problem.removeprefix(f"{folder}/") for problem in error.problems]
    return []


WRONG = {
    "delimiter of two": (
        "postgres",
        'delimiter: "::"',
        "delimiter: a delimiter is a tab, another control character or",
    ),
    "no delimiter": ("postgres", 'delimiter: ""', "a delimiter is a tab"),
    "a letter": ("postgres", "delimiter: x", "not 'x'"),
    "a digit": ("postgres", 'delimiter: "1"', "not '1'"),
    "a line's end": ("postgres", 'delimiter: "\\n"', "not '\\\\n'"),
    "a backslash": ("datapipeline", "delimiter: \\", "not '\\\\\\\\'"),
    "of two bytes": ("postgres", "delimiter: §", "not '§'"),
    "a part of numbers": ("datapipeline", "delimiter: '-'", "not '-'"),
    "a quote of two": ("postgres", "quote: '\"\"'", "quote: a quote is"),
    "no quote": ("postgres", "quote: ''", "quote: a quote is"),
    "both the same": ("postgres", "quote: ','", "quote and delimiter are both ','"),
    "a quote where nothing is quoted": ("datapipeline", 'quote: "\'"', "quote: `datapipeline` quotes nothing"),
    "the delimiter in NULL": ("postgres", "null: 'a,b'", "null: what stands for NULL can't hold ','"),
    "the quote in NULL": ("postgres", "null: '\"\"'", "null: what stands for NULL can't hold '\"'"),
    "a line's end in NULL": ("postgres", 'null: "a\\n"', "null: what stands for NULL is at most 32 printable"),
    "where COPY stops": ("postgres", "null: \\.", "where COPY stops"),
    "a long NULL": ("postgres", f"null: {'n' * 33}", "at most 32"),
    "NULL as the empty text": ("datapipeline", "null: ''", "anything else could be a value"),
    "NULL as a word": ("datapipeline", "null: 'NULL'", "'NULL' too"),
    "NULL as an escape": ("datapipeline", "null: \\n", "a backslash and a capital letter"),
    "a key that is none": ("postgres", "escape: x", "escape: unknown key; valid: delimiter, dialect, null, quote"),
}


@pytest.mark.parametrize(("dialect", "line", "expected"), WRONG.values(), ids=WRONG)
def test_what_collides_is_told_with_file_and_line(tmp_path: Path, dialect: str, line: str, expected: str) -> None:
    (said,) = problems(tmp_path, CATALOG.format(dialect=dialect, line=line))
    assert said.startswith("shop.yaml:6: dump.csv.")
    assert expected.replace("\\\\", "\\") in said


def test_another_dialect_is_told_with_those_there_are(tmp_path: Path) -> None:
    (said,) = problems(tmp_path, CATALOG.format(dialect="datapipline", line="delimiter: ','"))
    assert "shop.yaml:5" in said
    assert "did you mean datapipeline?" in said


def test_null_is_a_key_and_everything_has_the_default_that_it_had(tmp_path: Path) -> None:
    assert problems(tmp_path, CATALOG.format(dialect="postgres", line="null: \\N")) == []
    shop = load_catalog(tmp_path, "sandbox").datasets["shop"]
    assert shop.dump
    assert rows_dialect(shop.dump.csv) == replace(PLAIN, null="\\N")
    assert rows_dialect(None) == rows_dialect(CsvModel()) == rows_dialect(CsvModel(delimiter=",", quote='"')) == PLAIN
    assert rows_dialect(CsvModel(dialect="datapipeline")) == PIPELINE


@pytest.mark.parametrize("sign", sorted({chr(n) for n in range(129)} - DELIMITERS))
def test_only_signs_that_no_identifier_holds_divide_fields(sign: str) -> None:
    with pytest.raises(ValidationError, match="a delimiter is"):
        CsvModel(delimiter=sign)
    assert sign not in QUOTES or sign in "\"'"


# -------------------------------------------------------------------------------------------------------- the statement
def ending(dialect: Dialect) -> str:
    view = Relation("s.t", "s", "t", 1, "v", (ColumnInfo("a", "text", "text", nullable=True),), ())
    (cell,) = copy_cells(view, None, None, None, dialect=dialect)  # type: ignore[arg-type]  # a view asks nothing
    return cell.rest


def test_the_server_is_told_what_differs_and_values_are_literals() -> None:
    assert ending(PLAIN) == ") TO STDOUT (FORMAT csv, ENCODING 'UTF8')"
    assert ending(Dialect(delimiter=";")) == ") TO STDOUT (FORMAT csv, DELIMITER ';', ENCODING 'UTF8')"
    assert "QUOTE ''''" in ending(Dialect(quote="'"))
    assert ending(PIPELINE) == ") TO STDOUT (FORMAT text, DELIMITER ',', NULL  E'\\\\N', ENCODING 'UTF8')"


# ----------------------------------------------------------------------------------------------------------- the record
@pytest.mark.parametrize("dialect", EVERY, ids=str)
def test_a_record_keeps_its_dialect_and_one_without_is_plain(dialect: Dialect) -> None:
    record = TableRecord((), "c", csv=dialect)
    plain = record.to_json()
    assert TableRecord.from_json(plain) == record
    assert ("csv" in plain) == (dialect != PLAIN) == bool(told(dialect))
    assert TableRecord.from_json({"objects": [], "content_digest": "c"}).csv == PLAIN


# -------------------------------------------------------------------------------------------------------------- readers
pieces = [*"ab,;|\t\n\r\\\"'`]^.NZnrt0\x01", "é", "\U0001f418", "NULL", "\\N", "\\."]
values = st.none() | st.lists(st.sampled_from(pieces), max_size=6).map("".join)
dialects = st.sampled_from(EVERY)
tables = st.lists(st.lists(values, min_size=3, max_size=3), max_size=6)


@given(dialect=dialects, rows=tables)
def test_rows_are_read_as_they_were_written(dialect: Dialect, rows: list[list[str | None]]) -> None:
    assert list(parsed(written(rows, dialect), dialect)) == rows


@given(dialect=dialects, rows=tables, cut=st.integers(1, 20))
def test_a_row_that_does_not_end_within_the_bytes_is_left_out(
    dialect: Dialect, rows: list[list[str | None]], cut: int
) -> None:
    whole = written(rows, dialect)
    read = list(parsed(whole[:-cut], dialect))
    assert read == rows[: len(read)]
    assert len(read) < len(rows) or not rows


@given(dialect=dialects, rows=tables.filter(bool), size=st.integers(1, 9), at=st.integers(0, 10**6))
def test_a_finding_s_column_is_told_in_every_dialect(
    dialect: Dialect, rows: list[list[str | None]], size: int, at: int
) -> None:
    row, column = divmod(at % (3 * len(rows)), 3)
    rows[row][column] = (rows[row][column] or "") + "@mark"
    text = written(rows, dialect)
    chunks = [text[start : start + size] for start in range(0, len(text), size)]
    assert list(columns_at(chunks, [text.index(b"@mark")], dialect)) == [column]


@pytest.mark.parametrize(
    ("dialect", "expected"),
    [
        (PLAIN, b'id,"we""ird, name",NULL,"a\nb",a\\b\n'),
        (Dialect(delimiter=";", null="NULL", quote="'"), b"id;we\"ird, name;'NULL';'a\nb';a\\b\n"),
        (PIPELINE, b'id,we"ird\\, name,NULL,a\\nb,a\\\\b\n'),
        (Dialect("datapipeline", "\\N", "\t", ""), b'id\twe"ird, name\tNULL\ta\\nb\ta\\\\b\n'),
    ],
)
def test_a_header_is_written_as_copy_writes_it(dialect: Dialect, expected: bytes) -> None:
    assert dialect.header(["id", 'we"ird, name', "NULL", "a\nb", "a\\b"]) == expected


def test_a_header_of_one_column_is_never_the_end_of_the_data() -> None:
    assert PLAIN.header(["\\."]) == b'"\\."\n'
    assert PIPELINE.header(["\\."]) == b"\\\\.\n"


# ---------------------------------------------------------------------------------------------------------- the scanner
IDENTIFIERS = ["ann@shop.example", "07700 900123", "4111111111111111", "GB82WEST12345698765432", "8.8.8.8"]
BESIDE = ["{}\n", "1\n{}", "x\r{}", "tab\t{}", "back\\{}", "\b{}", "\v{}\f", "sep,{};{}|", "'{}'", '"{}"', "1\\n\n{}"]


@pytest.mark.parametrize("dialect", EVERY, ids=str)
@pytest.mark.parametrize("beside", BESIDE)
def test_detectors_find_the_same_in_every_dialect(dialect: Dialect, beside: str) -> None:
    """An escaped line's end is a backslash and the letter n, which would hide the number behind it."""
    for value in IDENTIFIERS:
        rows: list[list[str | None]] = [["1", beside.format(*[value] * 2), "2"], [value, None, value]]
        plain, other = (scan([written(rows, d)], escaped=d.is_escaped) for d in (PLAIN, dialect))
        assert {name: found["count"] for name, found in other.items()} == {n: f["count"] for n, f in plain.items()}
        assert sum(found["count"] for found in other.values()) >= 3


def test_offsets_are_of_the_stored_bytes_whatever_is_escaped_before() -> None:
    rows = written([["\\\n\t" * 40_000, "ann@shop.example", None]] * 9, PIPELINE)
    offsets = scan(rows.splitlines(keepends=True), ["email"], escaped=True)["email"]["offsets"]
    assert len(rows) > 2 * (AHEAD + BEHIND)
    assert [rows[o : o + 16] for o in offsets] == [b"ann@shop.example"] * 9
