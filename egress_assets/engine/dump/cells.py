"""COPY statements that read a table in cells: named columns, fixed block ranges, the same bytes for the same rows.

A cell is CELL_BLOCKS blocks of one leaf, from a multiple of that on, whatever the size of the table and whoever reads
it. `ctid >= '(a,0)'` is always there: it asks for a TID range scan, which starts at that block. Without it a second
concurrent sequential scan starts in the middle of the table and the same rows get another digest. A leaf's last range
is open at its end: closed at a size seen before the snapshot, it loses rows that were updated into new blocks. With a
`where` the planner may take an index instead, today or after the next ANALYZE: then the rows are sorted by ctid, in the
server; and of a cell that holds no such row nothing is read where an index can tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Any, Literal

import psycopg
from psycopg import sql

from egress_assets.engine.dialect import PLAIN, Dialect
from egress_assets.engine.dump.relations import LOCKABLE
from egress_assets.engine.dump.sqlstate import reworded
from egress_assets.engine.dump.tasks import Cell, ColumnInfo, Relation
from egress_assets.engine.errors import CatalogError, TableMissing
from egress_assets.engine.partition import Calendar, parse_date

CELL_BLOCKS = 2048
"""Blocks of a cell, 16 MiB at the usual 8 KiB. Part of the content's digest: another number is another digest of every
table that is larger. A cell costs one statement, 1 ms beside 0.2 s of reading it."""

Tid = tuple[int, int]
"""Block and row of a tuple."""

_PICKED = 2000  # single rows a statement, 30 KB of text
_A_ROW = 200  # bytes that such a row is taken to have

_COPY_OPENS = "COPY ("
_COPY = "COPY (SELECT {columns} FROM {source}"
_TO = ") TO STDOUT ({options}, ENCODING 'UTF8')"
# has_table_privilege answers for the leaf alone: a role with SELECT on the parent only can't read FROM ONLY leaf.
_LEAVES_AS_HEAPS = """
SELECT coalesce(bool_and(c.relkind = 'r' AND has_schema_privilege(n.oid, 'USAGE')
                         AND has_table_privilege(c.oid, 'SELECT')), true)
FROM unnest(%s::text[], %s::text[]) AS w(schema, relation)
JOIN pg_namespace n ON n.nspname = w.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.relation
"""
_PLAN = "EXPLAIN (FORMAT JSON) SELECT FROM {source} WHERE {clause}"
_OCCUPIED = "SELECT DISTINCT (ctid::text::point)[0]::bigint / {blocks} FROM {source} WHERE {clause}"


def copy_cells(
    relation: Relation,
    select: Sequence[tuple[str, sql.Composable]] | None,
    where: sql.Composable | None,
    connection: psycopg.Connection,
    *,
    dialect: Dialect = PLAIN,
) -> tuple[Cell, ...]:
    """The cells of `relation`, in the order of its leaves and blocks; none for a parent without partitions.

    `select` is (column, expression) in output order, None = every column as it is, generated ones included. Views,
    materialized views, foreign tables and parents whose leaves the role may not read are one cell, and so is a leaf
    that the server would not read by TID ranges. `connection` is the leader's: leaves and sizes are those of its
    snapshot. Memory: about 300 bytes a cell. Raises SourceError's kinds.
    """
    with reworded(f"table {relation.table}"):
        return tuple(_cells(relation, _columns(relation, select), where, connection, _to(dialect)))


def _cells(
    relation: Relation,
    columns: sql.Composable,
    where: sql.Composable | None,
    connection: psycopg.Connection,
    to: str,
) -> Iterator[Cell]:
    if not by_leaf(relation, connection):
        name = (relation.schema, relation.name)
        heap = _Heap(name, _copy(columns, sql.Identifier(*name)), to, sql.Identifier(*name), where)
        # A materialized view is a heap like a table: it gets the TID range too.
        yield heap.cell(relation.table, 0) if relation.kind == "m" else heap.cell(relation.table)
        return
    for leaf, (blocks, size) in zip(relation.leaves, relation.sizes or [(0, 0)] * len(relation.leaves), strict=True):
        source = sql.SQL("ONLY ") + sql.Identifier(*leaf)
        yield from _Heap(leaf, _copy(columns, source), to, source, where, blocks, size).cells(connection)


def picked_cells(
    relation: Relation,
    select: Sequence[tuple[str, sql.Composable]] | None,
    picked: Mapping[tuple[str, str], Sequence[Tid]],
    *,
    dialect: Dialect = PLAIN,
) -> tuple[Cell, ...]:
    """Cells of single rows, by leaf: their places in the leader's snapshot, in which nothing can move them."""
    columns, to = _columns(relation, select), _to(dialect)
    heaps = {leaf: sql.SQL("ONLY ") + sql.Identifier(*leaf) for leaf in picked}
    return tuple(
        _picked(_Heap(leaf, _copy(columns, heaps[leaf]), to, heaps[leaf], None), tids[first : first + _PICKED], first)
        for leaf, tids in picked.items()
        for first in range(0, len(tids), _PICKED)
    )


def _picked(heap: _Heap, tids: Sequence[Tid], first: int) -> Cell:
    places = sql.Literal("{" + ",".join(f'"({block},{row})"' for block, row in tids) + "}").as_string()
    rest = f" WHERE ctid = ANY({places}::tid[]) ORDER BY ctid{heap.to}"
    return Cell(f"{_title(heap.name)} single rows from {first}", heap.copy, rest, heap.name, len(tids) * _A_ROW)


def select_of(cell: Cell) -> str:
    """The SELECT within a cell's COPY statement, for a reader that asks for another format."""
    return cell.sql.removeprefix(_COPY_OPENS).removesuffix(_to(PLAIN))


def cell_locks(relation: Relation, cells: Iterable[Cell]) -> tuple[tuple[str, str], ...]:
    """What a worker locks and watches to read `cells`: the leaves, or the relation itself where that is read."""
    if relation.kind not in LOCKABLE:
        return ()
    return tuple(dict.fromkeys(cell.reads for cell in cells if cell.reads))


@dataclass(frozen=True, slots=True)
class _Heap:
    """What the cells of one leaf, or of a relation that is read whole, have in common."""

    name: tuple[str, str]
    copy: str
    to: str
    source: sql.Composable
    where: sql.Composable | None
    blocks: int = 0
    bytes: int = 0

    def cells(self, connection: psycopg.Connection) -> Iterator[Cell]:
        """Every block range, or those that hold rows of `where` if an index tells them; at least one."""
        count = max(1, -(-self.blocks // CELL_BLOCKS))
        if count == 1 or not self._is_scanned_by_tid(connection):
            yield self.cell(_title(self.name), 0, expected_bytes=self.bytes)
            return
        for number in self._numbers(connection, count):
            first = number * CELL_BLOCKS
            end = None if number == count - 1 else first + CELL_BLOCKS
            share = self.bytes * (min(first + CELL_BLOCKS, self.blocks) - first) // self.blocks
            yield self.cell(f"{_title(self.name)} from block {first}", first, end, expected_bytes=share)

    def cell(self, name: str, first: int | None = None, end: int | None = None, *, expected_bytes: int = 0) -> Cell:
        """The blocks from `first` to before `end`, None = to whatever end; without `first` not by ctid at all."""
        clauses = [] if first is None else [_block(">=", first)]
        clauses += [] if end is None else [_block("<", end)]
        in_heap_order = bool(clauses and self.where)
        clauses += [self.where] if self.where else []
        kept = sql.SQL(" AND ").join(sql.SQL("({})").format(clause) for clause in clauses).as_string()
        where = f" WHERE {kept}" if kept else ""
        order = " ORDER BY ctid" if in_heap_order else ""
        return Cell(name, self.copy, f"{where}{order}{self.to}", self.name, expected_bytes)

    def _is_scanned_by_tid(self, connection: psycopg.Connection) -> bool:
        """Not where the table's access method or the server's settings say no: each cell would read the whole leaf."""
        clause = sql.SQL("{} AND {}").format(_block(">=", 0), _block("<", CELL_BLOCKS))
        return "Tid Range Scan" in self._plan(connection, clause)

    def _numbers(self, connection: psycopg.Connection, count: int) -> Sequence[int]:
        if self.where is None or "Seq Scan" in self._plan(connection, self.where):
            return range(count)
        query = sql.SQL(_OCCUPIED).format(blocks=sql.Literal(CELL_BLOCKS), source=self.source, clause=self.where)
        return sorted({min(int(row[0]), count - 1) for row in connection.execute(query)}) or (0,)

    def _plan(self, connection: psycopg.Connection, clause: sql.Composable) -> set[str]:
        """The kinds of nodes by which the planner would read the rows of `clause`."""
        row = connection.execute(sql.SQL(_PLAN).format(source=self.source, clause=clause)).fetchone()
        return set(_nodes(row[0][0]["Plan"])) if row else set()


def _nodes(plan: Mapping[str, Any]) -> Iterator[str]:
    yield plan["Node Type"]
    for below in plan.get("Plans", ()):
        yield from _nodes(below)


def _block(comparison: Literal[">=", "<"], block: int) -> sql.Composable:
    return sql.SQL("ctid " + comparison + " {}").format(sql.Literal(f"({block},0)"))


def window_clause(relation: Relation, column: str, date: str, calendar: Calendar) -> sql.Composable:
    """`column` lies in the day: [start, end). timestamptz by the day's instants, timestamp and date by the wall clock.

    NULL, infinity and other days are outside. Raises TableMissing, CatalogError (a column of another type).
    """
    found = _find(relation, column)
    if found.base == "timestamptz":
        start, end = (f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}+00" for moment in calendar.bounds(date))
    elif found.base in ("timestamp", "date"):
        start, end = date, (parse_date(date) + timedelta(days=1)).isoformat()
    else:
        hint = "Name a column of type timestamptz, timestamp or date, or use `extract: full`."
        raise CatalogError(f"the window {relation.table}.{column} is of type {found.type}", hint=hint)
    kind, name = sql.SQL(found.base), sql.Identifier(column)  # type: ignore[arg-type]  # one of three words above
    clause = sql.SQL("{name} >= {start}::{kind} AND {name} < {end}::{kind}")
    return clause.format(name=name, start=sql.Literal(start), end=sql.Literal(end), kind=kind)


def _find(relation: Relation, column: str) -> ColumnInfo:
    found = next((c for c in relation.columns if c.name == column), None)
    if found is None:
        raise TableMissing(f"{relation.table} has no column {column}", hint="Correct `window` in the catalog.")
    return found


def _columns(relation: Relation, select: Sequence[tuple[str, sql.Composable]] | None) -> sql.Composable:
    if select is None:
        return sql.SQL(", ").join(sql.Identifier(column.name) for column in relation.columns)
    return sql.SQL(", ").join(
        expression + sql.SQL(" AS ") + sql.Identifier(name)  # a literal's column would be called ?column?
        for name, expression in select
    )


def by_leaf(relation: Relation, connection: psycopg.Connection) -> bool:
    """Whether the relation is a table whose leaves can each be read."""
    if relation.kind not in "rp":
        return False
    names = ([schema for schema, _ in relation.leaves], [name for _, name in relation.leaves])
    row = connection.execute(_LEAVES_AS_HEAPS, names).fetchone()
    return bool(row and row[0])


def _copy(columns: sql.Composable, source: sql.Composable) -> str:
    return sql.SQL(_COPY).format(columns=columns, source=source).as_string()


def _to(dialect: Dialect) -> str:
    """The statement's end. Of CSV it names what differs from PLAIN; what escapes is COPY's text format."""
    given = {"DELIMITER": dialect.delimiter, "NULL": dialect.null, "QUOTE": dialect.quote}
    usual = {} if dialect.is_escaped else {"DELIMITER": PLAIN.delimiter, "NULL": PLAIN.null, "QUOTE": PLAIN.quote}
    options = [sql.SQL("FORMAT text" if dialect.is_escaped else "FORMAT csv")]
    for name, value in given.items():
        if value and value != usual.get(name):
            options.append(sql.SQL(name + " {}").format(sql.Literal(value)))  # type: ignore[arg-type]  # of three words
    return sql.SQL(_TO).format(options=sql.SQL(", ").join(options)).as_string()


def _title(leaf: tuple[str, str]) -> str:
    return ".".join(leaf)
