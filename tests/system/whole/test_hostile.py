"""Names, rows and schemas that nobody would choose, through the whole chain of the real command.

Each ends in the right bytes, or in one error that names the object and the way out (S1-2, S1-4, S1-5).
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import secrets

import pytest

from egress_assets.engine.layout import Unit, table_segment

COLUMNS = ["id", "Group", "two words", "dot.ted", "q\"uo'te", "🦆", "c" * 63, "%s {x} $1", "x_gate", "back\\slash", "é"]
TABLES = [
    "select", "Upper", "upper", "two words", "a.dot.ted", "quo\"te's", "x_gate", "🦆é", "n" * 63, "ß" * 31, "_edge_",
    "a-b", "a_b", "%s {x} $1", "back\\slash", "e\u0301", "\u00e9",
]  # fmt: skip
DELIVERED = {
    "drop/p": "select", "acme/q": "a.dot.ted", "drop/r": "quo\"te's", "acme/s": "🦆é", "drop/t": "_edge_",
    "acme/u": "e\u0301",
}  # fmt: skip


def quoted(name: str, mark: str = '"') -> str:
    return mark + name.replace(mark, mark * 2) + mark


def line(cells: list[str]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(cells)
    return out.getvalue()


@pytest.fixture
def schema(hostile) -> str:
    """A fresh one, with a name that has to be quoted, which the reader may use."""
    name = f'Odd "{secrets.token_hex(3)}" 🦆'
    hostile.execute(
        f"CREATE SCHEMA {quoted(name)}",
        f"GRANT USAGE ON SCHEMA {quoted(name)} TO egress_reader",
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA {quoted(name)} GRANT SELECT ON TABLES TO egress_reader",
    )
    return name


def stored(hostile, unit: Unit) -> dict[str, tuple[int, bytes]]:
    """Rows and bytes of each table that a pointer names."""
    platform = hostile.platform()
    pointer = platform.evidence.pointer(unit, hostile.day)
    store = platform.store("lake")
    return {
        table: (record.rows, b"".join(b"".join(store.get(o.key)) for o in record.objects))
        for table, (_, record) in platform.evidence.tables(pointer).items()
    }


def make_odd_tables(hostile, schema: str) -> str:
    """All of TABLES with all of COLUMNS and the same three rows, which are returned as CSV."""
    rows = [[str(n), *(f"{n} {column}" for column in COLUMNS[1:])] for n in range(3)]
    columns = ", ".join(f"{quoted(column)} text" for column in COLUMNS)
    values = ", ".join("(" + ", ".join(quoted(value, "'") for value in row) + ")" for row in rows)
    for table in TABLES:
        name = f"{quoted(schema)}.{quoted(table)}"
        hostile.execute(f"CREATE TABLE {name} ({columns})", f"INSERT INTO {name} VALUES {values}")
    return "".join(map(line, rows))


def test_odd_names_go_through_the_whole_chain(hostile, schema):
    """S1-4: reserved words, quotes, dots, 63 bytes, unicode in both forms, `a-b` beside `a_b`."""
    rows, tables = make_odd_tables(hostile, schema), [f"{schema}.{table}" for table in TABLES]
    places = {at: f"{schema}.{table}" for at, table in DELIVERED.items()}
    hostile.dataset(
        "odd",
        {table: dict.fromkeys(COLUMNS, "keep") for table in tables},
        dump={"format": "csv"},
        scrub={"key": {"env": "HOSTILE_KEY"}, "format": "csv"},
        mirrors={"odd": {"to": "ceph"}},
        deliveries={at: {"from": table, "header": True, "destination_prefix": "in/"} for at, table in places.items()},
    )
    assert "each with a mask that fits" in hostile.run("check", "--live").out
    for verb in (["dump", "odd"], ["scrub", "odd"], ["mirror", "odd"]):
        hostile.done(*verb)
    sent = hostile.at_once(*(["deliver", at] for at in places))
    assert [said.err for said in sent if said.code] == []

    for unit in (Unit("dump", ("odd",)), Unit("scrub", ("odd", "shared"))):
        assert stored(hostile, unit) == {table: (3, rows.encode()) for table in tables}
    for at, table in places.items():
        name, inbox = f"{table_segment(table)}.csv.gz", hostile.sandbox.receiver.inbox
        file = hostile.folder / "drop" / "in" / name if at.startswith("drop") else inbox / f"in~{name}"
        assert gzip.decompress(file.read_bytes()).decode() == line(COLUMNS) + rows, table
    verified = hostile.done("verify")
    assert (verified["ok"], verified["ledger"]["pending"]) == (True, 0)
    assert hostile.run("status", "--days", "1").out.count("delivered") == len(DELIVERED)


def test_a_name_that_no_file_system_takes_is_refused_by_name(hostile, schema):
    """60 bytes in Postgres are 180 escaped; schema and table together are more than a file's name may have."""
    name = "🦆" * 15
    table = f"{name}.{name}"
    hostile.execute(
        f'DROP SCHEMA IF EXISTS "{name}" CASCADE', f'CREATE SCHEMA "{name}"',
        f'CREATE TABLE "{name}"."{name}" (id int)',
        f'GRANT USAGE ON SCHEMA "{name}" TO egress_reader', f'GRANT SELECT ON "{name}"."{name}" TO egress_reader',
    )  # fmt: skip
    hostile.dataset(
        "wide", {table: {"id": "keep"}}, deliveries={f"{to}/wide": {"from": table} for to in ("drop", "acme")}
    )
    hostile.done("scrub", "wide")
    for said in hostile.at_once(["deliver", "drop/wide"], ["deliver", "acme/wide"]):
        hostile.refused(said, 60, table_segment(table), "255")


NULLS = b'1,\n2,""\n3,NULL\n4,\\N\n5, \n6,""""""\n7,"\n"\n'


def test_nothing_null_and_empty_stay_apart(hostile, schema):
    """S1-5: an empty table, a day without rows, a table without columns, a table of one column."""
    where = quoted(schema)
    hostile.execute(
        f"CREATE TABLE {where}.empty (id int, t text)",
        f"CREATE TABLE {where}.nulls (id int, t text)",
        f"INSERT INTO {where}.nulls VALUES (1, NULL), (2, ''), (3, 'NULL'), (4, '\\N'), (5, ' '), (6, '\"\"')",
        f"INSERT INTO {where}.nulls VALUES (7, '\n')",
        f"CREATE TABLE {where}.single (t text)",
        f"INSERT INTO {where}.single VALUES (NULL), (''), ('\\.')",
        f"CREATE TABLE {where}.nothing ()",
        f"INSERT INTO {where}.nothing DEFAULT VALUES",
        f"CREATE TABLE {where}.days (at timestamptz)",
        f"INSERT INTO {where}.days VALUES ('2020-01-01'), (NULL), ('infinity')",
    )
    empty, nulls, single = (f"{schema}.{name}" for name in ("empty", "nulls", "single"))
    hostile.dataset(
        "few",
        {empty: {"id": "keep", "t": "email"}, nulls: {"id": "keep", "t": "keep"}, single: {"t": "keep"}},
        mirrors={"few": {"to": "ceph"}},
        deliveries={
            "drop/empty": {"from": empty, "format": "csv", "header": True},
            "drop/nulls": {"from": nulls, "format": "csv"},
        },
    )
    hostile.dataset("void", {f"{schema}.nothing": {}}, dump={"format": "csv"})
    hostile.dataset("days", {f"{schema}.days": {"window": "at"}}, dump={"format": "csv"}, extract="window")
    first = hostile.at_once(["scrub", "few"], ["dump", "void"], ["dump", "days"])
    then = hostile.at_once(["mirror", "few"], ["deliver", "drop/empty"], ["deliver", "drop/nulls"])
    assert [said.err for said in (*first, *then) if said.code] == []

    scrubbed = stored(hostile, Unit("scrub", ("few", "shared")))
    assert scrubbed == {empty: (0, b""), nulls: (7, NULLS), single: (3, b'\n""\n"\\."\n')}
    assert stored(hostile, Unit("dump", ("void",))) == {f"{schema}.nothing": (1, b"\n")}
    assert stored(hostile, Unit("dump", ("days",))) == {f"{schema}.days": (0, b"")}
    files = {path.name: path.read_bytes() for path in (hostile.folder / "drop").iterdir()}
    assert files == {f"{table_segment(empty)}.csv": b"id,t\n", f"{table_segment(nulls)}.csv": NULLS}
    assert hostile.done("verify")["ok"]


def test_a_table_that_goes_between_plan_and_dump_is_named(hostile, schema):
    stays, goes = f"{schema}.stays", f"{schema}.goes"
    hostile.execute(f"CREATE TABLE {quoted(schema)}.stays (id int)", f"CREATE TABLE {quoted(schema)}.goes (id int)")
    hostile.dataset("d", {stays: {}, goes: {}}, dump={"format": "csv"})

    def signs() -> list[str]:
        return [line["sign"] for line in hostile.done("plan", "d")["units"]["dump/d"]]

    assert signs() == ["+", "+"]
    hostile.execute(f"DROP TABLE {quoted(schema)}.goes")
    said = hostile.refused(hostile.run("dump", "d"), 20, goes, "source db")
    assert stays not in said.err
    assert signs() == ["!"]
    assert hostile.done("verify")["verified"] == []


def test_a_column_that_comes_stops_the_scrub_with_lines_to_paste(hostile, schema):
    """S1-2: fail closed; what was true before stays, and the pasted lines are right."""
    table, unit = f"{quoted(schema)}.people", Unit("scrub", ("people", "shared"))
    hostile.execute(f"CREATE TABLE {table} (id int)", f"INSERT INTO {table} VALUES (1)")
    made = hostile.dataset("people", {f"{schema}.people": {"id": "keep"}})
    hostile.done("scrub", "people")
    before = stored(hostile, unit)
    hostile.execute(f"ALTER TABLE {table} ADD \"né: #1\" text, ADD phone text NOT NULL DEFAULT '0171 555 0123'")

    said = hostile.refused(hostile.run("scrub", "people"), 50, f"{schema}.people.né: #1", f"{schema}.people.phone")
    assert "0171" not in said.all
    assert stored(hostile, unit) == before
    assert hostile.done("verify")["ok"]

    policy = said.err.partition("To paste under `tables`:\n")[2].replace('people":\n', 'people":\n    id: keep\n')
    made.pop("tables")
    hostile.write(
        "people", "".join(f"{key}: {json.dumps(value)}\n" for key, value in made.items()) + f"tables:\n{policy}"
    )
    said = hostile.refused(hostile.run("scrub", "people"), 50, f"{schema}.people since", "+ né: #1 text, + phone text")
    assert "--accept-drift" in said.err
    done = hostile.done("scrub", "people", "--accept-drift")
    assert (done["generation"], [row["column"] for row in done["facts"]["drift"]]) == (2, ["né: #1", "phone"])
    assert stored(hostile, unit) == {f"{schema}.people": (1, b"1,,removed\n")}


def test_what_would_share_a_name_or_a_place_is_refused(hostile):
    """Escaping is injective, so tables can't collide; all else that would is told at once (S1-2)."""
    tables = {"public.t": {"id": "keep"}}
    to = {"from": "public.t"}
    hostile.dataset(
        "one", tables, mirrors={"m": {"to": "ceph"}, "n": {"to": "ceph"}}, deliveries={"drop/a": to, "drop/b": to}
    )
    hostile.dataset("two", tables, scrub={"audience": "a-b"}, mirrors={"m": {"to": "lake"}}, deliveries={"drop/a": to})
    hostile.dataset("a-b", tables)
    hostile.refused(
        hostile.run("check"), 10, "mirrors.n: ", "deliveries.drop/b.destination_prefix: ", "scrub.audience: 'a-b'",
        "two.yaml:17: mirrors.m: this name is taken by catalog/one.yaml:10",
        "a-b.yaml: 'a-b' is not a dataset's name", "deliveries.drop/a: this name is taken",
    )  # fmt: skip
