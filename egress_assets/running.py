"""The body of every asset: check the date, let the engine work, tell Dagster.

Told at the end, all or nothing: what a failing op has yielded before stays materialised, and an op that yields nothing
for a table succeeds with everything below it skipped. So a run that finds nothing to do tells every table as well.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from egress_assets import checks, failures, partitions, results
from egress_assets.engine.apart import apart
from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.environment import environment
from egress_assets.engine.errors import EgressError, GateFailed, SchemaDrift
from egress_assets.engine.platform import Platform
from egress_assets.engine.progress import Listener
from egress_assets.engine.result import StageResult
from egress_assets.progress import Progress
from egress_assets.stages import Stage
from resources.provider import ResourceProvider

_TO_SEAL = (
    "The tables of this date are not of one moment. Mirrors and deliveries that need the whole dataset (`consistency: "
    "dataset`, the default) refuse it until all of its tables are materialised in one run: launch the dataset's job "
    "for this date."
)

Event = dg.MaterializeResult | dg.AssetCheckResult


@dataclass(frozen=True, slots=True)
class Work:
    """What the engine is given: a checked date, the selected tables (None: all of them), endpoints, a listener."""

    platform: Platform
    date: str
    tables: tuple[str, ...] | None
    on: Listener


def perform(context: dg.AssetExecutionContext, stage: Stage, call: Callable[[Work], StageResult]) -> Iterator[Event]:
    """Run the engine for the selected tables of one date.

    An error leaves nothing materialised; when the gate or drift has stopped it, that is told as checks before.
    """
    with failures.told(context):
        selected = _selected(context, stage)
        try:
            events = _worked(context, stage, selected, call)
        except (GateFailed, SchemaDrift) as error:
            for table, key in selected.items():
                yield from _wanted(context, key, checks.failed(stage, key, table, error))
            raise
        yield from events


def platform(resources: object, catalog: Catalog) -> Platform:
    """The catalog over a run's (or a sensor's) resources. Opens nothing."""
    return Platform(catalog, ResourceProvider(resources, catalog), environment())


def sealed(stage: Stage, result: StageResult, platform: Platform) -> dict[str, Any]:
    """Whether the date is one consistent whole, and what to do when a run of some tables has left it in pieces.

    Reads the pointer after a run of some tables only: one of all tables has one snapshot.
    """
    if not stage.tables:
        return {}
    if set(result.tables) >= set(stage.tables):
        return {"consistent": True}
    try:
        pointer = platform.evidence.pointer(stage.unit, result.date)
    except EgressError as error:
        return {"consistent": f"not known: {error.message}"}
    pieces = apart(pointer, frozenset(stage.tables)) if pointer else ()
    if not pieces:
        return {"consistent": True}
    listed = "\n".join(f"- {piece}" for piece in pieces)
    return {"consistent": False, "not_sealed": dg.MetadataValue.md(f"{listed}\n\n{_TO_SEAL}")}


def _worked(
    context: dg.AssetExecutionContext,
    stage: Stage,
    selected: Mapping[str, dg.AssetKey],
    call: Callable[[Work], StageResult],
) -> list[Event]:
    date = partitions.date_of(context, stage.calendar)
    tables = None if len(selected) == len(stage.keys) else tuple(selected)
    given = platform(context.resources, stage.catalog)
    with Progress(f"{stage.unit.title} {date}") as on:
        result = call(Work(given, date, tables, on))
    return list(_told(context, stage, selected, result, given))


def _selected(context: dg.AssetExecutionContext, stage: Stage) -> Mapping[str, dg.AssetKey]:
    """The run's tables. A check may be asked for alone: its table is worked on, without being told as materialised."""
    wanted = set(context.selected_asset_keys) | {check.asset_key for check in context.selected_asset_check_keys}
    return {table: key for table, key in stage.keys.items() if key in wanted}


def _told(
    context: dg.AssetExecutionContext,
    stage: Stage,
    selected: Mapping[str, dg.AssetKey],
    result: StageResult,
    platform: Platform,
) -> Iterator[Event]:
    past, seal = results.past(stage, result, platform), sealed(stage, result, platform)
    for table, found in results.by_table(selected, result).items():
        key = selected[table]
        found_checks = _wanted(context, key, checks.results(stage, key, found))
        if key in context.selected_asset_keys:
            yield dg.MaterializeResult(
                asset_key=key,
                data_version=dg.DataVersion(found.content_digest),
                metadata=results.metadata(stage, table, result, found, platform=platform, past=past) | seal,
                tags={"egress/attempt": found.attempt},
                check_results=found_checks,
            )
        else:
            yield from found_checks


def _wanted(
    context: dg.AssetExecutionContext, key: dg.AssetKey, found: Sequence[dg.AssetCheckResult]
) -> list[dg.AssetCheckResult]:
    """Those that the run was asked for: all of them, unless somebody has chosen some."""
    selected = context.selected_asset_check_keys
    return [each for each in found if dg.AssetCheckKey(key, str(each.check_name)) in selected]
