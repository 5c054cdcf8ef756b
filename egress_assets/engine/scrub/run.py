"""Make the scrub of one dataset and date true: masked in the source's own SELECT, gated whole, then one swap.

Raw rows never leave the server, in no mode of failure: what is written is masked already, lies where no reader looks
until the gate has passed all of it, and is removed at once when it does not.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from egress_assets.engine.certificate.standing import ensure, signer_of
from egress_assets.engine.dump.absent import placed
from egress_assets.engine.dump.anew import OIDS, oids, seen_anew
from egress_assets.engine.dump.bounds import Bounds, Quiet, require_awake
from egress_assets.engine.dump.cells import copy_cells
from egress_assets.engine.dump.deep import compare
from egress_assets.engine.dump.describing import describe_further
from egress_assets.engine.dump.discard import discard
from egress_assets.engine.dump.extract import extract
from egress_assets.engine.dump.incremental import Asked, Cut, cut
from egress_assets.engine.dump.parts import part_tasks
from egress_assets.engine.dump.rows import require_condition
from egress_assets.engine.dump.snapshot import Leader, look, open_snapshot
from egress_assets.engine.dump.tasks import PartTask, TableDone
from egress_assets.engine.errors import EgressError, KeyMissing
from egress_assets.engine.evidence.failures import noted
from egress_assets.engine.evidence.records import CheckRecord, Draft, Outcome, Pointer, TableRecord
from egress_assets.engine.layout import index_key, part_key, scrub_unit
from egress_assets.engine.platform import Platform
from egress_assets.engine.progress import Listener, Tick, silent
from egress_assets.engine.result import StageResult
from egress_assets.engine.schema_drift import Drifted, facts_of
from egress_assets.engine.scrub import gate, quarantine
from egress_assets.engine.scrub.locate import columns_found
from egress_assets.engine.scrub.policy import TablePolicy
from egress_assets.engine.scrub.preflight import keys_are_logged
from egress_assets.engine.scrub.spec import ScrubSpec, scrub_of, spec_digest
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
from egress_assets.engine.version import VERSION

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
    """Scrub `tables` (None: all) of `dataset` for `date`, or find that the pointer stands for just that already.

    Either way it ends with the certificate of what the pointer names, where the catalog has `certificates`.

    `again` reads the rows even so. `relabel` takes the source's present state for a past date, and the manifest says
    so. `quiet_hours="ignore"` begins within the source's. `accept_drift` goes on where the catalog's `drift` says fail.
    A run that DDL disturbs starts over on a new snapshot, three times in all. Memory: engine/dump/extract.py, and 2 MiB
    a worker for the scan.

    Raises Unclassified, SchemaDrift, TableMissing and SourceQuiet before the first row, KeyMissing, GateFailed and
    LimitExceeded (the previous data stands, what was written is gone), CatalogError, SourceError's and StoreError's
    kinds; and CertificateInvalid when the data is true and something else lies where its certificate has to be.
    """
    unit = scrub_unit(dataset, scrub_of(platform, dataset).audience)
    with noted(platform.evidence, unit, date), placed(platform.catalog, dataset):
        spec = ScrubSpec.of(platform, dataset, date, tables, accept_drift=accept_drift)
        signer_of(platform)  # a key that can't be had stops the run before the first row
        result = _scrubbed(spec, again=again, relabel=relabel, quiet_hours=quiet_hours, on=on)
        certificate = ensure(platform, spec.unit, date)
        return replace(result, certificate=certificate.told if certificate else None)


def _scrubbed(spec: ScrubSpec, *, again: bool, relabel: bool, quiet_hours: Quiet, on: Listener) -> StageResult:
    tally, date = Tally(), spec.date
    facts = require_date(spec.calendar, date, extract=spec.model.extract, relabel=relabel)
    spec = spec.chained()
    if not again:
        relations = look(spec.settings(), spec.tables)
        found = spec.standing(spec.wanted(spec.policies(relations)))
        found = seen_anew(spec.platform.evidence, found, relations, extract=spec.model.extract)
        tally.spent("compare", tally.began)
        if not found.reasons:
            return nothing(spec.unit, date, found, tally=tally)
        logger.info("scrubbing %s of %s: %s", spec.dataset, date, "; ".join(sorted(set(found.reasons.values()))))
    if spec.chain:
        spec.chain.require_order(spec.tables, frozenset(spec.model.tables))
    facts |= require_awake(spec.platform, spec.unit, date, quiet_hours)
    _sweep_landing(spec)
    outcome, told = retried(lambda: _materialise(spec, facts, tally, on))
    return finished(spec.platform.evidence, outcome, spec.tables, tally=tally, facts=told)


def _sweep_landing(spec: ScrubSpec) -> None:
    """What dead runs left in quarantine; the stage's own store is swept by `materialise`."""
    if spec.landing == spec.store:
        return
    try:
        spec.platform.evidence.sweep(spec.unit, spec.date, spec.platform.store(spec.landing))
    except EgressError as error:
        logger.warning("left unswept %s in %s: %s", spec.title, spec.landing, error)


def _materialise(
    spec: ScrubSpec, facts: Mapping[str, Any], tally: Tally, on: Listener
) -> tuple[Outcome, Mapping[str, Any]]:
    drafts: list[Draft] = []

    def work(base: Pointer | None, attempt: str) -> Draft:
        _require_one_key(spec, base)
        drafts.append(_Attempt(spec, attempt, facts, tally, on).draft())
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


def _require_one_key(spec: ScrubSpec, base: Pointer | None) -> None:
    """A subset beside tables of another key or epoch: their pseudonyms would not join, and nobody would see it."""
    kept = frozenset(base.entries) - frozenset(spec.tables) if base and not spec.is_whole else frozenset()
    if base is None or not kept:
        return
    epochs = {m.draft.facts.get("epoch") for m, _ in spec.platform.evidence.tables(base, kept).values()}
    was, now = (
        f"key {base.key_id} epoch {', '.join(map(str, epochs))}",
        f"key {spec.keys.key_id} epoch {spec.keys.epoch}",
    )
    if base.key_id != spec.keys.key_id or epochs != {spec.keys.epoch}:
        raise KeyMissing(
            f"{spec.title} was scrubbed with {was}, {', '.join(spec.tables)} would be with {now}",
            hint="Scrub all tables of the date in one run; only then do their pseudonyms join.",
        )


class _Attempt:
    """One try: read, check, promote. Whatever goes wrong, the bytes that it wrote are removed."""

    def __init__(self, spec: ScrubSpec, attempt: str, facts: Mapping[str, Any], tally: Tally, on: Listener) -> None:
        self._spec, self._facts, self._tally, self._on = spec, facts, tally, on
        self._attempt = attempt
        self._keys: list[str] = []  # of what may have been written
        self._cuts: dict[str, Cut] = {}  # of an incremental extract
        self._going_on: dict[str, GoingOn] = {}
        self._drift: tuple[Drifted, ...] = ()

    def draft(self) -> Draft:
        try:
            return self._draft()
        except Exception:
            discard(self._spec.platform, (self._spec.landing, self._spec.store), self._keys)
            raise

    def _draft(self) -> Draft:
        spec, at = self._spec, time.monotonic()
        self._on(Tick("lock", spec.dataset, unit="tables", total=len(spec.tables)))
        name = f"egress {spec.title}"
        with open_snapshot(spec.settings(), spec.tables, application_name=name) as leader:
            at = self._tally.spent("lock", at)
            policies = spec.policies(leader.relations)
            self._drift = settle(spec, spec.wanted(policies))
            descriptions = describe_further(leader.connection, leader.relations.values())
            refuse = spec.scrub.log_settings == "refuse"
            keyed = spec.chain is not None or any(policy.domains for policy in policies.values())
            logged = keyed and keys_are_logged(leader, refuse=refuse)
            tasks = [task for policy in policies.values() for task in self._tasks(leader, policy)]
            at = self._tally.spent("overlap", at) if spec.chain else at
            done = self._read(leader, tasks)
            at = self._tally.spent("scrub", at)
            checks = self._checked(leader, policies, done)
            at = self._tally.spent("gate", at)
            if spec.scrub.verify == "deep":
                done = self._compared(leader, policies, done)
                at = self._tally.spent("deep", at)
        if spec.landing != spec.store:
            self._on(Tick("promote", spec.dataset, unit="tables", total=len(done)))
        done = quarantine.promote(spec.platform, spec.landing, spec.store, done)
        self._tally.spent("promote", at)
        if spec.chain:
            spec.chain.require_still(spec.platform.evidence)
        self._on(Tick("seal", spec.dataset, unit="tables", total=len(done)))
        records = self._records(policies, done, checks)
        beside = Attempt(spec.unit, spec.date, self._attempt, spec.dataset, spec.model)
        records = with_sidecars(spec.platform.store(spec.store), beside, records, leader.relations, descriptions)
        return self._told(leader, spec.wanted(policies), records, keys_logged=logged)

    def _read(self, leader: Leader, tasks: Sequence[PartTask]) -> dict[str, TableDone]:
        spec, settings = self._spec, self._spec.settings()
        bounds = Bounds.of(spec.platform, spec.unit, spec.date, spec.tables)
        done = extract(
            leader, tasks, spec.platform.provider.store(spec.landing), settings=settings, workers=settings.workers,
            on=self._on, phase="scrub", bounds=bounds,
        )  # fmt: skip
        self._tally.sent_bytes += sum(table.bytes for table in done.values())
        return done

    def _tasks(self, leader: Leader, policy: TablePolicy) -> list[PartTask]:
        spec, table = self._spec, policy.table
        relation, suffix = leader.relations[table], spec.scrub.format
        require_condition(spec.model.tables[table], relation, leader.connection)
        asked = spec.asked(leader, policy)
        if asked is None:
            cells = copy_cells(relation, policy.select, spec.rows(relation), leader.connection, dialect=spec.csv)
        else:
            cells = self._cut(asked).cells(asked, policy.select, spec.csv)
        tasks = part_tasks(
            relation,
            cells,
            lambda part: part_key(spec.unit, spec.date, self._attempt, table=table, part=part, suffix=suffix),
            part_size=spec.scrub.part_size,
            format=suffix,
            session=spec.keys.session(policy.domains),
            detectors=spec.detectors,
            escaped=spec.csv.is_escaped,
        )
        self._keys += [task.key for task in tasks]
        return tasks

    def _cut(self, asked: Asked) -> Cut:
        """What belongs to the date, its index written: keyed digests, which need no gate."""
        spec, table = self._spec, asked.relation.table
        key = index_key(spec.unit, spec.date, self._attempt, table=table)
        self._keys.append(key)
        self._cuts[table] = chosen = cut(asked)
        self._going_on[table] = chosen.going_on(asked, spec.platform.store(spec.store), key)
        return chosen

    def _compared(
        self, leader: Leader, policies: Mapping[str, TablePolicy], done: Mapping[str, TableDone]
    ) -> dict[str, TableDone]:
        """Raises ChecksumMismatch."""
        spec = self._spec
        store = spec.platform.provider.store(spec.landing)
        return compare(
            leader, done, spec.chosen(leader.relations, policies), store, settings=spec.settings(), on=self._on
        )

    def _checked(
        self, leader: Leader, policies: Mapping[str, TablePolicy], done: Mapping[str, TableDone]
    ) -> dict[str, tuple[CheckRecord, ...]]:
        """Raises GateFailed, SourceChanged."""
        spec = self._spec
        self._on(Tick("gate", spec.dataset, unit="tables", total=len(done)))
        rows = {t: self._cuts[t].rows if self._cuts else spec.rows(leader.relations[t]) for t in spec.tables}
        counted = gate.count_rows(leader, rows)
        counted = {t: count + (self._cuts[t].late_rows if self._cuts else 0) for t, count in counted.items()}
        gate.refuse_attached(leader, done, counted)
        checks = gate.examine(policies, leader.relations, done, counted, spec.detectors)
        if failed := gate.failures(checks):
            found = {t: gate.located(checks[t], self._located(done[t], policies[t])) for t in failed}
            raise gate.gate_failed(spec.title, {**checks, **found})
        self._on(Tick("gate", spec.dataset, len(done), len(done), unit="tables", finished=True))
        return checks

    def _located(self, done: TableDone, policy: TablePolicy) -> Mapping[str, tuple[str, ...]]:
        """Best effort: the gate fails with or without the names of the columns."""
        names, store = [c.info.name for c in policy.columns], self._spec.platform.store(self._spec.landing)
        found: dict[str, set[str]] = {}
        try:
            for part in (part for part in done.parts if part.findings):
                where = columns_found(store, part, self._spec.scrub.format, names, dialect=self._spec.csv)
                for detector, columns in where.items():
                    found.setdefault(detector, set()).update(columns)
        except EgressError as error:
            logger.warning("columns of the findings in %s are not known: %s", done.table, error)
            return {}
        return {detector: tuple(sorted(columns, key=names.index)) for detector, columns in found.items()}

    def _records(
        self,
        policies: Mapping[str, TablePolicy],
        done: Mapping[str, TableDone],
        checks: Mapping[str, tuple[CheckRecord, ...]],
    ) -> dict[str, TableRecord]:
        wanted = self._spec.wanted(policies)
        return {
            t: replace(table_record(done[t], wanted[t], self._going_on.get(t)), checks=checks[t])
            for t in self._spec.tables
        }

    def _told(
        self, leader: Leader, wanted: Mapping[str, Wanted], records: Mapping[str, TableRecord], *, keys_logged: bool
    ) -> Draft:
        spec, keys = self._spec, self._spec.keys
        facts = {"server_version": leader.server_version, "milliseconds": self._tally.milliseconds()}
        facts |= {"epoch": keys.epoch, "keys_logged_by_server": keys_logged, OIDS: oids(leader.relations)}
        facts |= {"egress_version": VERSION}
        return Draft(
            tables=records,
            position=leader.position,
            snapshot=leader.snapshot_id,
            as_of=leader.as_of,
            store=spec.store,
            spec_digest=spec_digest(wanted),
            key_id=keys.key_id,
            audience=keys.audience,
            basis={"basis": "scrubbed", "unit": str(spec.unit), "audience": keys.audience},
            facts={**facts, **facts_of(self._drift), **self._facts},
        )
