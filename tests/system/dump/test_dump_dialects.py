"""Rows in all dialects, as the server writes them (S0-2): read back by COPY FROM, and by parsers that are only here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egress_assets.engine.dialect import PLAIN, Dialect
from egress_assets.engine.dump.cells import copy_cells
from egress_assets.engine.dump.run import run
from egress_assets.engine.dump.snapshot import open_snapshot
from egress_assets.engine.errors import GateFailed
from egress_assets.engine.layout import dump_unit, scrub_unit
from egress_assets.engine.scrub.run import run as scrub
from egress_assets.engine.scrub.sample import parsed, sample
from egress_assets.engine.stream import decompressed

DAY = "2026-11-19"
PIPELINE = Dialect("datapipeline", "\\N", ",", "")
TAKEN = "COPY back FROM STDIN (FORMAT {}, DELIMITER {}, NULL {}{}, ENCODING 'UTF8')"
HOSTILE = [
    ("plain", "a"), ("comma, quote \" and 'single'", "b"), ("line\nfeed\r\nreturn\ttab", "c"), ("NULL", "\x01;|^`]"),
    ("back\\slash \\. \\N \\n", "\\N"), ("\\.", "\\."), (None, None), ("", ""), (" lead and trail ", " "),
    ("ünïcödé 漢字 🐘 \u202e\u2028", "ß"), ("\b\f\v\x1f\x7f", "\\,\\\\,"), ("x" * 30_000, "\\" * 1000), ("last", None),
]  # fmt: skip
DIALECTS = [
    PLAIN, PIPELINE, Dialect(delimiter="\t", null="\\N"), Dialect(null="NULL", delimiter="|", quote="'"),
    Dialect(delimiter="^", quote="]"), Dialect("datapipeline", "\\Z", "\t", ""),
]  # fmt: skip


def literal(text):
    return "E'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def copied(db, dialect):
    """The table `t` by the statements that a dump of it runs."""
    with open_snapshot(db.settings(), ["public.t"]) as leader:
        relation = leader.relations["public.t"]
        out = bytearray()
        for cell in copy_cells(relation, None, None, leader.connection, dialect=dialect):
            with leader.connection.cursor().copy(cell.sql.encode()) as copy:
                for chunk in copy:
                    out += chunk
    return bytes(out)


def filled(db, rows):
    with db.connect() as session:
        session.execute("TRUNCATE t")
        marks = ", ".join("%s" for _ in rows[:1] for _ in rows[0])
        session.cursor().executemany(f"INSERT INTO t VALUES ({marks})".encode(), rows)


def taken_back(db, body, dialect):
    """What COPY FROM makes of the bytes in an empty table."""
    with db.connect() as session:
        session.execute("TRUNCATE back")
    quote = f", QUOTE {literal(dialect.quote)}" if dialect.quote else ""
    form = "text" if dialect.is_escaped else "csv"
    db.psql(TAKEN.format(form, literal(dialect.delimiter), literal(dialect.null), quote), stdin=body)
    return db.rows("SELECT * FROM back")


# ----------------------------------------------------------------------------------- parsers that share nothing with us
def by_hand(body, dialect) -> list[tuple]:
    """Character by character, with no pattern and no code of the product."""
    signs = iter(body.decode())
    return list(_escaped(signs, dialect) if dialect.is_escaped else _quoted(body.decode(), dialect))


def _escaped(signs: Iterator[str], dialect) -> Iterator[tuple]:
    letters, row, raw, value = dict(zip("bfnrtv", "\b\f\n\r\t\v", strict=True)), [], [], []
    for sign in signs:
        if sign == "\\":
            after = next(signs)
            raw += (sign, after)
            value.append(letters.get(after, after))
        elif sign in (dialect.delimiter, "\n"):
            row.append(None if "".join(raw) == dialect.null else "".join(value))
            raw, value = [], []
            if sign == "\n":
                yield tuple(row)
                row = []
        else:
            raw.append(sign)
            value.append(sign)


def _quoted(text: str, dialect) -> Iterator[tuple]:
    at, row = 0, []
    while at < len(text):
        value, quoted = "", text[at] == dialect.quote
        at += quoted
        while quoted:
            if text[at] != dialect.quote:
                value, at = value + text[at], at + 1
            elif text[at + 1] == dialect.quote:
                value, at = value + dialect.quote, at + 2
            else:
                quoted, at = False, at + 1
                break
        else:
            end = at
            while text[end] not in (dialect.delimiter, "\n"):
                end += 1
            value, at = text[at:end], end
            value = None if value == dialect.null else value
        row.append(value)
        if text[at] == "\n":
            yield tuple(row)
            row = []
        at += 1


# ----------------------------------------------------------------------------------------------------------- round trip
@pytest.mark.parametrize("dialect", DIALECTS, ids=str)
def test_hostile_values_come_back_identical_s0_2(any_db, dialect):
    any_db.run("CREATE TABLE t (a text, b text)", "CREATE TABLE back (LIKE t)")
    filled(any_db, HOSTILE)
    body = copied(any_db, dialect)
    assert taken_back(any_db, body, dialect) == HOSTILE
    assert by_hand(body, dialect) == HOSTILE
    assert [tuple(row) for row in parsed(body, dialect)] == HOSTILE


@pytest.mark.parametrize("dialect", DIALECTS, ids=str)
def test_a_single_column_keeps_null_empty_and_the_end_marker_apart_s0_2(any_db, dialect):
    any_db.run("CREATE TABLE t (a text)", "CREATE TABLE back (LIKE t)")
    rows = [(None,), ("",), ("\\.",), ("\n",), ("NULL",), ("\\N",), ("\\Z",), ("\\",)]
    filled(any_db, rows)
    body = copied(any_db, dialect)
    assert taken_back(any_db, body, dialect) == rows == by_hand(body, dialect)


pieces = [
    *"abNZnrt0 ,;|^]`'\"\\\t\n\r\b\f\v\x01\x1f\x7f.",
    "é",
    "漢",
    "\U0001f418",
    "\u2028",
    "NULL",
    "\\N",
    "\\.",
    "\\Z",
]
values = st.none() | st.lists(st.sampled_from(pieces) | st.characters(codec="utf-8", exclude_characters="\0")).map(
    "".join
)


@pytest.mark.parametrize("dialect", DIALECTS, ids=str)
def test_any_text_comes_back_identical_s0_2(db, dialect):
    db.run("CREATE TABLE t (a text, b text)", "CREATE TABLE back (LIKE t)")

    @settings(max_examples=10, deadline=None, database=None)
    @given(st.lists(st.tuples(values, values), max_size=40))
    def comes_back(rows):
        filled(db, rows)
        body = copied(db, dialect)
        assert taken_back(db, body, dialect) == rows
        assert by_hand(body, dialect) == rows
        assert [tuple(row) for row in parsed(body, dialect)] == rows

    comes_back()


def test_data_pipeline_s_rows_are_unquoted_and_escaped_by_backslash_s0_2(db):
    db.run(
        "CREATE TABLE t (id int, a text, b text, c numeric(6,2), d boolean, e timestamptz, f jsonb, g bytea, h int[])",
        r"""INSERT INTO t VALUES (1, E'a,b "c" \\ d', E'two\nlines', 1.5, true, '2026-11-20 02:15Z', '{"k": [1, 2]}',"""
        r" '\xdead', '{1,2}'), (2, '', NULL, NULL, false, NULL, NULL, '', '{}')",
    )
    assert copied(db, PIPELINE).decode().splitlines() == [
        r'1,a\,b "c" \\ d,two\nlines,1.50,t,2026-11-20 02:15:00+00,{"k": [1\, 2]},\\xdead,{1\,2}',
        r"2,,\N,\N,f,\N,\N,\\x,{}",
    ]


# --------------------------------------------------------------------------------------------------- through the stages
def stored(place, unit, table):
    """(the record, its rows as they lie in the store)."""
    platform = place.platform
    _, record = platform.evidence.tables(platform.evidence.pointer(unit, DAY))[table]
    parts = (platform.store("lake").get(found.key) for found in record.objects)
    return record, b"".join(b"".join(decompressed(part, record.format)) for part in parts)


def test_a_dump_is_of_the_catalog_s_dialect_and_another_one_makes_the_date_anew_s0_2(place):
    place.db.run("INSERT INTO customers VALUES (0, E'a,b\\\\c\\nd')")
    place.dataset = {"dump": {"csv": {"dialect": "datapipeline"}}}
    assert run(place.platform, "shop", DAY).how == "moved"
    record, body = stored(place, dump_unit("shop"), "public.customers")
    assert record.csv == PIPELINE
    assert b"0,a\\,b\\\\c\\nd\n" in body
    assert run(place.platform, "shop", DAY).how == "nothing"
    place.dataset = {"dump": {"csv": {"delimiter": ","}}}  # the default, written out
    again = run(place.platform, "shop", DAY)
    assert (again.how, all(table.moved for table in again.tables.values())) == ("moved", True)
    record, body = stored(place, dump_unit("shop"), "public.customers")
    assert (record.csv, b'0,"a,b\\c\nd"\n' in body) == (PLAIN, True)
    place.dataset = {}
    assert run(place.platform, "shop", DAY).how == "nothing"


def scrubbed(place, **said):
    place.tables = {"public.customers": {"columns": {"id": {"mask": "keep"}, "email": {"mask": "keep"}}}}
    place.dataset = {"dump": None, "scrub": {"key": "k", **said}}
    return scrub(place.platform, "shop", DAY)


@pytest.mark.parametrize("csv", [{}, {"dialect": "datapipeline"}, {"delimiter": "|", "quote": "'", "null": "NULL"}])
def test_the_gate_finds_a_number_behind_a_line_s_end_and_names_its_column(place, csv):
    place.db.run("DELETE FROM customers", "INSERT INTO customers VALUES (1, E'a|,\\n07700900123')")
    with pytest.raises(GateFailed, match="1 x phone in email"):
        scrubbed(place, csv=csv)
    assert place.objects() == {}


def test_a_preview_reads_rows_in_the_dialect_of_their_record(place):
    place.db.run("DELETE FROM customers", "INSERT INTO customers VALUES (1, E'a\\\\b,\\nc'), (2, NULL), (3, '')")
    scrubbed(place, csv={"dialect": "datapipeline", "delimiter": "\t"})
    unit, platform = scrub_unit("shop", "shared"), place.platform
    pointer = platform.evidence.pointer(unit, DAY)
    manifest = platform.evidence.manifest(unit, DAY, pointer.by)
    assert sample(platform.store("lake"), manifest, "public.customers", rows=5).rows == [
        ["1", "a\\b,\nc"],
        ["2", None],
        ["3", ""],
    ]
