"""Work that was done, told out of evidence as its run would have told it: for what Dagster did not see happen.

A pointer tells dumps, scrubs and mirrors. A delivery is told by its receipts: its pointer moves when bytes are sealed,
before any of them leaves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from hashlib import sha256

from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.catalog.units import parent_of
from egress_assets.engine.certificate.stored import certified
from egress_assets.engine.evidence.driver import Evidence
from egress_assets.engine.evidence.proofs import Receipt
from egress_assets.engine.evidence.records import Manifest, Pointer, TableRecord, canonical, digest
from egress_assets.engine.layout import Unit, manifest_key
from egress_assets.engine.release import INVENTORY, OBJECTS
from egress_assets.engine.result import StageResult, TableResult
from egress_assets.engine.schema_drift import noted
from egress_assets.engine.seen import Seen, Slot

Versions = Mapping[str, str]
"""Content digest by table; '' where a unit has one asset. It is Dagster's data version: equal ones are one content,
also where damaged bytes were made anew under another attempt."""


def versions(catalog: Catalog, dataset: str, unit: Unit, date: str, seen: Seen) -> Versions:
    """What evidence says was made of a unit and date; empty when nothing was."""
    if unit.stage == "delivery":
        newest = of_delivery(_receipts(seen, unit, date))
        return {"": delivered(newest)} if newest else {}
    truth = seen.truths.get((unit, date))
    entries = truth.pointer.entries if truth else {}
    if unit.stage == "mirror":
        return dict.fromkeys([""], *(entry.content_digest for entry in entries.values())) if entries else {}
    known = catalog.dataset(dataset).tables
    return {table: entry.content_digest for table, entry in entries.items() if table in known}


def fingerprint(made: Mapping[str, Versions]) -> str:
    """12 hexadecimal digits that differ when anything of a unit does; `made` is by date."""
    return digest({date: dict(tables) for date, tables in made.items()})[:12]


def unreported(made: Versions, reported: Versions) -> list[str]:
    """Tables whose version Dagster has not been told."""
    return [table for table, version in made.items() if reported.get(table) != version]


# ----------------------------------------------------------------------------------------------------------- deliveries
def _receipts(seen: Seen, unit: Unit, date: str) -> list[Receipt]:
    recipient, pipeline = unit.names
    return seen.receipts.get((recipient, pipeline, date), [])


def of_delivery(receipts: Iterable[Receipt]) -> list[Receipt]:
    """The newest receipt of each destination, in the order in which a run sends."""
    newest: dict[str, Receipt] = {}
    for receipt in sorted(receipts, key=lambda r: (r.order, r.era, r.at)):
        newest[receipt.destination] = receipt
    return [newest[destination] for destination in sorted(newest)]


def delivered(receipts: Iterable[Receipt]) -> str:
    """The digest that a run gives to what it delivered."""
    content = sha256()
    for receipt in receipts:
        content.update(canonical([receipt.destination, receipt.sha256]))
    return content.hexdigest()


# -------------------------------------------------------------------------------------------------------------- results
def result(catalog: Catalog, evidence: Evidence, dataset: str, slot: Slot, seen: Seen) -> StageResult:
    """The result that the run of this unit and date would have had. Reads its manifests. Raises ManifestInvalid, ..."""
    unit, date = slot
    if unit.stage == "delivery":
        receipts = of_delivery(_receipts(seen, unit, date))
        return _sent(evidence, unit, date, receipts, parent_of(catalog, dataset, unit)[1])
    pointer = seen.truths[slot].pointer
    return replace(_made(pointer, evidence.tables(pointer)), certificate=certified(evidence, pointer))


def _made(pointer: Pointer, records: Mapping[str, tuple[Manifest, TableRecord]]) -> StageResult:
    """Seconds by phase are those that the last attempt noted; bytes sent those of the tables that it moved."""
    phases = _phases([manifest for manifest, _ in records.values() if manifest.attempt == pointer.by])
    tables = {name: _table(pointer, name, manifest, record) for name, (manifest, record) in sorted(records.items())}
    return StageResult(
        unit=pointer.unit,
        date=pointer.date,
        how="moved",
        generation=pointer.generation,
        tables=tables,
        seconds=sum(phases.values()),
        phases=phases,
        sent_bytes=sum(found.bytes for found in tables.values() if found.moved),
    )


def _phases(manifests: list[Manifest]) -> dict[str, float]:
    noted = manifests[0].draft.facts.get("milliseconds", {}) if manifests else {}
    return {name: spent / 1000 for name, spent in noted.items()}


def _table(pointer: Pointer, name: str, manifest: Manifest, record: TableRecord) -> TableResult:
    raw = [found.raw_bytes for found in record.objects if found.raw_bytes is not None]
    facts = manifest.draft.facts
    totals = facts if record.format == INVENTORY else {}  # its objects are shards of a list
    return TableResult(
        table=name,
        attempt=manifest.attempt,
        manifest=manifest_key(pointer.unit, pointer.date, manifest.attempt),
        content_digest=record.content_digest,
        moved=manifest.attempt == pointer.by,
        bytes=totals.get("bytes", record.bytes),
        objects=totals.get("objects", len(record.objects)),
        rows=record.rows,
        raw_bytes=sum(raw) if raw else None,
        columns=record.columns,
        checks=record.checks,
        continues=record.continues,
        drift=tuple(noted(facts, name)),
    )


def _sent(evidence: Evidence, unit: Unit, date: str, receipts: list[Receipt], table: str) -> StageResult:
    source, attempt = Unit.parse(receipts[0].source["unit"]), receipts[0].source["attempt"]
    made = evidence.manifest(source, date, attempt).draft.tables
    record = made.get(OBJECTS if source == unit else table) if table else None
    sent = sum(receipt.bytes for receipt in receipts)
    found = TableResult(
        table=OBJECTS,
        attempt=receipts[0].source["attempt"],
        manifest=manifest_key(source, date, attempt),
        content_digest=delivered(receipts),
        moved=True,
        bytes=sent,
        objects=len(receipts),
        rows=record.rows if record else None,
    )
    facts = {"sent_files": len(receipts), "receipts": [receipt.identity for receipt in receipts[:20]]}
    generation = max(receipt.order[1] for receipt in receipts)
    return StageResult(unit, date, "moved", generation, {OBJECTS: found}, 0.0, sent_bytes=sent, facts=facts)
