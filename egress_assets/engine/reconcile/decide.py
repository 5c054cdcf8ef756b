"""Which runs to ask for, and which dates to call missed. Pure: of what was seen, the catalog and the time.

    due       the whole job
    stale     the child and what is made from it
    failed    that unit and what is made from it
    missed    a root has nothing of a date, and nothing can make it any more: no run, a record

What somebody works on is left alone. A situation that lasts is asked for again after LADDER's times, four runs in all;
its run key holds what was decided on, so a lost cursor asks for nothing twice.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.catalog.units import below
from egress_assets.engine.evidence.driver import microseconds
from egress_assets.engine.evidence.failures import Failure
from egress_assets.engine.evidence.proofs import Missed
from egress_assets.engine.evidence.records import digest
from egress_assets.engine.layout import Unit
from egress_assets.engine.reconcile.cases import LADDER, POSSIBLE, Case, dates, has_root, is_held, is_possible, without
from egress_assets.engine.reconcile.look import Sight

AT_MOST = 20
"""Requests a tick, the oldest dates first: a submission takes 0.3 s."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One run: the dataset's job for a date; of `units` alone, or whole when there are none."""

    dataset: str
    date: str
    units: tuple[Unit, ...]
    run_key: str
    reasons: tuple[str, ...]


@dataclass(slots=True)
class Cursor:
    """Since when situations last, and which runs were asked for already. Losing it costs patience, never a run."""

    since: dict[str, int] = field(default_factory=dict)  # by case, seconds of the platform's clock
    asked: dict[str, str] = field(default_factory=dict)  # run key -> date


@dataclass(frozen=True, slots=True)
class Decision:
    asks: tuple[Ask, ...]
    missed: tuple[Missed, ...]
    cursor: Cursor
    left: int  # runs that wait for a later tick


def decide(
    catalog: Catalog,
    sight: Sight,
    found: Iterable[Case],
    *,
    busy: Container[tuple[str, str]],
    cursor: Cursor,
    at: datetime,
) -> Decision:
    """The runs to ask for now. `busy`: (dataset, date) that somebody works on; their patience begins anew."""
    second = microseconds(at) // 1_000_000
    waiting = [case for case in found if (case.dataset, case.date) not in busy]
    since = {case.name: min(cursor.since.get(case.name, second), second) for case in waiting}
    rungs = [(case, _rung(case, timedelta(seconds=second - since[case.name]))) for case in waiting]
    asks = [ask for ask in _asks(catalog, sight, rungs) if ask.run_key not in cursor.asked]
    oldest = min((days[0] for days in dates(catalog, at).values() if days), default="")
    asked = {key: date for key, date in cursor.asked.items() if date >= oldest}
    asked |= {ask.run_key: ask.date for ask in asks[:AT_MOST]}
    missed = tuple(_missed(catalog, sight, busy, at))[:AT_MOST]
    return Decision(tuple(asks[:AT_MOST]), missed, Cursor(since, asked), len(asks[AT_MOST:]))


def _rung(case: Case, lasts: timedelta) -> int:
    """How many of the ladder's times have passed; 0: it hasn't lasted long enough."""
    return sum(1 for step in (LADDER if case.ladder else LADDER[:1]) if lasts >= case.waits + step)


def _asks(catalog: Catalog, sight: Sight, rungs: Iterable[tuple[Case, int]]) -> Iterator[Ask]:
    """One a dataset and date, the oldest date first."""
    grouped: dict[tuple[str, str], list[tuple[Case, int]]] = {}
    for case, rung in rungs:
        if rung:
            grouped.setdefault((case.date, case.dataset), []).append((case, rung))
    for (date, dataset), some in sorted(grouped.items()):
        own = [case for case, _ in some]
        key = digest([sorted(case.name for case in own), min(rung for _, rung in some)])
        reasons = tuple(f"{case.kind} {', '.join(unit.title for unit in case.units)}" for case in own)
        yield Ask(dataset, date, _selection(catalog, sight, own), key, reasons)


def _selection(catalog: Catalog, sight: Sight, own: list[Case]) -> tuple[Unit, ...]:
    """What is wrong and what is made from it, without what is held; empty for the whole job."""
    if any(has_root(catalog, case) for case in own):
        return ()
    dataset = own[0].dataset
    units = below(catalog, dataset, [unit for case in own for unit in case.units])
    return tuple(unit for unit in units if not is_held(catalog, dataset, unit, sight))


def _missed(catalog: Catalog, sight: Sight, busy: Container[tuple[str, str]], at: datetime) -> Iterator[Missed]:
    for dataset, days in dates(catalog, at).items():
        for date, units in without(catalog, dataset, sight, days, at).items():
            if is_possible(catalog, dataset, date, at) or (dataset, date) in busy:
                continue
            for unit in units:
                reason = _reason(catalog, dataset, sight.failures.get((unit, date)))
                yield Missed(unit, date, reason, microseconds(at))


def _reason(catalog: Catalog, dataset: str, failure: Failure | None) -> str:
    model = catalog.dataset(dataset)
    if model.source is not None and model.extract != "full":
        until = f"within {POSSIBLE} days"
    else:
        hours_of_grace = model.grace // timedelta(hours=1)
        until = f"until {hours_of_grace} h after the day, when the source no longer shows it"
    why = f"the last one failed: {failure.code}" if failure else "none was started, or it was killed"
    return f"no run made it {until}; {why}"
