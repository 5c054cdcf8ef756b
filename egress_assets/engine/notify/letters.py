"""Who is still to be told what. Pure: of the incidents, of what each channel was told, and of the time.

An incident is told when it has lasted `SETTLE`: what belongs to it comes in by then, and what a retry cured by then is
told to nobody. One that is over before a channel could be told is told to it once, as over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from typing import Literal

from egress_assets.engine.evidence.driver import microseconds
from egress_assets.engine.notify.incidents import MISSED, Channel, Incident, State

Kind = Literal["open", "over", "reminder"]

SECOND = 1_000_000  # microseconds
SETTLE = 60 * SECOND
REMIND = 24 * 3600 * SECOND
FEW = 3
"""Incidents that begin (or end) at once and still are a message each; more are one digest."""
TOLD_OVER = -1  # in `told`
FIRST_TRY, LAST_TRY = 60 * SECOND, 1800 * SECOND  # waits after a failure: the next tick, then doubling up to this
_SLACK = 10 * SECOND  # a tick may come this much early and still is the next one


@dataclass(frozen=True, slots=True)
class Letter:
    """One message. `id` is the same however often it is tried, also by a state that was lost in between."""

    kind: Kind
    incidents: tuple[Incident, ...]
    id: str
    thread: str  # the id of the letter that the first incident was opened by


def letters(state: State, channel: str, at: datetime) -> list[Letter]:
    """What a channel is still to be told; nothing while it waits to be tried again."""
    moment, fares = microseconds(at), state.channels.get(channel, Channel())
    if fares.again - _SLACK > moment:
        return []
    incidents = sorted(state.incidents.values(), key=lambda one: (one.since, one.id))
    begun = [one for one in incidents if not one.over and channel not in one.told and moment - one.seen >= SETTLE]
    over = [one for one in incidents if _is_owed(one, channel)]
    lasting = [one for one in incidents if not one.over and one.told.get(channel) and one.code != MISSED]
    found = [*_batches("open", [one for one in begun if one.is_old], most=1)]
    found += _batches("open", [one for one in begun if not one.is_old], most=FEW)
    found += _batches("over", over, most=FEW)
    if any(moment - max(one.told[channel], fares.reminded) >= REMIND for one in lasting):
        found.append(_letter("reminder", lasting, str(moment // REMIND)))
    return found


def _is_owed(one: Incident, channel: str) -> bool:
    """Whether the channel is still to be told that it is over. What began and ended while nobody looked is not told."""
    was_told = one.told.get(channel)
    return bool(one.over) and was_told != TOLD_OVER and (was_told is not None or one.over - one.seen > SETTLE)


def _batches(kind: Kind, incidents: Sequence[Incident], *, most: int) -> Iterator[Letter]:
    if len(incidents) > most:
        yield _letter(kind, incidents)
    else:
        yield from (_letter(kind, [one]) for one in incidents)


def _letter(kind: Kind, incidents: Sequence[Incident], when: str = "") -> Letter:
    name = sha256("\n".join((kind, when, *(one.id for one in incidents))).encode()).hexdigest()[:24]
    return Letter(kind, tuple(incidents), name, _opening(incidents[0]))


def _opening(one: Incident) -> str:
    """The id of a letter that opens just this incident: replies to it are gathered in one thread."""
    return sha256("\n".join(("open", "", one.id)).encode()).hexdigest()[:24]


def sent(state: State, channel: str, letter: Letter, at: datetime) -> State:
    """The state after the channel took a letter."""
    moment, incidents = microseconds(at), dict(state.incidents)
    for one in letter.incidents:
        told = incidents[one.id].told
        incidents[one.id] = replace(
            incidents[one.id], told={**told, channel: TOLD_OVER if letter.kind == "over" else moment}
        )
    fares = state.channels.get(channel, Channel())
    reminded = moment if letter.kind == "reminder" else fares.reminded
    return replace(state, incidents=incidents, channels={**state.channels, channel: Channel(reminded=reminded)})


def failed(state: State, channel: str, error: str, at: datetime) -> State:
    """The state after a channel did not take a letter: it is tried at the next tick, then at growing distances."""
    fares = state.channels.get(channel, Channel())
    wait = min(FIRST_TRY * 2 ** min(fares.fails, 10), LAST_TRY)
    now = Channel(fares.fails + 1, microseconds(at) + wait, error, fares.reminded)
    return replace(state, channels={**state.channels, channel: now})


def settled(state: State, channels: Sequence[str], at: datetime) -> State:
    """Without incidents that are over and that nobody is still to be told of, a day later in any case."""
    now = microseconds(at)
    kept = {
        name: one
        for name, one in state.incidents.items()
        if not one.over or (now - one.over < REMIND and any(_is_owed(one, channel) for channel in channels))
    }
    state = replace(state, incidents=kept)
    return replace(state, channels={name: _fares(state, name, at) for name in channels if name in state.channels})


def _fares(state: State, channel: str, at: datetime) -> Channel:
    """A channel that nothing is owed any more no longer fails."""
    fares = state.channels[channel]
    rested = Channel(reminded=fares.reminded)
    owed = letters(replace(state, channels={channel: rested}), channel, at)
    return fares if owed else rested
