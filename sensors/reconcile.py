"""Runs for what no schedule and no condition sees: missed schedules, children left behind, failures worth a retry.

What is decided is engine/reconcile, pure; here it is looked, asked and noted. Every request is for a known date of a
loaded job: one unknown key would fail the whole tick, and every one after it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

import dagster as dg

from egress_assets import running
from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.catalog.units import units_of
from egress_assets.engine.evidence.driver import Evidence
from egress_assets.engine.evidence.memory import Memory, Unread
from egress_assets.engine.layout import Unit
from egress_assets.engine.partition import now
from egress_assets.engine.reconcile.cases import cases, dates
from egress_assets.engine.reconcile.decide import Ask, Cursor, Decision, decide
from egress_assets.engine.reconcile.look import Sight, look, under_way
from egress_assets.schedules import Job, work_tags
from egress_assets.stages import Stage
from sensors.at_work import Busy, at_work

RECONCILE = "egress/reconcile"
"""Tag of the runs that are asked for here: why, in a word each."""
INTERVAL = 60  # seconds between ticks
READS = 600  # records a tick: 0.4 s at the sandbox's store with eight readers


def sensor(catalog: Catalog, graph: Sequence[Stage], jobs: Mapping[str, Job]) -> dg.SensorDefinition:
    """Asks for one run a situation, the oldest dates first, and notes dates that can't be made any more."""
    memory = Memory(reads=READS)
    loaded = {stage.unit: stage for stage in graph}

    @dg.sensor(
        name="reconcile",
        jobs=list(jobs.values()),
        minimum_interval_seconds=INTERVAL,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={f"store_{catalog.endpoints.evidence.store}"},
        description="Catches up: missed schedules, parents that moved while a child ran, failures worth a retry.",
    )
    def reconcile(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        at = now()
        evidence = running.platform(context.resources, catalog).evidence
        memory.begin_round()
        try:
            sight = look(catalog, evidence, dates(catalog, at), memory)
        except Unread:
            return dg.SkipReason("evidence is being read for the first time; it goes on in the next tick")
        busy = at_work(context.instance, graph)
        decision = _decided(catalog, evidence, sight, busy, parse(context.cursor), at=at)
        for missed in decision.missed:
            if evidence.miss(missed):
                context.log.warning("missed %s %s: %s", missed.unit.title, missed.date, missed.reason)
        requests = [r for ask in decision.asks if (r := _request(context, ask, loaded, jobs))]
        return dg.SensorResult(run_requests=requests, cursor=written(decision.cursor))

    return reconcile


def _decided(
    catalog: Catalog, evidence: Evidence, sight: Sight, busy: Busy, cursor: Cursor, *, at: datetime
) -> Decision:
    """Only what would be asked for is looked up among the attempts: a few small requests a date."""
    found = cases(catalog, sight, at)
    first = decide(catalog, sight, found, busy=busy, cursor=cursor, at=at)
    slots = {(a.dataset, a.date): [(u, a.date) for u in units_of(catalog, a.dataset)] for a in first.asks}
    working = {work for work, own in slots.items() if under_way(evidence, own, at)}
    return decide(catalog, sight, found, busy=busy.also(working), cursor=cursor, at=at) if working else first


def _request(
    context: dg.SensorEvaluationContext, ask: Ask, loaded: Mapping[Unit, Stage], jobs: Mapping[str, Job]
) -> dg.RunRequest | None:
    stages = [stage for stage in loaded.values() if stage.dataset == ask.dataset]
    if ask.dataset not in jobs or not stages or not stages[0].partitions.has_partition_key(ask.date):
        context.log.warning("not asked for: %s has no partition %s here", ask.dataset, ask.date)
        return None
    context.log.info("%s %s: %s", ask.dataset, ask.date, "; ".join(ask.reasons))
    return dg.RunRequest(
        run_key=ask.run_key,
        job_name=ask.dataset,
        partition_key=ask.date,
        asset_selection=list(_keys(ask, loaded)) or None,
        tags={**work_tags(ask.dataset, ask.date), RECONCILE: ",".join(sorted({r.split()[0] for r in ask.reasons}))},
    )


def _keys(ask: Ask, loaded: Mapping[Unit, Stage]) -> Iterator[dg.AssetKey]:
    for unit in ask.units:
        yield from loaded[unit].keys.values()


def parse(cursor: str | None) -> Cursor:
    """One that can't be read is an empty one: patience begins anew, and run keys stop a second run."""
    try:
        value = json.loads(cursor or "{}")
        return Cursor({str(k): int(v) for k, v in value.get("since", {}).items()}, dict(value.get("asked", {})))
    except (ValueError, TypeError, AttributeError):
        return Cursor()


def written(cursor: Cursor) -> str:
    return json.dumps({"since": cursor.since, "asked": cursor.asked}, sort_keys=True, separators=(",", ":"))
