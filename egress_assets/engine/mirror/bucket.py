"""`select: bucket`: a foreign prefix copied in place, compared by length and ETag, never by time.

Additive: what only the destination has is kept. A listing that fails fails the run; it is never an empty listing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from egress_assets.engine.errors import CatalogError, ObjectMissing
from egress_assets.engine.evidence.driver import microseconds
from egress_assets.engine.evidence.records import Draft, Pointer, Position, TableRecord
from egress_assets.engine.failures import Failures
from egress_assets.engine.mirror import inventory
from egress_assets.engine.mirror.compare import SOURCE_BYTES, SOURCE_ETAG, Pair, Sign, merge, settle, sign_of
from egress_assets.engine.mirror.copy import Copier, Task, each
from egress_assets.engine.mirror.inventory import Copied
from egress_assets.engine.mirror.odd_keys import Nesting
from egress_assets.engine.mirror.outlet import Outlet
from egress_assets.engine.mirror.spec import BucketMirror, Totals, watch_of
from egress_assets.engine.mirror.uploads import sweep_uploads
from egress_assets.engine.partition import now
from egress_assets.engine.platform import Platform
from egress_assets.engine.progress import Listener, Tick
from egress_assets.engine.release import OBJECTS, Release, ReleasedObject, release_prefix
from egress_assets.engine.stores import Head

Job = tuple[Pair, Sign]


@dataclass(frozen=True, slots=True)
class Work:
    """One run: `draft` is what evidence calls between reading the mirror's pointer and sealing."""

    platform: Platform
    mirror: BucketMirror
    date: str
    on: Listener
    totals: Totals

    def draft(self, base: Pointer | None, me: str) -> Draft:
        mirror, platform = self.mirror, self.platform
        self.totals.restart()
        release = release_of(platform, mirror, self.date)
        outlet = Outlet(platform.store(mirror.to), release)
        prefix = mirror.prefix + mirror.source.prefix
        self.totals.swept_uploads += sweep_uploads(platform, mirror.unit, me, outlet, prefix, is_ours=self._is_ours)
        as_of = now()
        record = self._copy_objects(outlet, pairs(platform, mirror, known=previous(platform, base)))
        if not record.objects:
            raise ObjectMissing(
                f"nothing lies under {mirror.source.store}/{mirror.source.prefix}",
                hint="Check `from`: a mirror of nothing would look like success.",
            )
        self.on(Tick("seal", mirror.unit.names[0], unit="objects", total=self.totals.objects))
        return self._draft(record, release, as_of)

    def _is_ours(self, key: str) -> bool:
        """A key that this mirror writes: the source has its counterpart."""
        store = self.platform.store(self.mirror.source.store)
        return store.head(key.removeprefix(self.mirror.prefix)) is not None

    def _copy_objects(self, outlet: Outlet, found: Iterator[Pair]) -> TableRecord:
        copier = Copier(outlet, _metadata, watch_of(self.platform, self.mirror))
        writer, failures = inventory.Writer(self.platform.evidence.store, self.mirror.unit), Failures("mirrored")
        jobs: Iterator[Job] = ((pair, sign_of(pair)) for pair in found)
        work, nesting = partial(self._copy_one, copier), Nesting()
        for ended in each(jobs, work, idle=_is_equal, waits=lambda job: nesting.waits(job[0].key), stop=copier.stop):
            pair, _ = ended.job
            if isinstance(ended.error, ObjectMissing):
                self.totals.gone_objects += 1  # deleted by its owner since it was listed
                continue
            failures.add(pair.key, ended.error)
            if ended.error is None:
                writer.add(self._count(*(ended.result or (unchanged(pair), False))))
            self.on(Tick("mirror", self.mirror.unit.names[0], self.totals.bytes))
        failures.check()
        return writer.finish()

    def _copy_one(self, copier: Copier, job: Job) -> tuple[Copied, bool]:
        """(what lies at the destination, whether bytes were sent)."""
        pair, _ = job
        if settle(pair, copier.outlet.head) == "=":
            return unchanged(pair), False
        source = self.mirror.source
        item = ReleasedObject(OBJECTS, source.store, pair.source.key, pair.source.bytes, "", None, pair.source.etag)
        store = self.platform.store(source.store)
        return copier.copy(Task(store, pair.source.key, pair.key, pair.source.bytes, item)), True

    def _count(self, copied: Copied, sent: bool) -> Copied:
        self.totals.add(copied.bytes, sent=sent)
        return copied

    def _draft(self, record: TableRecord, release: Release | None, as_of: datetime) -> Draft:
        at = f"{as_of:%Y-%m-%dT%H:%M:%S}Z"
        return Draft(
            tables={OBJECTS: record},
            position=Position("as_of", microseconds(as_of)),
            snapshot=at,
            as_of=at,
            store=self.platform.catalog.endpoints.evidence.store,  # of the inventory's shards
            spec_digest=self.mirror.spec_digest,
            basis=dict(release.basis) if release else {},
            facts={
                "store": self.mirror.to,
                "prefix": self.mirror.prefix + self.mirror.source.prefix,
                "objects": self.totals.objects,
                "bytes": self.totals.bytes,
            },
        )


def _is_equal(job: Job) -> bool:
    return job[1] == "="


def pairs(platform: Platform, mirror: BucketMirror, *, known: TableRecord | None) -> Iterator[Pair]:
    """Source and destination, merged. Raises CatalogError where the mirror would copy its own copies."""
    source = mirror.source
    _refuse_overlap(platform, mirror)
    return merge(
        platform.store(source.store).list(source.prefix),
        platform.store(mirror.to).list(mirror.prefix + source.prefix),
        inventory.read(platform.evidence.store, known),
        prefix=mirror.prefix,
    )


def previous(platform: Platform, base: Pointer | None) -> TableRecord | None:
    """The inventory that the pointer stands for."""
    found = platform.evidence.tables(base).get(OBJECTS) if base else None
    return found[1] if found else None


def unchanged(pair: Pair) -> Copied:
    """The line of an object that needed no copy; the sha256 of an earlier run holds while both versions do."""
    known, source = pair.known, pair.source
    etag = pair.there.etag if pair.there else ""
    noted = (known.source_etag, known.bytes, known.etag) if known else None
    same = noted == (source.etag, source.bytes, etag)
    return Copied(pair.key, source.bytes, etag, known.sha256 if known and same else "", source.key, source.etag)


def release_of(platform: Platform, mirror: BucketMirror, date: str) -> Release | None:
    """What lets foreign objects go to this destination; None for a trusted one without a stated basis."""
    if platform.store(mirror.to).zone == "trusted" and mirror.basis is None:
        return None
    source = mirror.source
    scope = (source.store, source.prefix)
    return release_prefix(platform, mirror.unit, date, scope=scope, basis=mirror.basis, recipient=mirror.to)


def _metadata(_task: Task, head: Head) -> Mapping[str, str]:
    """Of the version that was read, which may be newer than the one listed."""
    return {SOURCE_ETAG: head.etag, SOURCE_BYTES: str(head.bytes)}


def _refuse_overlap(platform: Platform, mirror: BucketMirror) -> None:
    """A destination inside the source would be copied into itself, a level deeper each day."""
    source = mirror.source
    read, written = platform.provider.store(source.store), platform.provider.store(mirror.to)
    if (read.endpoint, read.bucket) != (written.endpoint, written.bucket):
        return
    listed = read.prefix + source.prefix
    target = written.prefix + mirror.prefix + source.prefix
    if target.startswith(listed) or listed.startswith(target):
        raise CatalogError(
            f"mirror {mirror.name} would copy {read.bucket}/{listed} into {written.bucket}/{target}, which overlap",
            hint="Give the mirror another bucket, or a `prefix` outside of what it reads.",
        )
