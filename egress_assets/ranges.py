"""Many dates in one run: the job `<dataset>_range` makes a dataset's chain true for each date in order.

A backfill in the UI is a run a date, each with its own process of some seconds; this is one process for all of them.
Not Dagster's BackfillPolicy.single_run: there one failing date fails all, and all partitions get one data version. Here
each date is told to Dagster as soon as it is done, with its own, and a failing date stops no other.

The run may be killed at any moment. Started again with the same range, it does only what lacks: the engine does nothing
for a date whose pointer already stands for what it would make.
"""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import dagster as dg

from egress_assets import checks, failures, results, running
from egress_assets.automation import WHOLE
from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.errors import CatalogError, EgressError
from egress_assets.engine.layout import escape
from egress_assets.engine.partition import Calendar, now
from egress_assets.engine.platform import Platform
from egress_assets.engine.progress import duration
from egress_assets.engine.result import StageResult
from egress_assets.progress import Progress
from egress_assets.schedules import RANGE
from egress_assets.stages import Engine, Stage

logger = logging.getLogger(__name__)

MOST = 366  # dates in one range: a year; more is a mistyped one sooner than a wish
_NAMED = 10  # failed dates in the message; the list below it has all

Event = dg.AssetMaterialization | dg.AssetCheckEvaluation | dg.Output


class RangeFailed(EgressError):
    """Some dates of a range failed; the others are done. `problems` has a line for each that failed."""

    code: ClassVar[str] = "range_failed"

    def __init__(self, message: str, *, hint: str, problems: tuple[str, ...], retryable: bool) -> None:
        super().__init__(message, hint=hint)
        self.problems = problems
        self.retryable = retryable  # type: ignore[misc] - of this range, not of the class


@dataclass(frozen=True, slots=True)
class Asked:
    """What a run was asked for, checked."""

    dates: tuple[str, ...]
    chain: tuple[Stage, ...]  # parents first
    is_whole: bool  # all of the dataset's stages
    again: bool
    accept_drift: bool


def jobs(catalog: Catalog, stages: Sequence[Stage], engine: Engine) -> list[dg.JobDefinition]:
    """One job a dataset that has stages. Raises CatalogError where a dataset has the name of another one's range."""
    own = {dataset: tuple(s for s in stages if s.dataset == dataset) for dataset in catalog.datasets}
    for dataset in own:
        if f"{dataset}_range" in catalog.datasets:
            raise CatalogError(f"dataset {dataset}_range has the name of the job of {dataset}", hint="Rename it.")
    return [job(dataset, chain, engine) for dataset, chain in own.items() if chain]


def job(dataset: str, chain: tuple[Stage, ...], engine: Engine) -> dg.JobDefinition:
    """The chain of `dataset` for a range of dates.

    It holds a slot of the source's pool for as long as it runs, and none of a recipient's: a delivery's claim is the
    guard there. One range of a dataset runs at a time.
    """
    name = f"range__{escape(dataset)}"

    @dg.op(
        name=name,
        config_schema=_schema(chain),
        required_resource_keys=set().union(*(stage.endpoints for stage in chain)),
        pool=next((stage.pool for stage in chain if stage.pool and stage.pool.startswith("source_")), None),
        out=dg.Out(dg.Nothing),
    )
    def make(context: dg.OpExecutionContext) -> Iterator[Event]:
        with failures.told(context):
            asked = read(context.op_config, chain, dataset)
            if asked.is_whole:  # before the first date is told: automation need not carry on what this run carries
                context.instance.add_run_tags(context.run.run_id, {WHOLE: "yes"})
            yield from _Range(asked, dataset, engine, running.platform(context.resources, chain[0].catalog)).made()
        yield dg.Output(None)

    @dg.config_mapping(config_schema=_schema(chain))
    def plain(config: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"ops": {name: {"config": dict(config)}}}

    @dg.job(
        name=f"{dataset}_range",
        description=f"The chain of {dataset} for every date from one to another, in one run.",
        tags={RANGE: dataset},
        config=plain,
        executor_def=dg.in_process_executor,
    )
    def many_dates() -> None:
        make()

    return many_dates


def _schema(chain: Sequence[Stage]) -> dict[str, dg.Field]:
    stages = list(dict.fromkeys(stage.unit.stage for stage in chain))
    return {
        "from": dg.Field(str, description="The first date, YYYY-MM-DD."),
        "to": dg.Field(str, description=f"The last date, YYYY-MM-DD. At most {MOST} dates."),
        "stages": dg.Field([str], default_value=stages, description=f"Which stages: {', '.join(stages)}."),
        "again": dg.Field(bool, default_value=False, description="Read the source again, also where nothing lacks."),
        "accept_drift": dg.Field(bool, default_value=False, description="Go on where `drift` says fail, this once."),
    }


def read(config: Mapping[str, Any], chain: Sequence[Stage], dataset: str) -> Asked:
    """The range that a run's configuration asks for. Raises CatalogError that says what is wrong with it."""
    names = tuple(dict.fromkeys(stage.unit.stage for stage in chain))
    wanted = set(config["stages"])
    if unknown := sorted(wanted - set(names)):
        raise CatalogError(f"{dataset} has no stage {', '.join(unknown)}", hint=f"Its stages: {', '.join(names)}.")
    if not wanted:
        raise CatalogError("a range without stages does nothing", hint=f"Leave `stages` out, or name {names[0]}.")
    return Asked(
        dates=_dates(config["from"], config["to"], chain[0].calendar),
        chain=tuple(stage for stage in chain if stage.unit.stage in wanted),
        is_whole=wanted == set(names),
        again=config["again"],
        accept_drift=config["accept_drift"],
    )


def _dates(first: str, last: str, calendar: Calendar) -> tuple[str, ...]:
    at = now()
    for date in (first, last):
        calendar.require_known(date, at)
    if first > last:
        raise CatalogError(f"the range begins on {first}, after its end on {last}", hint="Exchange `from` and `to`.")
    dates = tuple(calendar.dates(first, last))
    if len(dates) > MOST:
        hint = "Start a second range when the first has ended."
        raise CatalogError(f"{first} to {last} are {len(dates)} dates, {MOST} are the most", hint=hint)
    return dates


@dataclass(slots=True)
class _Range:
    """One run over the dates of `asked`. Memory: one date's, and a line for each failure."""

    asked: Asked
    dataset: str
    engine: Engine
    platform: Platform
    failed: dict[str, list[tuple[Stage, EgressError]]] = field(default_factory=dict)

    def made(self) -> Iterator[Event]:
        """What each date came to, as soon as it is done. Raises RangeFailed at the end."""
        began, count = time.monotonic(), len(self.asked.dates)
        for n, date in enumerate(self.asked.dates, 1):
            yield from self._date(date)
            took = time.monotonic() - began
            left = f", about {duration(took / n * (count - n))} left" if n < count else ""
            lacking = f", {len(self.failed)} failed" if self.failed else ""
            logger.info("%s: date %d of %d (%s) in %s%s%s", self.dataset, n, count, date, duration(took), lacking, left)
        if self.failed:
            raise self._error()

    def _date(self, date: str) -> Iterator[Event]:
        """A stage whose parent failed is left out, like in a run of the job; what stands beside it is not."""
        lacking: set[dg.AssetKey] = set()
        for stage in self.asked.chain:
            if any(parent in lacking for parents in stage.parents.values() for parent in parents):
                lacking |= set(stage.keys.values())
                continue
            try:
                result = self._stage(stage, date)
                events = list(_told(stage, result, self.platform))
            except Exception as error:  # noqa: BLE001 - noted, told at the end; the other dates go on
                events = list(self._refused(stage, date, failures.foreseen(error)))
                lacking |= set(stage.keys.values())
            yield from events

    def _stage(self, stage: Stage, date: str) -> StageResult:
        names = (stage.dataset,) if stage.unit.stage in ("dump", "scrub") else stage.unit.names
        again = {"again": True} if self.asked.again and stage.unit.stage != "delivery" else {}
        if self.asked.accept_drift and stage.unit.stage in ("dump", "scrub"):
            again["accept_drift"] = True
        with Progress(f"{stage.unit.title} {date}", phases=False) as on:
            return self.engine(stage.unit.stage)(self.platform, *names, date, on=on, **again)

    def _refused(self, stage: Stage, date: str, error: EgressError) -> Iterator[Event]:
        logger.error("%s %s failed: %s (%s) %s", stage.unit.title, date, error, error.code, error.hint)
        self.failed.setdefault(date, []).append((stage, error))
        for table, key in stage.keys.items():
            for told in checks.failed(stage, key, table, error):
                yield _evaluation(told, key, date)

    def _error(self) -> RangeFailed:
        lines = [
            f"{date} {stage.unit.title}: {error.code}: {error.message}"
            for date, found in self.failed.items()
            for stage, error in found
        ]
        named = ", ".join(list(self.failed)[:_NAMED])
        more = f" and {len(self.failed) - _NAMED} more" if len(self.failed) > _NAMED else ""
        first = next(iter(self.failed.values()))[0][1]
        return RangeFailed(
            f"{len(self.failed)} of {len(self.asked.dates)} dates failed: {named}{more}; the others are done",
            hint=f"The first said: {first.hint or first.message} Then start the same range again: it does what lacks.",
            problems=tuple(lines),
            retryable=all(error.retryable for found in self.failed.values() for _, error in found),
        )


def _told(stage: Stage, result: StageResult, platform: Platform) -> Iterator[Event]:
    """The date's materialisations and checks, as a run of its partition would tell them."""
    past, seal = results.past(stage, result, platform), running.sealed(stage, result, platform)
    for table, found in results.by_table(stage.keys, result).items():
        key = stage.keys[table]
        yield dg.AssetMaterialization(
            key,
            partition=result.date,
            metadata=results.metadata(stage, table, result, found, platform=platform, past=past) | seal,
            tags={"dagster/data_version": found.content_digest, "egress/attempt": found.attempt},
        )
        for evaluated in checks.results(stage, key, found):
            yield _evaluation(evaluated, key, result.date)


def _evaluation(told: dg.AssetCheckResult, key: dg.AssetKey, date: str) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key=key,
        check_name=str(told.check_name),
        passed=told.passed,
        description=told.description,
        metadata=told.metadata,
        severity=told.severity,
        blocking=told.check_name == checks.GATE,
        partition=date,
    )
