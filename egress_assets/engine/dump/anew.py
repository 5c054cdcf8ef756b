"""A table that was dropped and created again under its name is another table, even with equal columns.

The evidence notes each table's oid. Where it differs, a rerun of a `full` date reads the table instead of finding
nothing to do. A `window` date that stands is not replaced: what the new table has of that day may be nothing, and the
old rows exist nowhere else any more; `--again` says that this is meant.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from egress_assets.engine.dump.tasks import Relation
from egress_assets.engine.evidence.driver import Evidence
from egress_assets.engine.stage import Standing

logger = logging.getLogger(__name__)

OIDS = "oids"  # in the manifest's facts
REASON = "it was dropped and created anew"


def oids(relations: Mapping[str, Relation]) -> dict[str, int]:
    """What the manifest notes."""
    return {table: relation.oid for table, relation in relations.items()}


def seen_anew(evidence: Evidence, found: Standing, relations: Mapping[str, Relation], *, extract: str) -> Standing:
    """`found`, with a reason for each table that is another one since. Reads a manifest only where an oid differs."""
    anew = {t for t, (manifest, _) in found.records.items() if _differs(manifest.draft.facts, relations[t])}
    if not anew or found.pointer is None:
        return found
    # An entry that was kept for equal content names the attempt that read it first; the last run's own says more.
    last = evidence.manifest(found.pointer.unit, found.pointer.date, found.pointer.by).draft.facts
    anew -= {table for table in anew if table in last.get(OIDS, {}) and not _differs(last, relations[table])}
    if extract == "full":
        return replace(found, reasons={**dict.fromkeys(sorted(anew), REASON), **found.reasons})
    for table in sorted(anew - set(found.reasons)):
        logger.warning(
            "%s was dropped and created anew since %s %s was read; what was read stands, --again replaces it",
            table, found.pointer.unit.title, found.pointer.date,
        )  # fmt: skip
    return found


def _differs(facts: Mapping[str, Any], relation: Relation) -> bool:
    """False where an older manifest says nothing."""
    return facts.get(OIDS, {}).get(relation.table, relation.oid) != relation.oid
