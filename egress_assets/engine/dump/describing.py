"""What a table says of itself besides its columns: keys, references, defaults, comments, as the snapshot sees them.

One query for all tables, over catalogs that obey the transaction's snapshot. Comments are somebody's text: they are cut
at LONGEST_COMMENT in the server, and only raw dumps pass them on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg

from egress_assets.engine.dump.sqlstate import reworded
from egress_assets.engine.dump.tasks import Relation

LONGEST_COMMENT = 1000
"""Characters of a comment that are kept; a table of 1,600 columns then is 2 MB at the most."""

# A key that has a period, or is not validated, is not what its name says. A reference to a partitioned table has a row
# for each partition too, below its own. jsonb, since `conperiod` is PostgreSQL 18's.
_DESCRIBE = """
SELECT w.oid, left(own.description, %(cut)s), (
  SELECT coalesce(jsonb_agg(jsonb_build_object(
    'name', a.attname, 'default', a.atthasdef AND a.attgenerated = '' OR a.attidentity <> '',
    'comment', left(d.description, %(cut)s))), '[]')
  FROM pg_attribute a
  LEFT JOIN pg_description d ON d.objoid = w.oid AND d.classoid = 'pg_class'::regclass AND d.objsubid = a.attnum
  WHERE a.attrelid = w.oid AND a.attnum > 0 AND NOT a.attisdropped
), (
  SELECT coalesce(jsonb_agg(jsonb_build_object(
    'kind', c.contype::text, 'schema', n.nspname, 'name', f.relname,
    'columns', ARRAY(SELECT a.attname FROM unnest(c.conkey) WITH ORDINALITY AS k(number, place)
                     JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.number ORDER BY k.place),
    'to', ARRAY(SELECT a.attname FROM unnest(c.confkey) WITH ORDINALITY AS k(number, place)
                JOIN pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = k.number ORDER BY k.place))), '[]')
  FROM pg_constraint c
  LEFT JOIN pg_class f ON f.oid = c.confrelid LEFT JOIN pg_namespace n ON n.oid = f.relnamespace
  WHERE c.conrelid = w.oid AND c.contype IN ('p', 'u', 'f') AND c.convalidated
    AND NOT coalesce((to_jsonb(c) ->> 'conperiod')::boolean, false)
    AND NOT EXISTS (SELECT FROM pg_constraint up WHERE up.oid = c.conparentid AND up.conrelid = c.conrelid)
)
FROM unnest(%(oids)s::oid[]) AS w(oid)
LEFT JOIN pg_description own ON own.objoid = w.oid AND own.classoid = 'pg_class'::regclass AND own.objsubid = 0
"""

Columns = tuple[str, ...]


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """A foreign key: `columns` here are those of `to` in `table` (schema.table)."""

    columns: Columns
    table: str
    to: Columns


@dataclass(frozen=True, slots=True)
class Description:
    """One table. Comments are by column, '' the table's own; one may be a character longer than LONGEST_COMMENT."""

    defaults: frozenset[str]
    comments: Mapping[str, str]
    primary_key: Columns = ()
    unique: tuple[Columns, ...] = ()
    references: tuple[Reference, ...] = ()


def describe_further(connection: psycopg.Connection, relations: Iterable[Relation]) -> dict[str, Description]:
    """By table. Memory: the answer, 50 KB for a table of 100 columns with long comments. Raises SourceError's kinds."""
    tables = {relation.oid: relation for relation in relations}
    with reworded("the tables' descriptions"):
        rows = connection.execute(_DESCRIBE, {"oids": list(tables), "cut": LONGEST_COMMENT + 1}).fetchall()
    return {tables[oid].table: _description(tables[oid], *found) for oid, *found in rows}


def _description(
    relation: Relation, comment: str | None, columns: list[dict[str, Any]], constraints: list[dict[str, Any]]
) -> Description:
    comments = {column["name"]: column["comment"] for column in columns if column["comment"]}
    defaults = frozenset(column["name"] for column in columns if column["default"])
    comments |= {"": comment} if comment else {}
    if relation.kind == "r" and len(relation.leaves) > 1:  # by inheritance: a key holds in each leaf alone
        return Description(defaults, comments)
    by_kind = {kind: [c for c in constraints if c["kind"] == kind] for kind in "puf"}
    return Description(
        defaults,
        comments,
        next((tuple(c["columns"]) for c in by_kind["p"]), ()),
        tuple(sorted(tuple(c["columns"]) for c in by_kind["u"])),
        tuple(
            sorted(Reference(tuple(c["columns"]), f"{c['schema']}.{c['name']}", tuple(c["to"])) for c in by_kind["f"])
        ),
    )
