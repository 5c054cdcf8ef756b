"""A dump's bytes are those of `COPY t TO STDOUT CSV`, for any name, value and kind of relation (S0-1, S0-2)."""

from __future__ import annotations

import pytest

from egress_assets.engine.dump.cells import cell_locks, copy_cells
from egress_assets.engine.dump.extract import extract
from egress_assets.engine.dump.snapshot import open_snapshot
from egress_assets.engine.dump.tasks import PartTask
from egress_assets.engine.progress import silent
from egress_assets.engine.stream import FORMATS, decompressed

HOSTILE = [
    ("plain", "text"),
    ("comma, quote \" and 'single'", "a"),
    ("line\nfeed\r\nreturn\ttab", "b"),
    ("back\\slash \\. \\N", "c"),
    ("\\.", "end of data marker"),
    ("", "empty"),
    (None, None),
    (" lead and trail ", " "),
    ("ünïcödé 漢字 🐘 \u202e", "ß"),
    ("NULL", "null"),
    ("x" * 300_000, "long"),
]


def dump(db, lake, tables, suffix="csv", **fields):
    """(uncompressed bytes, TableDone) by table, through worker processes and the store."""
    settings = db.settings(**fields)
    with open_snapshot(settings, tables) as leader:
        tasks = []
        for table in tables:
            relation = leader.relations[table]
            cells = copy_cells(relation, None, None, leader.connection)
            lock = cell_locks(relation, cells)
            tasks.append(PartTask(table, cells, f"k/{len(tasks)}.{suffix}", suffix, lock=lock))
        done = extract(leader, tasks, lake.settings(), settings=settings, workers=2, on=silent)
    store = lake.open()
    return {
        table: (b"".join(b"".join(decompressed(store.get(part.key), suffix)) for part in d.parts), d)
        for table, d in done.items()
    }


@pytest.mark.parametrize("suffix", FORMATS)
def test_s0_1_every_format_holds_what_psql_copies(db, lake, suffix):
    db.run(
        "CREATE TABLE t AS SELECT g id, md5(g::text) name, g / 7.0 ratio, now() + g * interval '1 s' AS moment, "
        "  '{1,2}'::int[] list, '{\"a\": 1}'::jsonb doc, '\\xdead'::bytea raw, '1 day 2 hours'::interval span, "
        "  g::float8 / 3 f FROM generate_series(1, 5000) g"
    )
    body, done = dump(db, lake, ["public.t"], suffix)["public.t"]
    assert body == db.psql("COPY t TO STDOUT (FORMAT csv)")
    assert (done.rows, done.raw_bytes) == (5000, len(body))
    assert done.bytes == lake.here()[0][done.parts[0].key][0]


def test_s0_2_hostile_values_come_back_identical_by_copy_from(db, lake):
    db.run("CREATE TABLE t (a text, b text)", "CREATE TABLE back (LIKE t)")
    with db.connect() as session:
        session.cursor().executemany("INSERT INTO t VALUES (%s, %s)", HOSTILE)
    body, _ = dump(db, lake, ["public.t"])["public.t"]
    db.psql("COPY back FROM STDIN (FORMAT csv)", stdin=body)
    assert db.rows("SELECT a, b FROM back") == HOSTILE


@pytest.mark.parametrize("value", [None, "", "\\.", "\n"])
def test_s0_2_a_single_column_keeps_null_empty_and_the_end_marker_apart(db, lake, value):
    db.run("CREATE TABLE t (a text)", "CREATE TABLE back (LIKE t)")
    with db.connect() as session:
        session.execute("INSERT INTO t VALUES (%s)", [value])
    body, done = dump(db, lake, ["public.t"])["public.t"]
    db.psql("COPY back FROM STDIN (FORMAT csv)", stdin=body)
    assert db.rows("SELECT a FROM back") == [(value,)]
    assert done.rows == 1


@pytest.mark.parametrize(
    "name",
    [
        'quo"te',
        "sp ace",
        "select",
        "üñí",
        "Upper",
        "do.t",
        "a" * 63,
        "semi;colon--",
        "per%cent %s",
        "back\\slash",
        "new\nline",
    ],
)
def test_hostile_identifiers_are_names_and_nothing_else(db, lake, name):
    quoted = '"' + name.replace('"', '""') + '"'
    db.run(f"CREATE TABLE {quoted} ({quoted} text)", f"INSERT INTO {quoted} VALUES ('v')")
    body, _ = dump(db, lake, [f"public.{name}"])[f"public.{name}"]
    assert body == b"v\n"


def test_a_hostile_schema_is_a_name_too(db, lake):
    db.run('CREATE SCHEMA "od d"', 'CREATE TABLE "od d"."t.x" AS SELECT 1 AS a')
    db.run('GRANT USAGE ON SCHEMA "od d" TO reader', 'GRANT SELECT ON "od d"."t.x" TO reader')
    assert dump(db, lake, ["od d.t.x"])["od d.t.x"][0] == b"1\n"


@pytest.mark.parametrize("suffix", FORMATS)
def test_an_empty_table_is_an_object_without_rows(db, lake, suffix):
    db.run("CREATE TABLE t (a int)")
    body, done = dump(db, lake, ["public.t"], suffix)["public.t"]
    assert (body, done.rows, done.raw_bytes) == (b"", 0, 0)
    assert done.parts[0].key in lake.here()[0]


def test_generated_columns_are_in_it_and_dropped_ones_are_not(db, lake):
    db.run(
        "CREATE TABLE t (a int, gone int, twice int GENERATED ALWAYS AS (a * 2) STORED)",
        "INSERT INTO t VALUES (4, 5)",
        "ALTER TABLE t DROP COLUMN gone",
    )
    assert dump(db, lake, ["public.t"])["public.t"][0] == b"4,8\n"


def test_views_and_materialized_views_are_read_as_they_show_themselves(db, lake):
    db.run(
        "CREATE TABLE t AS SELECT g FROM generate_series(1, 10) g",
        "CREATE VIEW odd AS SELECT g FROM t WHERE g % 2 = 1",
        "CREATE MATERIALIZED VIEW even AS SELECT g FROM t WHERE g % 2 = 0",
    )
    done = dump(db, lake, ["public.odd", "public.even"])
    assert done["public.odd"][0] == b"1\n3\n5\n7\n9\n"
    assert done["public.even"][0] == b"2\n4\n6\n8\n10\n"


PARTITIONED = (
    "CREATE TABLE p (id int, at date) PARTITION BY RANGE (at)",
    "CREATE TABLE p_2 PARTITION OF p FOR VALUES FROM ('2026-02-01') TO ('2026-03-01')",
    "CREATE TABLE p_1 (at date, extra int, id int)",  # columns in another order, one dropped
    "ALTER TABLE p_1 DROP COLUMN extra",
    "ALTER TABLE p ATTACH PARTITION p_1 FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')",
    "CREATE TABLE p_3 PARTITION OF p FOR VALUES FROM ('2026-03-01') TO ('2026-04-01') PARTITION BY LIST (id)",
    "CREATE TABLE p_3_a PARTITION OF p_3 DEFAULT",
    "INSERT INTO p SELECT g, date '2026-01-01' + g FROM generate_series(0, 80) g",
)


def test_a_partitioned_table_is_its_leaves_in_the_order_of_their_names(any_db, lake):
    any_db.run(*PARTITIONED)
    body, done = dump(any_db, lake, ["public.p"])["public.p"]
    assert [cell.name for cell in done.cells] == ["public.p_1", "public.p_2", "public.p_3_a"]
    assert sorted(body.splitlines()) == sorted(any_db.psql("COPY (SELECT * FROM p) TO STDOUT CSV").splitlines())


def test_leaves_that_the_role_may_not_read_are_read_through_the_parent(any_db, lake):
    any_db.run(*PARTITIONED)
    with any_db.connect() as session:
        session.execute("REVOKE SELECT ON p_2 FROM reader")
    body, done = dump(any_db, lake, ["public.p"])["public.p"]
    assert [cell.name for cell in done.cells] == ["public.p"]
    assert len(body.splitlines()) == 81


def test_a_partitioned_table_without_partitions_is_empty(db, lake):
    db.run("CREATE TABLE p (id int) PARTITION BY LIST (id)")
    body, done = dump(db, lake, ["public.p"])["public.p"]
    assert (body, done.cells) == (b"", ())


def test_children_by_inheritance_are_part_of_their_parent(db, lake):
    db.run(
        "CREATE TABLE a (id int)",
        "CREATE TABLE b (more text) INHERITS (a)",
        "INSERT INTO a VALUES (1)",
        "INSERT INTO b VALUES (2, 'x')",
    )
    assert dump(db, lake, ["public.a"])["public.a"][0] == b"1\n2\n"


def test_a_second_scan_at_the_same_time_reads_from_the_first_block_too(db, lake):
    """Without the TID range the server lets a scan join another in the middle: same rows, other bytes."""
    db.run("CREATE TABLE t AS SELECT g, repeat(md5(g::text), 10) FROM generate_series(1, 40000) g")
    body, done = dump(db, lake, ["public.t"])["public.t"]
    with db.connect() as ahead, ahead.cursor().copy("COPY t TO STDOUT") as reading:
        for _ in range(20_000):
            reading.read()
        assert dump(db, lake, ["public.t"])["public.t"][1].cells == done.cells
        assert db.psql("COPY t TO STDOUT CSV") != body  # the trap is real: a plain COPY starts elsewhere
        for _ in reading:
            pass


def test_the_role_s_own_settings_do_not_change_the_bytes(db, lake):
    db.run(
        "CREATE TABLE t AS SELECT timestamptz '2026-07-01 12:00Z' a, 1.5::money b, '\\x00ff'::bytea c, "
        "  0.1::float8 + 0.2 d, interval '1 day' e"
    )
    plain = dump(db, lake, ["public.t"])["public.t"][0]
    with db.connect() as session:
        for name, value in {
            "timezone": "Asia/Tokyo",
            "datestyle": "German",
            "bytea_output": "escape",
            "extra_float_digits": "-5",
            "intervalstyle": "iso_8601",
        }.items():
            session.execute(f"ALTER ROLE reader IN DATABASE {db.name} SET {name} = '{value}'")
    assert dump(db, lake, ["public.t"])["public.t"][0] == plain
    assert plain.startswith(b"2026-07-01 12:00:00+00,")


def test_a_dump_twice_is_the_same_object(db, lake):
    db.run("CREATE TABLE t AS SELECT g, md5(g::text) FROM generate_series(1, 20000) g")
    first, second = (dump(db, lake, ["public.t"], "csv.gz")["public.t"][1] for _ in range(2))
    assert [p.sha256 for p in first.parts] == [p.sha256 for p in second.parts]
    assert first.cells == second.cells
