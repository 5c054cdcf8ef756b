"""`schema.json` beside a table's parts: how its files are read and what the table was, for readers without evidence.

It is named by the manifest like a part and is no data: deliveries never hold it. The same table is the same bytes but
for the date, the rows and the content's digest; `schema_digest` leaves these out, so two dates compare by it. It is no
part of the content's digest: a comment or key that changes alone moves nothing; it is told once rows differ too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from egress_assets.engine.catalog.models import DatasetModel
from egress_assets.engine.dump.describing import LONGEST_COMMENT, Description
from egress_assets.engine.dump.tasks import Relation
from egress_assets.engine.evidence.records import Column, ObjectRecord, TableRecord, canonical, digest
from egress_assets.engine.layout import Unit, schema_key
from egress_assets.engine.stores import Store

VERSION = 1
_OF_A_DATE = ("version", "kind", "dataset", "date", "rows", "content_digest", "schema_digest")
_AT_ONCE = 8  # PUTs of a few KB


@dataclass(frozen=True, slots=True)
class Attempt:
    """What the sidecars of one run have in common. `comments` are text of the source: only raw dumps carry them."""

    unit: Unit
    date: str
    attempt: str
    dataset: str
    model: DatasetModel
    comments: bool = False


def with_sidecars(
    store: Store,
    attempt: Attempt,
    records: Mapping[str, TableRecord],
    relations: Mapping[str, Relation],
    descriptions: Mapping[str, Description],
) -> dict[str, TableRecord]:
    """Write one object a table and name it in the table's record. Memory: a few KB a table. Raises as `Store.put`."""

    def write(table: str) -> ObjectRecord:
        body = canonical(document(attempt, records[table], relations[table], descriptions[table]))
        key = schema_key(attempt.unit, attempt.date, attempt.attempt, table=table)
        done = store.put(key, body, headers={"content-type": "application/json"})
        return ObjectRecord(key, done.bytes, done.sha256, etag=done.etag)

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        written = dict(zip(records, threads.map(write, records), strict=True))
    return {table: replace(record, sidecars=(written[table],)) for table, record in records.items()}


def document(attempt: Attempt, record: TableRecord, relation: Relation, description: Description) -> dict[str, Any]:
    """The sidecar as data. `schema_digest` is over `schema`."""
    schema: dict[str, Any] = {
        "table": relation.table,
        "columns": [_column(attempt, column, record, relation, description) for column in record.columns],
        **_keys(attempt.model, attempt.unit.stage, record, description),
        **(_comment(description.comments.get("")) if attempt.comments else {}),
        "format": record.format,
        **({"csv": record.csv.to_json(), "header": False} if record.format.startswith("csv") else {}),
    }
    return {
        "version": VERSION,
        "kind": "schema",
        "dataset": attempt.dataset,
        "date": attempt.date,
        "rows": record.rows,
        "content_digest": record.content_digest,
        "schema_digest": digest(schema),
        **schema,
    }


def as_published(stored: bytes, form: str, *, header: bool) -> bytes:
    """The sidecar of a table that lies elsewhere in another form: `format`, `header` and so `schema_digest` say which.

    The same bytes for the same arguments. Rows that are no text have no `header` to say.
    """
    found: dict[str, Any] = json.loads(stored)
    found |= {"format": form, **({"header": header} if "header" in found else {})}
    schema = {name: value for name, value in found.items() if name not in _OF_A_DATE}
    return canonical({**found, "schema_digest": digest(schema)})


def _column(
    attempt: Attempt, column: Column, record: TableRecord, relation: Relation, description: Description
) -> dict[str, Any]:
    info = next(each for each in relation.columns if each.name == column.name)
    return {
        "name": column.name,
        "type": column.type,
        "base": info.base,
        "nullable": column.nullable,
        "generated": info.generated,
        "default": column.name in description.defaults,
        **({"as_text": record.texts[column.name]} if column.name in record.texts else {}),
        **({"mask": column.mask.partition("(")[0]} if column.mask else {}),
        **(_comment(description.comments.get(column.name)) if attempt.comments else {}),
    }


def _keys(model: DatasetModel, stage: str, record: TableRecord, description: Description) -> dict[str, Any]:
    """As the database declares them, of those whose columns are all written, here and there."""
    here = {column.name for column in record.columns}
    references = [
        {"columns": list(each.columns), "table": each.table, "to": list(each.to)}
        for each in description.references
        if here.issuperset(each.columns) and _is_written(model, stage, each.table, each.to)
    ]
    return {
        "primary_key": list(description.primary_key) if here.issuperset(description.primary_key) else [],
        "unique": [list(columns) for columns in description.unique if here.issuperset(columns)],
        "foreign_keys": references,
    }


def _is_written(model: DatasetModel, stage: str, table: str, columns: tuple[str, ...]) -> bool:
    if table not in model.tables:
        return False
    other = model.tables[table]
    chosen = other.columns if stage == "scrub" else other.select
    return chosen is None or set(chosen).issuperset(columns)


def _comment(text: str | None) -> dict[str, Any]:
    if not text:
        return {}
    cut = {"comment_cut": True} if len(text) > LONGEST_COMMENT else {}
    return {"comment": text[:LONGEST_COMMENT], **cut}
