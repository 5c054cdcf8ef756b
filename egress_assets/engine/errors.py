"""Every error that a user can meet, on two axes: where it happened (the class) and whether a retry can help.

    EgressError            message, hint, code (stable), retryable, exit_code (of the family)
    |- CatalogError   10   the catalog is wrong: file, line, field, value, valid choices
    |- SourceError    20   SourceUnavailable* TableMissing SourceDenied SourceChanged* SourceQuiet* HistoryUnavailable
    |                    OutOfOrder*
    |- StoreError     30   StoreUnavailable* StoreDenied ObjectMissing ObjectConflict OutcomeUnknown* Superseded Swept*
    |- IntegrityError 40   ChecksumMismatch ManifestInvalid CertificateInvalid Corrupt Missing
    |- PolicyError    50   Unclassified SchemaDrift GateFailed LimitExceeded ReleaseRefused KeyMissing KeyExposed Held
    `- DeliveryError  60   DeliveryUnavailable* DeliveryRefused DeliveryUnknown DeliveryBusy*
                                                                                      (* retryable)

Messages are lower case, name the object and both values, and never hold a row value, credential or signed URL.
The CLI prints `error: message` and `HINT: hint`, and exits with the family's code; failures.py turns the same into a
dagster Failure. Codes are stable: people alert on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol


class EgressError(Exception):
    """Base of all errors that the engine raises on purpose."""

    code: ClassVar[str] = "egress"
    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by message and hint, so that an error crosses a process border whole."""
        return _rebuild, (type(self), self.message, self.hint)


def _rebuild(kind: type[EgressError], message: str, hint: str) -> EgressError:
    return kind(message, hint=hint)


class CatalogError(EgressError):
    """The catalog is wrong. `problems` has one line a problem, each `file:line: field: what, valid choices`."""

    code, exit_code = "catalog", 10

    def __init__(self, message: str, *, hint: str = "", problems: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.problems = problems

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_catalog, (self.message, self.hint, self.problems)


def _rebuild_catalog(message: str, hint: str, problems: tuple[str, ...]) -> CatalogError:
    return CatalogError(message, hint=hint, problems=problems)


class SourceError(EgressError):
    """The database said no, or is not what the catalog says."""

    code, exit_code = "source", 20


class SourceUnavailable(SourceError):
    """No connection, or it was lost: the snapshot is gone with it, the whole dataset is dumped again."""

    code, retryable = "source_unavailable", True


class TableMissing(SourceError):
    """A table or column of the catalog is not in the database. `tables` are those that are known to be absent."""

    code = "table_missing"
    tables: tuple[str, ...] = ()


class SourceDenied(SourceError):
    """Wrong password, missing grant, row security that would filter silently, TLS that does not verify."""

    code = "source_denied"


class SourceChanged(SourceError):
    """DDL, a lock queue or a conflict came between the snapshot and its readers: start over on a new snapshot."""

    code, retryable = "source_changed", True


class SourceQuiet(SourceError):
    """An extract was about to begin in the source's quiet hours."""

    code, retryable = "source_quiet", True


class HistoryUnavailable(SourceError):
    """A past date was asked for that the source can't show any more: a full extract of it, or an incremental one that
    later dates continue from.
    """

    code = "history_unavailable"


class OutOfOrder(SourceError):
    """An incremental date whose date before is not made yet, or has to be made again first."""

    code, retryable = "out_of_order", True


class StoreError(EgressError):
    """An object store said no."""

    code, exit_code = "store", 30


class StoreUnavailable(StoreError):
    """Connection errors, timeouts, 5xx and throttling after the client's own retries."""

    code, retryable = "store_unavailable", True


class StoreDenied(StoreError):
    """401, 403, or TLS that does not verify."""

    code = "store_denied"


class ObjectMissing(StoreError):
    """An object that was named is not there."""

    code = "object_missing"


class ObjectConflict(StoreError):
    """An object exists with other content, or changed while it was read."""

    code = "object_conflict"


class OutcomeUnknown(StoreError):
    """A conditional write could not be settled within its tries: neither success nor failure may be concluded."""

    code, retryable = "outcome_unknown", True


class Superseded(StoreError):
    """A run with newer input moved the pointer first; this run's bytes are swept later."""

    code = "superseded"


class Swept(StoreError):
    """A sweeper declared the attempt dead: a tombstone lies at its manifest's key."""

    code, retryable = "swept", True


class IntegrityError(EgressError):
    """Bytes are not what the evidence says."""

    code, exit_code = "integrity", 40


class ChecksumMismatch(IntegrityError):
    """A digest or a length differs from the manifest."""

    code = "checksum_mismatch"


class ManifestInvalid(IntegrityError):
    """Evidence that can't be read: other format version, wrong digest, missing fields."""

    code = "manifest_invalid"


class CertificateInvalid(IntegrityError):
    """A certificate that no trusted key has signed, that is not one of ours, or that contradicts itself."""

    code = "certificate_invalid"


class Missing(IntegrityError):
    """The pointer names objects that are gone though nothing should have expired them."""

    code = "missing"


class PolicyError(EgressError):
    """The policy does not allow it. Nothing has left."""

    code, exit_code = "policy", 50


class Unclassified(PolicyError):
    """A column or table has no mask and no `keep`: stopped before the first row."""

    code = "unclassified"


class SchemaDrift(PolicyError):
    """A table differs from the date before, or is no longer there, and `drift` does not allow it. Nothing was read.

    `found` has a row a difference of those that are not allowed: table, since, kind, column, was, now, how.
    """

    code = "schema_drift"

    def __init__(self, message: str, *, hint: str = "", found: tuple[Mapping[str, str], ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.found = found

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_drift, (self.message, self.hint, self.found)


def _rebuild_drift(message: str, hint: str, found: tuple[Mapping[str, str], ...]) -> SchemaDrift:
    return SchemaDrift(message, hint=hint, found=found)


class Checked(Protocol):
    """What a check found; evidence's CheckRecord is one. Errors stand below everything, so they know its shape only."""

    @property
    def name(self) -> str: ...

    @property
    def passed(self) -> bool: ...

    @property
    def facts(self) -> Mapping[str, Any]: ...


class GateFailed(PolicyError):
    """A check over the complete scrubbed output failed; the bytes were removed.

    `checks` has every check of every table of the run, passed or not: counts and shapes, never values.
    """

    code = "gate_failed"

    def __init__(
        self, message: str, *, hint: str = "", checks: Mapping[str, tuple[Checked, ...]] | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.checks: Mapping[str, tuple[Checked, ...]] = checks or {}

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_gate, (self.message, self.hint, self.checks)


def _rebuild_gate(message: str, hint: str, checks: Mapping[str, tuple[Checked, ...]]) -> GateFailed:
    return GateFailed(message, hint=hint, checks=checks)


class LimitExceeded(PolicyError):
    """A date came to more rows or bytes than the catalog allows: not published, not sent."""

    code = "limit_exceeded"


class ReleaseRefused(PolicyError):
    """Data without a Release was about to go to an external endpoint."""

    code = "release_refused"


class KeyMissing(PolicyError):
    """A scrub key is absent, too short, or another than the one the pointer stands for."""

    code = "key_missing"


class KeyExposed(PolicyError):
    """The server would write derived scrub keys into its own log, and the catalog refuses that."""

    code = "key_exposed"


class Held(PolicyError):
    """A person put a hold on the recipient or dataset: nothing leaves until it is lifted."""

    code = "held"


class DeliveryError(EgressError):
    """A recipient did not take it."""

    code, exit_code = "delivery", 60


class DeliveryUnavailable(DeliveryError):
    """The recipient can't be reached or answered 5xx before anything could have been stored."""

    code, retryable = "delivery_unavailable", True


class DeliveryRefused(DeliveryError):
    """A definite no."""

    code = "delivery_refused"


class DeliveryUnknown(DeliveryError):
    """Sent without an answer and the recipient can't be asked: a person or the policy decides."""

    code = "delivery_unknown"


class DeliveryBusy(DeliveryError):
    """Another run holds the claim on this destination."""

    code, retryable = "delivery_busy", True
