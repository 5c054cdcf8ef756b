"""Which files a delivery consists of: stored objects as they are, or what was sealed from them.

A table stored as parquet is sent part by part. Any other is parts without a header line: when the recipient wants them
joined, with a header or in another format, the result is sealed as the delivery's own attempt first (seal.py), so that
every try sends the same bytes and the digest in claim and receipt is theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256

from egress_assets.engine.delivery.seal import sealed
from egress_assets.engine.delivery.spec import Spec
from egress_assets.engine.errors import DeliveryRefused, ObjectMissing
from egress_assets.engine.evidence.proofs import Order
from egress_assets.engine.mirror import inventory
from egress_assets.engine.mirror.spec import find_mirror
from egress_assets.engine.platform import Platform
from egress_assets.engine.release import (
    INVENTORY,
    OBJECTS,
    Content,
    Release,
    ReleasedObject,
    Truth,
    read_truth,
    release_truth,
)
from egress_assets.engine.stream import PARQUET


@dataclass(frozen=True, slots=True)
class File:
    """One released object and the name that the recipient gets it under."""

    item: ReleasedObject
    destination: str


@dataclass(frozen=True, slots=True)
class Consignment:
    """All that one run delivers; `files` may be gone through again.

    `order` is of the data's own release, whatever was sealed from it since. `content` is the entry that is delivered:
    of the parent, or of what was sealed from it.
    """

    release: Release
    order: Order
    files: Iterable[File]
    content: Content

    @property
    def source(self) -> dict[str, str]:
        """The attempt that is delivered, for receipts."""
        entry = self.content.entry
        unit = str(self.content.manifest.unit)
        told = {"unit": unit, "attempt": entry.attempt, "manifest_digest": entry.manifest_digest}
        return told | ({"certificate": self.release.certificate} if self.release.certificate else {})


def released_parent(platform: Platform, spec: Spec, date: str) -> tuple[Truth, Release]:
    """What is to be delivered, and the right to do so. Raises ObjectMissing when the date was not materialised yet."""
    truth = read_truth(platform, spec.parent, date)
    if truth is None:
        raise ObjectMissing(
            f"{spec.parent.title} has no data of {date}, so {spec.title} has nothing to deliver",
            hint=f"Materialise {spec.parent.title} of {date} first.",
        )
    only = frozenset({spec.table}) if spec.table else None
    release = release_truth(platform, truth, spec.model.release, recipient=spec.recipient, only=only)
    return truth if only is None else truth.narrowed(only), release


def consignment(platform: Platform, spec: Spec, date: str) -> Consignment:
    """The files of a date; bytes that change are sealed now. Raises ReleaseRefused, ObjectMissing, StoreError, ..."""
    truth, release = released_parent(platform, spec, date)
    if spec.table and not is_as_stored(spec, truth.contents[spec.table]):
        return of_sealed(platform, spec, date, sealed(platform, spec, date, truth, release))
    return of_stored(platform, spec, date, truth, release)


def of_stored(platform: Platform, spec: Spec, date: str, truth: Truth, release: Release) -> Consignment:
    """Stored objects as they are: a table's only one, the parts of one in parquet, or a mirror's."""
    content = truth.contents[spec.table or OBJECTS]
    if spec.table and spec.model.format == PARQUET:
        count = len(release.objects)
        names = (spec.destination(date, spec.part_name(number, count)) for number in range(count))
        files: Iterable[File] = [File(item, name) for item, name in zip(release.objects, names, strict=True)]
    elif spec.table:
        files = [File(release.objects[0], spec.destination(date))]
    else:
        files = _Mirrored(platform, spec, date, content, release)
    return Consignment(release, release.order, files, content)


def of_sealed(platform: Platform, spec: Spec, date: str, own: Truth) -> Consignment:
    """What was sealed, ordered as what it was made of."""
    content = own.contents[OBJECTS]
    release = release_truth(platform, own, recipient=spec.recipient)
    order = (date, content.entry.position.at)
    return Consignment(release, order, [File(release.objects[0], spec.destination(date))], content)


def is_as_stored(spec: Spec, content: Content) -> bool:
    """Whether the recipient wants what is stored: parquet always, each part a file; of others exactly one object.

    Raises DeliveryRefused where one is parquet and the other is not: the catalog was changed after the date was dumped.
    """
    if PARQUET in (content.record.format, spec.model.format):
        if content.record.format != spec.model.format:
            date = content.manifest.date
            raise DeliveryRefused(
                f"{spec.title} of {date} is to be {spec.model.format}, {spec.parent.title} of {date} has {spec.table} "
                f"as {content.record.format}",
                hint=f"Parquet is sent as it is stored: materialise {spec.parent.title} of {date} again.",
            )
        return True
    return len(content.record.objects) == 1 and content.record.format == spec.model.format and not spec.model.header


@dataclass(frozen=True, slots=True)
class _Mirrored:
    """A mirror's objects, named as below the mirror's own prefix. Lazily: a foreign bucket may have millions."""

    platform: Platform
    spec: Spec
    date: str
    content: Content
    release: Release

    def __iter__(self) -> Iterator[File]:
        prefix = find_mirror(self.platform, self.spec.parent.names[0]).prefix
        listed = self.content.record.format == INVENTORY
        for item in _listed(self.platform, self.content, self.release) if listed else self.release.objects:
            yield File(item, self.spec.destination(self.date, item.key.removeprefix(prefix)))


def _listed(platform: Platform, content: Content, release: Release) -> Iterator[ReleasedObject]:
    """Foreign objects; one without a known sha256 is read once to hash it."""
    store = (release.scope or ("", ""))[0]
    for shard in content.record.objects:
        for copied in inventory.read_shard(platform.evidence.store, shard):
            item = ReleasedObject(OBJECTS, store, copied.key, copied.bytes, copied.sha256, None, copied.etag)
            yield item if item.sha256 else _hashed(platform, item)


def _hashed(platform: Platform, item: ReleasedObject) -> ReleasedObject:
    digest = sha256()
    for chunk in platform.store(item.store).get(item.key, etag=item.etag):
        digest.update(chunk)
    return replace(item, sha256=digest.hexdigest())
