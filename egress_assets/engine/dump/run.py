"""Make the raw dump of one dataset and date true: all its tables, in one snapshot, in one swap of the pointer."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from egress_assets.engine.dump.absent import placed
from egress_assets.engine.dump.anew import OIDS, oids, seen_anew
from egress_assets.engine.dump.bounds import Bounds, Quiet, require_awake
from egress_assets.engine.dump.cells import copy_cells
from egress_assets.engine.dump.deep import compare
from egress_assets.engine.dump.describing import describe_further
from egress_assets.engine.dump.discard import discard
from egress_assets.engine.dump.extract import extract
from egress_assets.engine.dump.incremental import cut
from egress_assets.engine.dump.parquet.shape import expressions, texts_of
from egress_assets.engine.dump.parts import part_tasks
from egress_assets.engine.dump.rows import require_condition
from egress_assets.engine.dump.snapshot import Leader, look, open_snapshot
from egress_assets.engine.dump.spec import DumpSpec
from egress_assets.engine.dump.tasks import Cell, PartTask, Relation, StoredColumn, TableDone
from egress_assets.engine.errors import LimitExceeded
from egress_assets.engine.evidence.failures import noted
from egress_assets.engine.evidence.records import Draft, Outcome, TableRecord, digest
from egress_assets.engine.layout import index_key, part_key
from egress_assets.engine.platform import Platform
from egress_assets.engine.progress import Listener, Tick, silent
from egress_assets.engine.result import StageResult
from egress_assets.engine.schema_drift import facts_of
from egress_assets.engine.sidecar import Attempt, with_sidecars
from egress_assets.engine.stage import (
    GoingOn,
    Tally,
    Wanted,
    finished,
    nothing,
    require_date,
    retried,
    settle,
    table_record,
)

logger = logging.getLogger(__name__)


def run(
    platform: Platform,
    dataset: str,
    date: str,
    *,
    tables: Iterable[str] | None = None,
    again: bool = False,
    relabel: bool = False,
    quiet_hours: Quiet = "keep",
    accept_drift: bool = False,
    on: Listener = silent,
) -> StageResult:
    """Dump `tables` (None: all) of `dataset` for `date`, or find that the pointer stands for just that already.

    `again` reads the rows even so. `relabel` takes the source's present state for a past date, and the manifest says
    so. `quiet_hours="ignore"` begins within the source's. `accept_drift` goes on where the catalog's `drift` says fail.
    A run that DDL disturbs starts over on a new snapshot, three times in all. Memory: engine/dump/extract.py.

    Raises CatalogError, SourceError's kinds (SourceQuiet, OutOfOrder), SchemaDrift before the first row, LimitExceeded
    (the previous data stands, what was written is gone), StoreError's kinds (Superseded when a newer run was faster).
    """
    spec = DumpSpec.of(platform, dataset, date, tables, accept_drift=accept_drift)
    with noted(platform.evidence, spec.unit, date), placed(platform.catalog, dataset):
        return _dumped(spec, again=again, relabel=relabel, quiet_hours=quiet_hours, on=on)


def _dumped(spec: DumpSpec, *, again: bool, relabel: bool, quiet_hours: Quiet, on: Listener) -> StageResult:
    tally, date = Tally(), spec.date
    facts = require_date(spec.calendar, date, extract=spec.model.extract, relabel=relabel)
    settings, spec = spec.settings(), spec.chained()
    if not again:
        relations = look(settings, spec.tables)
        found = seen_anew(spec.platform.evidence, spec.standing(relations), relations, extract=spec.model.extract)
        tally.spent("compare", tally.began)
        if not found.reasons:
            return nothing(spec.unit, date, found, tally=tally)
        logger.info("dumping %s of %s: %s", spec.dataset, date, "; ".join(sorted(set(found.reasons.values()))))
    if spec.chain:
        spec.chain.require_order(spec.tables, frozenset(spec.model.tables))
    facts |= require_awake(spec.platform, spec.unit, date, quiet_hours)
    outcome, told = retried(lambda: _materialise(spec, facts, tally, on))
    return finished(spec.platform.evidence, outcome, spec.tables, tally=tally, facts=told)


def _materialise(
    spec: DumpSpec, facts: Mapping[str, Any], tally: Tally, on: Listener
) -> tuple[Outcome, Mapping[str, Any]]:
    drafts: list[Draft] = []

    def work(_base: object, attempt: str) -> Draft:
        drafts.append(_read(spec, attempt, facts, tally, on))
        return drafts[-1]

    outcome = spec.platform.evidence.materialise(
        spec.unit,
        spec.date,
        work,
        data=spec.platform.store(spec.store),
        tables=None if spec.is_whole else frozenset(spec.tables),
    )
    told = {name: fact for name, fact in drafts[-1].facts.items() if name != OIDS}
    return outcome, {"as_of": drafts[-1].as_of, "snapshot": drafts[-1].snapshot, **told}


def _read(spec: DumpSpec, attempt: str, facts: Mapping[str, Any], tally: Tally, on: Listener) -> Draft:
    settings, at = spec.settings(), time.monotonic()
    name = f"egress {spec.unit.title} {spec.date}"
    on(Tick("lock", spec.dataset, unit="tables", total=len(spec.tables)))
    with open_snapshot(settings, spec.tables, application_name=name) as leader:
        at = tally.spent("lock", at)
        on(Tick("lock", spec.dataset, len(spec.tables), len(spec.tables), unit="tables", finished=True))
        wanted = spec.wanted(leader.relations)
        drift = settle(spec, wanted)
        descriptions = describe_further(leader.connection, leader.relations.values())
        planned = {table: _planned(spec, leader, table, attempt) for table in spec.tables}
        at = tally.spent("overlap", at) if spec.chain else at
        done = _extract(spec, leader, planned, on)
        at = tally.spent("dump", at)
        if spec.dump.verify == "deep":
            store = spec.platform.provider.store(spec.store)
            done = compare(leader, done, spec.chosen(leader.relations), store, settings=settings, on=on)
            tally.spent("deep", at)
    if spec.chain:
        spec.chain.require_still(spec.platform.evidence)
    on(Tick("seal", spec.dataset, unit="tables", total=len(spec.tables)))
    tally.sent_bytes += sum(table.bytes for table in done.values())
    records = {t: _record(done[t], wanted[t], planned[t]) for t in spec.tables}
    beside = Attempt(spec.unit, spec.date, attempt, spec.dataset, spec.model, comments=True)
    tables = with_sidecars(spec.platform.store(spec.store), beside, records, leader.relations, descriptions)
    return _draft(spec, leader, tables, tally, {**facts_of(drift), **facts})


def _draft(
    spec: DumpSpec, leader: Leader, tables: Mapping[str, TableRecord], tally: Tally, facts: Mapping[str, Any]
) -> Draft:
    wanted = spec.wanted(leader.relations)
    return Draft(
        tables=tables,
        position=leader.position,
        snapshot=leader.snapshot_id,
        as_of=leader.as_of,
        store=spec.store,
        spec_digest=digest({table: w.form for table, w in wanted.items()}),
        facts={
            "server_version": leader.server_version,
            "milliseconds": tally.milliseconds(),
            OIDS: oids(leader.relations),
            **facts,
        },
    )


@dataclass(frozen=True, slots=True)
class _Planned:
    """One table's tasks; `shape` in parquet; `going_on` of an incremental extract, its index in the store already."""

    tasks: list[PartTask]
    shape: tuple[StoredColumn, ...] = ()
    going_on: GoingOn | None = None

    @property
    def keys(self) -> list[str]:
        index = [self.going_on.index.key] if self.going_on and self.going_on.index else []
        return [*(task.key for task in self.tasks), *index]


def _extract(spec: DumpSpec, leader: Leader, planned: Mapping[str, _Planned], on: Listener) -> dict[str, TableDone]:
    """Above a limit, what was written is removed at once; what other failures leave, the next start sweeps."""
    tasks = [task for table in planned.values() for task in table.tasks]
    settings, store = spec.settings(), spec.platform.provider.store(spec.store)
    bounds = Bounds.of(spec.platform, spec.unit, spec.date, spec.tables)
    try:
        return extract(leader, tasks, store, settings=settings, workers=settings.workers, on=on, bounds=bounds)
    except LimitExceeded:
        discard(spec.platform, (spec.store,), [key for table in planned.values() for key in table.keys])
        raise


def _planned(spec: DumpSpec, leader: Leader, table: str, attempt: str) -> _Planned:
    relation = leader.relations[table]
    require_condition(spec.model.tables[table], relation, leader.connection)
    shape = spec.shape(relation, leader.connection)
    select = expressions(shape) if shape else spec.select(relation)
    asked = spec.asked(leader, table)
    if asked is None:
        cells = copy_cells(relation, select, spec.rows(relation), leader.connection, dialect=spec.csv)
        return _Planned(_tasks(spec, relation, cells, attempt, shape), shape)
    chosen = cut(asked)
    key = index_key(spec.unit, spec.date, attempt, table=table)
    going_on = chosen.going_on(asked, spec.platform.store(spec.store), key)
    return _Planned(_tasks(spec, relation, chosen.cells(asked, select, spec.csv), attempt, shape), shape, going_on)


def _record(done: TableDone, wanted: Wanted, planned: _Planned) -> TableRecord:
    return replace(table_record(done, wanted, planned.going_on), texts=texts_of(planned.shape))


def _tasks(
    spec: DumpSpec, relation: Relation, cells: Sequence[Cell], attempt: str, shape: tuple[StoredColumn, ...]
) -> list[PartTask]:
    suffix = spec.dump.format
    return part_tasks(
        relation,
        cells,
        lambda part: part_key(spec.unit, spec.date, attempt, table=relation.table, part=part, suffix=suffix),
        part_size=spec.dump.part_size,
        format=suffix,
        level=spec.dump.zstd_level,
        columns=shape,
    )
