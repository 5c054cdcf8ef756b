"""Asset checks report what the engine found. They do not gate: the gate and the refusal of drift are inside the op."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import dagster as dg

from egress_assets import previews
from egress_assets.engine.errors import Checked, EgressError, GateFailed, SchemaDrift
from egress_assets.engine.result import TableResult
from egress_assets.engine.schema_drift import Drifted, words
from egress_assets.stages import Stage

GATE, DRIFT = "gate", "schema_drift"
_FINDING = ("table", "column", "check", "detector", "count")


def specs(stage: Stage) -> list[dg.AssetCheckSpec]:
    """The checks of all tables of a dump or scrub."""
    keys = stage.keys.values()
    gates = [gate(key, stage.partitions) for key in keys] if stage.gated else []
    return [*gates, *(drift(key, stage.partitions) for key in keys)]


def results(stage: Stage, key: dg.AssetKey, found: TableResult) -> list[dg.AssetCheckResult]:
    """What a run that went well tells of one table; nothing of a mirror or delivery."""
    if not stage.tables:
        return []
    return [*([told(key, found.checks)] if stage.gated else []), drifted(key, found.drift)]


def failed(stage: Stage, key: dg.AssetKey, table: str, error: EgressError) -> list[dg.AssetCheckResult]:
    """What is told of one table where a run ended with an error that checks know of."""
    if isinstance(error, GateFailed):
        return [refused(key, table, error)]
    if isinstance(error, SchemaDrift) and stage.tables:
        rows = [row for row in error.found if row["table"] == table]
        return [stopped(key, rows, error)] if rows else []
    return []


def drift(key: dg.AssetKey, partitions: dg.PartitionsDefinition) -> dg.AssetCheckSpec:
    """Never in the way of what stands below: the catalog's `drift` decides whether there is a materialisation."""
    return dg.AssetCheckSpec(
        DRIFT,
        asset=key,
        partitions_def=partitions,
        description="Whether the table has the columns of the date before; what it does if not, `drift` says.",
    )


def drifted(key: dg.AssetKey, found: Sequence[Drifted]) -> dg.AssetCheckResult:
    """Passed where nothing differs or the difference is accepted; a warning where the catalog says `warn`."""
    metadata: dict[str, Any] = {"drift": previews.drift(map(asdict, found))} if found else {}
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=DRIFT,
        passed=not any(each.how == "warn" for each in found),
        severity=dg.AssetCheckSeverity.WARN,
        description=words(found) if found else "the columns of the date before",
        metadata=metadata,
    )


def stopped(key: dg.AssetKey, rows: Sequence[Mapping[str, str]], error: SchemaDrift) -> dg.AssetCheckResult:
    """Of a table that stopped the run: nothing was read."""
    metadata = {"drift": previews.drift(rows), "hint": error.hint}
    return dg.AssetCheckResult(
        asset_key=key, check_name=DRIFT, passed=False, description=error.message, metadata=metadata
    )


def gate(key: dg.AssetKey, partitions: dg.PartitionsDefinition) -> dg.AssetCheckSpec:
    """The check of one scrubbed table. By partition: without, one date's pass would cover another's failure."""
    return dg.AssetCheckSpec(
        GATE,
        asset=key,
        blocking=True,
        partitions_def=partitions,
        description="Everything that was checked over the complete scrubbed output before it was published.",
    )


def told(key: dg.AssetKey, records: Sequence[Checked]) -> dg.AssetCheckResult:
    """One result out of the engine's records. Facts are counts and shapes, never values."""
    failed = [record.name for record in records if not record.passed]
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=GATE,
        passed=not failed,
        description=f"failed: {', '.join(failed)}" if failed else f"{len(records)} checks passed",
        metadata=_facts(records),
    )


def refused(key: dg.AssetKey, table: str, error: GateFailed) -> dg.AssetCheckResult:
    """The result of one table of a run whose gate failed: nothing was published, whichever table was the cause.

    Only tables at fault fail: a clean one that failed with them would hold up what stands on its previous data until
    somebody made it again. What nobody can say of a table counts against it.
    """
    records = error.checks.get(table, ())
    at_fault = [name for name, found in error.checks.items() if not all(record.passed for record in found)]
    if not records or table in at_fault:
        rows = list(findings(table, records))
        metadata: dict[str, Any] = {"findings": previews.table(_FINDING, rows)} if rows else {}
        metadata |= {"hint": error.hint} if error.hint else {}
        return dg.AssetCheckResult(
            asset_key=key, check_name=GATE, passed=False, description=error.message, metadata=metadata
        )
    why = f"{len(records)} checks passed, but not published: see {', '.join(at_fault)}"
    return dg.AssetCheckResult(
        asset_key=key, check_name=GATE, passed=True, description=why, metadata=_facts(records) | {"published": False}
    )


def findings(table: str, records: Sequence[Checked]) -> Iterator[dict[str, Any]]:
    """A row for each thing that a failed check found: where, by what, how often. No value, not even its shape."""
    for record in records:
        if record.passed:
            continue
        for column, detector, count in _found(record):
            yield dict(zip(_FINDING, (table, column, record.name, detector, count), strict=True))


def _found(record: Checked) -> Iterator[tuple[str, str, int]]:
    """(column, detector or what is wrong, count)."""
    facts = record.facts
    for detector, found in facts.get("findings", {}).items():
        yield ", ".join(found.get("columns", ())), detector, found["count"]
    for wrong, said in (("lacking", "without a mask"), ("foreign", "not in the table")):
        yield from ((column, said, 1) for column in facts.get(wrong, ()))
    if "output" in facts:
        yield "", "rows lacking or too many", abs(facts["output"] - facts["source"])


def _facts(records: Sequence[Checked]) -> dict[str, Any]:
    return {record.name: dg.MetadataValue.json({"passed": record.passed, **record.facts}) for record in records}
