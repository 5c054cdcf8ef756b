"""Files into a recipient's bucket, at any S3-compatible endpoint: each appears whole or not at all.

The object's metadata holds our identity, so the recipient can be asked whether a send without an answer arrived. The
store proves the bytes while it takes them (its checksum or Content-MD5); afterwards length, ETag and identity are read
back.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from pydantic import ConfigDict

from egress_assets.engine.errors import (
    DeliveryRefused,
    DeliveryUnavailable,
    ObjectConflict,
    StoreError,
    StoreUnavailable,
)
from egress_assets.engine.stores import Store, open_store
from egress_assets.engine.stores.settings import StoreSettings
from egress_assets.engine.transfers import Knows, Parcel, Sent

_KEY_BYTES = 1024
IDENTITY, SHA256 = "egress-identity", "egress-sha256"


class Settings(StoreSettings):
    """A bucket of the recipient's; `prefix` is the folder that is ours in it."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def open_transfer(settings: Settings) -> S3Transfer:
    """Opens no connection yet."""
    return S3Transfer(open_store(settings))


class S3Transfer:
    """A bucket as recipient. Memory: the store's part size x (parts in flight + 1)."""

    knows: Knows = "head"

    def __init__(self, store: Store) -> None:
        self._store = store

    def admit(self, destination: str) -> None:
        steps = destination.split("/")
        bent = any(step in ("", ".", "..") for step in steps) or "\\" in destination or not destination.isprintable()
        if bent or len(destination.encode("utf-8", "surrogatepass")) > _KEY_BYTES:
            raise DeliveryRefused(
                f"{destination!r} can't be a key in a recipient's bucket: some stores bend it into another one",
                hint=f"Keys are printable, up to {_KEY_BYTES} bytes, with no empty step, `.`, `..` or backslash.",
            )

    def send(self, parcel: Parcel, chunks: Iterable[bytes], *, identity: str, not_after: datetime) -> Sent:
        metadata = {**parcel.metadata, IDENTITY: identity, SHA256: parcel.sha256}
        try:
            uploaded = self._store.upload(parcel.destination, chunks, metadata=metadata, size=parcel.bytes)
        except StoreUnavailable as error:
            return Sent("ambiguous", {"reason": error.code})
        except StoreError as error:  # answered, and not by a server error
            return Sent("refused", {"reason": error.code})
        try:
            found = self._store.head(parcel.destination)
        except StoreError as error:
            return Sent("ambiguous", {"reason": error.code})
        if found is None or found.metadata.get(IDENTITY) != identity:
            return Sent("ambiguous", {"reason": "the object read back is not the one sent"})
        if (found.bytes, found.etag) != (parcel.bytes, uploaded.etag):
            raise ObjectConflict(
                f"{parcel.destination} was stored with {found.bytes} bytes and ETag {found.etag}, "
                f"sent were {parcel.bytes} with {uploaded.etag}",
                hint="Somebody else writes to the same name at the recipient, or its store damages objects.",
            )
        return Sent(
            "ok", {"etag": found.etag, "bytes": found.bytes, "version": found.version, "sha256": uploaded.sha256}
        )

    def ask(self, destination: str) -> str | None:
        try:
            found = self._store.head(destination)
        except StoreError as error:
            raise DeliveryUnavailable(f"the recipient can't be asked: {error.message}", hint=error.hint) from error
        return found.metadata.get(IDENTITY) if found else None

    def ping(self) -> str:
        return self._store.ping()
