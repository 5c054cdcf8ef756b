"""The only door through which a mirror (or a seal) writes: an external endpoint opens it for a Release alone.

Reading and listing pass straight through; every object written is checked against the release, its key against what
the store does with odd ones, and it is proven afterwards: a single PUT by the checksum that the store compared while it
took the bytes, a multipart object by length and ETag read back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from egress_assets.engine.errors import ObjectConflict
from egress_assets.engine.mirror.odd_keys import OddKeys
from egress_assets.engine.release import Release, ReleasedObject, require_release
from egress_assets.engine.stores import Head, Listed, Pending, Store, Uploaded


@dataclass(frozen=True, slots=True)
class Copy:
    """One object to be written: what it is a copy or made of, and all that belongs to it but its bytes."""

    items: tuple[ReleasedObject, ...]
    key: str
    metadata: Mapping[str, str]
    headers: Mapping[str, str]


class Outlet:
    """A destination store. Raises ReleaseRefused when it is external and no Release is given."""

    def __init__(self, store: Store, release: Release | None) -> None:
        require_release(release, zone=store.zone, what=f"store {store.name or store.bucket}")
        self._store = store
        self._release = release
        self._odd_keys = OddKeys(store)

    def write_whole(self, copy: Copy, body: bytes) -> Uploaded:
        """A small object in one PUT. Raises ReleaseRefused, ObjectConflict, StoreError."""
        self._require(copy)
        return self._store.put(copy.key, body, metadata=copy.metadata, headers=copy.headers)

    def write(self, copy: Copy, chunks: Iterable[bytes], *, size: int | None) -> Uploaded:
        """Stream an object; it appears whole or not at all. Memory: the store's. Raises as `write_whole`."""
        self._require(copy)
        done = self._store.upload(copy.key, chunks, metadata=copy.metadata, headers=copy.headers, size=size)
        return self._proven(done)

    def write_note(self, key: str, body: bytes, metadata: Mapping[str, str] | None = None) -> Uploaded:
        """A small description of objects that were written, such as the manifest beside them."""
        return self._store.put(key, body, metadata=metadata, headers={"content-type": "application/json"})

    def delete(self, key: str) -> None:
        """Absent afterwards. For names of our own making only: copies of others' objects are never deleted."""
        self._store.delete(key)

    def head(self, key: str) -> Head | None:
        return self._store.head(key)

    def read(self, key: str) -> bytes | None:
        found = self._store.read(key)
        return found[0] if found else None

    def list(self, prefix: str) -> Iterator[Listed]:
        return self._store.list(prefix)

    def uploads(self, prefix: str) -> Iterator[Pending]:
        return self._store.uploads(prefix)

    def abort(self, upload: Pending) -> None:
        self._store.abort(upload)

    def _require(self, copy: Copy) -> None:
        if self._release is not None:
            for item in copy.items:
                self._release.require(item)
        self._odd_keys.require(copy.key, sum(item.bytes for item in copy.items))

    def _proven(self, done: Uploaded) -> Uploaded:
        found = self._store.head(done.key)
        if found is None or (found.bytes, found.etag) != (done.bytes, done.etag):
            said = f"{found.bytes} bytes with ETag {found.etag}" if found else "nothing"
            raise ObjectConflict(
                f"{done.key!r} reads back from {self._store.name} as {said}, written were {done.bytes} bytes with "
                f"ETag {done.etag}",
                hint="Somebody else writes to this key, or the store can't hold it: see docs/providers.md.",
            )
        return done
