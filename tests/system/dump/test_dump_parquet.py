"""Raw dumps as parquet: every value of every type comes back as Postgres has it, or is refused by its column's name.

S0-1 (whole and equal, whoever reads), S0-3 (killed runs), S0-4 (one snapshot).
"""

from __future__ import annotations

import io
import math
import struct
import threading
from contextlib import closing
from datetime import UTC
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from psycopg import sql

from egress_assets.engine.dump import cells
from egress_assets.engine.dump.parquet.session import ArrowSession
from egress_assets.engine.dump.parquet.shape import shape_of
from egress_assets.engine.dump.parquet.values import Values
from egress_assets.engine.dump.relations import describe
from egress_assets.engine.dump.run import run
from egress_assets.engine.errors import (
    CatalogError,
    EgressError,
    SourceError,
    StoreError,
)
from egress_assets.engine.layout import dump_unit

DAY = "2026-11-19"
UNIT = dump_unit("shop")
ZOO = "public.zoo"
NO_TYPE = "Arrow has no type that holds it exactly"
LONG = "more than 38 digits, which readers give as a double"

NATIVE = {
    "flag": ("boolean", "true", "false"),
    "small": ("smallint", "-32768", "32767", "0"),
    "whole": ("integer", "-2147483648", "2147483647"),
    "big": ("bigint", "-9223372036854775808", "9223372036854775807"),
    "object": ("oid", "0", "4294967295"),
    "single": ("real", "1.1", "NaN", "Infinity", "-Infinity", "-0", "1e-45", "3.4028235e38"),
    "double": ("double precision", "0.1", "NaN", "Infinity", "-Infinity", "-0", "5e-324", "1.7976931348623157e308"),
    "money_like": ("numeric(12,2)", "-9999999999.99", "0.00", "1.50", "9999999999.99"),
    "long": ("numeric(38,10)", "9999999999999999999999999999.9999999999", "-0.0000000001"),
    "rounded": ("numeric(3,-2)", "12300", "-99900"),
    "tiny": ("numeric(2,5)", "0.00099", "-0.00001"),
    "day": ("date", "0001-01-01", "9999-12-31", "1969-12-31", "2000-02-29"),
    "clock": ("time", "00:00:00", "23:59:59.999999"),
    "local": ("timestamp", "0001-01-01 00:00:00", "9999-12-31 23:59:59.999999", "1969-12-31 23:59:59.999999"),
    "at": ("timestamptz", "0001-01-01 00:00:00+00", "9999-12-31 23:59:59.999999+00", "2026-03-29 01:30:00+01"),
    "ref": ("uuid", "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"),
    "body": ("bytea", "", "\\x00ff0a22", "\\x" + "5c" * 300),
}
"""Type and values; each column has NULLs too."""
PLAIN_TEXT = {
    "words": (
        "text",
        "",
        " ",
        "NULL",
        "\\N",
        'a "quoted", word',
        "line\nbreak\r\n",
        "tab\t",
        "caf\u00e9 \U0001f600",
        "x" * 9000,
    ),
    "short": ("varchar(5)", "", "abc  "),
    "padded": ("char(5)", "", "ab", "abcde"),
    "label": ("name", "a name", ""),
    "doc": ("jsonb", '{"b": 1, "a": [null, "\\u00e9"]}', "null", '"text"', "1.50"),
    "as_written": ("json", '{"b":1,  "a":2, "a":3}', "[ ]"),
    "domain_text": ("of_text", "", "in a domain"),
}
AS_TEXT = {
    "unbounded": ("numeric", "NaN", "Infinity", "-Infinity", "0.10", "1" * 60 + ".000" + "9" * 40, "1e-300"),
    "too_long": ("numeric(50,3)", "9" * 47 + ".999"),
    "span": ("interval", "1 year 2 mons -3 days 04:05:06.789", "-00:00:00.000001"),
    "zoned": ("timetz", "23:59:59.999999-08", "24:00:00+00"),
    "amount": ("money", "-1234.56", "0"),
    "host": ("inet", "10.0.0.1", "10.0.0.1/8", "::1"),
    "net": ("cidr", "10.0.0.0/8", "::/0"),
    "mac": ("macaddr", "08:00:2b:01:02:03"),
    "bits": ("bit(3)", "101"),
    "more_bits": ("bit varying", "", "1"),
    "page": ("xml", '<?xml version="1.0"?><a>&lt;</a>', "text"),
    "search": ("tsvector", "'a':1 'fat':2,4"),
    "kind": ("mood", "so so", "it's"),
    "pair": ("pair", '(1,"a, b")', "(,)", '(,"")'),
    "reach": ("int4range", "empty", "[1,5)", "(,)"),
    "reaches": ("datemultirange", "{}", "{[2026-01-01,2026-02-01),[2026-03-01,)}"),
    "numbers": ("int[]", "{}", "{1,NULL,3}", "{{1,2},{3,4}}", "[0:1]={5,6}"),
    "strings": ("text[]", '{"",NULL,"NULL","a,b","c\\"d"}', '{{"x"},{"y"}}'),
    "padded_list": ("char(3)[]", '{"a  ","bc "}'),
    "nan_list": ("numeric[]", "{NaN,1.50}"),
    "place": ("point", "(1.5,-2)"),
    "shape": ("polygon", "((0,0),(1,1),(1,0))"),
    "one": ('"char"', "x", ""),
    "row_id": ("tid", "(0,1)"),
    "domain_host": ("of_inet", "10.0.0.1"),
    "cast_away": ("shout", "loud"),
}
TYPES = NATIVE | PLAIN_TEXT | AS_TEXT
SETUP = (
    "CREATE TYPE mood AS ENUM ('so so', 'it''s')",
    "CREATE TYPE pair AS (n int, t text)",
    "CREATE DOMAIN of_text AS text",
    "CREATE DOMAIN of_inet AS inet",
    "CREATE DOMAIN of_numeric AS numeric(6,3)",
    "CREATE TYPE shout AS ENUM ('loud')",
    "CREATE FUNCTION louder(shout) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'LOUD' $$",
    "CREATE CAST (shout AS text) WITH FUNCTION louder(shout)",
)


@pytest.fixture
def parquet(place: Any) -> Any:
    place.dataset = {"dump": {"format": "parquet"}}
    place.tables = {}
    return place


@pytest.fixture
def zoo(parquet: Any, any_db: Any) -> dict[str, tuple[str, ...]]:
    """On each server: one value a row in each column, the others' NULLs between. The types that the server has."""
    parquet.db = any_db
    any_db.run(*SETUP)
    has_xml = any_db.rows("SELECT setting LIKE '%%libxml%%' FROM pg_config() WHERE name = 'CONFIGURE'")[0][0]
    types = {name: said for name, said in TYPES.items() if has_xml or said[0] != "xml"}
    columns = ", ".join(f"{name} {said[0]}" for name, said in types.items())
    any_db.run(f"CREATE TABLE zoo (nth int, {columns})")
    with any_db.connect() as session:
        for n in range(max(len(said) for said in types.values())):
            values = [said[1 + n] if 1 + n < len(said) else None for said in types.values()]
            literals = sql.SQL(", ").join(sql.Literal(value) for value in values)
            session.execute(sql.SQL("INSERT INTO zoo VALUES ({}, {})").format(n, literals))
    parquet.tables[ZOO] = {}
    return types


def record(place: Any, table: str) -> Any:
    evidence = place.platform.evidence
    return evidence.tables(evidence.pointer(UNIT, DAY))[table][1]


def bodies(place: Any, table: str) -> list[bytes]:
    return [b"".join(place.data.get(found.key)) for found in record(place, table).objects]


def arrow(place: Any, table: str) -> pa.Table:
    """The table's parts together, as pyarrow reads them."""
    return pa.concat_tables(pq.read_table(io.BytesIO(body)) for body in bodies(place, table))


def duck(place: Any, table: str, tmp_path: Any) -> dict[str, list[Any]]:
    """The same by DuckDB: values by column."""
    for number, body in enumerate(bodies(place, table)):
        (tmp_path / f"{number:05}.parquet").write_bytes(body)
    with duckdb.connect() as session:
        found = session.execute(f"SELECT * FROM read_parquet('{tmp_path}/*.parquet') ORDER BY filename")
        names = [column[0] for column in found.description]
        rows = found.fetchall()
    return {name: [row[n] for row in rows] for n, name in enumerate(names)}


def texts(place: Any, table: str, name: str) -> list[str | None]:
    """What the source itself says of a column, by its output function."""
    with place.db.connect() as session:
        session.execute("SET extra_float_digits = 1")
        session.execute("SET timezone = 'UTC'")
        query = sql.SQL("SELECT {} FROM {} ORDER BY ctid").format(
            sql.Identifier(name), sql.Identifier(*table.split("."))
        )
        result = session.pgconn.exec_(query.as_bytes())
        values = [result.get_value(row, 0) for row in range(result.ntuples)]
    return [None if value is None else value.decode() for value in values]


def values(place: Any, table: str, name: str) -> list[Any]:
    """What psycopg makes of it."""
    query = sql.SQL("SELECT {} FROM {} ORDER BY ctid").format(sql.Identifier(name), sql.Identifier(*table.split(".")))
    with place.db.connect() as session:
        return [row[0] for row in session.execute(query)]


def same(given: list[Any], wanted: list[Any], *, single: bool = False) -> bool:
    """Equal, floats by their bits."""

    def exact(value: Any) -> Any:
        if not isinstance(value, float):
            return value
        return "nan" if math.isnan(value) else struct.pack("f" if single else "d", value)

    return [exact(value) for value in given] == [exact(value) for value in wanted]


# ---------------------------------------------------------------------------------------------------------- every value
def test_s0_1_every_value_of_every_type_comes_back_as_the_source_has_it(parquet, zoo, tmp_path):
    run(parquet.platform, "shop", DAY)
    table, rows = arrow(parquet, ZOO), duck(parquet, ZOO, tmp_path)
    assert table.num_rows == record(parquet, ZOO).rows == len(rows["nth"])
    for name in NATIVE:
        wanted, single = values(parquet, ZOO, name), name == "single"
        assert same(table.column(name).to_pylist(), wanted, single=single), name
        assert same([as_utc(value) for value in rows[name]], [as_utc(value) for value in wanted], single=single), name
    for name in zoo.keys() - NATIVE.keys():
        assert table.column(name).to_pylist() == texts(parquet, ZOO, name), name
        assert rows[name] == texts(parquet, ZOO, name), name


def as_utc(value: Any) -> Any:
    return value.astimezone(UTC).replace(tzinfo=None) if getattr(value, "tzinfo", None) else value


def test_the_manifest_says_which_columns_are_text_and_why(parquet, zoo):
    run(parquet.platform, "shop", DAY)
    wanted = dict.fromkeys(zoo.keys() & AS_TEXT.keys(), NO_TYPE)
    assert record(parquet, ZOO).texts == {**wanted, "unbounded": "numeric without a precision", "too_long": LONG}


def test_the_files_types_are_by_the_columns_alone(parquet):
    parquet.db.run(
        *SETUP[:5],
        "CREATE TABLE zoo (a numeric(12,2), b numeric(3,-2), c numeric(2,5), d of_numeric, e timestamptz, f json, "
        "g char(3), h uuid NOT NULL)",
    )
    parquet.tables[ZOO] = {}
    run(parquet.platform, "shop", DAY)
    (body,) = bodies(parquet, ZOO)
    schema = pq.read_schema(io.BytesIO(body))
    assert [str(kind) for kind in schema.types[:3]] == ["decimal128(12, 2)", "decimal128(5, 0)", "decimal128(5, 5)"]
    assert schema.field("d").type == pa.decimal128(6, 3)
    assert schema.field("e").type == pa.timestamp("us", "UTC")
    assert (schema.field("f").type, schema.field("g").type, schema.field("h").type) == (
        pa.json_(),
        pa.string(),
        pa.uuid(),
    )
    assert schema.field("d").metadata[b"postgres_type"] == b"public.of_numeric"
    assert (pq.read_metadata(io.BytesIO(body)).num_rows, record(parquet, ZOO).rows) == (0, 0)


def test_a_table_without_a_row_is_a_valid_file_for_duckdb(parquet, tmp_path):
    parquet.tables["public.nothing"] = {}
    run(parquet.platform, "shop", DAY)
    assert duck(parquet, "public.nothing", tmp_path) == {"id": []}


# ------------------------------------------------------------------------------------------- what the types have not
BEYOND = [
    ("date", "infinity", "a year outside"), ("date", "-infinity", "a year outside"),
    ("date", "0044-03-15 BC", "a year outside"), ("date", "10000-01-01", "a year outside"),
    ("timestamp", "infinity", "a year outside"), ("timestamp", "-infinity", "a year outside"),
    ("timestamp", "294276-12-31 23:59:59", "a year outside"), ("timestamp", "4713-01-01 BC", "a year outside"),
    ("timestamptz", "infinity", "a year outside"), ("timestamptz", "-infinity", "a year outside"),
    ("timestamptz", "10000-01-01 00:00:00+00", "a year outside"), ("time", "24:00:00", "24:00:00"),
    ("numeric(5,2)", "NaN", "NaN"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value", "what"), BEYOND, ids=lambda value: str(value).replace("/", "-"))
def test_what_arrow_has_no_value_for_is_refused_by_its_column(db, kind, value, what):
    db.run(f"CREATE TABLE zoo (n int, odd {kind})", f"INSERT INTO zoo VALUES (1, NULL), (2, '{value}')")
    with closing(ArrowSession(db.settings(), "egress test")) as session, db.connect() as leader:
        relation = describe(leader, [ZOO], "db")[ZOO]
        columns = shape_of(leader, relation, relation.columns)
        (batch,) = session.batches("SELECT n, odd FROM public.zoo", 2**20)
        with pytest.raises(SourceError, match=rf"table public\.zoo: column odd of type .* holds .*{what}") as caught:
            Values(ZOO, columns).stored(batch)
    assert "infinity: text" in caught.value.hint
    assert value in ("infinity", "NaN", "24:00:00") or value not in str(caught.value)


def test_a_refused_value_leaves_no_object_and_is_text_by_option(parquet):
    columns = ", ".join(f"c{n} {kind}" for n, (kind, _, _) in enumerate(BEYOND))
    said = ", ".join(f"'{value}'" for _, value, _ in BEYOND)
    parquet.db.run(
        f"CREATE TABLE zoo (n int, {columns})", "INSERT INTO zoo VALUES (1)", f"INSERT INTO zoo VALUES (2, {said})"
    )
    parquet.tables[ZOO] = {}
    with pytest.raises(SourceError, match=r"table public\.zoo: column c0 of type date holds infinity"):
        run(parquet.platform, "shop", DAY)
    assert (parquet.objects(), parquet.lake.here()[1]) == ({}, {})
    parquet.dataset["dump"]["infinity"] = "text"
    run(parquet.platform, "shop", DAY)
    table, names = arrow(parquet, ZOO), [f"c{n}" for n in range(len(BEYOND))]
    assert [table.column(name).to_pylist() for name in names] == [texts(parquet, ZOO, name) for name in names]
    assert record(parquet, ZOO).texts == dict.fromkeys(names, "infinity: text")


def test_an_incremental_extract_reads_what_came_since(parquet, monkeypatch):
    parquet.db.run(
        "CREATE TABLE zoo (n int, changed timestamptz NOT NULL, kind inet)",
        "INSERT INTO zoo SELECT g, '2026-11-19 12:00+00', '10.0.0.1' FROM generate_series(1, 5) g",
    )
    parquet.dataset |= {"extract": "incremental"}
    parquet.tables = {ZOO: {"watermark": "changed"}}
    parquet.dataset["start"] = DAY
    run(parquet.platform, "shop", DAY)
    assert arrow(parquet, ZOO).column("kind").to_pylist() == ["10.0.0.1"] * 5
    monkeypatch.setenv("EGRESS_NOW", "2026-11-21T02:30:00+00:00")
    parquet.db.run("INSERT INTO zoo VALUES (6, '2026-11-20 12:00+00', '::1')")
    run(parquet.platform, "shop", "2026-11-20")
    evidence = parquet.platform.evidence
    _, found = evidence.tables(evidence.pointer(UNIT, "2026-11-20"))[ZOO]
    (body,) = [b"".join(parquet.data.get(o.key)) for o in found.objects]
    assert pq.read_table(io.BytesIO(body)).column("n").to_pylist() == [6]


def test_bytes_that_are_no_utf_8_are_refused(parquet):
    name = parquet.db.name
    with parquet.db.cluster.connect() as session:
        session.execute(f'DROP DATABASE "{name}"'.encode())
        session.execute(f"CREATE DATABASE \"{name}\" TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'".encode())
    parquet.db.run("CREATE TABLE zoo (n int, odd text)", "INSERT INTO zoo VALUES (1, chr(233))")
    parquet.tables[ZOO] = {}
    with pytest.raises(SourceError, match=r"table public\.zoo: .*22021"):
        run(parquet.platform, "shop", DAY)
    assert parquet.objects() == {}


def test_a_table_without_columns_is_refused(parquet):
    parquet.db.run("CREATE TABLE zoo ()")
    parquet.tables[ZOO] = {}
    with pytest.raises(CatalogError, match=r"public\.zoo has no column"):
        run(parquet.platform, "shop", DAY)


# ------------------------------------------------------------------------------------------------- parts and snapshots
def fill_big(place: Any, rows: int = 12_000) -> None:
    place.db.run(
        "CREATE TABLE big (id int, amount numeric(10,2), note text, at timestamptz)",
        "INSERT INTO big SELECT g, g * 1.1, CASE WHEN g % 7 > 0 THEN repeat(md5(g::text), 20) END, "
        f"timestamptz '2026-01-01' + g * interval '1 s' FROM generate_series(1, {rows}) g",
    )
    place.tables["public.big"] = {}


def test_s0_1_the_content_is_the_same_whoever_reads_it_in_however_many_parts(parquet, monkeypatch):
    """Cells of a MiB, so that 9 MiB are several parts."""
    monkeypatch.setattr(cells, "CELL_BLOCKS", 128)
    monkeypatch.setattr("egress_assets.engine.dump.extract._WORTH_A_WORKER", 1)
    fill_big(parquet)
    digests, counts = set(), []
    for workers, smallest in ((1, 2**25), (3, 2**20)):
        monkeypatch.setattr("egress_assets.engine.dump.parts.SMALLEST", smallest)
        parquet.source["workers"] = workers
        run(parquet.platform, "shop", DAY, again=True)
        found = record(parquet, "public.big")
        digests.add(found.content_digest)
        counts.append(len(found.objects))
        assert arrow(parquet, "public.big").column("id").to_pylist() == list(range(1, 12_001))
        assert sum(part.rows for part in found.objects) == found.rows == 12_000
        parquet.lake = type(parquet.lake)(parquet.lake.endpoint, parquet.lake.bucket + "x")
    assert len(digests) == 1
    assert counts[0] == 1 < counts[1]


def test_s0_4_the_file_is_of_the_snapshot_while_the_rows_are_changed(parquet):
    fill_big(parquet, 4000)
    parquet.rules["throttle"] = {"rows_per_second": 4000}
    changed = threading.Event()

    def change(tick: Any) -> None:
        if tick.phase == "dump" and tick.rows and not changed.is_set():
            changed.set()
            parquet.db.run(
                "UPDATE big SET amount = 0, note = 'new'",
                "DELETE FROM big WHERE id > 3000",
                "INSERT INTO big SELECT g FROM generate_series(9000, 9999) g",
            )

    run(parquet.platform, "shop", DAY, on=change)
    assert changed.is_set()
    table = arrow(parquet, "public.big")
    assert table.column("id").to_pylist() == list(range(1, 4001))
    assert table.column("amount").to_pylist() == [Decimal(g * 11).scaleb(-1) for g in range(1, 4001)]


def test_a_second_run_reads_nothing_and_again_keeps_the_equal_attempt(parquet):
    fill_big(parquet, 100)
    assert run(parquet.platform, "shop", DAY).how == "moved"
    assert run(parquet.platform, "shop", DAY).how == "nothing"
    assert run(parquet.platform, "shop", DAY, again=True).how == "unchanged"
    parquet.dataset["dump"]["infinity"] = "text"
    assert run(parquet.platform, "shop", DAY).how == "moved"


def test_partitions_views_materialized_views_windows_and_chosen_columns_are_read(parquet):
    parquet.db.run(
        "CREATE TABLE split (id int, day date, at timestamptz) PARTITION BY RANGE (id)",
        "CREATE TABLE low PARTITION OF split FOR VALUES FROM (0) TO (100)",
        "CREATE TABLE high PARTITION OF split FOR VALUES FROM (100) TO (200)",
        "CREATE TABLE empty PARTITION OF split FOR VALUES FROM (200) TO (300)",
        "INSERT INTO split SELECT g, date '2026-11-18' + g % 3, now() FROM generate_series(1, 199) g",
        "CREATE VIEW seen AS SELECT id, day FROM split WHERE id < 10",
        "CREATE MATERIALIZED VIEW kept AS SELECT id FROM split WHERE id > 190",
    )
    parquet.tables = {"public.split": {}, "public.seen": {"where": "id > 3"}, "public.kept": {}}
    run(parquet.platform, "shop", DAY)
    assert sorted(arrow(parquet, "public.split").column("id").to_pylist()) == list(range(1, 200))
    assert arrow(parquet, "public.seen").column("id").to_pylist() == [4, 5, 6, 7, 8, 9]
    assert arrow(parquet, "public.kept").num_rows == 9
    parquet.dataset |= {"extract": "window", "drift": "accept"}
    parquet.tables = {"public.split": {"window": "day", "select": ["day", "id"]}}
    run(parquet.platform, "shop", DAY)
    table = arrow(parquet, "public.split")
    assert (table.column_names, {f"{day}" for day in table.column("day").to_pylist()}) == (["day", "id"], {DAY})


# ------------------------------------------------------------------------------------------------- whatever goes wrong
def slow(place: Any, rows: int = 3000) -> None:
    """A view that takes about a millisecond a row, of 20 kB that compress badly."""
    text = "SELECT string_agg(md5((g * 1000 + k)::text), '') FROM generate_series(1, 600) k"
    place.db.run(
        f"CREATE VIEW v AS SELECT g, ({text}) AS t FROM generate_series(1, {rows}) g WHERE pg_sleep(1e-3) IS NOT NULL"
    )
    place.tables["public.v"] = {}


def nothing_is_left(place: Any) -> bool:
    """No upload, and no session that still does something."""
    return place.lake.here()[1] == {} and not place.db.sessions()


def test_s0_3_a_session_that_is_terminated_while_it_reads_costs_one_more_try(parquet, until):
    slow(parquet, 1500)
    killed: list[int] = []
    ready = threading.Thread(
        target=lambda: (
            until(lambda: parquet.db.sessions("COPY%")),
            killed.append(parquet.db.terminate("egress worker")),
        )
    )
    ready.start()
    result = run(parquet.platform, "shop", DAY)
    ready.join()
    assert killed[0] >= 1
    assert (result.how, result.tables["public.v"].rows) == ("moved", 1500)
    assert len(parquet.objects()) == 1
    assert until(lambda: nothing_is_left(parquet))


def test_s0_3_a_run_that_is_stopped_cancels_the_query_and_leaves_no_object(parquet, until):
    slow(parquet, 100_000)

    class Ended(Exception):
        pass

    def stop(tick: Any) -> None:
        if tick.phase == "dump" and tick.rows:
            raise Ended

    with pytest.raises(Ended):
        run(parquet.platform, "shop", DAY, on=stop)
    assert until(lambda: nothing_is_left(parquet), 5)
    assert parquet.objects() == {}


def test_a_store_that_fails_cancels_the_query_and_leaves_no_object(parquet, until):
    slow(parquet, 100_000)
    parquet.stored |= {"part_bytes": 5 * 2**20, "retry_deadline": 0.5}
    parquet.lake.fault("UploadPart", "403", times=1000)
    with pytest.raises(StoreError):
        run(parquet.platform, "shop", DAY)
    assert until(lambda: not parquet.db.sessions(), 5)
    assert parquet.objects() == {}


def test_a_failing_row_is_told_without_its_value(parquet):
    parquet.db.run("CREATE VIEW v AS SELECT g, ('s3cret' || g)::int AS n FROM generate_series(1, 3) g")
    parquet.tables["public.v"] = {}
    with pytest.raises(EgressError, match=r"table public\.v: .*22P02") as caught:
        run(parquet.platform, "shop", DAY)
    assert "s3cret" not in f"{caught.value} {caught.value.hint}"
    assert parquet.objects() == {}


def test_a_statement_that_takes_too_long_is_cancelled_by_the_server(parquet):
    slow(parquet, 100_000)
    parquet.source["statement_timeout"] = 1
    with pytest.raises(SourceError, match="the query was cancelled"):
        run(parquet.platform, "shop", DAY)
