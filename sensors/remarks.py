"""What is said about the whole rather than done: the overview, holds, drift. Each is an event only when it changes."""

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

import dagster as dg

from egress_assets import overview
from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.drift import Drift, tables_gone
from egress_assets.engine.evidence.proofs import Event, Hold
from egress_assets.engine.evidence.records import digest
from egress_assets.engine.holds import since
from egress_assets.engine.layout import hold_key, source_key
from egress_assets.engine.platform import Platform
from egress_assets.engine.seen import Seen
from egress_assets.engine.status import judge
from egress_assets.stages import Stage
from sensors.noted import Noted

OVERVIEW = 60.0  # seconds between two events of the overview
Remark = dg.AssetObservation | dg.AssetMaterialization


def remarks(
    platform: Platform,
    graph: Sequence[Stage],
    dates: Mapping[str, list[str]],
    seen: Seen,
    told: Noted,
    *,
    at: datetime,
) -> Iterator[Remark]:
    """What there is to say now; `told` is brought up to date."""
    drift = [*tables_gone(platform.catalog, seen.truths), *told.gone]
    yield from _holds(platform, graph, seen, told)
    yield from _drift(platform.catalog, drift, told)
    yield from _overview(platform.catalog, dates, seen, drift, told, at=at)


# ---------------------------------------------------------------------------------------------------------------- holds
def _holds(platform: Platform, graph: Sequence[Stage], seen: Seen, told: Noted) -> Iterator[dg.AssetObservation]:
    for name, hold in seen.holds.items():
        if told.holds.get(name) != hold.event.nonce:
            yield from _held(platform.catalog, graph, name, hold.event, "held")
    for name in told.holds.keys() - seen.holds.keys():
        if lifted := _lifted(platform, name):
            yield from _held(platform.catalog, graph, name, lifted, "lifted")
    told.holds = {name: hold.event.nonce for name, hold in seen.holds.items()}


def _held(
    catalog: Catalog, graph: Sequence[Stage], name: str, event: Event, state: str
) -> Iterator[dg.AssetObservation]:
    """On everything that the hold stops."""
    when = since(Hold(True, event))
    words = f"{name} is held" if state == "held" else f"the hold on {name} is lifted"
    for stage in graph:
        if _is_stopped(catalog, stage, name):
            yield dg.AssetObservation(
                stage.key(),
                description=f"{words} by {event.by}: {event.reason}" if event.reason else f"{words} by {event.by}",
                metadata={"hold": state, "what": name, "by": event.by, "why": event.reason, "since": when},
            )


def _is_stopped(catalog: Catalog, stage: Stage, name: str) -> bool:
    if stage.unit.stage == "delivery":
        return name in (f"recipient/{stage.unit.names[0]}", f"dataset/{stage.dataset}")
    external = stage.unit.stage == "mirror" and catalog.endpoints.stores[stage.store].zone != "trusted"
    return external and name == f"dataset/{stage.dataset}"


def _lifted(platform: Platform, name: str) -> Event | None:
    kind, _, rest = name.partition("/")
    there = platform.evidence.store.read(hold_key(kind, rest))
    return Hold.parse(there[0]).event if there else None


# ---------------------------------------------------------------------------------------------------------------- drift
def _drift(catalog: Catalog, drift: Sequence[Drift], told: Noted) -> Iterator[dg.AssetObservation]:
    """On the dataset's source, or on the overview where there is none."""
    grouped: dict[str, list[Drift]] = {}
    for each in drift:
        grouped.setdefault(each.dataset, []).append(each)
    now = {dataset: digest([[d.title, d.dates, d.last] for d in own])[:12] for dataset, own in grouped.items()}
    for dataset in sorted(now.keys() | told.drift.keys()):
        if now.get(dataset) != told.drift.get(dataset):
            own = grouped.get(dataset, [])
            yield dg.AssetObservation(
                _about(catalog, dataset),
                description=f"not in the catalog any more: {', '.join(d.title for d in own[:5])}"
                if own
                else "evidence and catalog name the same tables and units",
                metadata={"not_in_the_catalog": overview.drifted(own), "things": len(own)},
            )
    told.drift = now


def _about(catalog: Catalog, dataset: str) -> dg.AssetKey:
    has_source = dataset in catalog.datasets and catalog.dataset(dataset).source is not None
    return dg.AssetKey(source_key(dataset)) if has_source else overview.KEY


# ------------------------------------------------------------------------------------------------------------- overview
def _overview(
    catalog: Catalog,
    dates: Mapping[str, list[str]],
    seen: Seen,
    drift: Sequence[Drift],
    told: Noted,
    *,
    at: datetime,
) -> Iterator[dg.AssetMaterialization]:
    rows, holds = list(judge(catalog, seen, dates, at)), list(seen.holds.values())
    content = overview.content(rows, holds, drift)
    if content == told.overview or time.time() - told.overview_at < OVERVIEW:
        return
    yield dg.AssetMaterialization(
        overview.KEY,
        description=overview.summary(rows),
        metadata=overview.metadata(rows, holds, drift, at),
        tags={"dagster/data_version": content},
    )
    told.overview, told.overview_at = content, time.time()
