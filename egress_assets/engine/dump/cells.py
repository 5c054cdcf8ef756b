"""COPY statements that read a table in cells: one a leaf, named columns, the same bytes for the same rows each time.

`ctid >= '(0,0)'` is always there: it asks for a TID range scan, which starts at the first block. Without it a second
concurrent sequential scan starts in the middle of the table and the same rows get another digest. The range is open at
its end: closed at the size seen before, it loses rows that were updated into new blocks. With a `where` the planner may
take an index instead, today or after the next ANALYZE: then the rows are sorted by ctid, in the server.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, timedelta

import psycopg
from psycopg import sql

from egress_assets.engine.dump.relations import LOCKABLE
from egress_assets.engine.dump.tasks import Cell, ColumnInfo, Relation
from egress_assets.engine.errors import CatalogError, TableMissing
from egress_assets.engine.partition import Calendar, parse_date

_COPY = "COPY (SELECT {columns} FROM {source}{where}{order}) TO STDOUT (FORMAT csv, ENCODING 'UTF8')"
_FROM_FIRST_BLOCK = sql.SQL("ctid >= '(0,0)'")
# has_table_privilege answers for the leaf alone: a role with SELECT on the parent only can't read FROM ONLY leaf.
_LEAVES_AS_HEAPS = """
SELECT coalesce(bool_and(c.relkind = 'r' AND has_schema_privilege(n.oid, 'USAGE')
                         AND has_table_privilege(c.oid, 'SELECT')), true)
FROM unnest(%s::text[], %s::text[]) AS w(schema, relation)
JOIN pg_namespace n ON n.nspname = w.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.relation
"""


def copy_cells(
    relation: Relation,
    select: Sequence[tuple[str, sql.Composable]] | None,
    where: sql.Composable | None,
    connection: psycopg.Connection,
) -> tuple[Cell, ...]:
    """The cells of `relation`, in the order of its leaves; none for a partitioned table without partitions.

    `select` is (column, expression) in output order, None = every column as it is, generated ones included. Views,
    foreign tables and parents whose leaves the role may not read are one cell, without ctid. `connection` is the
    leader's: leaves are those of its snapshot.
    """
    columns = _columns(relation, select)
    if not _by_leaf(relation, connection):
        # A materialized view is a heap like a table: it gets the TID range too.
        first = [_FROM_FIRST_BLOCK] if relation.kind == "m" else []
        return (_cell(relation.table, columns, sql.Identifier(relation.schema, relation.name), [*first, where]),)
    return tuple(
        _cell(_title(leaf), columns, sql.SQL("ONLY ") + sql.Identifier(*leaf), [_FROM_FIRST_BLOCK, where])
        for leaf in relation.leaves
    )


def cell_locks(relation: Relation, cells: Sequence[Cell]) -> tuple[tuple[str, str], ...]:
    """What a worker locks and watches to read `cells`: the leaves, or the relation itself where that is read."""
    if relation.kind not in LOCKABLE:
        return ()
    by_leaf = [cell.name for cell in cells] == [_title(leaf) for leaf in relation.leaves]
    return relation.leaves if by_leaf else ((relation.schema, relation.name),)


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


def _by_leaf(relation: Relation, connection: psycopg.Connection) -> bool:
    if relation.kind not in "rp":
        return False
    names = ([schema for schema, _ in relation.leaves], [name for _, name in relation.leaves])
    row = connection.execute(_LEAVES_AS_HEAPS, names).fetchone()
    return bool(row and row[0])


def _cell(name: str, columns: sql.Composable, source: sql.Composable, clauses: Sequence[sql.Composable | None]) -> Cell:
    kept = [sql.SQL("(") + clause + sql.SQL(")") for clause in clauses if clause is not None]
    where = sql.SQL(" WHERE ") + sql.SQL(" AND ").join(kept) if kept else sql.SQL("")
    in_heap_order = len(kept) > 1 and clauses[0] is _FROM_FIRST_BLOCK
    order = sql.SQL(" ORDER BY ctid" if in_heap_order else "")
    return Cell(name, sql.SQL(_COPY).format(columns=columns, source=source, where=where, order=order).as_string())


def _title(leaf: tuple[str, str]) -> str:
    return ".".join(leaf)
