"""What every stage answers to its caller, be it the CLI, a Dagster asset or a test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from egress_assets.engine.checksum import Checksums
from egress_assets.engine.evidence.records import CheckRecord, Column
from egress_assets.engine.layout import Unit
from egress_assets.engine.schema_drift import Drifted


@dataclass(frozen=True, slots=True)
class TableResult:
    """One table (or the object set of a mirror or delivery) as the pointer names it after the run."""

    table: str
    attempt: str
    manifest: str  # key in the evidence store
    content_digest: str
    moved: bool
    bytes: int  # as stored
    objects: int
    rows: int | None = None
    raw_bytes: int | None = None
    columns: tuple[Column, ...] = ()
    checks: tuple[CheckRecord, ...] = ()
    continues: Mapping[str, Any] = field(default_factory=dict)  # of incremental extracts: watermark, late rows
    drift: tuple[Drifted, ...] = ()  # that its content came with, and that the run went on with
    checksums: Checksums | None = None


@dataclass(frozen=True, slots=True)
class Certified:
    """The certificate of a scrub, as others name it."""

    key: str  # in the evidence store
    digest: str  # sha256 of the envelope
    key_id: str  # whose signature


@dataclass(frozen=True, slots=True)
class StageResult:
    """How a stage ended for one unit and date.

    moved: the pointer names new content. unchanged: the work was done and its content is what was there.
    nothing: parents, spec and policy are what the pointer stands for already; no byte was read.
    """

    unit: Unit
    date: str
    how: Literal["moved", "unchanged", "nothing"]
    generation: int
    tables: Mapping[str, TableResult]
    seconds: float
    phases: Mapping[str, float] = field(default_factory=dict)  # seconds by phase
    sent_bytes: int = 0  # bytes written to the stage's store or recipient by this run
    facts: Mapping[str, Any] = field(default_factory=dict)
    certificate: Certified | None = None  # of a scrub


def continuing(continues: Mapping[str, Any]) -> dict[str, Any]:
    """What people are told of an incremental extract's `continues`; empty for every other extract.

    `after`: the date that it continues from. `missed_rows`: None where they were not counted.
    """
    if not continues:
        return {}
    told = ("column", "watermark", "begins", "again", "late_rows", "ahead_rows", "missed_rows")
    return {"after": str(continues["after"]).partition("/")[0], **{name: continues[name] for name in told}}


@dataclass(frozen=True, slots=True)
class PlanLine:
    """One thing a run would do: `=` nothing, `+` write, `*` replace, `-` remove, `>` send, `<` read, `!` refuse."""

    sign: Literal["=", "+", "*", "-", ">", "<", "!"]
    what: str
    detail: str = ""
