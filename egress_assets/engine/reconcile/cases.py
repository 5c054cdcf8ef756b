"""What is not as it should be and a run could help. Pure: of what was seen, the catalog and the time.

    due       a root of the dataset has nothing of a date whose schedule has passed
    stale     a child was made from other entries than its parent's pointer names now, or there is none of it though it
              has earlier dates
    failed    the last run failed, and says that trying again can help

Held ways out are no case, nor are sources in their quiet hours. A dataset's dates count from its first pointer; before
it has one, only its newest date does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from egress_assets.engine import hours
from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.catalog.units import parent_of, units_of
from egress_assets.engine.evidence.driver import microseconds
from egress_assets.engine.evidence.failures import Failure
from egress_assets.engine.evidence.records import digest
from egress_assets.engine.housekeeping import stores_of
from egress_assets.engine.layout import Unit
from egress_assets.engine.partition import Calendar, parse_date
from egress_assets.engine.quiet import quiet_until
from egress_assets.engine.reconcile.look import Entries, Sight, began
from egress_assets.engine.seen import Slot

POSSIBLE = 45
"""Days back in which a `window` or incremental dataset's date is still made by itself; older ones start by hand."""
LOOKED_AT = POSSIBLE + 7
"""Days back that are looked at: a date that has just become too old is called missed, once."""
PATIENCE = timedelta(minutes=2)
"""How long a situation has to last: the conditions' sensor ticks every 30 s and goes first."""
LADDER = (timedelta(0), timedelta(minutes=10), timedelta(hours=1), timedelta(hours=6))
"""When a situation that lasts is asked for again, after its patience; and how long a failure is left alone."""


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that is not as it should be. `said` is what of it decides: the same again is the same run."""

    kind: str  # due | stale | failed
    dataset: str
    date: str
    units: tuple[Unit, ...]  # that are wrong; what is made from them follows
    said: str
    waits: timedelta = PATIENCE
    ladder: bool = True

    @property
    def name(self) -> str:
        """What a cursor remembers it by."""
        return digest([self.kind, self.dataset, self.date, [str(unit) for unit in self.units], self.said])[:16]


def dates(catalog: Catalog, at: datetime) -> dict[str, list[str]]:
    """The dates to look at, by dataset, the oldest first."""
    return {name: _dates(catalog.calendar(name), at) for name in catalog.datasets}


def _dates(calendar: Calendar, at: datetime) -> list[str]:
    last = parse_date(calendar.last_complete(at))
    return calendar.dates(max(calendar.start, last - timedelta(days=LOOKED_AT - 1)).isoformat(), last.isoformat())


# --------------------------------------------------------------------------------------------------------------- cases
def cases(catalog: Catalog, sight: Sight, at: datetime) -> list[Case]:
    """Everything that a run could help, the oldest date first; a root that is asked for stands for what is below."""
    found: list[Case] = []
    for dataset, days in dates(catalog, at).items():
        own = [*_roots(catalog, dataset, sight, days, at), *_failed(catalog, dataset, sight, days, at)]
        own += _stale(catalog, dataset, sight, days, at)
        whole = {case.date for case in own if case.kind != "stale" and has_root(catalog, case)}
        found += [case for case in own if case.date not in whole or has_root(catalog, case)]
    return sorted(found, key=lambda case: (case.date, case.dataset, case.kind))


def has_root(catalog: Catalog, case: Case) -> bool:
    return any(parent_of(catalog, case.dataset, unit)[0] is None for unit in case.units)


def _roots(catalog: Catalog, dataset: str, sight: Sight, days: list[str], at: datetime) -> Iterator[Case]:
    behind: set[Unit] = set()
    for date, units in sorted(without(catalog, dataset, sight, days, at).items()):
        if catalog.dataset(dataset).extract == "incremental":
            if behind & set(units):
                continue  # it continues from a date that has to be made first
            behind |= set(units)
        open_units = tuple(unit for unit in units if (unit, date) not in sight.failures)
        if open_units == units and is_possible(catalog, dataset, date, at) and not _is_quiet(catalog, dataset, at):
            yield Case("due", dataset, date, units, "nothing")


def without(catalog: Catalog, dataset: str, sight: Sight, days: list[str], at: datetime) -> dict[str, tuple[Unit, ...]]:
    """By date whose schedule has passed: roots that have nothing of it and are not called missed."""
    due = [date for date in days if (hour := hours.due(catalog, dataset, date)) is not None and hour <= at]
    found: dict[str, list[Unit]] = {}
    for unit in units_of(catalog, dataset):
        if parent_of(catalog, dataset, unit)[0] is not None:
            continue
        had = [date for date in due if _has_been(sight, (unit, date))]
        for date in due[due.index(had[0]) :] if had else due[-1:]:
            if (unit, date) not in sight.pointed and (unit, date) not in sight.missed:
                found.setdefault(date, []).append(unit)
    return {date: tuple(units) for date, units in found.items()}


def _has_been(sight: Sight, slot: Slot) -> bool:
    return slot in sight.pointed or slot in sight.failures or slot in sight.missed


def is_possible(catalog: Catalog, dataset: str, date: str, at: datetime) -> bool:
    """A full extract or a foreign bucket shows the present: until the grace is over. Others can be read later."""
    model, calendar = catalog.dataset(dataset), catalog.calendar(dataset)
    _, end = calendar.bounds(date)
    reads_present = model.source is None or model.extract == "full"
    return at <= end + (calendar.grace if reads_present else timedelta(days=POSSIBLE))


def _is_quiet(catalog: Catalog, dataset: str, at: datetime) -> bool:
    source = catalog.dataset(dataset).source
    if source is None or not catalog.endpoints.sources[source].quiet_hours:
        return False
    return quiet_until(catalog.endpoints.sources[source].quiet_hours, at, catalog.calendar(dataset).zone) is not None


def _failed(catalog: Catalog, dataset: str, sight: Sight, days: list[str], at: datetime) -> Iterator[Case]:
    for unit in units_of(catalog, dataset):
        parent, _ = parent_of(catalog, dataset, unit)
        for date in days:
            failure = sight.failures.get((unit, date))
            if failure is None or not _is_time(failure, at) or is_held(catalog, dataset, unit, sight):
                continue
            if parent is not None and (parent, date) not in sight.pointed:
                continue  # it fails until its parent is there, and follows it then
            if parent is None and (_is_quiet(catalog, dataset, at) or not is_possible(catalog, dataset, date, at)):
                continue
            if parent is None and not _is_next(catalog.dataset(dataset).extract, sight, (unit, date), days):
                continue
            said = digest([failure.code, failure.at, failure.tries])
            yield Case("failed", dataset, date, (unit,), said, waits=timedelta(0), ladder=False)


def _is_next(extract: str, sight: Sight, slot: Slot, days: list[str]) -> bool:
    """Whether the date's turn has come: an incremental one continues from the date before."""
    unit, date = slot
    earlier = [day for day in days if day < date]
    if extract != "incremental" or not any(_has_been(sight, (unit, d)) for d in earlier):
        return True
    return (unit, earlier[-1]) in sight.pointed


def _is_time(failure: Failure, at: datetime) -> bool:
    """Whether to try again: what says that it can help, after 10 min, 1 h and 6 h, three times."""
    if not failure.retryable or failure.tries >= len(LADDER):
        return False
    return microseconds(at) >= failure.at + LADDER[failure.tries] // timedelta(microseconds=1)


def _stale(catalog: Catalog, dataset: str, sight: Sight, days: list[str], at: datetime) -> Iterator[Case]:
    for unit in units_of(catalog, dataset):
        parent, table = parent_of(catalog, dataset, unit)
        if parent is None or is_held(catalog, dataset, unit, sight):
            continue
        done = sight.sent if unit.stage == "delivery" else sight.pointed
        earlier = False
        for date in days:
            has = (unit, date) in done
            wanted = _to_follow(catalog, sight, (unit, date), (parent, date), table) if has or earlier else None
            made_from = sight.made_from.get((unit, date))
            if wanted and _differs(unit, made_from, wanted, has=has) and not _expired(catalog, parent, wanted, at):
                said = digest([{name: list(entry) for name, entry in wanted.items()}, has])
                yield Case("stale", dataset, date, (unit,), said)
            earlier = earlier or has


def _to_follow(catalog: Catalog, sight: Sight, slot: Slot, above: Slot, table: str) -> Entries | None:
    """The parent's entries, unless they aren't known yet, or the child has failed on them already."""
    if above not in sight.facts or _is_told(sight, slot, above):
        return None
    return _wanted(catalog, sight, above, table)


def _is_told(sight: Sight, slot: Slot, above: Slot) -> bool:
    """Whether the child has failed on what its parent holds now; the parent's next move is a new reason to try."""
    failure = sight.failures.get(slot)
    return failure is not None and microseconds(began(sight.facts[above].by)) <= failure.at


def _wanted(catalog: Catalog, sight: Sight, above: Slot, table: str) -> Entries:
    """The parent's entries that a child is made from; none when they are no release: a partial dataset is not sent."""
    unit, fact = above[0], sight.facts[above]
    if unit.stage in ("dump", "scrub"):
        model = catalog.dataset(unit.names[0])
        by_table = model.scrub is not None and model.scrub.consistency == "table"
        if not by_table and (not fact.is_whole or set(fact.entries) != set(model.tables)):
            return {}
    return {name: entry for name, entry in fact.entries.items() if name == table or not table}


def _differs(unit: Unit, made_from: Entries | None, wanted: Entries, *, has: bool) -> bool:
    """A delivery goes by content: equal rows under another attempt are the file that was sent."""
    if not has:
        return True
    if made_from is None:
        return False  # not read yet
    if unit.stage == "delivery":
        return {name: e[1] for name, e in made_from.items()} != {name: e[1] for name, e in wanted.items()}
    return made_from != wanted


def _expired(catalog: Catalog, parent: Unit, wanted: Entries, at: datetime) -> bool:
    """Whether the parent's store may have let go of the bytes: then there is nothing to copy or send."""
    days = [catalog.endpoints.stores[name].expire_days.get(parent.stage) for name in stores_of(catalog, parent)]
    limit = min((day for day in days if day is not None), default=None)
    return limit is not None and any(began(attempt) + timedelta(days=limit) <= at for attempt, _ in wanted.values())


def is_held(catalog: Catalog, dataset: str, unit: Unit, sight: Sight) -> bool:
    if unit.stage == "delivery":
        return bool({f"recipient/{unit.names[0]}", f"dataset/{dataset}"} & sight.held)
    if unit.stage == "mirror":
        to = catalog.dataset(dataset).mirrors[unit.names[0]].to
        return catalog.endpoints.stores[to].zone != "trusted" and f"dataset/{dataset}" in sight.held
    return False
