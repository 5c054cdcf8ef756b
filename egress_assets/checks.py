"""Asset checks report what the engine's gate found. They do not gate: the gate is inside the scrub op."""

from collections.abc import Sequence

import dagster as dg

from egress_assets.engine.errors import GateFailed
from egress_assets.engine.evidence.records import CheckRecord

GATE = "gate"


def gate(key: dg.AssetKey, partitions: dg.PartitionsDefinition) -> dg.AssetCheckSpec:
    """The check of one scrubbed table. By partition: without, one date's pass would cover another's failure."""
    return dg.AssetCheckSpec(
        GATE,
        asset=key,
        blocking=True,
        partitions_def=partitions,
        description="Everything that was checked over the complete scrubbed output before it was published.",
    )


def told(key: dg.AssetKey, records: Sequence[CheckRecord]) -> dg.AssetCheckResult:
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

    The message names tables, checks, columns and counts.
    """
    return dg.AssetCheckResult(asset_key=key, check_name=GATE, passed=False, description=error.message)


def _facts(records: Sequence[CheckRecord]) -> dict[str, dg.MetadataValue]:
    return {record.name: dg.MetadataValue.json({"passed": record.passed, **record.facts}) for record in records}
