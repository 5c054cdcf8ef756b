"""What the stages that read a database share: is the date allowed, is there anything to do, and how a run is told.

A dump and a scrub are source roots: they do nothing when the pointer stands for exactly what they would make (spec,
policy, key, schema) and its objects are there. Whether the rows have changed nobody can know without reading them;
`--again` reads them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

from egress_assets.engine.catalog.models import DatasetModel
from egress_assets.engine.dialect import PLAIN, Dialect, told
from egress_assets.engine.dump.tasks import CellDone, TableDone
from egress_assets.engine.errors import CatalogError, HistoryUnavailable, ManifestInvalid, SourceChanged
from egress_assets.engine.evidence.driver import Evidence
from egress_assets.engine.evidence.records import Column, Manifest, ObjectRecord, Outcome, Pointer, TableRecord, digest
from egress_assets.engine.layout import Unit, manifest_key
from egress_assets.engine.partition import Calendar, now
from egress_assets.engine.platform import Platform
from egress_assets.engine.result import PlanLine, StageResult, TableResult
from egress_assets.engine.schema_drift import Drifted, before, drifted, noted, refusal, settled
from egress_assets.engine.stores import Store

logger = logging.getLogger(__name__)
T = TypeVar("T")

_HEADS_IN_FLIGHT = 8
_TRIES = 3
"""Whole datasets: each try takes its own locks and snapshot, and writes under its own attempt."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a table's entry must stand for. `policy_digest` covers all that decides its bytes but schema and format."""

    policy_digest: str
    columns: tuple[Column, ...]
    format: str
    csv: Dialect = PLAIN
    after: str = ""  # of incremental extracts: the entry of the date before that this one continues from

    def difference(self, record: TableRecord) -> str:
        """What of the record differs, '' when nothing does."""
        if record.columns != self.columns:
            return "its columns have changed"
        if record.policy_digest != self.policy_digest:
            return "its policy has changed"
        if after_of(record) != self.after:
            return "the date that it continues from has changed"
        if record.format != self.format:
            return f"its format was {record.format}, {self.format} is wanted"
        return "" if record.csv == self.csv else f"its rows were {record.csv}, {self.csv} is wanted"

    @property
    def form(self) -> list[Any]:
        """What decides the bytes, for a unit's digest."""
        return [self.policy_digest, self.format, *told(self.csv).values()]


@dataclass(frozen=True, slots=True)
class GoingOn:
    """What an incremental extract leaves for the date after it: the record's `continues` and `index`."""

    continues: Mapping[str, Any]
    index: ObjectRecord | None


@dataclass(frozen=True, slots=True)
class Standing:
    """What the pointer stands for. Nothing is to be done when `reasons` is empty."""

    pointer: Pointer | None
    records: Mapping[str, tuple[Manifest, TableRecord]]
    reasons: Mapping[str, str]  # table -> why it has to be made


def standing(
    evidence: Evidence,
    unit: Unit,
    date: str,
    *,
    data: Store,
    wanted: Mapping[str, Wanted],
    dataset: frozenset[str],
    key_id: str = "",
) -> Standing:
    """Compare the truth of a date with what a run over `wanted` would make; `dataset` are all tables of the catalog.

    A run over all of them wants one snapshot too. Reads evidence and asks HEAD of each object, eight at a time.
    Raises StoreUnavailable, StoreDenied.
    """
    pointer = evidence.pointer(unit, date)
    if pointer is None:
        return Standing(None, {}, dict.fromkeys(wanted, "not made yet"))
    if pointer.key_id != key_id:
        return Standing(pointer, {}, dict.fromkeys(wanted, "its key has changed"))
    if frozenset(wanted) == dataset and not pointer.consistent(dataset):
        left = sorted(set(pointer.entries) - dataset)
        why = f"{', '.join(left)} left the catalog" if left else "the tables are not of one snapshot"
        return Standing(pointer, {}, dict.fromkeys(wanted, why))
    reasons = {table: "not made yet" for table in wanted if table not in pointer.entries}
    try:
        records = evidence.tables(pointer, frozenset(wanted) - frozenset(reasons))
    except ManifestInvalid:
        return Standing(pointer, {}, dict.fromkeys(wanted, "its manifest can't be read"))
    differing = {table: wanted[table].difference(record) for table, (_, record) in records.items()}
    reasons |= {table: difference for table, difference in differing.items() if difference}
    equal = {table: record for table, (_, record) in records.items() if table not in reasons}
    reasons |= dict.fromkeys(_damaged(data, equal), "its objects are gone or replaced")
    return Standing(pointer, records, reasons)


def _damaged(data: Store, records: Mapping[str, TableRecord]) -> set[str]:
    """Tables with an object that HEAD doesn't confirm, by length and ETag."""
    objects = [(table, found) for table, record in records.items() for found in record.stored]
    with ThreadPoolExecutor(_HEADS_IN_FLIGHT) as threads:
        heads = threads.map(lambda pair: data.head(pair[1].key), objects)
        return {
            table
            for (table, found), head in zip(objects, heads, strict=True)
            if head is None or (head.bytes, head.etag) != (found.bytes, found.etag)
        }


class Spec(Protocol):
    """What a source root's run is asked for: DumpSpec, ScrubSpec."""

    @property
    def platform(self) -> Platform: ...
    @property
    def unit(self) -> Unit: ...
    @property
    def date(self) -> str: ...
    @property
    def model(self) -> DatasetModel: ...
    @property
    def is_whole(self) -> bool: ...
    @property
    def accept_drift(self) -> bool: ...


def drift_of(spec: Spec, wanted: Mapping[str, Wanted]) -> tuple[Drifted, ...]:
    """How the schema differs from what evidence has. Raises StoreError's kinds."""
    past = before(spec.platform.evidence, spec.unit, spec.date, wanted, frozenset(spec.model.tables))
    columns = {table: each.columns for table, each in wanted.items()}
    return drifted(spec.model, past, columns, whole=spec.is_whole)


def settle(spec: Spec, wanted: Mapping[str, Wanted]) -> tuple[Drifted, ...]:
    """The drift that a run goes on with, told in the log. Raises SchemaDrift, StoreError's kinds."""
    found = drift_of(spec, wanted)
    return settled(spec.platform.catalog, spec.unit, spec.date, found, accept=spec.accept_drift)


def drift_lines(spec: Spec, wanted: Mapping[str, Wanted]) -> list[PlanLine]:
    """A plan's lines of the drift: `!` what would refuse the run, and last how to accept it; `*` what would not."""
    found = drift_of(spec, wanted)
    refused = [each for each in found if each.how == "fail"]
    lines = [
        PlanLine("!" if d.how == "fail" else "*", d.table, f"{d.line}; drift since {d.since}, {d.how}") for d in found
    ]
    if refused:
        error = refusal(spec.platform.catalog, spec.unit, spec.date, refused)
        lines.append(PlanLine("!", spec.unit.title, f"{len(refused)} differences are refused. {error.hint}"))
    return lines


def chosen_tables(all_tables: Iterable[str], asked: Iterable[str] | None, dataset: str) -> tuple[str, ...]:
    """The tables of a run in the catalog's order; None asks for all. Raises CatalogError for an unknown one."""
    known = tuple(all_tables)
    if asked is None:
        return known
    wanted = set(asked)
    if unknown := sorted(wanted - set(known)):
        hint = f"Its tables: {', '.join(known)}."
        raise CatalogError(f"dataset {dataset} has no table {', '.join(unknown)}", hint=hint)
    return tuple(table for table in known if table in wanted)


def require_date(calendar: Calendar, date: str, *, extract: str, relabel: bool) -> dict[str, Any]:
    """Refuse a date that the source can't stand for any more; facts for the manifest when it is taken nevertheless.

    Raises CatalogError (unknown date), HistoryUnavailable.
    """
    at = now()
    if extract != "full":
        calendar.require_known(date, at)
        return {}
    try:
        calendar.require_full_extract(date, at)
    except HistoryUnavailable:
        if not relabel:
            raise
        logger.warning("relabelled: the source's present state becomes %s", date)
        return {"relabelled": True}
    return {}


def retried(work: Callable[[], T]) -> T:
    """Start over, on a new snapshot, when DDL or a conflict came in between; the last SourceChanged is raised."""
    for tried in range(1, _TRIES):
        try:
            return work()
        except SourceChanged as error:
            logger.warning("try %d of %d: %s", tried, _TRIES, error)
            _pause(2.0 ** (tried - 1))
    return work()


def _pause(seconds: float) -> None:
    """In slices, so that a signal handler's exception is not kept waiting."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(0.5, left))


def after_of(record: TableRecord) -> str:
    """Which entry an incremental extract continued from, as `Wanted.after` names it; '' for none."""
    return str(record.continues.get("after", ""))


def table_record(done: TableDone, wanted: Wanted, going_on: GoingOn | None = None) -> TableRecord:
    """The manifest's entry of a table that is whole in the store."""
    return TableRecord(
        objects=tuple(
            ObjectRecord(part.key, part.bytes, part.sha256, part.rows, part.etag, raw_bytes=part.raw_bytes)
            for part in done.parts
        ),
        content_digest=content_digest(wanted, done.cells),
        columns=wanted.columns,
        format=wanted.format,
        rows=done.rows,
        policy_digest=wanted.policy_digest,
        csv=wanted.csv,
        continues=going_on.continues if going_on else {},
        index=going_on.index if going_on else None,
        checksums=done.checksums,
    )


def content_digest(wanted: Wanted, cells: Sequence[CellDone]) -> str:
    """sha256 over schema, policy, format, then cell by cell the digest of the uncompressed bytes and the rows.

    Cells without rows are left out: a table that has grown without rows, was truncated at its end by VACUUM, or has an
    empty partition more, is the same content. How cells are put into parts, and who read them, is no part of it.
    Format and dialect are part of it: a change in the catalog replaces equal rows in another coding. So is the entry
    that an incremental extract continues from: equal rows after another date are another link of the chain.
    """
    after = {"after": wanted.after} if wanted.after else {}
    return digest(
        {
            **after,
            "schema": [column.to_json() for column in wanted.columns],
            "policy": wanted.policy_digest,
            "format": wanted.format,
            **told(wanted.csv),
            "cells": [[cell.sha256, cell.rows] for cell in cells if cell.rows],
        }
    )


@dataclass(slots=True)
class Tally:
    """What a run has done so far. Phases in seconds; tries of one run add up."""

    began: float = field(default_factory=time.monotonic)
    phases: dict[str, float] = field(default_factory=dict)
    sent_bytes: int = 0

    def spent(self, phase: str, since: float) -> float:
        """Count the time since `since` as `phase`; returns now."""
        at = time.monotonic()
        self.phases[phase] = self.phases.get(phase, 0.0) + at - since
        return at

    def milliseconds(self) -> dict[str, int]:
        """The phases for the evidence, which holds no floats."""
        return {phase: round(seconds * 1000) for phase, seconds in self.phases.items()}


def nothing(unit: Unit, date: str, found: Standing, *, tally: Tally) -> StageResult:
    """The run had nothing to do."""
    if found.pointer is None:
        raise ManifestInvalid(f"{unit.title} {date} has no pointer, so there is something to do")
    return _told(unit, date, found.pointer, found.records, how="nothing", tally=tally)


def finished(
    evidence: Evidence,
    outcome: Outcome,
    tables: Iterable[str],
    *,
    tally: Tally,
    facts: Mapping[str, Any] | None = None,
) -> StageResult:
    """The run has moved or confirmed the pointer; `tables` are those that it worked on."""
    pointer = outcome.pointer
    records = evidence.tables(pointer, frozenset(tables))
    return _told(
        pointer.unit, pointer.date, pointer, records, how=outcome.how, tally=tally, moved=outcome.moved, facts=facts
    )


def _told(
    unit: Unit,
    date: str,
    pointer: Pointer,
    records: Mapping[str, tuple[Manifest, TableRecord]],
    *,
    how: Literal["moved", "unchanged", "nothing"],
    tally: Tally,
    moved: frozenset[str] = frozenset(),
    facts: Mapping[str, Any] | None = None,
) -> StageResult:
    return StageResult(
        unit=unit,
        date=date,
        how=how,
        generation=pointer.generation,
        tables={name: _table(unit, date, name, m, r, name in moved) for name, (m, r) in sorted(records.items())},
        seconds=time.monotonic() - tally.began,
        phases=tally.phases,
        sent_bytes=tally.sent_bytes,
        facts=facts or {},
    )


def _table(unit: Unit, date: str, name: str, manifest: Manifest, record: TableRecord, moved: bool) -> TableResult:
    raw = [found.raw_bytes for found in record.objects if found.raw_bytes is not None]
    return TableResult(
        table=name,
        attempt=manifest.attempt,
        manifest=manifest_key(unit, date, manifest.attempt),
        content_digest=record.content_digest,
        moved=moved,
        bytes=record.bytes,
        objects=len(record.objects),
        rows=record.rows,
        raw_bytes=sum(raw) if raw else None,
        columns=record.columns,
        checks=record.checks,
        continues=record.continues,
        drift=tuple(noted(manifest.draft.facts, name)),
        checksums=record.checksums,
    )
