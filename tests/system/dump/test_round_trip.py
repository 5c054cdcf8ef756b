"""What a dump stores, an empty database takes back by plain COPY, equal row for row (S0-1, S0-2).

Three whole schemas lie beside: `rental` (keys, partitions, views), `tpch` (plain rows) and `zoo` (every type). A source
has copies of all its relations in the schema `kept`, made by the server alone, and so has the target, its clone with
empty tables. Rows are compared there by EXCEPT ALL as text: json, xml or point have no equality, and of other types
text tells more apart (1.0 and 1.00).
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from psycopg import sql

from egress_assets.engine.dump.relations import split
from egress_assets.engine.dump.run import run
from egress_assets.engine.evidence.records import TableRecord
from egress_assets.engine.layout import dump_unit
from egress_assets.engine.stream import decompressed

SCHEMAS = Path(__file__).parent / "schemas"
ALL = ("rental", "tpch", "zoo")
DAY = "2026-11-19"
FILM = "rental.film"  # dumped by `select`: without its generated column it needs no detour
WITHOUT_GENERATED = ["id", "title", "description", "made_in", "language_id", "rate", "rating", "features"]
CASES = {
    "plain": {"format": "csv.zst"},
    "null": {"format": "csv.gz", "csv": {"null": "NULL"}},
    "semicolon": {"format": "csv", "csv": {"delimiter": ";"}},
    "tab": {"format": "csv.zst", "csv": {"delimiter": "\t"}},
    "apostrophe": {"format": "csv.gz", "csv": {"quote": "'"}},
    "datapipeline": {"format": "csv", "csv": {"dialect": "datapipeline"}},
}
INTERNAL = {
    *("gtsvector", "pg_brin_bloom_summary", "pg_brin_minmax_multi_summary", "pg_dependencies", "pg_mcv_list"),
    *("pg_ndistinct", "pg_node_tree"),
}
"""Types whose input function takes no value: no row of a user's table has one."""
_RELATIONS = """
SELECT n.nspname || '.' || c.relname, c.relkind::text,
       c.relkind IN ('v', 'm') OR EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attgenerated <> '')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY(%s) AND c.relkind IN ('r', 'p', 'v', 'm') AND NOT c.relispartition
ORDER BY c.oid
"""
_DIFFERENCE = """
(SELECT row::text FROM {a} row EXCEPT ALL SELECT row::text FROM {b} row)
UNION ALL (SELECT row::text FROM {b} row EXCEPT ALL SELECT row::text FROM {a} row)
"""
_UNUSED = """
SELECT typname FROM pg_type
WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype IN ('b', 'r', 'm') AND typcategory <> 'A' AND oid NOT IN (
  SELECT a.atttypid FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
  WHERE c.relnamespace = 'zoo'::regnamespace AND a.attnum > 0)
"""


class Kind(NamedTuple):
    """Whether COPY can't fill all that was dumped of it: a view, or a table with generated columns."""

    relkind: str
    is_computed: bool


def relations(db: Any, *schemas: str) -> dict[str, Kind]:
    """Tables, views and materialized views in the order of their making, which foreign keys allow to fill them in."""
    found = db.rows(_RELATIONS, list(schemas))
    return {name: Kind(relkind, is_computed and name != FILM) for name, relkind, is_computed in found}


def build(db: Any, *schemas: str) -> None:
    """The schemas with their rows, a copy of every relation in `kept`, an empty one of what is computed in `staged`."""
    with db.connect(client_encoding="utf8") as session, session.transaction():
        session.execute("SET search_path = pg_catalog")
        for schema in schemas:
            session.execute((SCHEMAS / f"{schema}.sql").read_bytes())
        session.execute("CREATE SCHEMA kept")
        session.execute("CREATE SCHEMA staged")
    with db.connect(client_encoding="utf8") as session:
        for table, kind in relations(db, *schemas).items():
            copy = sql.SQL("CREATE TABLE {} AS TABLE {}").format(sql.Identifier("kept", table), here(table))
            session.execute(copy)
            if kind.is_computed:
                like = sql.SQL("CREATE TABLE {} AS TABLE {} WITH NO DATA")
                session.execute(like.format(sql.Identifier("staged", table), here(table)))
        for schema in schemas:
            name = sql.Identifier(schema)
            session.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO reader").format(name))
            session.execute(sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA {} TO reader").format(name))


def here(table: str) -> sql.Identifier:
    return sql.Identifier(*split(table))


def created(db: Any, suffix: str, how: sql.Composable) -> Any:
    """Another database of the same server; goes with the server."""
    made = replace(db, name=db.name + suffix)
    with db.cluster.connect() as session:
        session.execute(sql.SQL("CREATE DATABASE {} ").format(sql.Identifier(made.name)) + how)
    return made


@pytest.fixture(scope="module")
def source(module_db: Any) -> Any:
    build(module_db, *ALL)
    return module_db


@pytest.fixture(scope="module")
def target(source: Any) -> Any:
    """A clone of the source, whose tables each restore empties."""
    return created(source, "_target", sql.SQL("TEMPLATE {}").format(sql.Identifier(source.name)))


# ------------------------------------------------------------------------------------------------------------ the trip
def dumped(place: Any, db: Any, *schemas: str, **dump: Any) -> None:
    """Every table, view and materialized view of `schemas` by one run."""
    place.db, place.dataset = db, {"dump": dump}
    place.tables = {table: {} for table in relations(db, *schemas)}
    if FILM in place.tables:
        place.tables[FILM] = {"select": WITHOUT_GENERATED}
    assert run(place.platform, "shop", DAY).how == "moved"


def stored(place: Any) -> dict[str, TableRecord]:
    evidence = place.platform.evidence
    found = evidence.tables(evidence.pointer(dump_unit("shop"), DAY))
    return {table: record for table, (_, record) in found.items()}


def rows(place: Any, record: TableRecord) -> Iterator[bytes]:
    for part in record.objects:
        yield from decompressed(place.data.get(part.key), record.format)


def take(session: psycopg.Connection, into: sql.Identifier, place: Any, record: TableRecord) -> None:
    """COPY with the options that the record tells."""
    names = sql.SQL(", ").join(sql.Identifier(column.name) for column in record.columns)
    columns = sql.SQL("({})").format(names) if record.columns else sql.SQL("")
    options = {"DELIMITER": record.csv.delimiter, "NULL": record.csv.null, "QUOTE": record.csv.quote}
    said = [
        sql.SQL(f"{name} {{}}").format(sql.Literal(sign)) for name, sign in options.items() if sign or name != "QUOTE"
    ]
    form = sql.SQL("FORMAT text" if record.csv.is_escaped else "FORMAT csv")
    query = sql.SQL("COPY {} {} FROM STDIN ({}, ENCODING 'UTF8')")
    with session.cursor().copy(query.format(into, columns, sql.SQL(", ").join([form, *said]))) as copy:
        for chunk in rows(place, record):
            copy.write(chunk)


def restore(place: Any, into: Any, *schemas: str) -> None:
    """All tables in one transaction, under the schema's own keys; then what is computed from them."""
    kinds, records = relations(into, *schemas), stored(place)
    assert records.keys() == kinds.keys()
    with into.connect(client_encoding="utf8") as session, session.transaction():
        empty(session, kinds)
        session.execute("SET CONSTRAINTS ALL DEFERRED")
        for table, (relkind, is_computed) in kinds.items():
            record = records[table]
            take(session, sql.Identifier("staged", table) if is_computed else here(table), place, record)
            if is_computed and relkind not in "vm":
                fill_from_staged(session, table)
            if relkind == "m":
                session.execute(sql.SQL("REFRESH MATERIALIZED VIEW {}").format(here(table)))


def empty(session: psycopg.Connection, kinds: dict[str, Kind]) -> None:
    tables = [here(table) for table, kind in kinds.items() if kind.relkind not in "vm"]
    tables += [sql.Identifier("staged", table) for table, kind in kinds.items() if kind.is_computed]
    session.execute(sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(tables)))


def fill_from_staged(session: psycopg.Connection, table: str) -> None:
    """The columns that may be written: the generated ones are computed anew."""
    query = "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND attgenerated = ''"
    names = [sql.Identifier(name) for (name,) in session.execute(query, [here(table).as_string(session)])]
    columns, staged = sql.SQL(", ").join(names), sql.Identifier("staged", table)
    fill = sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {}")
    session.execute(fill.format(here(table), columns, columns, staged))


def differences(db: Any, a: sql.Identifier, b: sql.Identifier) -> list[tuple]:
    with db.connect(client_encoding="utf8") as session:
        return session.execute(sql.SQL(_DIFFERENCE).format(a=a, b=b)).fetchall()


def assert_equal(db: Any, *schemas: str) -> None:
    """Every relation is as the source's was, and so is what was dumped of those that are computed."""
    for table, kind in relations(db, *schemas).items():
        assert differences(db, here(table), sql.Identifier("kept", table)) == [], table
        if kind.is_computed:
            assert differences(db, sql.Identifier("staged", table), sql.Identifier("kept", table)) == [], table


# --------------------------------------------------------------------------------------------------------- rows as text
@pytest.mark.parametrize("case", CASES)
def test_every_table_is_restored_equal_by_copy_s0_1_s0_2(place, source, target, case):
    dumped(place, source, *ALL, **CASES[case])
    restore(place, target, *ALL)
    assert_equal(target, *ALL)


@pytest.mark.parametrize(
    ("change", "count"),
    [
        ("DELETE FROM part WHERE p_partkey < 4", 3),
        ("INSERT INTO part SELECT * FROM part WHERE p_partkey < 5", 4),
        ("UPDATE part SET p_name = '' WHERE p_partkey = 5", 2),
        ("ALTER TABLE part ALTER p_retailprice TYPE numeric(15,3)", 400),
    ],
)
def test_a_row_that_is_missing_doubled_or_changed_is_told(source, change, count):
    """The comparison's own test."""
    kept = sql.Identifier("kept", "tpch.part")
    with source.connect() as session:
        session.execute(sql.SQL("CREATE TEMP TABLE part AS TABLE {}").format(kept))
        session.execute(change.encode())
        query = sql.SQL(_DIFFERENCE).format(a=sql.Identifier("part"), b=kept)
        assert len(session.execute(query).fetchall()) == count


def test_the_zoo_has_every_type_that_a_column_can_have(source):
    has_xml = source.rows("SELECT to_regclass('zoo.pages') IS NOT NULL")[0][0]
    assert {name for (name,) in source.rows(_UNUSED)} == INTERNAL | (set() if has_xml else {"xml"})


def test_a_latin_1_database_is_dumped_in_utf_8_and_restored_in_both_encodings_s0_2(place, source, target):
    latin = created(source, "_latin", sql.SQL("ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"))
    build(latin, "rental")
    dumped(place, latin, "rental", format="csv")
    assert "Côte d'Ivoire".encode() in b"".join(rows(place, stored(place)["rental.country"]))
    for into in (latin, target):
        restore(place, into, "rental")
        assert_equal(into, "rental")


def test_a_partitioned_table_dumped_leaf_by_leaf_is_restored_through_its_parent_s0_1(place, source, target):
    (found,) = source.rows("SELECT array_agg(relid::text) FROM pg_partition_tree('rental.payment') WHERE isleaf")
    place.db, place.dataset, place.tables = source, {"dump": {}}, {leaf: {} for leaf in found[0]}
    assert len(place.tables) == 4
    run(place.platform, "shop", DAY)
    with target.connect() as session, session.transaction():
        session.execute("SET session_replication_role = replica")  # without the rentals that are paid
        session.execute("TRUNCATE rental.payment")
        for record in stored(place).values():
            take(session, here("rental.payment"), place, record)
    assert differences(target, here("rental.payment"), sql.Identifier("kept", "rental.payment")) == []


def test_debian_s_server_and_its_own_psql_take_the_zoo_back_s0_2(place, debian_db, tmp_path):
    build(debian_db, "zoo")
    dumped(place, debian_db, "zoo", format="csv.zst")
    restore(place, debian_db, "zoo")
    record, file = stored(place)["zoo.words"], tmp_path / "words.csv"
    file.write_bytes(b"".join(rows(place, record)))
    debian_db.psql("TRUNCATE zoo.words")
    columns = ", ".join(column.name for column in record.columns)
    debian_db.psql(f"\\copy zoo.words ({columns}) FROM '{file}' WITH (FORMAT csv, ENCODING 'UTF8')")
    assert_equal(debian_db, "zoo")
    assert debian_db.rows("SELECT count(page) FROM zoo.pages") == [(3,)]  # this server has xml


# -------------------------------------------------------------------------------------------------------------- parquet
def wanted(db: Any, table: str, record: TableRecord) -> Counter[tuple]:
    """The source's rows as psycopg reads them; as the server's text where the file has text for another type."""
    columns = [
        sql.SQL("{}::text" if c.name in record.texts or c.type == "jsonb" else "{}").format(sql.Identifier(c.name))
        for c in record.columns
    ]
    with db.connect() as session:
        found = session.execute(sql.SQL("SELECT {} FROM {}").format(sql.SQL(", ").join(columns), here(table)))
        return Counter(found.fetchall())


def by_pyarrow(bodies: list[bytes]) -> Counter[tuple]:
    table = pa.concat_tables(pq.read_table(io.BytesIO(body)) for body in bodies)
    return Counter(zip(*(column.to_pylist() for column in table.columns), strict=True))


def by_duckdb(bodies: list[bytes], folder: Path) -> Counter[tuple]:
    folder.mkdir()
    for number, body in enumerate(bodies):
        (folder / f"{number}.parquet").write_bytes(body)
    with duckdb.connect() as session:
        return Counter(session.execute("SELECT * FROM read_parquet(?)", [f"{folder}/*.parquet"]).fetchall())


def test_parquet_holds_the_source_s_rows_for_pyarrow_and_duckdb_s0_1(place, source, tmp_path):
    dumped(place, source, "rental", "tpch", format="parquet")
    for table, record in stored(place).items():
        bodies = [b"".join(place.data.get(part.key)) for part in record.objects]
        expected = wanted(source, table, record)
        assert expected.total() == record.rows > 0
        assert by_pyarrow(bodies) == expected, table
        assert by_duckdb(bodies, tmp_path / table) == expected, table
