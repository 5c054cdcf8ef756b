"""What a stage found, as Dagster metadata: plotted over dates, shown in the catalog, pointing at the evidence."""

from collections.abc import Iterable, Mapping
from typing import Any

import dagster as dg

from egress_assets.engine.errors import ManifestInvalid
from egress_assets.engine.evidence.records import Column
from egress_assets.engine.layout import attempt_prefix, source_key, table_segment
from egress_assets.engine.past import MANY, Past
from egress_assets.engine.platform import Platform
from egress_assets.engine.result import StageResult, TableResult
from egress_assets.stages import Stage


def by_table(tables: Iterable[str], result: StageResult) -> Mapping[str, TableResult]:
    """The stage's answer for each of `tables` ('' is a mirror's or delivery's only one).

    Raises ManifestInvalid when one lacks: a table without an answer would pass as skipped.
    """
    answers = result.tables
    if list(tables) == [""]:
        answers = dict.fromkeys([""], next(iter(answers.values()))) if len(answers) == 1 else {}
    missing = [table or result.unit.title for table in tables if table not in answers]
    if missing:
        raise ManifestInvalid(f"{result.unit.title} of {result.date} has no result for {', '.join(missing)}")
    return {table: answers[table] for table in tables}


def past(stage: Stage, result: StageResult, platform: Platform) -> Past:
    """What the dates before held, read once for all tables of a run. Reads nothing yet."""
    many = sum(found.objects for found in result.tables.values()) > MANY
    return Past(platform.evidence, stage.unit, result.date, f"more than {MANY} objects a date" if many else "")


def metadata(
    stage: Stage,
    table: str,
    result: StageResult,
    found: TableResult,
    *,
    platform: Platform,
    past: Past | None = None,
) -> dict[str, Any]:
    """Equal keys at every stage, so that plots compare like with like. Bytes as stored; seconds of the whole op.

    `past` is shared by the tables of one run; without it each reads its own.
    """
    told: dict[str, Any] = {
        "how": "moved" if found.moved else "unchanged" if result.how == "moved" else result.how,
        "attempt": found.attempt,
        "generation": result.generation,
        "manifest": dg.MetadataValue.path(found.manifest),
        "content_digest": found.content_digest,
        "bytes": found.bytes,
        "objects": found.objects,
        "sent_bytes": result.sent_bytes,
        "seconds": round(result.seconds, 3),
        "throughput_mb_per_s": round(result.sent_bytes / 1e6 / result.seconds, 3) if result.seconds else 0.0,
    }
    told |= {f"seconds/{phase}": round(seconds, 3) for phase, seconds in result.phases.items()}
    if result.facts:
        told["facts"] = dg.MetadataValue.json(dict(result.facts))
    if stage.store:
        told["dagster/uri"] = _uri(stage, table, result, found)
    if found.raw_bytes is not None:
        told["raw_bytes"] = found.raw_bytes
    if found.rows is not None:
        told["rows"] = told["dagster/row_count"] = found.rows
    if found.columns:
        told |= _columns(stage, table, found.columns)
    return told


def _uri(stage: Stage, table: str, result: StageResult, found: TableResult) -> str:
    """Where the bytes lie, by store name: the bucket behind it differs between environments."""
    below = f"{attempt_prefix(stage.unit, result.date, found.attempt)}{table_segment(table)}/" if table else ""
    return f"s3://{stage.store}/{below}"


def _columns(stage: Stage, table: str, columns: tuple[Column, ...]) -> dict[str, Any]:
    schema = dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                type=column.type,
                constraints=dg.TableColumnConstraints(nullable=column.nullable),
                tags={"mask": column.mask} if column.mask else {},
            )
            for column in columns
        ]
    )
    told: dict[str, Any] = {"dagster/column_schema": schema}
    if stage.gated:
        told["dagster/column_lineage"] = _lineage(stage, table, columns)
    return told


def _lineage(stage: Stage, table: str, columns: tuple[Column, ...]) -> dg.TableColumnLineage:
    """Each scrubbed column from the source's column of that name: masks work on one column."""
    source = dg.AssetKey(source_key(stage.dataset))
    deps = {column.name: [dg.TableColumnDep(source, f"{table}.{column.name}")] for column in columns}
    return dg.TableColumnLineage(deps)
