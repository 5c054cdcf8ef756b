"""The last failure of a unit and date, kept beside the truth so that `egress status` can say why without Dagster.

It is a remark, not evidence: only when to try again is decided by it, one record is overwritten by the next one, and a
store that is down when a failure is noted costs a warning, never the failure's own message.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from egress_assets.engine.errors import DeliveryBusy, EgressError, Held, ManifestInvalid, Superseded
from egress_assets.engine.evidence.driver import Evidence, microseconds
from egress_assets.engine.evidence.records import FORMAT, canonical, parse_record
from egress_assets.engine.layout import Unit, failure_key
from egress_assets.engine.partition import now

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Failure:
    """How a run ended. `at` is in microseconds of the platform's clock; messages hold no row values by contract.

    `tries` counts the runs that failed since one succeeded, this one included.
    """

    unit: Unit
    date: str
    code: str
    message: str
    hint: str
    retryable: bool
    at: int
    is_resolved: bool = False
    tries: int = 1

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT, "kind": "failure", "unit": str(self.unit), "date": self.date, "code": self.code,
            "message": self.message, "hint": self.hint, "retryable": self.retryable, "at": self.at,
            "resolved": self.is_resolved, "tries": self.tries,
        }  # fmt: skip

    @staticmethod
    def parse(body: bytes) -> Failure:
        v = parse_record(body)
        try:
            return Failure(
                Unit.parse(v["unit"]), v["date"], v["code"], v["message"], v["hint"], v["retryable"], v["at"],
                v["resolved"], v.get("tries", 1),
            )  # fmt: skip
        except (KeyError, TypeError, AttributeError) as error:
            raise ManifestInvalid(f"a failure lacks or garbles a field: {error}") from error


@contextmanager
def noted(evidence: Evidence, unit: Unit, date: str) -> Iterator[None]:
    """Around a run: its EgressError is noted and raised on, its success resolves what was noted before."""
    try:
        yield
    except EgressError as error:
        record_failure(evidence, unit, date, error)
        raise
    clear_failure(evidence, unit, date)


def record_failure(evidence: Evidence, unit: Unit, date: str, error: EgressError) -> None:
    """Note how a run of `unit` for `date` ended. Never raises an EgressError: the caller has one to raise already.

    Superseded and DeliveryBusy are not noted: another run is at it or has done it, and it may have ended before this.
    Nor is Held: that is a person's wish, told by the hold itself for as long as it is on.
    """
    if isinstance(error, Superseded | DeliveryBusy | Held):
        return
    failure = Failure(unit, date, error.code, error.message, error.hint, error.retryable, microseconds(now()))
    try:
        failure = replace(failure, tries=_tries_before(evidence, unit, date) + 1)
        evidence.store.put(failure_key(unit, date), canonical(failure.to_json()))
    except EgressError as other:
        logger.warning("failure of %s %s not noted: %s", unit.title, date, other)


def _tries_before(evidence: Evidence, unit: Unit, date: str) -> int:
    """Zero also where the record can't be read: it is overwritten."""
    try:
        before = last_failure(evidence, unit, date)
    except ManifestInvalid:
        return 0
    return before.tries if before else 0


def clear_failure(evidence: Evidence, unit: Unit, date: str) -> None:
    """A run succeeded: what failed before is resolved. One small read where nothing has failed. Never raises."""
    try:
        failure = last_failure(evidence, unit, date)
        if failure is not None:
            resolved = failure.to_json() | {"resolved": True}
            evidence.store.put(failure_key(unit, date), canonical(resolved))
    except EgressError as other:
        logger.warning("failure of %s %s not marked as resolved: %s", unit.title, date, other)


def last_failure(evidence: Evidence, unit: Unit, date: str) -> Failure | None:
    """The failure that no later run has resolved. Raises ManifestInvalid, StoreError's kinds."""
    there = evidence.store.read(failure_key(unit, date))
    failure = Failure.parse(there[0]) if there else None
    return failure if failure and not failure.is_resolved else None
