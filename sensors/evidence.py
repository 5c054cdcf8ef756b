"""What evidence says and Dagster was not told: work of the CLI, CronJobs and killed runs, as runless materialisations.

A tick looks at the newest dates of every unit and walks on through all other pointers, some at a time. What differs
from the version of Dagster's latest materialisation is reported with the metadata that a run would have told; what a
run of Dagster's own works on is left until it ends, since it tells by itself. Checks are never reported: a second
evaluation for one is an error there, and what the gate found is in the metadata.

The same look gives the overview, the holds on what leaves, and what evidence has and the catalog doesn't name any more:
each an event only when it changes.
"""

import time
from collections.abc import Mapping, Sequence
from copy import deepcopy

import dagster as dg

from egress_assets import overview, running
from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.drift import units_gone
from egress_assets.engine.evidence.memory import Memory, Unread
from egress_assets.engine.found import fingerprint, versions
from egress_assets.engine.layout import Unit
from egress_assets.engine.partition import now
from egress_assets.engine.platform import Platform
from egress_assets.engine.seen import Seen, Slot, every_pointer, look, look_at
from egress_assets.engine.status import newest
from egress_assets.stages import Stage
from sensors import noted
from sensors.at_work import at_work
from sensors.noted import Noted
from sensors.remarks import remarks
from sensors.telling import Teller

INTERVAL = 30  # seconds between ticks
READS = 600  # records a tick: 0.4 s at the sandbox's store with eight readers
WALKED = 2000  # pointers that a tick's walk passes: two pages of a listing
OLDER = 20  # of them, dates to compare: a listing of receipts and a query an asset each
SKEW = 3600  # seconds that clocks of stores and of this machine may differ
Dates = Mapping[str, list[str]]


def sensor(catalog: Catalog, graph: Sequence[Stage]) -> dg.SensorDefinition:
    """The one sensor of all datasets: evidence is one store."""
    memory = Memory(reads=READS)
    stages = {stage.unit: stage for stage in graph}

    @dg.sensor(
        name="evidence",
        minimum_interval_seconds=INTERVAL,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={f"store_{name}" for name in catalog.endpoints.stores},
        description="Reports what was done outside of Dagster, and what `egress status` says.",
    )
    def evidence(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        memory.begin_round()
        platform, told, at = running.platform(context.resources, catalog), noted.parse(context.cursor), now()
        dates = newest(catalog, overview.DAYS, at)
        try:
            seen = look(catalog, platform.evidence, dates, memory)
        except Unread:
            return dg.SkipReason("evidence is being read for the first time; it goes on in the next tick")
        teller = Teller(context.instance, platform, at_work(context.instance, graph))
        events = [*recent(teller, stages, dates, seen, told), *walked(teller, stages, dates, memory, told)]
        return dg.SensorResult(
            asset_events=[*events, *remarks(platform, graph, dates, seen, told, at=at)], cursor=told.written()
        )

    return evidence


def recent(
    teller: Teller, stages: Mapping[Unit, Stage], dates: Dates, seen: Seen, told: Noted
) -> list[dg.AssetMaterialization]:
    """What changed on the newest dates, parents first: a child that was made too is newer than its parent."""
    events: list[dg.AssetMaterialization] = []
    catalog = teller.platform.catalog
    for unit, stage in stages.items():
        made = {date: versions(catalog, stage.dataset, unit, date, seen) for date in dates[stage.dataset]}
        made = {date: each for date, each in made.items() if each}
        print_ = fingerprint(made)
        if told.units.get(str(unit)) != print_ and teller.tell(stage, made, seen, events):
            told.units[str(unit)] = print_
    told.units = {name: each for name, each in told.units.items() if Unit.parse(name) in stages}
    return events


# ------------------------------------------------------------------------------------------------------------- the walk
def walked(
    teller: Teller, stages: Mapping[Unit, Stage], dates: Dates, memory: Memory, told: Noted
) -> list[dg.AssetMaterialization]:
    """Go on through all pointers: older dates that changed since the last walk, and units that left the catalog.

    What can't be told in this tick is walked over again in the next one.
    """
    before, events = deepcopy(told.walk), list[dg.AssetMaterialization]()
    slots = _step(teller.platform, stages, dates, told)
    try:
        is_all = _older(teller, stages, slots, memory, events)
    except Unread:
        is_all = False
    if not is_all:
        told.walk = before
    return events


def _step(platform: Platform, stages: Mapping[Unit, Stage], dates: Dates, told: Noted) -> dict[Slot, str]:
    """ETags of the older dates to compare; moves the walk on."""
    walk = told.walk
    if not walk.after:
        walk.began, walk.gone = time.time(), []
    slots: dict[Slot, str] = {}
    for n, (key, (unit, date), listed) in enumerate(every_pointer(platform.evidence, after=walk.after), 1):
        if n > WALKED or len(slots) >= OLDER:
            return slots
        walk.after = key
        stage = stages.get(unit)
        if stage is None:
            walk.gone = units_gone(platform.catalog, [(unit, date)], walk.gone)
        elif date < min(dates[stage.dataset], default="") and listed.modified.timestamp() > walk.since - SKEW:
            slots[unit, date] = listed.etag
    walk.after, walk.since, told.gone = "", walk.began, walk.gone
    return slots


def _older(
    teller: Teller,
    stages: Mapping[Unit, Stage],
    slots: Mapping[Slot, str],
    memory: Memory,
    events: list[dg.AssetMaterialization],
) -> bool:
    """Tell these dates, and their dataset's deliveries of them, whose receipts no pointer tells."""
    if not slots:
        return True
    catalog, is_all = teller.platform.catalog, True
    seen = look_at(teller.platform.evidence, slots, memory)
    touched = {(stages[unit].dataset, date) for unit, date in slots}
    for unit, stage in stages.items():
        days = {date for dataset, date in touched if dataset == stage.dataset}
        made = {date: versions(catalog, stage.dataset, unit, date, seen) for date in days}
        is_all = teller.tell(stage, {date: each for date, each in made.items() if each}, seen, events) and is_all
    return is_all
