"""A story as plain data: what `--json` prints, and what the lines for people are made of."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from egress_assets.engine.dialect import told
from egress_assets.engine.evidence.records import Column, Entry, Position
from egress_assets.engine.explain.steps import Seen, Step
from egress_assets.engine.explain.story import Delivered, Story
from egress_assets.engine.holds import since
from egress_assets.engine.result import continuing


def document(story: Story) -> dict[str, Any]:
    """All of it; keys are stable, values are null where evidence does not say."""
    return {
        "dataset": story.dataset,
        "unit": story.target.unit.title,
        "date": story.target.date,
        "told": [_step(step) for step in story.told],
        "objects": [_object(seen) for seen in story.objects],
        "up": [_step(step) for step in story.up],
        "down": [_step(step) for step in story.down],
        "receipts": [_receipt(each) for each in story.delivered],
        "receipts_left_off": story.left_off,
        "holds": [
            {"name": hold.event.name, "by": hold.event.by, "since": since(hold), "reason": hold.event.reason}
            for hold in story.holds
        ],
    }


def _step(step: Step) -> dict[str, Any]:
    said: dict[str, Any] = {
        "unit": step.unit.title, "date": step.date, "table": step.table, "attempt": step.attempt, "state": step.state,
        "detail": step.detail, "generation": step.pointer.generation if step.pointer else None,
        "pointer_by": step.pointer.by if step.pointer else None,
    }  # fmt: skip
    if step.manifest is None:
        return said
    draft = step.manifest.draft
    said |= {
        "manifest": step.manifest_key, "manifest_digest": step.manifest.digest, "store": draft.store,
        "source": position(draft.position), "snapshot": draft.snapshot, "as_of": draft.as_of,
        "confirmed": _confirmed(step.confirmed),
        "basis": dict(draft.basis), "parents": [*draft.parents], "facts": dict(draft.facts),
    }  # fmt: skip
    return said | _content(step)


def _confirmed(entry: Entry | None) -> dict[str, Any] | None:
    """Where a later run stood that found the same content."""
    return {**position(entry.position), "snapshot": entry.snapshot} if entry else None


def _content(step: Step) -> dict[str, Any]:
    record, manifest = step.record, step.manifest
    if record is None or manifest is None:
        return {}
    policy = {
        "digest": record.policy_digest, "audience": manifest.draft.audience, "key_id": manifest.draft.key_id,
        "epoch": manifest.draft.facts.get("epoch"),
    }  # fmt: skip
    return {
        "rows": record.rows, "bytes": record.bytes, "objects": len(record.objects), "format": record.format,
        **told(record.csv),
        "content_digest": record.content_digest, "policy": policy if step.unit.stage == "scrub" else None,
        "columns": [_column(column) for column in record.columns],
        "checks": [check.to_json() for check in record.checks], "continues": continuing(record.continues),
    }  # fmt: skip


def _column(column: Column) -> dict[str, Any]:
    return {"name": column.name, "type": column.type, "mask": column.mask}


def _object(seen: Seen) -> dict[str, Any]:
    return {
        "store": seen.store, "key": seen.key, "bytes": seen.bytes, "sha256": seen.sha256, "rows": seen.rows,
        "now": seen.held, "detail": seen.detail,
    }  # fmt: skip


def _receipt(each: Delivered) -> dict[str, Any]:
    receipt = each.receipt
    return {
        "recipient": receipt.recipient, "pipeline": receipt.pipeline, "destination": receipt.destination,
        "at": moment(receipt.at), "how": receipt.how, "identity": receipt.identity, "sha256": receipt.sha256,
        "bytes": receipt.bytes, "era": receipt.era, "by": receipt.by, "ledger": each.ledger,
        "source": dict(receipt.source), "facts": dict(receipt.facts),
    }  # fmt: skip


def moment(microseconds: int) -> str:
    """ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(microseconds // 1_000_000, UTC).isoformat().replace("+00:00", "Z")


def position(at: Position) -> Mapping[str, Any]:
    """Where in its input a run stood: an LSN as Postgres writes it, a moment, or a parent's generation."""
    if at.line == "as_of":
        return {"kind": "as_of", "at": moment(at.at)}
    if at.line.startswith("parents:"):
        return {"kind": "parent", "unit": at.line.removeprefix("parents:"), "generation": at.at}
    system, _, timeline = at.line.partition("/")
    return {"kind": "lsn", "lsn": f"{at.at >> 32:X}/{at.at & 0xFFFFFFFF:X}", "system": system, "timeline": timeline}
