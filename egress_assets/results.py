"""What a stage found, as Dagster metadata: plotted over dates, shown in the catalog, pointing at the evidence.

Everything is made out of the stage, its result and the platform, so that work done elsewhere can be told in the same
words. Pictures, previews and comparisons are extras: what one of them meets is said in its place, and fails nothing.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any

import dagster as dg

from egress_assets import pictures, previews
from egress_assets.engine.background import Background
from egress_assets.engine.catalog.models import ColumnRule
from egress_assets.engine.errors import ManifestInvalid
from egress_assets.engine.evidence.records import Column
from egress_assets.engine.glance import said
from egress_assets.engine.layout import (
    asset_key,
    attempt_prefix,
    parse_asset_key,
    receipt_key,
    source_key,
    table_segment,
)
from egress_assets.engine.past import MANY
from egress_assets.engine.platform import Platform
from egress_assets.engine.result import StageResult, TableResult, continuing
from egress_assets.engine.schema_change import changes
from egress_assets.engine.schema_drift import FACT
from egress_assets.stages import Stage

logger = logging.getLogger(__name__)

Told = dict[str, Any]
_COLUMNS = 500  # of a mirror's tables: more would make each of its events a megabyte


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


def past(stage: Stage, result: StageResult, platform: Platform) -> Background:
    """What the tables of one run share of what is read for them. Reads nothing yet."""
    return _background(stage, result, platform)


def _background(stage: Stage, result: StageResult, platform: Platform) -> Background:
    parents = stage.parents.get("", ()) if stage.unit.stage == "delivery" else ()
    parent = parse_asset_key(tuple(parents[0].path)) if parents else None
    return Background(platform, result, parent)


def metadata(
    stage: Stage,
    table: str,
    result: StageResult,
    found: TableResult,
    *,
    platform: Platform,
    past: Background | None = None,
) -> Told:
    """All that a materialisation tells. Equal keys at every stage, so that plots compare like with like.

    `past` is shared by the tables of one run; without it this one reads for itself. What can't be shown raises nothing.
    """
    around = past or _background(stage, result, platform)
    extras: dict[str, Callable[[], Told]] = {
        "totals": lambda: _totals(around, found),
        "bytes_a_day": lambda: _bytes_a_day(around, found),
        "where_time_went": lambda: _where_time_went(result),
        "schema_drift": lambda: {"schema_drift": previews.drift(map(asdict, found.drift))} if found.drift else {},
        "schema_changes": lambda: _schema_changes(around, found),
        "preview": lambda: _preview(stage, table, around),
        "profile": lambda: _profile(stage, table, around),
        "columns": lambda: _columns(stage, table, around, found),
    }
    told = {"how": "moved" if found.moved else "unchanged" if result.how == "moved" else result.how}
    told |= _numbers(result, found) | _continuing(found)
    for name, extra in extras.items():  # in the order in which people see it
        told |= _harmless(name, extra)
    return told | _identity(stage, table, result, found)


def _harmless(name: str, extra: Callable[[], Told]) -> Told:
    try:
        return extra()
    except Exception as error:  # noqa: BLE001 - the work is done and true; a picture of it must not fail the run
        logger.warning("not shown: %s: %s", name, said(error))
        return {name: f"not shown: {said(error)}"}


def _identity(stage: Stage, table: str, result: StageResult, found: TableResult) -> Told:
    told: Told = {
        "attempt": found.attempt,
        "generation": result.generation,
        "manifest": dg.MetadataValue.path(found.manifest),
        "content_digest": found.content_digest,
    }
    told_elsewhere = ("milliseconds", FACT)  # in seconds by phase, and in schema_drift
    facts = {name: fact for name, fact in result.facts.items() if name not in told_elsewhere}
    if found.checksums:
        told |= {"checksum/source": str(found.checksums.source), "checksum/output": str(found.checksums.output)}
    if receipts := [receipt_key(result.date, identity) for identity in facts.pop("receipts", ())]:
        told["receipts"] = dg.MetadataValue.md("\n".join(f"- `{key}`" for key in receipts))
    if result.certificate:
        told |= {"certificate": dg.MetadataValue.path(result.certificate.key)}
        told |= {"certificate_key_id": result.certificate.key_id, "certificate_sha256": result.certificate.digest}
    if facts:
        told["facts"] = dg.MetadataValue.json(facts)
    if stage.store:
        told["dagster/uri"] = _uri(stage, table, result, found)
    return told


def _numbers(result: StageResult, found: TableResult) -> Told:
    """Bytes as stored, of the table; what was sent, seconds and speed are of the whole run."""
    seconds = result.seconds
    told: Told = {
        "bytes": found.bytes,
        "objects": found.objects,
        "sent_bytes": result.sent_bytes,
        "seconds": round(seconds, 3),
        "throughput_mb_per_s": round(result.sent_bytes / 1e6 / seconds, 3) if seconds else 0.0,
    }
    raw = _sum(table.raw_bytes for table in result.tables.values())
    told |= _content(found.rows, found.raw_bytes, found.bytes) | _raw_speed(raw, result)
    return told | {f"seconds/{phase}": round(spent, 3) for phase, spent in result.phases.items()}


def _continuing(found: TableResult) -> Told:
    """Of incremental extracts: the column and its highest value, from which date on, and rows that need a word."""
    told = continuing(found.continues)
    named = {"after": "continues_from", "column": "watermark_column"}
    return {named.get(name, name): value for name, value in told.items() if value not in (None, "")}


def _content(rows: int | None, raw_bytes: int | None, stored: int) -> Told:
    told: Told = {}
    if rows is not None:
        told |= {"rows": rows, "dagster/row_count": rows}
    if raw_bytes is not None:
        told |= {"raw_bytes": raw_bytes, "compression_ratio": round(raw_bytes / stored, 2) if stored else 0.0}
    return told


def _raw_speed(raw: int | None, result: StageResult) -> Told:
    if raw is None:
        return {}
    done = raw if result.sent_bytes else 0
    return {"raw_throughput_mb_per_s": round(done / 1e6 / result.seconds, 3) if result.seconds else 0.0}


def _sum(numbers: Iterable[int | None]) -> int | None:
    """None where one of them is not known, or there are none."""
    known = list(numbers)
    return None if None in known or not known else sum(number for number in known if number is not None)


def _totals(around: Background, found: TableResult) -> Told:
    """Rows and raw bytes of mirrors and deliveries, as their manifests or their parents' know them by object."""
    if found.columns or found.objects > MANY:
        return {}
    objects = around.record(found).objects
    rows, raw = _sum(o.rows for o in objects), _sum(o.raw_bytes for o in objects)
    if raw is None and around.parent and around.parent[1]:  # sealed anew from a table: of the rows as they were there
        raw = _sum(o.raw_bytes for _, record in around.parents(found).values() for o in record.objects)
    rows = found.rows if rows is None else rows
    return _content(rows, raw, found.bytes) | _raw_speed(raw, around.result)


def _uri(stage: Stage, table: str, result: StageResult, found: TableResult) -> str:
    """Where the bytes lie, by store name: the bucket behind it differs between environments."""
    below = f"{attempt_prefix(stage.unit, result.date, found.attempt)}{table_segment(table)}/" if table else ""
    return f"s3://{stage.store}/{below}"


# -------------------------------------------------------------------------------------------------------------- columns
_From = tuple[tuple[str, ...], str]  # an asset key and the name of a column of it


def _columns(stage: Stage, table: str, around: Background, found: TableResult) -> Told:
    """Schema and lineage. Descriptions repeat what a column is made of: Dagster's own UI draws no graph of columns."""
    columns = _origins(stage, table, around, found)
    if not columns:
        return {}
    schema = dg.TableSchema([_shown(name, column, deps) for name, column, deps in columns])
    lineage = {name: [dg.TableColumnDep(dg.AssetKey(key), c) for key, c in deps] for name, _, deps in columns}
    return {"dagster/column_schema": schema, "dagster/column_lineage": dg.TableColumnLineage(lineage)}


def _shown(name: str, column: Column, deps: list[_From]) -> dg.TableColumn:
    made_of = ", ".join(f"`{origin}`" for _, origin in deps)
    return dg.TableColumn(
        name,
        type=column.type,
        description=f"from {made_of} of {'/'.join(deps[0][0])}{_masked(column)}",
        constraints=dg.TableColumnConstraints(nullable=column.nullable),
        tags={"mask": column.mask} if column.mask else {},
    )


def _masked(column: Column) -> str:
    """In words, where the mask is one of those that there are now."""
    from egress_assets.engine.masks import registry

    mask = registry().get(column.mask.partition("(")[0])
    return f": {mask.help}" if mask else ""


def _origins(stage: Stage, table: str, around: Background, found: TableResult) -> list[tuple[str, Column, list[_From]]]:
    """Each column, and the columns that it is made of. A mirror has those of all its tables, named `<table>.<column>`.

    Objects that evidence knows no columns of have none: foreign buckets, and deliveries of whole mirrors.
    """
    if table:
        source, model = source_key(stage.dataset), stage.catalog.dataset(stage.dataset).tables.get(table)
        names = {column.name for column in found.columns}
        rules = model.columns if model else {}
        read = {name: [name, *_read_as_well(rules.get(name), names - {name})] for name in names}
        return [(c.name, c, [(source, f"{table}.{name}") for name in read[c.name]]) for c in found.columns]
    if stage.unit.stage == "delivery" and around.parent and around.parent[1]:
        key = asset_key(*around.parent)
        return [(c.name, c, [(key, c.name)]) for c in around.record(found).columns]
    if stage.unit.stage != "mirror" or found.objects > MANY:
        return []
    every = [
        (f"{name}.{c.name}", c, [(asset_key(unit, name), c.name)])
        for name, (unit, record) in around.parents(found).items()
        for c in record.columns
    ]
    return every if len(every) <= _COLUMNS else []


def _read_as_well(rule: ColumnRule | None, names: set[str]) -> list[str]:
    """Other columns that the mask reads: parameters that name one, as `date_shift`'s `by` does."""
    return [value for name, value in rule.params.items() if name == "by" and value in names] if rule else []


# --------------------------------------------------------------------------------------------------------------- extras
def _schema_changes(around: Background, found: TableResult) -> Told:
    """Since the nearest earlier date, where anything is different."""
    before = around.past.before(found.table) if found.columns else None
    changed = changes(before[1].columns, found.columns) if before else []
    if not before or not changed:
        return {}
    rows = (asdict(change) for change in changed)
    return {"schema_changes": previews.table(("column", "what", "was", "now"), rows), "schema_before": before[0]}


def _preview(stage: Stage, table: str, around: Background) -> Told:
    """Rows that have passed the gate. Nothing else is asked for, and `sample` would refuse it."""
    if not stage.gated:
        return {}
    sample = around.sample(table)
    if isinstance(sample, str):
        return {"preview": f"not shown: {sample}"}
    if not sample.rows:
        return {"preview": "no rows" if not sample.of else "not shown: its first row is longer than what is read"}
    return {"preview": previews.preview(sample)}


def _profile(stage: Stage, table: str, around: Background) -> Told:
    """Of rows that this very run has made; one that found nothing to do shows them alone.

    Results made out of evidence have no facts of a run, and the sensor that tells them no second to spare for pandas.
    """
    if not stage.gated or around.result.how == "nothing" or not around.result.facts:
        return {}
    sample = around.sample(table)
    return {"profile": previews.profile(sample)} if not isinstance(sample, str) and sample.rows else {}


def _bytes_a_day(around: Background, found: TableResult) -> Told:
    days = around.past.days(found.table)
    lacking = f"; not all: {around.past.failed}" if around.past.failed else ""
    if not days:
        return {"bytes_a_day": f"not shown{lacking}"} if lacking else {}
    told: Told = {"bytes_a_day": dg.MetadataValue.md(pictures.markdown(pictures.days(days), "bytes a day"))}
    return told | {"bytes_a_day_lacks": around.past.failed} if lacking else told


def _where_time_went(result: StageResult) -> Told:
    if not result.phases:
        return {}
    picture = pictures.parts(result.phases)
    return {"where_time_went": dg.MetadataValue.md(pictures.markdown(picture, "where the time went"))}
