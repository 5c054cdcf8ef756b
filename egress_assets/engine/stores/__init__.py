"""The seam between the engine and object stores: what every store can do, and what it promises.

A store is one bucket (and an optional prefix, which callers never see) at one endpoint. Keys are opaque, untrusted
unicode strings, encoded exactly once. All methods are safe to call from many threads. Retries, backoff and deadlines
live inside the store; what reaches the caller is final: StoreUnavailable, StoreDenied, ObjectMissing, ObjectConflict.

A new kind of store is one file in this package that defines `KIND`, equal to its name, and `open_store(settings)`; the
conformance suite in tests/conformance runs over all of them.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal, Protocol

from egress_assets.engine.errors import CatalogError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from egress_assets.engine.stores.control import Configuration, Subject
    from egress_assets.engine.stores.settings import StoreSettings

Answer = Literal["ok", "refused", "ambiguous"]
"""ok: done, and done by this request. refused: a definite no by a precondition (412). ambiguous: anything else that
may or may not have taken effect (409, 5xx, lost answer, after bounded tries): read back before you conclude."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One key of a listing. `etag` has no quotes."""

    key: str
    bytes: int
    etag: str
    modified: datetime


@dataclass(frozen=True, slots=True)
class Head:
    """What a store says of one object. `date` is the store's clock in that very answer; `etag` has no quotes."""

    key: str
    bytes: int
    etag: str
    modified: datetime
    date: datetime
    version: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)  # user metadata, names in lower case
    headers: Mapping[str, str] = field(default_factory=dict)  # content-type, cache-control, content-encoding, ...


@dataclass(frozen=True, slots=True)
class Uploaded:
    """An object that is whole at the store: its length and sha256 as sent, the ETag as the store computed it."""

    key: str
    bytes: int
    sha256: str
    etag: str


@dataclass(frozen=True, slots=True)
class Pending:
    """A multipart upload that was neither completed nor aborted."""

    key: str
    upload_id: str
    initiated: datetime


class Store(Protocol):
    """One bucket at one endpoint."""

    name: str
    kind: str
    zone: str
    bucket: str

    def head(self, key: str) -> Head | None:
        """None when absent (404), never when the store failed."""
        ...

    def read(self, key: str) -> tuple[bytes, Head] | None:
        """A small object whole (evidence); None when absent."""
        ...

    def get(self, key: str, *, start: int = 0, etag: str | None = None) -> Iterator[bytes]:
        """Stream from `start`; length checked; resumed with Range + If-Match after a broken connection.

        Memory: one chunk (<= 1 MiB). Raises ObjectMissing, ObjectConflict (changed under the reader).
        """
        ...

    def put(
        self,
        key: str,
        body: bytes,
        *,
        metadata: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Uploaded:
        """Unconditional single PUT, retried: equal bytes make it idempotent."""
        ...

    def put_if(self, key: str, body: bytes, *, etag: str | None) -> Answer:
        """ONE conditional single PUT: If-Match `etag`, or If-None-Match: * when None. Never retried in here."""
        ...

    def upload(
        self,
        key: str,
        chunks: Iterable[bytes],
        *,
        metadata: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        size: int | None = None,
    ) -> Uploaded:
        """Stream to an object that appears whole or not at all.

        An exception of the producer, or of this thread, leaves nothing: parts are drained, the upload aborted.
        Below one part a single PUT, else multipart; `size`, when known, sets the part size so that parts stay under
        the endpoint's limit. Memory: part size x (parts in flight + 1), 8 MiB x 5 by default.
        """
        ...

    def copy(self, source_key: str, key: str, *, source_bucket: str | None = None, etag: str | None = None) -> Uploaded:
        """Server-side copy at this endpoint (UploadPartCopy above 5 GiB); `etag` is the source's, asserted."""
        ...

    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[Listed]:
        """All keys under `prefix`, strictly increasing in UTF-8 bytes (sorted by spilling where the store does not).

        A page that fails raises; it never ends the listing early.
        """
        ...

    def delete(self, key: str) -> None:
        """Absent afterwards; absent before is fine."""
        ...

    def uploads(self, prefix: str = "") -> Iterator[Pending]:
        """Multipart uploads in progress under `prefix`."""
        ...

    def abort(self, upload: Pending) -> None:
        """Abort until the store no longer knows it."""
        ...

    def ping(self) -> str:
        """Connect and list one key; returns a line for people. Raises as the other methods do."""
        ...


class ManagedStore(Store, Protocol):
    """A store with what is asked of its bucket as a whole, and by mirrors of foreign objects."""

    def tags(self, key: str) -> Mapping[str, str]:
        """Object tags; put and upload write them by the header `x-amz-tagging`."""
        ...

    def ensure_bucket(self) -> bool:
        """Create the bucket when it is absent; whether this call created it."""
        ...

    def probe_conditional_put(self, key: str) -> str:
        """Race real conditional PUTs at `key`; a line for people. Raises StoreError when they do not hold."""
        ...

    def configuration(self, subject: Subject) -> Configuration:
        """What the bucket says of itself: lifecycle, encryption, publicAccessBlock."""
        ...

    def configure(self, subject: Subject, document: Element, headers: Mapping[str, str]) -> None:
        """Set such a configuration as a whole; an empty lifecycle is deleted."""
        ...

    def close(self) -> None:
        """Close idle connections; the store stays usable."""
        ...


def kinds() -> tuple[str, ...]:
    """The kinds there are: modules of this package that define KIND."""
    names = (info.name for info in pkgutil.iter_modules(__path__, f"{__name__}."))
    found = (getattr(importlib.import_module(name), "KIND", "") for name in names)
    return tuple(sorted(filter(None, found)))


def open_store(settings: StoreSettings) -> ManagedStore:
    """The store that `settings.kind` names. Opens no connection yet."""
    if settings.kind not in kinds():
        valid = ", ".join(kinds())
        raise CatalogError(f"store kind {settings.kind!r} is unknown", hint=f"Valid kinds: {valid}.")
    return importlib.import_module(f"{__name__}.{settings.kind}").open_store(settings)
