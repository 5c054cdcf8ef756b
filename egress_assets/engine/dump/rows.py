"""Which rows and columns of a table are read: the day's window, the catalog's `where` and `select`.

A `where` is SQL that somebody wrote, and it is put between parentheses. The server says whether it is one boolean
expression over the table's own columns, before a row is read: no text is compared here, the grammar is Postgres's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg import sql

from egress_assets.engine.catalog.models import TableModel
from egress_assets.engine.dump.cells import window_clause
from egress_assets.engine.dump.sqlstate import source_error
from egress_assets.engine.dump.tasks import ColumnInfo, Relation
from egress_assets.engine.errors import CatalogError, TableMissing
from egress_assets.engine.partition import Calendar

# Between parentheses and between brackets: what closes the one and opens it again can't be well-formed in the other.
# OFFSET 0 keeps the planner from seeing that the row is constant: it would fold a subquery away.
_PROBES = (
    "EXPLAIN (FORMAT JSON) SELECT FROM (SELECT {row} OFFSET 0) AS one_row WHERE ({condition})",
    "EXPLAIN (FORMAT JSON) SELECT ARRAY[{condition}] FROM (SELECT {row} OFFSET 0) AS one_row",
)
_ITS_OWN = ("42", "22", "0A")
"""Classes of SQLSTATE that a statement itself is to blame for: syntax and names, values, what is not supported."""


def rows_of(model: TableModel, relation: Relation, date: str, calendar: Calendar) -> sql.Composable | None:
    """The clause that chooses the rows of a date; None = all that there are. Raises TableMissing, CatalogError."""
    clauses: list[sql.Composable] = []
    if model.window:
        clauses.append(window_clause(relation, model.window, date, calendar))
    if model.where:
        clauses.append(_condition(model.where))
    return sql.SQL(" AND ").join(sql.SQL("({})").format(clause) for clause in clauses) if clauses else None


def chosen_columns(model: TableModel, relation: Relation) -> tuple[ColumnInfo, ...]:
    """The columns of a dump, in the order in which they are written. Raises TableMissing naming all that are absent."""
    if model.select is None:
        return relation.columns
    there = {column.name: column for column in relation.columns}
    if absent := [name for name in model.select if name not in there]:
        hint = f"Correct `select` in the catalog; its columns: {', '.join(there)}."
        raise TableMissing(f"{relation.table} has no column {', '.join(absent)}", hint=hint)
    return tuple(there[name] for name in model.select)


def rows_record(model: TableModel) -> dict[str, Any]:
    """What the policy's digest notes of `where` and `select`; nothing of those that aren't said."""
    return {key: value for key in ("where", "select") if (value := getattr(model, key)) is not None}


def require_condition(model: TableModel, relation: Relation, connection: psycopg.Connection) -> None:
    """Refuse a `where` that is anything but one boolean expression over the table's columns. Reads no row.

    The probes see a row of NULLs instead of the table. Subqueries are refused: what they read is neither locked nor
    watched, so a TRUNCATE there would silently choose other rows. Raises CatalogError, SourceError's kinds.
    """
    if model.where is None:
        return
    row = sql.SQL(", ").join(_typed(column) for column in relation.columns)
    for probe in _PROBES:
        query = sql.SQL(probe).format(row=row, condition=_condition(model.where))
        try:
            found = connection.execute(query).fetchone()
        except psycopg.Error as error:
            if (error.sqlstate or "")[:2] not in _ITS_OWN:
                raise source_error(error, f"table {relation.table}") from None
            name = type(error).__name__
            raise _refused(relation, f"is no boolean expression: Postgres answered {name} ({error.sqlstate})") from None
        if found and _reads_more(found[0]):
            raise _refused(relation, "holds a subquery")


def _refused(relation: Relation, why: str) -> CatalogError:
    hint = "It is one SQL expression over the table's own columns, for example `status <> 'draft' AND total > 0`."
    return CatalogError(f"`where` of {relation.table} {why}", hint=hint)


def _condition(text: str) -> sql.SQL:
    return sql.SQL(text)  # type: ignore[arg-type]  # the data owner's own SQL; `require_condition` has looked at it


def _typed(column: ColumnInfo) -> sql.Composable:
    kind = sql.SQL(column.type)  # type: ignore[arg-type]  # format_type's spelling, which quotes what needs it
    return sql.SQL("NULL::{} AS {}").format(kind, sql.Identifier(column.name))


def _reads_more(plan: Any) -> bool:
    """Whether a plan has any relation or subplan in it."""
    if isinstance(plan, Mapping):
        return bool({"Relation Name", "Subplan Name"} & plan.keys()) or any(map(_reads_more, plan.values()))
    return isinstance(plan, Sequence) and not isinstance(plan, str) and any(map(_reads_more, plan))
