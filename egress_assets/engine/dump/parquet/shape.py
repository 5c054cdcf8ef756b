"""What each column is in Parquet: the Arrow type that holds every value exactly, else the server's own text.

The decision is by the column's type alone, never by its values: all parts and all dates of a table have one schema. The
server says what a column is under its domains. Values that a type of Arrow lacks (infinity, a year before 1, NaN in a
numeric) are refused when they are read, or the columns that may hold them are text by `infinity: text`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import psycopg
from psycopg import sql

from egress_assets.engine.dump.sqlstate import reworded
from egress_assets.engine.dump.tasks import ColumnInfo, Relation, StoredColumn
from egress_assets.engine.errors import CatalogError

TYPES_VERSION = 1
"""Part of a table's policy digest: raise it when a type is stored in another way, and every table is dumped again."""

MOST_DIGITS = 38
"""Of a decimal. Arrow and Parquet hold 76, but DuckDB, Spark and Trino end at 38, and DuckDB reads more as a double."""

_ARROW = {
    16: "bool", 21: "int16", 23: "int32", 20: "int64", 700: "float32", 701: "float64", 25: "string", 1043: "string",
    1042: "string", 19: "string", 17: "binary", 114: "json", 3802: "json", 2950: "uuid", 26: "oid", 1700: "decimal",
    1082: "date32", 1083: "time64", 1114: "timestamp", 1184: "timestamptz",
}  # fmt: skip
"""By the OIDs of pg_type, which are the same in every Postgres."""
_LACKING = frozenset({"date32", "time64", "timestamp", "timestamptz", "decimal"})
"""Postgres has values of these that Arrow's types have not."""

NO_TYPE = "Arrow has no type that holds it exactly"
UNBOUNDED = "numeric without a precision"
TOO_LONG = f"more than {MOST_DIGITS} digits, which readers give as a double"
BY_OPTION = "infinity: text"

# The output function's text, as CSV has it. A cast is that function too, and 0.25 us faster, unless the type has one of
# its own: inet's adds a netmask. IS DISTINCT FROM, since a row of NULLs IS NULL without being NULL.
_OUTPUT = "CASE WHEN {name} IS DISTINCT FROM NULL THEN pg_catalog.format('%s', {name}) END"
_OWN_CASTS = "SELECT castsource FROM pg_catalog.pg_cast WHERE casttarget = 'pg_catalog.text'::pg_catalog.regtype"
_PROBE = "SELECT {columns} FROM {relation} LIMIT 0"


def shape_of(
    connection: psycopg.Connection, relation: Relation, columns: Sequence[ColumnInfo], *, infinity: str = "refuse"
) -> tuple[StoredColumn, ...]:
    """How `columns` of `relation` are stored. The server answers from the catalog, no row is read.

    Raises CatalogError for a table without columns, SourceError's kinds.
    """
    if not columns:
        raise CatalogError(
            f"table {relation.table} has no column, so Parquet can't hold its rows",
            hint="Dump the dataset as `csv.zst`, or leave the table out.",
        )
    names = sql.SQL(", ").join(sql.Identifier(column.name) for column in columns)
    query = sql.SQL(_PROBE).format(columns=names, relation=sql.Identifier(relation.schema, relation.name))
    with reworded(f"table {relation.table}"):
        result = connection.execute(query).pgresult
        own_casts = frozenset(row[0] for row in connection.execute(_OWN_CASTS))
    if result is None:
        raise CatalogError(f"table {relation.table} has no columns that can be asked for")
    stored = (_stored(c, result.ftype(i), result.fmod(i), as_text=infinity == "text") for i, c in enumerate(columns))
    return tuple(
        replace(column, kind="output") if column.kind == "text" and result.ftype(i) in own_casts else column
        for i, column in enumerate(stored)
    )


def _stored(column: ColumnInfo, oid: int, modifier: int, *, as_text: bool) -> StoredColumn:
    kind, why = _ARROW.get(oid, ""), ""
    precision = scale = 0
    if not kind:
        why = NO_TYPE
    elif kind == "decimal":
        precision, scale = _digits(modifier)
        why = UNBOUNDED if not precision else TOO_LONG if precision > MOST_DIGITS else ""
    if not why and as_text and kind in _LACKING:
        why = BY_OPTION
    if why:
        return StoredColumn(column.name, "text", column.type, why=why)
    return StoredColumn(column.name, kind, column.type, precision, scale)


def _digits(modifier: int) -> tuple[int, int]:
    """(precision, scale) that hold every value of a numeric; (0, 0) without a precision.

    Postgres allows a scale below 0 and one above the precision, Parquet neither.
    """
    if modifier < 4:
        return 0, 0
    precision, scale = (modifier - 4) >> 16, (modifier - 4) & 0x7FF
    scale = scale - 0x800 if scale >= 0x400 else scale
    return (precision - scale, 0) if scale < 0 else (max(precision, scale), scale)


def expressions(columns: Sequence[StoredColumn]) -> list[tuple[str, sql.Composable]]:
    """What is selected for each column, in order: (column, expression)."""
    return [(column.name, _expression(column)) for column in columns]


def _expression(column: StoredColumn) -> sql.Composable:
    name = sql.Identifier(column.name)
    if column.kind == "output":
        return sql.SQL(_OUTPUT).format(name=name)
    if column.kind == "text":
        return sql.SQL("{}::pg_catalog.text").format(name)
    return sql.SQL("{}::pg_catalog.int8").format(name) if column.kind == "oid" else name


def texts_of(columns: Sequence[StoredColumn]) -> dict[str, str]:
    """For the manifest: the columns that are the server's text although their type is another, and why."""
    return {column.name: column.why for column in columns if column.why}
