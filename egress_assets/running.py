"""The body of every asset: check the date, let the engine work, tell Dagster.

Told at the end, all or nothing: what a failing op has yielded before stays materialised, and an op that yields nothing
for a table succeeds with everything below it skipped. So a run that finds nothing to do tells every table as well.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import dagster as dg

from egress_assets import checks, failures, partitions, results
from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.environment import environment
from egress_assets.engine.errors import EgressError, GateFailed
from egress_assets.engine.platform import Platform
from egress_assets.engine.progress import Listener, Tick
from egress_assets.engine.result import StageResult
from egress_assets.stages import Stage
from resources.provider import ResourceProvider

logger = logging.getLogger(__name__)

Event = dg.MaterializeResult | dg.AssetCheckResult


@dataclass(frozen=True, slots=True)
class Work:
    """What the engine is given: a checked date, the selected tables (None: all of them), endpoints, a listener."""

    platform: Platform
    date: str
    tables: tuple[str, ...] | None
    on: Listener


class Progress:
    """Listens to the engine: a log line now and then while something is on its way, for people who watch a long run.

    What is finished the engine logs itself.
    """

    def __init__(self, title: str, *, every: float = 30.0) -> None:
        self._title, self._every = title, every
        self._told = time.monotonic()

    def __call__(self, tick: Tick) -> None:
        at = time.monotonic()
        if tick.finished or at - self._told < self._every:
            return
        self._told = at
        of = f" of {tick.total}" if tick.total else ""
        logger.info("%s: %s %s, %d%s %s so far", self._title, tick.phase, tick.item, tick.done, of, tick.unit)


def perform(context: dg.AssetExecutionContext, stage: Stage, call: Callable[[Work], StageResult]) -> Iterator[Event]:
    """Run the engine for the selected tables of one date.

    An EgressError leaves nothing materialised; when the gate failed, its checks are told before it is raised.
    """
    selected = _selected(context, stage)
    try:
        work = _work(context, stage, selected)
        events = list(_told(context, stage, selected, call(work), work.platform))
    except EgressError as error:
        failures.stop_run_retries(context, error)
        if isinstance(error, GateFailed):
            yield from _refused(context, selected, error)
        raise failures.failure(error) from error
    yield from events


def platform(resources: object, catalog: Catalog) -> Platform:
    """The catalog over a run's (or a sensor's) resources. Opens nothing."""
    return Platform(catalog, ResourceProvider(resources, catalog), environment())


def _work(context: dg.AssetExecutionContext, stage: Stage, selected: Mapping[str, dg.AssetKey]) -> Work:
    date = partitions.date_of(context, stage.calendar)
    tables = None if len(selected) == len(stage.keys) else tuple(selected)
    return Work(platform(context.resources, stage.catalog), date, tables, Progress(stage.unit.title))


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
    past = results.past(stage, result, platform)
    for table, found in results.by_table(selected, result).items():
        key = selected[table]
        found_checks = [checks.told(key, found.checks)] if _check_wanted(context, key) else []
        if key in context.selected_asset_keys:
            yield dg.MaterializeResult(
                asset_key=key,
                data_version=dg.DataVersion(found.content_digest),
                metadata=results.metadata(stage, table, result, found, platform=platform, past=past),
                tags={"egress/attempt": found.attempt},
                check_results=found_checks,
            )
        else:
            yield from found_checks


def _refused(
    context: dg.AssetExecutionContext, selected: Mapping[str, dg.AssetKey], error: GateFailed
) -> Iterator[dg.AssetCheckResult]:
    for table, key in selected.items():
        if _check_wanted(context, key):
            yield checks.refused(key, table, error)


def _check_wanted(context: dg.AssetExecutionContext, key: dg.AssetKey) -> bool:
    return dg.AssetCheckKey(key, checks.GATE) in context.selected_asset_check_keys
