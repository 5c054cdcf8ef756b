"""`Evidence`: the verbs over a real store. The one place where their requests become HTTP.

Everybody who reads or writes evidence does it through this class. It holds no state but the store, so threads and
processes may each have their own. Errors of a store are thrown into the verb that asked; a KeyboardInterrupt or a
raising SIGTERM between two requests ends the verb where it is, and the previous truth stays.
"""

from __future__ import annotations

import functools
import logging
import os
import random
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from egress_assets.engine import partition
from egress_assets.engine.errors import EgressError, OutcomeUnknown
from egress_assets.engine.evidence import here, ledger, reader
from egress_assets.engine.evidence.conditional import nonce, put_conditionally
from egress_assets.engine.evidence.deliver import Delivered, Delivery, deliver
from egress_assets.engine.evidence.ledger import LedgerState
from egress_assets.engine.evidence.materialise import Run, materialise
from egress_assets.engine.evidence.proofs import Event, Hold, Missed, Receipt
from egress_assets.engine.evidence.records import Draft, Manifest, Outcome, Pointer, TableRecord, canonical
from egress_assets.engine.evidence.requests import (
    AbortUpload,
    Call,
    DeleteBytes,
    Found,
    Get,
    List,
    ListBytes,
    ListUploads,
    Now,
    Put,
    PutBytes,
    Request,
    Verb,
    Wait,
)
from egress_assets.engine.evidence.sweep import Removed, Sweep, sweep
from egress_assets.engine.evidence.verify import Verified, rereads, verify
from egress_assets.engine.layout import (
    HOLDS,
    NOTES,
    RECEIPTS,
    Unit,
    hold_key,
    missed_key,
    parse_note_key,
    parse_pointer_key,
    pointer_prefix,
)
from egress_assets.engine.progress import Listener, silent
from egress_assets.engine.stores import Store

logger = logging.getLogger(__name__)
T = TypeVar("T")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds(at: datetime) -> int:
    """An instant as evidence keeps it."""
    return (at - _EPOCH) // timedelta(microseconds=1)


def new_attempt() -> str:
    """A sortable id: the platform's clock to the millisecond and 32 random bits. Nothing relies on that clock."""
    at = partition.now()
    return f"{at:%Y%m%dT%H%M%S}{at.microsecond // 1000:03d}-{secrets.token_hex(4)}"


def process() -> str:
    """Who writes, for people who read evidence."""
    return f"{socket.gethostname()} {os.getpid()}"


def drive(verb: Verb[T], store: Store, data: Store | None = None) -> T:
    """Perform a verb's requests, evidence in `store` and bytes in `data`, until it returns."""
    answer, error = None, None
    while True:
        try:
            request = verb.throw(error) if error else verb.send(answer)
        except StopIteration as end:
            return end.value
        try:
            answer, error = perform(request, store, data), None
        except EgressError as raised:
            answer, error = None, raised


def perform(request: Request, store: Store, data: Store | None) -> Any:
    """One request's answer. Requests about bytes without a store for them are a mistake of the caller."""
    match request:
        case Get(key):
            there = store.read(key)
            return there and Found(
                there[0], there[1].etag, microseconds(there[1].modified), microseconds(there[1].date)
            )
        case Put(key, body, etag):
            return store.put_if(key, body, etag=etag)
        case List(prefix, start_after):
            return (listed.key for listed in store.list(prefix, start_after=start_after))
        case Call(_, function):
            return function()
        case Wait(tries):
            return time.sleep(random.uniform(0.5, 1.5) * min(2.0, 0.05 * 2**tries))  # noqa: S311 - jitter
        case Now():
            return _clock()
    if data is None:
        raise TypeError(f"{type(request).__name__} needs the store of the bytes")
    match request:
        case PutBytes(key, body):
            return data.put(key, body)
        case ListBytes(prefix):
            return (listed.key for listed in data.list(prefix))
        case ListUploads(prefix):
            return data.uploads(prefix)
        case DeleteBytes(key):
            return data.delete(key)
        case AbortUpload(upload):
            return data.abort(upload)


def _clock() -> int:
    """Microseconds. Not the platform's clock: recipients and people know nothing of a sandbox's date."""
    return time.time_ns() // 1000


class Evidence:
    """What is true, in one store that never expires, on an endpoint with working conditional PUT."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def _drive(self, verb: Verb[T], data: Store | None = None) -> T:
        return drive(verb, self.store, data)

    # ------------------------------------------------------------------------------------------------------- reading
    def pointer(self, unit: Unit, date: str) -> Pointer | None:
        """The truth of a unit and date, or None before the first run. Raises ManifestInvalid."""
        return self._drive(reader.read_pointer(unit, date))

    def manifest(self, unit: Unit, date: str, attempt: str, digest: str = "") -> Manifest:
        """A sealed attempt, checked against `digest` (an entry's manifest_digest). Raises ManifestInvalid."""
        return self._drive(reader.read_manifest(unit, date, attempt, digest))

    def tables(self, pointer: Pointer, only: frozenset[str] | None = None) -> dict[str, tuple[Manifest, TableRecord]]:
        """Every entry (or those of `only`) with its manifest, digests checked; each manifest is read once."""
        return dict(self._drive(reader.read_tables(pointer, only)))

    def pointers(self, unit: Unit | None = None) -> Iterator[tuple[Unit, str]]:
        """All (unit, date) that have a pointer, lazily, in the order of their keys."""
        for listed in self.store.list(pointer_prefix(unit)):
            yield parse_pointer_key(listed.key)

    def noted(self, *, since: str = "") -> Iterator[tuple[Unit, str]]:
        """All (unit, date) where an attempt began at `since` (the head of an attempt's id) or later, each once."""
        last = None
        for listed in self.store.list(NOTES):
            unit, date, attempt = parse_note_key(listed.key)
            if (unit, date) != last and attempt >= since:
                yield unit, date
                last = unit, date

    def read(
        self,
        unit: Unit,
        date: str,
        consume: Callable[[Pointer, reader.Tables], T],
        *,
        only: frozenset[str] | None = None,
        expire_days: int | None = None,
    ) -> T:
        """`consume` the truth; called anew with nothing kept when bytes vanish under it. See `reader.read`."""
        return self._drive(reader.read(unit, date, consume, only=only, expire_days=expire_days))

    # ------------------------------------------------------------------------------------------------------- writing
    def materialise(
        self,
        unit: Unit,
        date: str,
        work: Callable[[Pointer | None, str], Draft],
        data: Store | None = None,
        tables: frozenset[str] | None = None,
        *,
        verify: Callable[[str, TableRecord], bool] | None = None,
    ) -> Outcome:
        """Run `work(base, attempt)` and make what it drafts true, in one swap of the pointer.

        `data` is the store where the attempt's bytes lie; without it the attempt is evidence only: there is no copy of
        its manifest, nothing to sweep, and `verify` says whether equal content still is whole (default: it is, the
        work itself has looked). `tables` are those that the run replaces, None for all. `work` may run up to three
        times. Raises Superseded, Swept, OutcomeUnknown and whatever `work` raises.
        """
        if data is not None:
            self._sweep_before(unit, date, data)
            verify = verify or (lambda _table, record: rereads(data, record))
        run = Run(
            unit=unit,
            date=date,
            new_attempt=new_attempt,
            work=work,
            verify=verify or (lambda _table, _record: True),
            note=lambda attempt: canonical(here.this(attempt).to_json()),
            copy=data is not None,
        )
        outcome = self._drive(materialise(run, tables), data)
        logger.info(
            "%s %s %s: generation %d, attempt %s, %d of %d entries",
            outcome.how, unit.title, date, outcome.pointer.generation, outcome.attempt, len(outcome.moved),
            len(outcome.pointer.entries),
        )  # fmt: skip
        return outcome

    def _sweep_before(self, unit: Unit, date: str, data: Store) -> None:
        try:
            self.sweep(unit, date, data)
        except EgressError as error:
            logger.warning("left unswept %s %s: %s", unit.title, date, error)

    def sweep(self, unit: Unit, date: str, data: Store, *, kept: Callable[[str], bool] | None = None) -> Removed:
        """Remove from `data` (the stage's store, or its quarantine) what no pointer, receipt or rule names.

        `kept` is the retention rule; attempts that a receipt of the date names stay in any case.
        """
        delivered = self._delivered(unit, date)
        rule = Sweep(unit, date, process(), lambda a: a in delivered() or bool(kept and kept(a)), here.is_gone)
        return self._drive(sweep(rule), data)

    def _delivered(self, unit: Unit, date: str) -> Callable[[], frozenset[str]]:
        """Attempts of the unit that receipts of the date name; read once, and only when somebody asks."""

        @functools.cache
        def attempts() -> frozenset[str]:
            sources = (receipt.source for receipt in self.receipts(date))
            return frozenset(s["attempt"] for s in sources if s.get("unit") == str(unit))

        return attempts

    # ---------------------------------------------------------------------------------------------------- delivering
    def deliver(self, delivery: Delivery) -> Delivered:
        """One object to one destination, once or said to be unknown. See `deliver.deliver`."""
        self._drive(ledger.anchor(delivery.date))
        return self._drive(deliver(delivery))

    def receipts(self, date: str = "") -> Iterator[Receipt]:
        """Receipts of a date, or all, lazily. Raises ManifestInvalid."""
        for listed in self.store.list(f"{RECEIPTS}{date}/" if date else RECEIPTS):
            there = self.store.read(listed.key)
            if there is not None:
                yield Receipt.parse(there[0])

    def append_ledger(self, date: str | None = None, *, run: str = "") -> int | None:
        """Cover the uncovered receipts of a date; None: of all dates, and lost hold events (the periodic closer).

        Returns the new entry's sequence, or None: nothing to cover, or left to the next run.
        """
        run = run or process()
        return self._drive(ledger.close(run) if date is None else ledger.append(run, date))

    def record(self, event: Event) -> int | None:
        """Note an event in the ledger. Raises OutcomeUnknown."""
        return self._drive(ledger.note(event.by, event, self._drive(ledger.length_of())))

    def verify_ledger(self) -> LedgerState:
        """Walk the whole chain. Uncovered receipts are pending, which is no fault."""
        return self._drive(ledger.verify_chain())

    def hold(self, kind: str, name: str, *, by: str, reason: str) -> None:
        """Send nothing to a recipient (kind `recipient`) or of a dataset (kind `dataset`) until it is lifted."""
        self._drive(ledger.set_hold(kind, Event("hold", f"{kind}/{name}", by, reason, nonce(), _clock())))

    def unhold(self, kind: str, name: str, *, by: str, reason: str) -> None:
        """Lift a hold."""
        self._drive(ledger.set_hold(kind, Event("unhold", f"{kind}/{name}", by, reason, nonce(), _clock())))

    def held(self, kind: str, name: str) -> Hold | None:
        """The hold that is on, with who put it and why; None when there is none."""
        there = self.store.read(hold_key(kind, name))
        found = Hold.parse(there[0]) if there else None
        return found if found and found.held else None

    def holds(self) -> Iterator[Hold]:
        """All holds that are on."""
        for listed in self.store.list(HOLDS):
            there = self.store.read(listed.key)
            if there is not None and (found := Hold.parse(there[0])).held:
                yield found

    # -------------------------------------------------------------------------------------------------- certificates
    def certify(self, key: str, body: bytes) -> bytes:
        """Put a certificate if its key is absent; the body that stands there, which is never changed.

        Raises OutcomeUnknown.
        """
        verdict = self._drive(put_conditionally(key, body, None))
        there = self.store.read(key) if verdict == "other" else None
        if verdict == "unknown" or (verdict == "other" and there is None):
            raise OutcomeUnknown(f"the certificate {key} could not be settled", hint="Run again: it is made then.")
        return there[0] if there else body

    # -------------------------------------------------------------------------------------------------------- missed
    def miss(self, missed: Missed) -> bool:
        """Say that a date can't be made any more. False when it was said before: the first reason stays.

        Raises OutcomeUnknown.
        """
        key = missed_key(missed.unit, missed.date)
        verdict = self._drive(put_conditionally(key, canonical(missed.to_json()), None))
        if verdict == "unknown":
            raise OutcomeUnknown(f"that {missed.unit.title} {missed.date} is missed could not be noted")
        return verdict == "mine"

    # ----------------------------------------------------------------------------------------------------- verifying
    def verify(
        self,
        unit: Unit,
        date: str,
        data: Store,
        *,
        expire_days: int | None = None,
        deep: bool = False,
        listener: Listener = silent,
    ) -> Iterator[Verified]:
        """Re-read every object that the pointer names, lazily; one result an object. See `verify.verify`."""
        return verify(self, unit, date, data, expire_days=expire_days, deep=deep, listener=listener)

    def expiry_is_due(self, unit: Unit, date: str, attempt: str, expire_days: int | None) -> bool:
        """Whether the catalog's expiry may have taken the attempt's bytes by now."""
        return self._drive(reader.expiry_is_due(unit, date, [attempt], expire_days))
