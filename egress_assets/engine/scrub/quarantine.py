"""Where bytes wait until the gate has passed them: written there, copied from there, removed from there.

Without `quarantine:` in the catalog that place is the unsealed attempt itself, which no reader can see.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256

from egress_assets.engine.dump.discard import remove
from egress_assets.engine.dump.tasks import PartDone, TableDone
from egress_assets.engine.errors import ChecksumMismatch
from egress_assets.engine.evidence.reader import verified
from egress_assets.engine.evidence.records import ObjectRecord
from egress_assets.engine.platform import Platform
from egress_assets.engine.stores import Store, Uploaded
from egress_assets.engine.stores.settings import StoreSettings

_AT_ONCE = 4
"""Objects that are promoted at a time; each may hold `Store.upload`'s memory."""


def promote(platform: Platform, landing: str, store: str, done: Mapping[str, TableDone]) -> dict[str, TableDone]:
    """Copy every object from `landing` to the same key in `store`, each sha256 compared, then empty `landing`.

    A server-side copy where one endpoint and one identity hold both buckets, else streamed. Nothing to do when both
    are one. Memory: `Store.upload`'s x 4. Raises ChecksumMismatch, StoreError's kinds.
    """
    if landing == store:
        return dict(done)
    parts = [part for table in done.values() for part in table.parts]
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        promoted = list(threads.map(lambda part: _promote(platform, landing, store, part), parts))
    remove(platform.store(landing), [part.key for part in parts])
    return {t: replace(table, parts=tuple(p for p in promoted if p.table == t)) for t, table in done.items()}


def _promote(platform: Platform, landing: str, store: str, done: PartDone) -> PartDone:
    source, target = platform.provider.store(landing), platform.provider.store(store)
    data = platform.store(store)
    if _reachable(source, target):
        full = f"{source.prefix.rstrip('/')}/{done.key}" if source.prefix else done.key
        copied = data.copy(full, done.key, source_bucket=source.bucket, etag=done.etag)
        digest = copied.sha256 or _reread(data, done.key)
    else:
        copied = _stream(platform.store(landing), data, done)
        digest = copied.sha256
    if (copied.bytes, digest) != (done.bytes, done.sha256):
        raise ChecksumMismatch(
            f"{done.key} has {copied.bytes} bytes with sha256 {digest} after promotion, "
            f"{done.bytes} with {done.sha256} were written to {landing}",
            hint="Run again; when it happens again, look at the store.",
        )
    return replace(done, etag=copied.etag)


def _reachable(source: StoreSettings, target: StoreSettings) -> bool:
    """Whether the target's identity can be expected to read the source bucket at the target's endpoint."""
    place = ("kind", "endpoint", "region", "access_key", "profile", "role_arn")
    return all(getattr(source, f) == getattr(target, f) for f in place)


def _stream(source: Store, target: Store, done: PartDone) -> Uploaded:
    written = ObjectRecord(done.key, done.bytes, done.sha256)
    return target.upload(done.key, verified(written, source.get(done.key)), size=done.bytes)


def _reread(store: Store, key: str) -> str:
    """The store computed no sha256 of its copy: read it."""
    seen = sha256()
    for chunk in store.get(key):
        seen.update(chunk)
    return seen.hexdigest()
