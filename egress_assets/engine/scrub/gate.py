"""The gate: what is checked over the complete scrubbed output of a run before anything of it becomes true.

It is part of the scrub's op, not a Dagster check: without it there is no manifest and no pointer. It holds counts,
offsets and shapes, never a value.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from psycopg import sql

from egress_assets.engine.dump.relations import refuse_drift
from egress_assets.engine.dump.snapshot import Leader
from egress_assets.engine.dump.sqlstate import reworded
from egress_assets.engine.dump.tasks import Relation, TableDone
from egress_assets.engine.errors import GateFailed
from egress_assets.engine.evidence.records import CheckRecord
from egress_assets.engine.scrub.detectors import VERSION
from egress_assets.engine.scrub.policy import TablePolicy

logger = logging.getLogger(__name__)

Checks = Mapping[str, tuple[CheckRecord, ...]]


def count_rows(leader: Leader, rows: Mapping[str, sql.Composable | None]) -> dict[str, int]:
    """Rows of each table in the leader's snapshot, by another way than the copy took: the relation, not its leaves.

    `rows` maps a table to the clause that chose its rows, None for all. Raises SourceError's kinds.
    """
    counted = {}
    for table, clause in rows.items():
        relation = leader.relations[table]
        where = sql.SQL(" WHERE {}").format(clause) if clause else sql.SQL("")
        name = sql.Identifier(relation.schema, relation.name)
        leader.require_time()
        with reworded(f"table {table}"):
            found = leader.connection.execute(sql.SQL("SELECT count(*) FROM {}{}").format(name, where)).fetchone()
        counted[table] = found[0] if found else 0
    return counted


def refuse_attached(leader: Leader, done: Mapping[str, TableDone], counted: Mapping[str, int]) -> None:
    """Where counts differ because a partition was attached meanwhile: SourceChanged, on a new snapshot they agree."""
    differing = [leader.relations[table] for table in done if done[table].rows != counted[table]]
    with reworded(f"{leader.title}: the snapshot's session"):
        refuse_drift(leader.connection, [(r.schema, r.name) for r in differing if r.kind == "p"])


def examine(
    policies: Mapping[str, TablePolicy],
    relations: Mapping[str, Relation],
    done: Mapping[str, TableDone],
    counted: Mapping[str, int],
    detectors: Sequence[str],
) -> dict[str, tuple[CheckRecord, ...]]:
    """Every check of every table, passed or not."""
    return {
        table: (
            _covers(policies[table], relations[table]),
            _identifiers(done[table], detectors),
            _counts(done[table], counted[table]),
        )
        for table in done
    }


def _covers(policy: TablePolicy, relation: Relation) -> CheckRecord:
    """Against the snapshot's own columns: what was read is what was classified."""
    masked = {c.info.name: c.rule for c in policy.columns}
    lacking = [c.name for c in relation.columns if c.name not in masked and not c.generated]
    foreign = [name for name in masked if name not in {c.name for c in relation.columns}]
    facts = {"columns": masked, "lacking": lacking, "foreign": foreign, "policy_digest": policy.digest}
    return CheckRecord("policy_covers_schema", not lacking and not foreign, facts)


def _identifiers(done: TableDone, detectors: Sequence[str]) -> CheckRecord:
    facts = {"detectors": list(detectors), "detectors_version": VERSION, "bytes": done.raw_bytes}
    facts |= {"findings": dict(done.findings)}
    return CheckRecord("no_direct_identifiers", not done.findings, facts)


def _counts(done: TableDone, counted: int) -> CheckRecord:
    return CheckRecord("row_counts_match", done.rows == counted, {"output": done.rows, "source": counted})


def failures(checks: Checks) -> dict[str, list[CheckRecord]]:
    """Tables with a check that did not pass, and those checks."""
    failed = {table: [c for c in records if not c.passed] for table, records in checks.items()}
    return {table: records for table, records in failed.items() if records}


def located(records: Sequence[CheckRecord], columns: Mapping[str, Sequence[str]]) -> tuple[CheckRecord, ...]:
    """The records with the columns of their findings, where they could be told: {detector: names of columns}."""
    return tuple(replace(record, facts=_located(record.facts, columns)) for record in records)


def _located(facts: Mapping[str, Any], columns: Mapping[str, Sequence[str]]) -> Mapping[str, Any]:
    if not facts.get("findings"):
        return facts
    findings = {name: {**found, "columns": list(columns.get(name, ()))} for name, found in facts["findings"].items()}
    return {**facts, "findings": findings}


def gate_failed(title: str, checks: Checks) -> GateFailed:
    """The error that names tables, checks, detectors, columns, counts and shapes; it carries all `checks`."""
    said = "; ".join(f"{table} {line}" for table, records in failures(checks).items() for line in _lines(records))
    hint = (
        "Nothing was published, what was written is removed, the previous data stands. Give the columns a mask that "
        "removes them (`egress list-masks`); a detector that is wrong for this dataset is left out by `detectors:`."
    )
    return GateFailed(f"{title} did not pass its gate: {said}", hint=hint, checks=dict(checks))


def _lines(records: Sequence[CheckRecord]) -> Iterator[str]:
    for record in records:
        facts = record.facts
        if record.name == "no_direct_identifiers":
            for detector, found in facts["findings"].items():
                where = f" in {', '.join(found['columns'])}" if found.get("columns") else ""
                shapes = ", ".join(found["shapes"][:3])
                yield f"{record.name}: {found['count']} x {detector}{where} (shapes {shapes})"
        elif record.name == "row_counts_match":
            yield f"{record.name}: {facts['output']} rows written, {facts['source']} in the source"
        else:
            yield f"{record.name}: without a mask {facts['lacking']}, not in the table {facts['foreign']}"
