"""`verify: deep` sees every difference between the server's rows and the stored ones, and publishes nothing (S0-2)."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256

import psycopg
import pytest
from psycopg import sql
from pydantic import ValidationError

from egress_assets.engine.checksum import Checksum, added, checksum
from egress_assets.engine.dump import deep
from egress_assets.engine.dump import run as dump_run
from egress_assets.engine.dump.run import run
from egress_assets.engine.dump.sums import Chosen, checksum_query
from egress_assets.engine.dump.tasks import ColumnInfo, Relation
from egress_assets.engine.errors import ChecksumMismatch, SourceChanged
from egress_assets.engine.evidence.verify import _Rows, comparable
from egress_assets.engine.layout import dump_unit, scrub_unit
from egress_assets.engine.scrub.run import run as scrub
from egress_assets.engine.stored_rows import rows_checksum
from egress_assets.engine.stream import FORMATS, decompressed

DAY = "2026-11-19"
ORDERS = "public.orders"


@pytest.fixture
def deeply(place):
    place.dataset["dump"] = {"verify": "deep", "format": "csv"}
    return place


def records(place, unit=None):
    platform = place.platform
    pointer = platform.evidence.pointer(unit or dump_unit("shop"), DAY)
    return {} if pointer is None else {t: r for t, (_, r) in platform.evidence.tables(pointer).items()}


# ---------------------------------------------------------------------------------------------------------- all is well
@pytest.mark.parametrize("suffix", FORMATS)
def test_both_checksums_are_in_the_manifest_and_in_the_result(deeply, suffix):
    deeply.dataset["dump"]["format"] = suffix
    result = run(deeply.platform, "shop", DAY)
    for table, record in records(deeply).items():
        assert record.checksums
        assert record.checksums.agree
        assert record.checksums.source.rows == record.rows
        assert result.tables[table].checksums == record.checksums
    assert records(deeply)["public.nothing"].checksums.output == Checksum()
    assert result.phases["deep"] > 0


def test_rows_alone_are_counted_where_the_catalog_says_no_more(place):
    result = run(place.platform, "shop", DAY)
    assert {record.checksums for record in records(place).values()} == {None}
    assert "deep" not in result.phases


HOSTILE = [
    "plain", "comma, quote \" and 'single'", "line\nfeed\r\nreturn\ttab\b\f\v", "back\\slash \\. \\N", "\\.", "\\N", "",
    None, " lead and trail ", "ünïcödé 漢字 \U0001f418 \u202e", "NULL", "null", '"', '""', '"""', "'", ",", ";", "|",
    "\x01", "^", "]", "\x7f", "x" * 300_000, "a\u0300", "\ufffd", "\ufeff",
]  # fmt: skip
DIALECTS = [
    None, {"delimiter": ";"}, {"delimiter": "\t", "null": "\\N"}, {"delimiter": "|", "quote": "'", "null": "NULL"},
    {"quote": "`", "delimiter": "\x01"}, {"dialect": "datapipeline"}, {"dialect": "datapipeline", "delimiter": "|"},
]  # fmt: skip


@pytest.mark.parametrize("dialect", DIALECTS, ids=str)
def test_hostile_text_is_equal_in_every_dialect(deeply, db, dialect):
    deeply.dataset["dump"]["csv"] = dialect
    db.run("CREATE TABLE odd (a text, b text, c varchar, d char(40))", "CREATE TABLE one (a text)")
    deeply.tables |= {"public.odd": {}, "public.one": {}}
    with db.connect() as session:
        rows = [(a, b, b, (a or "")[:39]) for a in HOSTILE for b in HOSTILE[:12]]
        session.cursor().executemany("INSERT INTO odd VALUES (%s, %s, %s, %s)", rows)
        session.cursor().executemany("INSERT INTO one VALUES (%s)", [(a,) for a in HOSTILE])
    run(deeply.platform, "shop", DAY)
    assert records(deeply)["public.odd"].checksums.output.rows == len(rows)
    assert records(deeply)["public.one"].checksums.agree


WRITTEN_OTHERWISE_BY_A_CAST = (
    "CREATE TYPE pair AS (a int, b text)",
    "CREATE TABLE cast_otherwise (a bool, b inet, c char(9), d pair, e pair, f \"char\", g name, h money, i bytea, "
    "  j float8, k timestamptz, l text[], m jsonb)",
    "INSERT INTO cast_otherwise VALUES (true, '10.0.0.1', 'x', (NULL, NULL), NULL, 'c', 'n', 1.5, '\\xff00', "
    "  'NaN', 'infinity', '{NULL,\"NULL\",\"a\\\"b\"}', '{\"a\": \"b\\\\c\"}')",
    "INSERT INTO cast_otherwise VALUES (false, '::1/64', '', (NULL, ''), (1, ','), '', '', -1, '', '-0', "
    "  '0044-03-15 BC', '{}', 'null')",
    "INSERT INTO cast_otherwise DEFAULT VALUES",
    "CREATE TABLE no_column ()",
    "INSERT INTO no_column SELECT FROM generate_series(1, 3)",
)  # fmt: skip


def test_types_that_a_cast_would_write_otherwise_are_written_as_copy_does(place, any_db):
    place.db = any_db
    any_db.run(*WRITTEN_OTHERWISE_BY_A_CAST)
    place.dataset["dump"] = {"verify": "deep"}
    place.tables.clear()
    place.tables |= {"public.cast_otherwise": {}, "public.no_column": {}}
    run(place.platform, "shop", DAY)
    assert [record.checksums.source.rows for record in records(place).values()] == [3, 3]


def test_a_table_of_many_columns_is_one_expression(deeply, db):
    db.run("CREATE TABLE wide (" + ", ".join(f"c{n} int" for n in range(1600)) + ")")
    db.run("INSERT INTO wide (c0, c1599) VALUES (1, 2)", "INSERT INTO wide (c1) VALUES (3)")
    deeply.tables["public.wide"] = {}
    run(deeply.platform, "shop", DAY)
    assert records(deeply)["public.wide"].checksums.agree


def test_conditions_selections_partitions_and_parts_are_compared_as_a_whole(deeply, db):
    db.run(
        "CREATE TABLE p (id int, at date, t text) PARTITION BY RANGE (at)",
        "CREATE TABLE p_1 PARTITION OF p FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')",
        "CREATE TABLE p_2 (t text, at date, id int)",
        "ALTER TABLE p ATTACH PARTITION p_2 FOR VALUES FROM ('2026-02-01') TO ('2026-03-01')",
        "INSERT INTO p SELECT g, date '2026-01-01' + g % 59, md5(g::text) FROM generate_series(1, 300) g",
        "CREATE TABLE big AS SELECT g id, repeat(md5(g::text), 60) t FROM generate_series(1, 24000) g",
        "CREATE MATERIALIZED VIEW seen AS SELECT id FROM p WHERE id < 5",
        "ANALYZE",
    )
    deeply.dataset["dump"]["part_size"] = "1MiB"
    deeply.tables |= {"public.p": {"where": "id % 3 = 0", "select": ["t", "id"]}, "public.big": {}, "public.seen": {}}
    run(deeply.platform, "shop", DAY)
    found = records(deeply)
    assert len(found["public.big"].objects) > 1
    assert {table: found[table].checksums.agree for table in deeply.tables} == dict.fromkeys(deeply.tables, True)
    assert found["public.p"].rows == 100


def test_the_server_s_order_and_parallelism_do_not_change_it(deeply, db):
    db.run("CREATE TABLE big AS SELECT g id, md5(g::text) t FROM generate_series(1, 50000) g", "ANALYZE big")
    deeply.tables["public.big"] = {}
    run(deeply.platform, "shop", DAY)
    first = records(deeply)["public.big"].checksums
    with db.connect() as session:
        for name, value in {"min_parallel_table_scan_size": "0", "parallel_setup_cost": "0", "jit": "off"}.items():
            session.execute(f"ALTER ROLE reader IN DATABASE {db.name} SET {name} = '{value}'")
        session.execute("CREATE TABLE other AS SELECT * FROM big ORDER BY t")
        session.execute("DROP TABLE big")
        session.execute("ALTER TABLE other RENAME TO big")
        session.execute("GRANT SELECT ON big TO reader")
    run(deeply.platform, "shop", DAY, again=True)
    assert records(deeply)["public.big"].checksums == first


def test_a_scrub_is_compared_masked_with_its_own_keys(place):
    place.dataset |= {"scrub": {"key": "k" * 64, "verify": "deep"}, "dump": None}
    place.tables.clear()
    place.tables["public.customers"] = {"columns": {"id": "keep", "email": {"mask": "hash", "domain": "person"}}}
    result = scrub(place.platform, "shop", DAY)
    record = records(place, scrub_unit("shop", "shared"))["public.customers"]
    assert record.checksums == result.tables["public.customers"].checksums
    assert record.checksums.agree
    store = place.platform.store("lake")
    (stored,) = [b"".join(decompressed(store.get(o.key), record.format)) for o in record.objects]
    assert b"example.com" not in stored
    assert rows_checksum([stored], "csv", record.csv, 2) == record.checksums.output


# ------------------------------------------------------------------------------------------------------ what it catches
def altered(rows: bytes) -> dict[str, bytes]:
    lines = rows.splitlines(keepends=True)
    return {
        "lost": b"".join(lines[1:]),
        "doubled": b"".join([*lines, lines[0]]),
        "one for another": b"".join([lines[1], *lines[1:]]),
        "a byte": rows.replace(b"7", b"8", 1),
        "swapped": b"".join([_swapped(lines[0]), *lines[1:]]),
        "NULL for empty": rows.replace(b',""', b",", 1),
        "empty for NULL": rows.replace(b",,", b',"",', 1),
        "a border moved": rows.replace(b"ab,cd", b"abc,d", 1),
        "nothing left": b"",
        "garbage": rows + b'"',
    }


def _swapped(line: bytes) -> bytes:
    first, second, rest = line.split(b",", 2)
    return b",".join([second, first, rest])


@pytest.fixture
def odd(deeply, db):
    """With a table `odd` of all that can be altered."""
    db.run(
        "CREATE TABLE odd (a int, b int, c text, d text, e text, f text)",
        "INSERT INTO odd SELECT g, g + 7, NULL, 'ab', 'cd', '' FROM generate_series(1, 20) g",
    )
    deeply.tables["public.odd"] = {}
    return deeply


@pytest.mark.parametrize("kind", ["one for another", "NULL for empty"])
def test_a_changed_object_with_its_digest_made_right_is_seen_and_not_published(odd, monkeypatch, kind):
    def between(leader, done, *arguments, **keywords):
        store, (part,) = odd.platform.store("lake"), done["public.odd"].parts
        rows = altered(b"".join(store.get(part.key)))[kind]
        put = store.put(part.key, rows)
        part = replace(part, bytes=put.bytes, sha256=sha256(rows).hexdigest(), etag=put.etag)
        done = {**done, "public.odd": replace(done["public.odd"], parts=(part,))}
        return deep.compare(leader, done, *arguments, **keywords)

    monkeypatch.setattr(dump_run, "compare", between)
    with pytest.raises(ChecksumMismatch, match=r"public\.odd has [0-9a-f]{16} over 20 rows in the store") as raised:
        run(odd.platform, "shop", DAY)
    assert "over 20 rows in the server" in raised.value.message
    assert "public.orders" not in raised.value.message
    assert raised.value.exit_code == 40
    assert records(odd) == {}


def test_every_alteration_has_another_checksum_than_the_server_s(odd):
    run(odd.platform, "shop", DAY)
    record, store = records(odd)["public.odd"], odd.platform.store("lake")
    (stored,) = record.objects
    rows = b"".join(store.get(stored.key))
    assert rows_checksum([rows], "csv", record.csv, 6) == record.checksums.source
    shuffled = b"".join(sorted(rows.splitlines(keepends=True), reverse=True))
    assert rows_checksum([shuffled], "csv", record.csv, 6) == record.checksums.source
    for kind, other in altered(rows).items():
        assert other != rows, kind
        assert rows_checksum([other], "csv", record.csv, 6) != record.checksums.source, kind


def test_an_object_that_is_not_the_one_that_was_written_is_told_by_its_digest(deeply, monkeypatch):
    def between(leader, done, *arguments, **keywords):
        deeply.platform.store("lake").put(done[ORDERS].parts[0].key, b"1,1,1\n")
        return deep.compare(leader, done, *arguments, **keywords)

    monkeypatch.setattr(dump_run, "compare", between)
    with pytest.raises(ChecksumMismatch, match=r"has 6 bytes with sha256"):
        run(deeply.platform, "shop", DAY)
    assert records(deeply) == {}


def test_rows_that_the_division_into_cells_loses_are_missed(deeply, monkeypatch):
    """The server's checksum is over the table as a whole: our own ranges can't hide what they leave out."""
    cells = dump_run.copy_cells

    def closed(relation, *arguments, **keywords):
        found = cells(relation, *arguments, **keywords)
        return tuple(replace(cell, copy=cell.copy, rest=cell.rest.replace("'(0,0)'", "'(1,0)'")) for cell in found)

    monkeypatch.setattr(dump_run, "copy_cells", closed)
    with pytest.raises(ChecksumMismatch, match=r"public\.customers has 0{16} over 0 rows in .* over 50 rows"):
        run(deeply.platform, "shop", DAY)


def test_a_scrub_that_differs_leaves_neither_truth_nor_bytes(place, monkeypatch):
    place.dataset |= {"scrub": {"key": "k" * 64, "verify": "deep"}, "dump": None}
    place.tables.clear()
    place.tables[ORDERS] = {"columns": {"id": "keep", "customer_id": "keep", "total": "keep"}}

    def between(leader, done, chosen, *arguments, **keywords):
        select = [(name, sql.SQL("1")) if name == "total" else (name, e) for name, e in chosen[0].select]
        return deep.compare(leader, done, [replace(chosen[0], select=select)], *arguments, **keywords)

    monkeypatch.setattr("egress_assets.engine.scrub.run.compare", between)
    with pytest.raises(ChecksumMismatch, match=r"public\.orders has"):
        scrub(place.platform, "shop", DAY)
    assert place.objects() == {}
    assert records(place, scrub_unit("shop", "shared")) == {}


def test_a_partition_attached_meanwhile_starts_the_run_over_and_is_no_difference(deeply, db, monkeypatch):
    db.run(
        "CREATE TABLE p (id int) PARTITION BY LIST (id)",
        "CREATE TABLE p_1 PARTITION OF p FOR VALUES IN (1)",
        "CREATE TABLE p_2 AS SELECT 2 AS id",
        "INSERT INTO p VALUES (1)",
    )
    deeply.tables["public.p"] = {}
    met = []

    def between(*arguments, **keywords):
        if not met:
            db.run("ALTER TABLE p ATTACH PARTITION p_2 FOR VALUES IN (2)")
        try:
            return deep.compare(*arguments, **keywords)
        except SourceChanged as error:
            met.append(error)
            raise

    monkeypatch.setattr(dump_run, "compare", between)
    run(deeply.platform, "shop", DAY)
    assert len(met) == 1
    assert records(deeply)["public.p"].checksums.source.rows == 2


def test_verify_compares_the_stored_rows_later_without_the_database(deeply, db):
    run(deeply.platform, "shop", DAY)
    evidence, store = deeply.platform.evidence, deeply.platform.store("lake")
    found = list(evidence.verify(dump_unit("shop"), DAY, store, deep=True))
    assert [(v.table, v.status) for v in found if v.what == "rows"] == [
        (table, "ok") for table in sorted(deeply.tables)
    ]
    assert {v.what for v in evidence.verify(dump_unit("shop"), DAY, store)} == {"object"}
    record = records(deeply)[ORDERS]
    other = Checksum(record.rows, (record.checksums.source.sum + 1) % 2**64)
    rows = _Rows(replace(record, checksums=replace(record.checksums, source=other)))
    for chunks in (store.get(o.key) for o in record.objects):
        rows.read(chunks)
    verdict = rows.compared(ORDERS)
    assert (verdict.status, verdict.what) == ("corrupt", "rows")
    assert f"{record.checksums.output}, its manifest says {other}" in verdict.detail
    assert not comparable(replace(record, checksums=replace(record.checksums, algorithm="another")))
    store.put(record.objects[0].key, b"1,1,1\n")
    found = evidence.verify(dump_unit("shop"), DAY, store, deep=True)
    assert ("corrupt", record.objects[0].key) in [(v.status, v.key) for v in found]


def test_what_can_t_be_compared_is_refused_with_the_catalog(place):
    place.dataset |= {"extract": "incremental", "dump": {"verify": "deep"}}
    place.tables.clear()
    place.tables[ORDERS] = {"watermark": "id"}
    with pytest.raises(ValidationError, match="`deep` can't compare `extract: incremental`"):
        _ = place.platform
    place.dataset |= {"extract": "full", "dump": {"verify": "deep", "format": "parquet"}}
    with pytest.raises(ValidationError, match="`verify: deep` reads rows back as text"):
        _ = place.platform


# ---------------------------------------------------------------------------------------------------- the server alone
def test_the_server_s_checksum_is_the_documented_one(db):
    db.run("CREATE TABLE t (a int, b text)", "INSERT INTO t VALUES (1, 'x'), (2, NULL), (3, ''), (3, '')")
    columns = tuple(ColumnInfo(name, "text", "text", nullable=True) for name in "ab")
    relation = Relation("public.t", "public", "t", 1, "r", columns, ())
    chosen = Chosen(relation, [(name, sql.Identifier(name)) for name in "ab"], None, "csv")
    wanted = checksum([b"1\xffx\xff", b"2\xff\xfe\xff", b"3\xff\xff", b"3\xff\xff"])
    for encoding in ("UTF8", "LATIN1"):  # both ways to the same bytes
        ((rows, total),) = db.rows(checksum_query(chosen, encoding).replace("%", "%%"))
        assert Checksum(rows, int(total) % 2**64) == wanted
    assert added([wanted, Checksum()]) == wanted
    assert json.loads(json.dumps(wanted.to_json()))["rows"] == 4
    with pytest.raises(psycopg.errors.UndefinedTable):
        db.rows(checksum_query(Chosen(Relation("s.x", "s", "x", 1, "r", (), ()), [], None, "csv"), "UTF8"))
