"""Incidents: what is wrong now, grouped by cause, beside what was wrong before. Pure.

Everything follows from levels, not from events: what is wrong, and what each channel was told. So nothing is queued,
a message that could not be sent is simply still to be sent, and a state that was lost costs one digest.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from typing import Any

from egress_assets.engine.evidence.driver import microseconds

Slot = tuple[str, str]
"""A unit's title and a date; the date is '' for what has none."""

LATE, MISSED, RUN = "late", "missed", "run_failed"
"""Codes beside those of errors: an hour has passed, a date can't be made any more, a run ended without a word."""
SLOTS = 500  # units and dates kept of one incident; beyond these it is told as it is
TEXT = 1000  # characters kept of a message or a hint


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that is wrong now. `at` in microseconds; `run` is Dagster's run id where one is known."""

    dataset: str
    unit: str
    date: str
    code: str
    cause: str
    message: str
    hint: str
    at: int
    tries: int = 1
    run: str = ""

    @property
    def slot(self) -> Slot:
        return self.unit, self.date


@dataclass(frozen=True, slots=True)
class Sight:
    """What a look found. `made`: units and dates that are as they should be again; of the others nothing is known.

    `is_whole` False: evidence could not be read, so what is not among the troubles may still be wrong.
    """

    troubles: tuple[Trouble, ...]
    made: frozenset[Slot] = frozenset()
    is_whole: bool = True


@dataclass(frozen=True, slots=True)
class Incident:
    """One cause. `slots`: its units' dates and whether each still is wrong. Times in microseconds, 0: not yet.

    `seen` is when it was first looked at, `since` when it began. `told`: by channel, when it was last told. `is_old`:
    it was there at the first look of a state that knew nothing.
    """

    id: str
    code: str
    cause: str
    dataset: str
    message: str
    hint: str
    run: str
    since: int
    seen: int
    times: int
    slots: Mapping[str, Mapping[str, bool]]
    over: int = 0
    is_old: bool = False
    told: Mapping[str, int] = field(default_factory=dict)

    def wrong(self) -> list[Slot]:
        """What still is wrong."""
        return [(unit, date) for unit, dates in self.slots.items() for date, is_wrong in dates.items() if is_wrong]

    def all(self) -> list[Slot]:
        return [(unit, date) for unit, dates in self.slots.items() for date in dates]


@dataclass(frozen=True, slots=True)
class Channel:
    """How a channel fares: tries that failed in a row, when to try again, what was said, the last reminder."""

    fails: int = 0
    again: int = 0
    error: str = ""
    reminded: int = 0


@dataclass(frozen=True, slots=True)
class State:
    """Incidents by id, channels by name; `looked` is the last look, 0 before the first."""

    incidents: Mapping[str, Incident] = field(default_factory=dict)
    channels: Mapping[str, Channel] = field(default_factory=dict)
    looked: int = 0

    def slots(self) -> set[Slot]:
        """All that open incidents are about."""
        return {slot for incident in self.incidents.values() if not incident.over for slot in incident.wrong()}

    def dump(self) -> str:
        """For a cursor. Some hundred bytes an incident, 20 a unit and date."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @staticmethod
    def parse(text: str | None) -> State:
        """A cursor's state; of one that is absent or can't be read, nothing is known."""
        try:
            said: dict[str, Any] = json.loads(text or "{}")
            return State(
                {name: Incident(**each) for name, each in said["incidents"].items()},
                {name: Channel(**each) for name, each in said["channels"].items()},
                int(said["looked"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            return State()


def decide(state: State, sight: Sight, at: datetime) -> State:
    """The incidents after a look: begun, grown, shrunk, over. Tells nobody."""
    moment = microseconds(at)
    open_ones = {(one.code, one.cause): one for one in state.incidents.values() if not one.over}
    found: dict[tuple[str, str], list[Trouble]] = {}
    for trouble in sight.troubles:
        found.setdefault((trouble.code, trouble.cause), []).append(trouble)
    kept = {one.id: one for one in state.incidents.values() if one.over}
    for key, own in found.items():
        one = _seen_again(open_ones[key], own, sight) if key in open_ones else _begun(own, moment, not state.looked)
        kept[one.id] = one
    for key, one in open_ones.items():
        if key not in found and (still := _gone(one, sight, moment)):
            kept[one.id] = still
    return replace(state, incidents=kept, looked=moment)


def _begun(own: list[Trouble], moment: int, is_old: bool) -> Incident:
    first = min(own, key=lambda trouble: (trouble.at, trouble.slot))
    digest = sha256("\n".join((first.code, first.cause, str(first.at))).encode("utf-8", "backslashreplace")).hexdigest()
    return Incident(
        id=digest[:16], code=first.code, cause=first.cause, dataset=first.dataset, message=first.message[:TEXT],
        hint=first.hint[:TEXT], run=_run(own), since=first.at, seen=moment, times=_times(own),
        slots=_slots({}, own), is_old=is_old,
    )  # fmt: skip


def _seen_again(one: Incident, own: list[Trouble], sight: Sight) -> Incident:
    """Other dates and units of the same cause are counted. The newest words are kept: a retry may know more."""
    last = max(own, key=lambda trouble: (trouble.at, trouble.slot))
    wrong = {trouble.slot for trouble in own}
    before = {unit: {d: (unit, d) in wrong or not sight.is_whole for d in dates} for unit, dates in one.slots.items()}
    return replace(
        one, message=last.message[:TEXT], hint=last.hint[:TEXT], run=_run(own) or one.run,
        times=max(one.times, _times(own)), slots=_slots(before, own),
    )  # fmt: skip


def _gone(one: Incident, sight: Sight, moment: int) -> Incident | None:
    """Over where something was made; dropped without a word where it only became something else, or left the catalog.

    A date that was missed stays lost: there is no message that it is over.
    """
    if not sight.is_whole:
        return one
    if one.code == MISSED or not sight.made.intersection(one.all()):
        return None
    still = {unit: dict.fromkeys(dates, False) for unit, dates in one.slots.items()}
    return replace(one, over=moment, slots=still)


def _slots(before: Mapping[str, Mapping[str, bool]], own: Iterable[Trouble]) -> dict[str, dict[str, bool]]:
    slots = {unit: dict(dates) for unit, dates in before.items()}
    room = SLOTS - sum(len(dates) for dates in slots.values())
    for unit, date in sorted(trouble.slot for trouble in own):
        if room > 0 or date in slots.get(unit, {}):
            room -= date not in slots.get(unit, {})
            slots.setdefault(unit, {})[date] = True
    return slots


def _times(own: Iterable[Trouble]) -> int:
    return sum(trouble.tries for trouble in own)


def _run(own: Iterable[Trouble]) -> str:
    return next((trouble.run for trouble in own if trouble.run), "")
