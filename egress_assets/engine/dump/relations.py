"""What the catalog's tables are in the database: found, permitted, and described as the snapshot sees them.

Ordinary SQL over pg_class, pg_attribute and pg_inherits sees the transaction's snapshot; functions such as
pg_relation_filenode, to_regclass and pg_partition_tree see what is committed now. `drifted` compares the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import psycopg

from egress_assets.engine.dump.sqlstate import missing
from egress_assets.engine.dump.tasks import ColumnInfo, Relation
from egress_assets.engine.errors import SourceChanged, SourceDenied

LOCKABLE = frozenset("rpv")  # LOCK TABLE refuses materialized views and foreign tables (42809)

_FIND = """
SELECT w.name, c.relkind::text, has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'),
       row_security_active(c.oid)
FROM unnest(%s::text[], %s::text[], %s::text[]) WITH ORDINALITY AS w(name, schema, relation, place)
LEFT JOIN pg_namespace n ON n.nspname = w.schema
LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.relation AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
ORDER BY w.place
"""
_DESCRIBE = """
SELECT w.name, w.schema, w.relation, c.oid, c.relkind::text
FROM unnest(%s::text[], %s::text[], %s::text[]) AS w(name, schema, relation)
JOIN pg_namespace n ON n.nspname = w.schema
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.relation AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
"""
_COLUMNS = """
SELECT a.attrelid, a.attname, format_type(a.atttypid, a.atttypmod), t.typname, NOT a.attnotnull, a.attgenerated <> ''
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = ANY(%s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum
"""
# Heap blocks and bytes with TOAST. The functions take a lock for a moment, so they may wait behind DDL.
_SIZE = """coalesce(pg_relation_size(c.oid) / current_setting('block_size')::bigint, 0),
       coalesce(pg_table_size(c.oid), 0)"""
_SIZE_AT_LAST_VACUUM = "c.relpages::bigint, c.relpages::bigint * current_setting('block_size')::bigint"
# pg_inherits and not pg_partition_tree: a partition attached after the snapshot must not be among the leaves.
_LEAVES = """
WITH RECURSIVE tree(root, oid) AS (
  SELECT root, root FROM unnest(%s::oid[]) AS root
  UNION
  SELECT tree.root, i.inhrelid FROM tree JOIN pg_inherits i ON i.inhparent = tree.oid WHERE NOT i.inhdetachpending
)
SELECT tree.root, n.nspname, c.relname, greatest(c.reltuples, 0)::bigint, {size}
FROM tree JOIN pg_class c ON c.oid = tree.oid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind <> 'p'
ORDER BY tree.root, n.nspname COLLATE "C", c.relname COLLATE "C"
"""
_DRIFTED = """
SELECT w.schema || '.' || w.relation
FROM unnest(%s::text[], %s::text[]) AS w(schema, relation)
LEFT JOIN pg_namespace n ON n.nspname = w.schema
LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.relation
WHERE c.oid IS NULL
   OR (has_schema_privilege(n.oid, 'USAGE')
       AND c.oid IS DISTINCT FROM to_regclass(format('%%I.%%I', w.schema, w.relation)))
   OR pg_relation_filenode(c.oid) IS DISTINCT FROM nullif(c.relfilenode, 0)
   OR (c.relkind = 'p' AND ARRAY(SELECT relid::oid FROM pg_partition_tree(c.oid) ORDER BY 1) IS DISTINCT FROM ARRAY(
        WITH RECURSIVE tree(oid) AS (
          SELECT c.oid
          UNION
          SELECT i.inhrelid FROM tree JOIN pg_inherits i ON i.inhparent = tree.oid WHERE NOT i.inhdetachpending
        ) SELECT oid FROM tree ORDER BY 1))
"""


class Session(Protocol):
    """What joining a snapshot asks of a session: psycopg's connection has it, and the one over ADBC."""

    @property
    def info(self) -> Any:
        """Has `transaction_status`."""
        ...

    def execute(self, query: Any, params: Any = ()) -> Iterable[Sequence[Any]]:
        """Rows. Raises psycopg's errors."""
        ...


def split(table: str) -> tuple[str, str]:
    """(schema, name) of the catalog's `schema.table`, split at its first dot."""
    schema, _, name = table.partition(".")
    return schema, name


def require_readable(connection: psycopg.Connection, tables: Sequence[str], where: str) -> dict[str, str]:
    """Before any lock: every table is there and may be read unfiltered. Names all that are not, at once.

    Returns relkind by table. Raises TableMissing, SourceDenied.
    """
    rows = connection.execute(_FIND, _names(tables)).fetchall()
    if absent := [name for name, kind, _, _ in rows if kind is None]:
        raise missing(absent, where)
    if denied := [name for name, _, allowed, _ in rows if not allowed]:
        hint = "Grant SELECT on the whole table and USAGE on its schema; LOCK TABLE needs more than a column grant."
        raise SourceDenied(f"the role may not read {', '.join(denied)} in {where}", hint=hint)
    if filtered := [name for name, _, _, active in rows if active]:
        hint = "Give the role BYPASSRLS, or dump a view that says which rows are meant."
        raise SourceDenied(f"row level security would filter {', '.join(filtered)} in {where}", hint=hint)
    return {name: kind for name, kind, _, _ in rows}


def describe(
    connection: psycopg.Connection, tables: Sequence[str], where: str, *, locked: bool = True
) -> dict[str, Relation]:
    """The tables in the catalog's order, as this transaction's snapshot sees them.

    `locked`: the tables are, so their size can be asked for without waiting; else it is an estimate.
    Raises TableMissing.
    """
    found = {row[0]: row for row in connection.execute(_DESCRIBE, _names(tables))}
    if absent := [table for table in tables if table not in found]:
        raise missing(absent, where)
    oids = [row[3] for row in found.values()]
    columns: dict[int, list[ColumnInfo]] = {oid: [] for oid in oids}
    for oid, *column in connection.execute(_COLUMNS, (oids,)):
        columns[oid].append(ColumnInfo(*column))
    leaves: dict[int, list[_Leaf]] = {oid: [] for oid in oids}
    leaves_query = _LEAVES.format(size=_SIZE if locked else _SIZE_AT_LAST_VACUUM).encode()
    for root, *leaf in connection.execute(leaves_query, (oids,)):
        leaves[root].append(_Leaf(*leaf))
    return {table: _relation(found[table], columns, leaves) for table in tables}


class _Leaf(NamedTuple):
    schema: str
    name: str
    rows: int
    blocks: int
    bytes: int


def _relation(row: tuple, columns: dict[int, list[ColumnInfo]], leaves: dict[int, list[_Leaf]]) -> Relation:
    table, schema, name, oid, kind = row
    mine = leaves[oid]
    return Relation(
        table, schema, name, oid, kind, tuple(columns[oid]), tuple((leaf.schema, leaf.name) for leaf in mine),
        estimated_rows=sum(leaf.rows for leaf in mine), heap_bytes=sum(leaf.bytes for leaf in mine),
        sizes=tuple((leaf.blocks, leaf.bytes) for leaf in mine),
    )  # fmt: skip


def refuse_drift(connection: Session, relations: Iterable[tuple[str, str]]) -> None:
    """Nothing was rewritten, replaced, renamed or (partitioned ones) attached since the transaction's snapshot.

    MVCC does not protect a snapshot from DDL: a rewritten table reads as empty, without an error. Raises SourceChanged.
    """
    names = list(dict.fromkeys(relations))
    arguments = ([schema for schema, _ in names], [name for _, name in names])
    if drifted := [row[0] for row in connection.execute(_DRIFTED, arguments)]:
        hint = "The dump is retried on a new snapshot; keep TRUNCATE, VACUUM FULL and ALTER TABLE out of its hours."
        raise SourceChanged(f"rewritten or replaced since the snapshot: {', '.join(sorted(drifted))}", hint=hint)


def _names(tables: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    pairs = [split(table) for table in tables]
    return list(tables), [schema for schema, _ in pairs], [name for _, name in pairs]
