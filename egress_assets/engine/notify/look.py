"""What is wrong at this moment, from evidence: whoever ran it, the CLI, a CronJob and Dagster leave the same records.

A failure counts until its unit has succeeded for the date, or for a later date after it. What is late counts where no
failure of the date says more, and where no later date is good. A date that can't be made any more counts while it is
among the newest. Quiet hours are no failure; being late in them is.

An evidence store that can't be read is the only trouble told then, and nothing is taken for cured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial

from egress_assets.engine import hours
from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.catalog.units import units_of
from egress_assets.engine.errors import (
    DeliveryRefused,
    DeliveryUnavailable,
    EgressError,
    SourceDenied,
    SourceQuiet,
    SourceUnavailable,
    StoreDenied,
    StoreUnavailable,
)
from egress_assets.engine.evidence.driver import Evidence, microseconds
from egress_assets.engine.evidence.failures import Failure
from egress_assets.engine.evidence.memory import Memory
from egress_assets.engine.layout import FAILURES, Unit, parse_failure_key, pointer_key, pointer_prefix
from egress_assets.engine.notify.incidents import LATE, MISSED, Sight, Slot, Trouble
from egress_assets.engine.seen import READERS, Seen, failures, look
from egress_assets.engine.status import Row, judge, newest

DAYS = 3  # newest dates that are looked at for being late or missed
RECENT = timedelta(hours=26)
"""How old a failure may be and still begin an incident: what fails every day meets its predecessor."""

_SKEW = timedelta(seconds=5)  # between this machine's clock and the store's

_UNDONE = frozenset({"late", "not sealed", "partial"})
_SOURCE = frozenset({SourceUnavailable.code, SourceDenied.code})
_STORE = frozenset({StoreUnavailable.code, StoreDenied.code})
_RECIPIENT = frozenset({DeliveryUnavailable.code, DeliveryRefused.code})


@dataclass(frozen=True, slots=True)
class Run:
    """A run of Dagster's that failed and that no later one made good. `began` and `at` by the machine's clock."""

    id: str
    name: str  # what failed, for people: a job, an asset
    dataset: str
    date: str
    code: str
    message: str
    hint: str
    began: datetime
    at: datetime


@dataclass(frozen=True, slots=True)
class Runs:
    """What Dagster says of the last `RECENT`. `made`: what has failed in it and succeeded after that."""

    failed: Sequence[Run] = ()
    made: frozenset[Slot] = frozenset()


@dataclass(frozen=True, slots=True)
class Looker:
    """Looks again and again. Memory: that of `seen.look` for `DAYS` dates and those of open incidents."""

    catalog: Catalog
    evidence: Evidence
    memory: Memory = field(default_factory=Memory)

    def sight(self, opened: set[Slot], runs: Runs, at: datetime, *, back: timedelta = RECENT) -> Sight:
        """What is wrong at `at`; `opened` is what open incidents are about.

        Failures noted longer ago than `back` count only among those.
        """
        try:
            return _Round(self, opened, runs, at, back).sight()
        except EgressError as error:
            cause = f"store {self.catalog.endpoints.evidence.store}"
            moment = microseconds(at)
            blind = Trouble("", "evidence", "", error.code, cause, error.message, error.hint, moment)
            return Sight((blind,), is_whole=False)


@dataclass(slots=True)
class _Round:
    looker: Looker
    opened: set[Slot]
    runs: Runs
    at: datetime
    back: timedelta
    units: dict[str, tuple[Unit, str]] = field(default_factory=dict)  # (unit, dataset) by title
    noted: dict[Slot, datetime] = field(default_factory=dict)  # when each failure was noted, by the store's clock
    missed: frozenset[Slot] = frozenset()

    def sight(self) -> Sight:
        catalog, evidence = self.looker.catalog, self.looker.evidence
        self.units = {unit.title: (unit, name) for name in catalog.datasets for unit in units_of(catalog, name)}
        for listed in evidence.store.list(FAILURES):
            unit, date = parse_failure_key(listed.key)
            self.noted[unit.title, date] = listed.modified
        dates = newest(catalog, DAYS, self.at)
        seen = look(catalog, evidence, self._with_opened(dates), self.looker.memory)
        self.missed = frozenset((unit.title, date) for unit, date in seen.missed)
        rows = list(judge(catalog, seen, self._with_opened(dates), self.at))
        good = {(row.unit.title, row.date) for row in rows if row.state in ("done", "delivered")}
        failed = self._failed()
        later = self._made_later(failed, seen)
        wrong = [failure for slot, failure in failed.items() if slot not in later]
        troubles = [self._of_failure(failure) for failure in wrong if failure.code != SourceQuiet.code]
        quiet = {(failure.unit.title, failure.date) for failure in wrong if failure.code == SourceQuiet.code}
        said = {(trouble.dataset, trouble.date) for trouble in troubles}
        near = [row for row in rows if row.date in dates[row.dataset] or (row.unit.title, row.date) in self.opened]
        troubles += [t for row in near if (t := self._of_row(row, good, quiet)) and (t.dataset, t.date) not in said]
        troubles += [self._of_run(run) for run in self.runs.failed if not self._is_noted(run)]
        return Sight(tuple(troubles), self._made(good, failed) | later | self.runs.made)

    # ------------------------------------------------------------------------------------------------------- looking
    def _with_opened(self, dates: Mapping[str, list[str]]) -> dict[str, list[str]]:
        wanted = {dataset: set(days) for dataset, days in dates.items()}
        for title, date in self.opened:
            if date and title in self.units:
                wanted[self.units[title][1]].add(date)
        return {dataset: sorted(days) for dataset, days in wanted.items()}

    def _failed(self) -> dict[Slot, Failure]:
        """Unresolved failures of the catalog's units: the recent ones, and those of open incidents."""
        # by the distance in time: in the sandbox the platform's clock may be set, the store's is not
        oldest = datetime.now(UTC) - self.back
        wanted = {
            (self.units[title][0], date)
            for (title, date), noted in self.noted.items()
            if title in self.units and (noted >= oldest or (title, date) in self.opened)
        }
        found = failures(self.looker.evidence, self.looker.memory, wanted)
        return {(unit.title, date): failure for (unit, date), failure in found.items()}

    def _made_later(self, failed: Mapping[Slot, Failure], seen: Seen) -> frozenset[Slot]:
        """Failures after which their unit succeeded for a later date. A listing a failure, eight at once."""
        with ThreadPoolExecutor(READERS) as pool:
            found = pool.map(partial(self._is_made_later, seen), failed.values())
            return frozenset(slot for slot, is_made in zip(failed, found, strict=True) if is_made)

    def _is_made_later(self, seen: Seen, failure: Failure) -> bool:
        unit, date = failure.unit, failure.date
        if unit.stage == "delivery":
            own = [every for key, every in seen.receipts.items() if key[:2] == unit.names and key[2] > date]
            return any(receipt.at > failure.at for receipts in own for receipt in receipts)
        noted, after = self.noted[unit.title, date], pointer_key(unit, date)
        pointers = self.looker.evidence.store.list(f"{pointer_prefix(unit)}date=", start_after=after)
        return any(listed.modified > noted for listed in pointers)

    def _made(self, good: set[Slot], failed: Mapping[Slot, Failure]) -> frozenset[Slot]:
        """Of open incidents: what is good, has a later date that is, or whose failure is resolved."""
        last: dict[str, str] = {}
        for title, date in good:
            last[title] = max(date, last.get(title, ""))
        settled = {slot for slot in self.opened if slot in self.noted or slot[1] <= last.get(slot[0], "")}
        return frozenset(settled - failed.keys())

    def _is_noted(self, run: Run) -> bool:
        """Whether the engine left a record of the run's failure: then evidence says how things stand."""
        if run.dataset not in self.looker.catalog.datasets:
            return False
        own = [(unit.title, run.date) for unit in units_of(self.looker.catalog, run.dataset)]
        return any(slot in self.noted and self.noted[slot] >= run.began - _SKEW for slot in own)

    # ------------------------------------------------------------------------------------------------------- telling
    def _of_failure(self, failure: Failure) -> Trouble:
        unit, date = failure.unit, failure.date
        dataset = self.units[unit.title][1]
        run = next((run.id for run in self.runs.failed if (run.dataset, run.date) == (dataset, date)), "")
        return Trouble(
            dataset, unit.title, date, failure.code, self._cause(failure.code, dataset, unit), failure.message,
            failure.hint, failure.at, failure.tries, run,
        )  # fmt: skip

    def _of_row(self, row: Row, good: set[Slot], quiet: set[Slot]) -> Trouble | None:
        slot, late = (row.unit.title, row.date), hours.late(self.looker.catalog, row.dataset, row.date, row.unit)
        if slot in self.missed and row.state == MISSED:  # not what only lacks its parents
            hint = "The date stays without data. `egress status` shows its neighbours; the runbook has what caused it."
            return self._trouble(row, MISSED, f"dataset {row.dataset}", row.detail, hint)
        if late is None or self.at <= late or (row.state not in _UNDONE and slot not in quiet):
            return None
        if any(title == slot[0] and date > row.date for title, date in good):
            return None
        zone = self.looker.catalog.calendar(row.dataset).zone
        due = f"{row.date} was due by {late.astimezone(zone):%Y-%m-%d %H:%M}"
        words = f"{due} and is {row.state}: {row.detail}" if row.state != LATE else f"{due} and nothing is there"
        hint = "Look whether the daemon runs and the source answers (`egress check --live`), then start the date."
        return replace(self._trouble(row, LATE, f"dataset {row.dataset}", words, hint), at=microseconds(late))

    def _trouble(self, row: Row, code: str, cause: str, message: str, hint: str) -> Trouble:
        return Trouble(row.dataset, row.unit.title, row.date, code, cause, message, hint, microseconds(self.at))

    def _of_run(self, run: Run) -> Trouble:
        dataset = run.dataset if run.dataset in self.looker.catalog.datasets else ""
        cause = self._cause(run.code, dataset, None) or run.name
        moment = microseconds(self.at - (datetime.now(UTC) - run.at))
        return Trouble(dataset, run.name, run.date, run.code, cause, run.message, run.hint, moment, run=run.id)

    def _cause(self, code: str, dataset: str, unit: Unit | None) -> str:
        """What incidents are grouped by: the endpoint that does not answer or refuses, else what failed."""
        model = self.looker.catalog.datasets.get(dataset)
        if code in _RECIPIENT and unit and unit.stage == "delivery":
            return f"recipient {unit.names[0]}"
        if code in _SOURCE and model and model.source:
            return f"source {model.source}"
        if code in _STORE and model:
            mirror = model.mirrors.get(unit.names[0]) if unit and unit.stage == "mirror" else None
            return f"store {mirror.to if mirror else model.store}"
        return unit.title if unit else ""
