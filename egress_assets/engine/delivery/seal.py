"""Bytes that a delivery changes, made once and sealed as its own attempt: joined parts, a header line, another format.

Compression is deterministic and the content is told by what it was made of, not by what the compressor gave: a rerun
on other hardware keeps the sealed object, and nothing is delivered twice for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from egress_assets.engine.delivery.spec import Spec
from egress_assets.engine.errors import ManifestInvalid, Superseded
from egress_assets.engine.evidence.reader import Tables
from egress_assets.engine.evidence.records import Draft, ObjectRecord, Pointer, Position, TableRecord, digest
from egress_assets.engine.joining import formed
from egress_assets.engine.layout import part_key
from egress_assets.engine.platform import Platform
from egress_assets.engine.release import (
    OBJECTS,
    Content,
    Release,
    Truth,
    read_truth,
    release_truth,
    require_release,
    truth_of,
)
from egress_assets.engine.stores import Store


def sealed(platform: Platform, spec: Spec, date: str, parent: Truth, release: Release) -> Truth:
    """The delivery's own truth, sealed anew unless it stands for these parents and its object is there.

    Memory: the compressor's window and the store's formula. Raises what reading the parent and writing raise.
    """
    own = read_truth(platform, spec.unit, date)
    if own is not None and _stands(platform, spec, own, parent, release):
        return own
    store = own_store(platform, spec)
    try:
        platform.evidence.materialise(spec.unit, date, _Work(platform, spec, date, store).draft, store)
    except Superseded:  # by a run beside this one: from the same rows, or from newer ones
        own = read_truth(platform, spec.unit, date)
        if own is None or not stands(spec, own, parent, release):
            raise
        return own
    own = read_truth(platform, spec.unit, date)
    if own is None:
        raise ManifestInvalid(f"the pointer of {spec.unit.title} {date} is gone", hint="Evidence is never deleted.")
    return own


def own_store(platform: Platform, spec: Spec) -> Store:
    """The dataset's store, where sealed bytes lie. Raises ReleaseRefused when it is external."""
    name = platform.catalog.dataset(spec.dataset).store
    store = platform.store(name)
    require_release(None, zone=store.zone, what=f"store {name}, where {spec.title} is sealed,")
    return store


def stands(spec: Spec, own: Truth, parent: Truth, release: Release) -> bool:
    """Whether the sealed bytes are what these parents, this spec and this basis would give."""
    content = own.contents[OBJECTS]
    return content.record.content_digest == content_digest(spec, parent.contents[spec.table], release)


def content_digest(spec: Spec, content: Content, release: Release) -> str:
    """What the sealed bytes are made of. The basis is in it: bytes sealed under another one are not released by it."""
    return digest([spec.spec_digest, content.entry.content_digest, release.basis])


def _stands(platform: Platform, spec: Spec, own: Truth, parent: Truth, release: Release) -> bool:
    if not stands(spec, own, parent, release):
        return False
    content = own.contents[OBJECTS]
    for o in content.record.objects:
        found = platform.store(content.store).head(o.key)
        if found is None or (found.bytes, found.etag) != (o.bytes, o.etag):
            return False
    return True


@dataclass(frozen=True, slots=True)
class _Work:
    platform: Platform
    spec: Spec
    date: str
    store: Store

    def draft(self, _base: Pointer | None, me: str) -> Draft:
        only = frozenset({self.spec.table})
        seal = partial(self._seal, me)
        return self.platform.evidence.read(self.spec.parent, self.date, seal, only=only)

    def _seal(self, me: str, pointer: Pointer, tables: Tables) -> Draft:
        spec = self.spec
        truth = truth_of(pointer, tables)
        only = frozenset({spec.table})
        release = release_truth(self.platform, truth, spec.model.release, recipient=spec.recipient, only=only)
        content = truth.contents[spec.table]
        record = self._write(me, content)
        record = TableRecord(
            (record,), content_digest(spec, content, release), content.record.columns, spec.model.format,
            content.record.rows, content.record.policy_digest, csv=content.record.csv,
        )  # fmt: skip
        draft = content.manifest.draft
        return Draft(
            tables={OBJECTS: record},
            position=Position(f"parents:{pointer.unit}", pointer.generation),
            snapshot=f"{pointer.unit}@{pointer.generation}",
            as_of=draft.as_of,
            store=self.platform.catalog.dataset(spec.dataset).store,
            spec_digest=spec.spec_digest,
            audience=draft.audience,
            basis=dict(release.basis),
            parents=truth.parents,
            facts={"certificate": release.certificate} if release.certificate else {},
        )

    def _write(self, me: str, content: Content) -> ObjectRecord:
        spec = self.spec
        key = part_key(spec.unit, self.date, me, table=spec.table, part=0, suffix=spec.model.format)
        source = self.platform.store(content.store)
        done = self.store.upload(key, formed(source, content.record, spec.model.format, header=spec.model.header))
        return ObjectRecord(key, done.bytes, done.sha256, content.record.rows, done.etag)
