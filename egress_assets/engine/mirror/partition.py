"""`select: partition`: the objects that a dump's or scrub's pointer names, under their own keys at the destination."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from egress_assets.engine.dialect import told
from egress_assets.engine.evidence.reader import Tables
from egress_assets.engine.evidence.records import Draft, ObjectRecord, Pointer, Position, TableRecord, canonical, digest
from egress_assets.engine.failures import Failures
from egress_assets.engine.layout import date_prefix, mirrored_manifest_key
from egress_assets.engine.mirror.copy import Copier, Task, each
from egress_assets.engine.mirror.outlet import Outlet
from egress_assets.engine.mirror.spec import PartitionMirror, Totals, watch_of
from egress_assets.engine.mirror.uploads import sweep_uploads
from egress_assets.engine.platform import Platform
from egress_assets.engine.progress import Listener, Tick
from egress_assets.engine.release import OBJECTS, Release, Truth, release_truth, released, truth_of
from egress_assets.engine.stores import Head

SHA256 = "egress-sha256"
Job = tuple[Task, ObjectRecord]


@dataclass(frozen=True, slots=True)
class Work:
    """One run: `draft` is what evidence calls between reading the mirror's pointer and sealing."""

    platform: Platform
    mirror: PartitionMirror
    date: str
    on: Listener
    totals: Totals

    def draft(self, _base: Pointer | None, me: str) -> Draft:
        return self.platform.evidence.read(self.mirror.parent, self.date, partial(self._copy, me))

    def _copy(self, me: str, pointer: Pointer, tables: Tables) -> Draft:
        self.totals.restart()
        truth = truth_of(pointer, tables)
        release = release_of(self.platform, self.mirror, truth)
        outlet = Outlet(self.platform.store(self.mirror.to), release)
        prefix = self.mirror.prefix + date_prefix(pointer.unit, self.date)
        self.totals.swept_uploads += sweep_uploads(
            self.platform, self.mirror.unit, me, outlet, prefix, is_ours=lambda _key: True
        )
        records = self._copy_objects(outlet, truth)
        self.on(Tick("seal", self.mirror.unit.names[0], unit="objects", total=len(records)))
        self._write_manifest(outlet, truth)
        return draft_of(self.mirror, truth, records, release)

    def _copy_objects(self, outlet: Outlet, truth: Truth) -> list[ObjectRecord]:
        watch = watch_of(self.platform, self.mirror)
        copier = Copier(outlet, lambda task, _head: {SHA256: task.item.sha256}, watch)
        failures, records = Failures("mirrored"), list[ObjectRecord]()
        jobs = jobs_of(self.platform, self.mirror, truth)
        total, done = sum(task.bytes for task, _ in jobs), 0
        for ended in each(jobs, partial(self._copy_one, copier), idle=lambda _job: False, stop=copier.stop):
            task, record = ended.job
            done += task.bytes
            self.on(Tick("mirror", self.mirror.unit.names[0], done, total, finished=done == total))
            failures.add(task.key, ended.error)
            if ended.result is None:
                continue
            etag, sent = ended.result
            self.totals.add(task.bytes, sent=sent)
            source = {"store": task.item.store, "key": task.source_key, "etag": record.etag, "bytes": task.bytes}
            records.append(replace(record, key=task.key, etag=etag, source=source))
        failures.check()
        return records

    def _copy_one(self, copier: Copier, job: Job) -> tuple[str, bool]:
        """(ETag at the destination, whether bytes were sent)."""
        task, _ = job
        there = copier.outlet.head(task.key)
        if there is not None and is_there(task, there):
            return there.etag, False
        return copier.copy(task).etag, True

    def _write_manifest(self, outlet: Outlet, truth: Truth) -> None:
        """Last, and only when it differs: a second run writes nothing."""
        watch_of(self.platform, self.mirror).require_none()
        key = mirrored_manifest_key(self.mirror.prefix, truth.pointer.unit, self.date)
        body = canonical(public_manifest(self.mirror, truth))
        if outlet.read(key) != body:
            self.totals.sent_bytes += outlet.write_note(key, body).bytes


def release_of(platform: Platform, mirror: PartitionMirror, truth: Truth) -> Release | None:
    """What lets the objects go to this destination; None where a trusted store needs nothing and nothing is stated.

    Raises ReleaseRefused.
    """
    if platform.store(mirror.to).zone == "trusted" and mirror.basis is None and truth.pointer.unit.stage != "scrub":
        return None
    return release_truth(platform, truth, mirror.basis, recipient=mirror.to)


def jobs_of(platform: Platform, mirror: PartitionMirror, truth: Truth) -> list[Job]:
    """One job an object, in the order of their keys."""
    return sorted(_jobs(platform, mirror, truth), key=lambda job: job[0].key)


def _jobs(platform: Platform, mirror: PartitionMirror, truth: Truth) -> Iterator[Job]:
    for content in truth.contents.values():
        source = platform.store(content.store)
        for o in content.record.mirrored:
            yield Task(source, o.key, mirror.prefix + o.key, o.bytes, released(content, o), o), o


def is_there(task: Task, there: Head | None) -> bool:
    """Whether the destination has this content under this key: by length and the sha256 that we left with it."""
    return there is not None and (there.bytes, there.metadata.get(SHA256)) == (task.bytes, task.item.sha256)


def public_manifest(mirror: PartitionMirror, truth: Truth) -> dict[str, Any]:
    """What lies beside the copies: objects, digests, columns; no LSN, no snapshot, no store names of ours."""
    return {
        "format": 1,
        "kind": "mirror",
        "unit": str(truth.pointer.unit),
        "date": truth.pointer.date,
        "as_of": max((c.manifest.draft.as_of for c in truth.contents.values()), default=""),
        "tables": {
            name: {
                "objects": [
                    {"key": mirror.prefix + o.key, "bytes": o.bytes, "sha256": o.sha256, "rows": o.rows}
                    for o in content.record.objects
                ],
                "columns": [c.to_json() for c in content.record.columns],
                "format": content.record.format,
                "rows": content.record.rows,
                "content_digest": content.record.content_digest,
                **told(content.record.csv),
                **({"sidecars": _beside(mirror, content.record)} if content.record.sidecars else {}),
            }
            for name, content in sorted(truth.contents.items())
        },
    }


def _beside(mirror: PartitionMirror, record: TableRecord) -> list[dict[str, Any]]:
    return [{"key": mirror.prefix + o.key, "bytes": o.bytes, "sha256": o.sha256} for o in record.sidecars]


def draft_of(mirror: PartitionMirror, truth: Truth, records: list[ObjectRecord], release: Release | None) -> Draft:
    """The mirror's evidence: its objects at the destination, by parents and generation of the parent."""
    pointer = truth.pointer
    beside = {mirror.prefix + o.key for c in truth.contents.values() for o in c.record.sidecars}
    objects = tuple(o for o in records if o.key not in beside)
    sidecars = tuple(o for o in records if o.key in beside)
    content = digest([[o.key, o.bytes, o.sha256] for o in objects])
    basis: Mapping[str, Any] = release.basis if release else {}
    return Draft(
        tables={OBJECTS: TableRecord(objects, content, rows=sum(o.rows or 0 for o in objects), sidecars=sidecars)},
        position=Position(f"parents:{pointer.unit}", pointer.generation),
        snapshot=f"{pointer.unit}@{pointer.generation}",
        as_of=max((c.manifest.draft.as_of for c in truth.contents.values()), default=""),
        store=mirror.to,
        spec_digest=mirror.spec_digest,
        audience=next((c.manifest.draft.audience for c in truth.contents.values()), ""),
        basis=dict(basis),
        parents=truth.parents,
        facts={"certificate": release.certificate} if release and release.certificate else {},
    )
