"""The seam between deliveries and recipients: how one file reaches one recipient, and what the recipient can prove.

A new transfer type is one file in this package with `Settings` (a strict pydantic model of the recipient's fields in
the catalog) and `open_transfer(settings) -> Transfer`; `registry` finds it, tests/conformance/test_transfers.py runs
over it. Once-only is not decided here: engine/evidence claims, asks and keeps receipts; a transfer sends and tells.

What a transfer `knows` of the past:
    idempotent   the recipient stores one copy for a key, however often it is sent
    head         the recipient can be asked which identity lies at a destination
    write-only   neither: after an ambiguous answer only a person or the policy can go on

What it answers with (`Sent`): ok, stored and said so; refused, a definite no after which nothing is stored; ambiguous,
the bytes may be stored. Facts go into the receipt: plain JSON without floats, no credentials; `retryable: true` in a no
says that later may help.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from types import ModuleType
from typing import Any, Protocol

from pydantic import ValidationError

from egress_assets.engine.errors import CatalogError, ChecksumMismatch, DeliveryUnavailable, EgressError
from egress_assets.engine.evidence.deliver import Knows as Knows
from egress_assets.engine.evidence.deliver import Sent as Sent
from egress_assets.engine.release import Release, ReleasedObject, require_release


@dataclass(frozen=True, slots=True)
class Parcel:
    """One released object on its way to `destination`, a path relative to what the recipient's settings name.

    Raises ReleaseRefused when made without a Release or with another object than the release covers.
    """

    release: Release
    item: ReleasedObject
    destination: str
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_release(self.release, zone="external", what=f"the recipient's {self.destination}")
        self.release.require(self.item)

    @property
    def bytes(self) -> int:
        return self.item.bytes

    @property
    def sha256(self) -> str:
        return self.item.sha256


class Transfer(Protocol):
    """One recipient, opened. Safe to call from many threads."""

    knows: Knows

    def admit(self, destination: str) -> None:
        """Raise DeliveryRefused for a destination that can't be a name there, before anything is claimed."""
        ...

    def send(self, parcel: Parcel, chunks: Iterable[bytes], *, identity: str, not_after: datetime) -> Sent:
        """Stream `chunks` so that the file appears whole or not at all.

        An exception of `chunks` (bytes that differ from the release) leaves nothing visible and passes through.
        Memory: a chunk, or the store's formula. Never retried in here.
        """
        ...

    def ask(self, destination: str) -> str | None:
        """The identity stored at the destination; None when there is none, or none of ours.

        Raises DeliveryUnavailable when the recipient can't say.
        """
        ...

    def ping(self) -> str:
        """Reach the recipient without sending anything; returns a line for people."""
        ...


@cache
def registry() -> Mapping[str, ModuleType]:
    """Transfer types by name: every module of this package that defines `open_transfer`."""
    modules = {i.name: importlib.import_module(f"{__name__}.{i.name}") for i in pkgutil.iter_modules(__path__)}
    return {name: module for name, module in sorted(modules.items()) if hasattr(module, "open_transfer")}


def open_transfer(transfer_type: str, settings: Mapping[str, Any], *, recipient: str) -> Transfer:
    """The transfer of a recipient. Opens no connection yet.

    Raises CatalogError for an unknown type, field or value; it names the field and never its value.
    """
    module = registry().get(transfer_type)
    if module is None:
        raise CatalogError(
            f"recipient {recipient} has transfer_type {transfer_type!r}, which is unknown",
            hint=f"Valid types: {', '.join(registry())}.",
        )
    try:
        parsed = module.Settings.model_validate(dict(settings))
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False)]
        raise CatalogError(
            f"recipient {recipient} has unusable settings for {transfer_type}: {'; '.join(wrong)}",
            hint=f"Valid fields: {', '.join(module.Settings.model_fields)}.",
            problems=tuple(wrong),
        ) from None
    try:
        return module.open_transfer(parsed)
    except CatalogError as error:
        raise CatalogError(f"recipient {recipient}: {error.message}", hint=error.hint) from None


def send(transfer: Transfer, parcel: Parcel, chunks: Iterable[bytes], *, identity: str, not_after: datetime) -> Sent:
    """Send bytes that are checked against the release while they pass: the only way a delivery sends.

    What `chunks` raises is raised here whatever the transfer made of it, and so is ChecksumMismatch, or
    DeliveryUnavailable when `not_after` passes before the last byte: in all these cases nothing became visible.
    """
    checked = _Checked(parcel, chunks, not_after)
    sent = transfer.send(parcel, checked, identity=identity, not_after=not_after)
    if checked.failed is not None:
        raise checked.failed
    return sent


class _Checked:
    """Holds the last chunk back until length and digest of all are known. Memory: two chunks."""

    def __init__(self, parcel: Parcel, chunks: Iterable[bytes], not_after: datetime) -> None:
        self._parcel = parcel
        self._chunks = chunks
        self._not_after = not_after
        self.failed: EgressError | None = None

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._pass_on()
        except EgressError as error:
            self.failed = error
            raise

    def _pass_on(self) -> Iterator[bytes]:
        digest, size, held = sha256(), 0, b""
        for chunk in self._chunks:
            if held:
                yield held
            held = chunk
            digest.update(chunk)
            size += len(chunk)
        self._compare(size, digest.hexdigest())
        self._look_at_clock()
        if held:
            yield held

    def _compare(self, size: int, digest: str) -> None:
        parcel = self._parcel
        if (size, digest) != (parcel.bytes, parcel.sha256):
            raise ChecksumMismatch(
                f"{parcel.item.store}/{parcel.item.key} has {size} bytes with sha256 {digest[:12]}, "
                f"the release says {parcel.bytes} with {parcel.sha256[:12]}",
                hint="The stored object was changed or damaged: materialise its stage again.",
            )

    def _look_at_clock(self) -> None:
        if datetime.now(UTC) >= self._not_after:
            raise DeliveryUnavailable(
                f"the claim on {self._parcel.destination} ended at {self._not_after:%H:%M:%S}Z before the last byte",
                hint="The link is slower than the claim's time allows: run it again, or send smaller parts.",
            )
