"""Holds: a person stops what goes to a recipient, or what leaves of a dataset, until somebody lifts it.

    recipient/<name>   nothing is delivered to it
    dataset/<name>     nothing of it is delivered, and no mirror of it writes to a store of `zone: external`

Dumps, scrubs and mirrors to trusted stores go on: a hold is about leaving. A hold binds from its record on, for every
process that looks at the same evidence. A delivery looks before each file, again just before it sends one, and every
`EVERY` seconds while bytes leave; a mirror looks that often, and before the manifest that it writes last.
"""

from __future__ import annotations

import getpass
import logging
import os
import socket
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.catalog.problems import choices
from egress_assets.engine.errors import CatalogError, Held
from egress_assets.engine.evidence.driver import Evidence
from egress_assets.engine.evidence.proofs import Hold

logger = logging.getLogger(__name__)

EVERY = 2.0
"""Seconds between two looks while bytes leave: two small reads, beside 8 MiB that take as long at 4 MB/s."""

KINDS = ("recipient", "dataset")
_LONGEST = 1000  # characters of a reason or a name of a person: they are printed in one line, and kept for ever

Name = tuple[str, str]
"""(kind, name)"""


@dataclass(frozen=True, slots=True)
class Placed:
    """What `put` or `lift` came to. `hold` is the one that is on, or that was lifted; None: there was none."""

    kind: str
    name: str
    how: Literal["held", "already held", "lifted", "not held"]
    hold: Hold | None


def operator() -> str:
    """Who does this: EGRESS_OPERATOR, else the system's user and host."""
    said = os.environ.get("EGRESS_OPERATOR", "").strip()
    if said:
        return _line("EGRESS_OPERATOR", said)
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's number without a name
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"


def put(evidence: Evidence, kind: str, name: str, *, by: str, reason: str) -> Placed:
    """Hold it, and note that in the ledger. Again for the same reason by the same person writes nothing.

    Another person or reason is noted anew, over the hold that is on: the ledger keeps both, one release lifts it.
    Raises CatalogError (no reason), OutcomeUnknown (the hold may be on: say it again), StoreError's kinds.
    """
    by, reason = _line("the name of who holds", by), _line("a hold's reason", reason)
    there = evidence.held(kind, name)
    if there is not None and (there.event.by, there.event.reason) == (by, reason):
        return Placed(kind, name, "already held", there)
    evidence.hold(kind, name, by=by, reason=reason)
    return Placed(kind, name, "held", evidence.held(kind, name))


def lift(evidence: Evidence, kind: str, name: str, *, by: str, reason: str = "") -> Placed:
    """Lift it, and note that in the ledger; what was not held stays so. Raises as `put`."""
    by, reason = _line("the name of who lifts", by), _line("a reason", reason) if reason else ""
    there = evidence.held(kind, name)
    if there is None:
        return Placed(kind, name, "not held", None)
    evidence.unhold(kind, name, by=by, reason=reason)
    return Placed(kind, name, "lifted", there)


def _line(what: str, text: str) -> str:
    line = " ".join(text.split())
    if not line or len(line) > _LONGEST or not line.isprintable():
        raise CatalogError(f"{what} must be a line of 1 to {_LONGEST} printable characters", hint="Say why, shortly.")
    return line


# --------------------------------------------------------------------------------------------------------------- names
def named(catalog: Catalog, words: Sequence[str], *, held: Iterable[Hold] = ()) -> Name:
    """(kind, name) of `recipient NAME`, `dataset NAME`, or a NAME that only one of both has.

    `held`: holds that are on, whose names stay valid when the catalog has lost them. Raises CatalogError naming the
    valid choices.
    """
    known = {("recipient", name) for name in catalog.endpoints.recipients}
    known |= {("dataset", name) for name in catalog.datasets}
    known |= {_parsed(hold) for hold in held}
    *kind, name = words
    found = sorted(each for each in known if each[1] == name and (not kind or each[0] == kind[0]))
    if len(found) == 1:
        return found[0]
    if found:
        hint = " or ".join(f"`{each} {name}`" for each, _ in found)
        raise CatalogError(f"{name} is a recipient and a dataset", hint=f"Say which is meant: {hint}.")
    if kind and kind[0] not in KINDS:
        raise CatalogError(f"{kind[0]!r} can't be held", hint=f"{choices(kind[0], KINDS).capitalize()}.")
    wanted = {each for each in known if not kind or each[0] == kind[0]}
    what = f"a {kind[0]}" if kind else "a recipient or a dataset"
    raise CatalogError(f"{name!r} is not {what}", hint=f"{choices(name, {n for _, n in wanted}).capitalize()}.")


def _parsed(hold: Hold) -> Name:
    kind, _, name = hold.event.name.partition("/")
    return kind, name


# ------------------------------------------------------------------------------------------------------------ refusals
def told(hold: Hold) -> str:
    """`recipient acme is held by amy@desk since 2026-11-20 14:03Z: wrong columns`"""
    kind, name = _parsed(hold)
    return f"{kind} {name} is held by {hold.event.by}{_since(hold)}: {hold.event.reason}"


def since(hold: Hold) -> str:
    """When it was put, ISO 8601 in UTC, by the clock of who put it; '' when the record doesn't say."""
    at = hold.event.at
    return datetime.fromtimestamp(at // 1_000_000, UTC).isoformat().replace("+00:00", "Z") if at else ""


def _since(hold: Hold) -> str:
    return f" since {since(hold)}" if since(hold) else ""


def first_held(evidence: Evidence, names: Iterable[Name]) -> Hold | None:
    """The first of these holds that is on; a small read each."""
    return next((hold for kind, name in names if (hold := evidence.held(kind, name))), None)


def refused(what: str, hold: Hold) -> Held:
    """The error of a run that a hold stops."""
    kind, name = _parsed(hold)
    hint = f"Nothing more leaves until somebody lifts it: `egress unhold {kind} {name}`; then run again."
    return Held(f"{what} is stopped: {told(hold)}", hint=hint)


@dataclass(slots=True)
class Watch:
    """Asks for holds while something leaves. Safe in many threads: one of them asks, at most every `EVERY` seconds."""

    evidence: Evidence
    what: str
    names: tuple[Name, ...]
    _asked: float = field(default=float("-inf"), init=False)
    _found: Hold | None = field(default=None, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def require_none(self) -> None:
        """Ask now. Raises Held, and what reading evidence raises."""
        with self._lock:
            self._look()
        self._raise()

    def look(self) -> None:
        """Ask when the last answer is `EVERY` seconds old. Raises as `require_none`."""
        with self._lock:
            if time.monotonic() - self._asked >= EVERY:
                self._look()
        self._raise()

    def _look(self) -> None:
        self._found = first_held(self.evidence, self.names)
        self._asked = time.monotonic()

    def _raise(self) -> None:
        if self._found is not None:
            raise refused(self.what, self._found)
