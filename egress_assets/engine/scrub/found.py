"""One table of a database, looked at for somebody who wants it in the catalog: columns, enums, perhaps a sample."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

import psycopg
from psycopg import sql

from egress_assets.engine.dump.relations import describe, require_readable
from egress_assets.engine.dump.source import SourceSettings, connect
from egress_assets.engine.dump.sqlstate import reworded
from egress_assets.engine.dump.tasks import Relation
from egress_assets.engine.errors import TableMissing
from egress_assets.engine.scrub.identifiers import scan
from egress_assets.engine.scrub.suggest import Sampled

SAMPLE = 1000
"""Rows of a sample: a column of which one value in a hundred is an identifier shows it with 99.996 %."""

_LONGEST = 2000  # characters of a value that the detectors see
_SECONDS = 20  # a view that computes may take for ever to give its first rows

_ENUMS = """
SELECT a.attname FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = %s AND t.typtype = 'e' AND a.attnum > 0 AND NOT a.attisdropped
"""
_TABLES = """
SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm') AND NOT c.relispartition
  AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_%'
ORDER BY 1 LIMIT 10000
"""


@dataclass(frozen=True, slots=True)
class Found:
    """The table as it is now. `sampled` is by column, empty without a sample."""

    relation: Relation
    enums: frozenset[str]
    sampled: Mapping[str, Sampled] = field(default_factory=dict)
    sampled_rows: int = 0


def find_table(settings: SourceSettings, table: str, *, sample: bool = False) -> Found:
    """The table, which must be there and readable whole. Without `sample` no row is read.

    Memory of a sample: 1,000 rows, 2,000 characters a value.
    Raises TableMissing (naming tables that are called alike), SourceDenied, SourceUnavailable, SourceError.
    """
    connection = connect(settings, application_name="egress add table")
    try:
        with reworded(settings.title()):
            _require(connection, table, settings.title())
            relation = describe(connection, (table,), settings.title(), locked=False)[table]
            enums = frozenset(name for (name,) in connection.execute(_ENUMS, (relation.oid,)))
            rows = _rows(connection, relation) if sample else []
        return Found(relation, enums, _sampled(relation, rows), len(rows))
    finally:
        connection.close()


def _require(connection: psycopg.Connection, table: str, title: str) -> None:
    try:
        require_readable(connection, (table,), title)
    except TableMissing as error:
        known = [name for (name,) in connection.execute(_TABLES)]
        near = get_close_matches(table, known, n=3) or known[:10]
        hint = f"There are {', '.join(near)}." if near else "The role sees no table at all."
        raise TableMissing(error.message, hint=hint) from None


def _rows(connection: psycopg.Connection, relation: Relation) -> list[tuple[str | None, ...]]:
    """The first rows that the server gives, as text, in a transaction that can't write."""
    values = [
        sql.SQL("left({}::text, {})").format(sql.Identifier(c.name), sql.Literal(_LONGEST)) for c in relation.columns
    ]
    table = sql.Identifier(relation.schema, relation.name)
    query = sql.SQL("SELECT {} FROM {} LIMIT {}").format(sql.SQL(", ").join(values), table, sql.Literal(SAMPLE))
    with connection.transaction():
        connection.execute("SET TRANSACTION READ ONLY")
        connection.execute(sql.SQL("SET LOCAL statement_timeout = {}").format(sql.Literal(f"{_SECONDS}s")))
        return connection.execute(query).fetchall()


def _sampled(relation: Relation, rows: Sequence[tuple[str | None, ...]]) -> dict[str, Sampled]:
    """What each column's values look like to the detectors."""
    found: dict[str, Sampled] = {}
    for column, values in zip(relation.columns, zip(*rows, strict=True), strict=False):
        there = [value.strip().encode() for value in values if value]
        hits, whole = Counter[str](), Counter[str]()
        for value in there:
            for name, seen in scan([value]).items():
                hits[name] += 1
                whole[name] += len(seen["shapes"][0]) == len(value)
        found[column.name] = Sampled(len(there), hits, whole)
    return found
