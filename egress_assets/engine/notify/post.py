"""Letters through channels: each for itself, all within a bound of time, tried again when they fail."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from egress_assets.engine.errors import DeliveryRefused, EgressError
from egress_assets.engine.notify.channels import Opener, Sender
from egress_assets.engine.notify.incidents import State
from egress_assets.engine.notify.letters import Letter, failed, letters, sent, settled
from egress_assets.engine.notify.words import Place, message

logger = logging.getLogger(__name__)

BUDGET = 8.0
"""Seconds that all channels of a round have together: the daemon gives a sensor 60."""


@dataclass(slots=True)
class _Delivery:
    """What one channel's thread does. It is left behind when the time is up; then its letters count as not sent."""

    open: Opener
    letters: Sequence[Letter]
    place: Place
    sent: list[Letter] = field(default_factory=list)
    error: str = ""
    given_up: bool = False
    has_ended: bool = False

    def __call__(self) -> None:
        try:
            sender = self.open()
            for letter in self.letters:
                if self.given_up:
                    return
                self._send(sender, letter)
            self.has_ended = True
        except EgressError as error:
            self.error, self.has_ended = error.message, True

    def _send(self, sender: Sender, letter: Letter) -> None:
        """A letter that is refused may be the only one that is; a channel that is down is down for all."""
        try:
            sender.send(message(letter, self.place))
        except DeliveryRefused as error:
            self.error = error.message
        else:
            self.sent.append(letter)


@dataclass(frozen=True, slots=True)
class Posted:
    """The state after a round, what was sent (`channel: subject`), and what each failing channel last said."""

    state: State
    sent: Sequence[str] = ()
    errors: Mapping[str, str] = field(default_factory=dict)


def post(state: State, channels: Mapping[str, Opener], place: Place, at: datetime, *, budget: float = BUDGET) -> Posted:
    """Send what is to be sent, for at most `budget` seconds in all. Raises nothing: what failed is tried again.

    A letter may be sent twice when its channel took it after the time was up, or when the caller loses the state: its
    id is the same then, which mail programs and receivers know duplicates by.
    """
    work = {
        name: _Delivery(opener, due, place) for name, opener in channels.items() if (due := letters(state, name, at))
    }
    threads = [threading.Thread(target=one, name=f"notify {name}", daemon=True) for name, one in work.items()]
    ends = time.monotonic() + budget
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, ends - time.monotonic()))
    told: list[str] = []
    for name, one in work.items():
        one.given_up = True
        for letter in list(one.sent):
            state = sent(state, name, letter, at)
            told.append(f"{name}: {message(letter, place).subject}")
        error = one.error or ("" if one.has_ended else f"no answer within {budget:g} s")
        if error:
            logger.warning("not told by %s: %s", name, error)
            state = failed(state, name, error, at)
    state = settled(state, list(channels), at)
    return Posted(state, told, {name: fares.error for name, fares in state.channels.items() if fares.error})
