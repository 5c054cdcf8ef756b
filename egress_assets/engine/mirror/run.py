"""Run one mirror for one date, by whatever its catalog entry selects."""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from egress_assets.engine.certificate.standing import repair
from egress_assets.engine.errors import Superseded
from egress_assets.engine.evidence.failures import noted
from egress_assets.engine.evidence.records import Pointer
from egress_assets.engine.layout import manifest_key, mirrored_manifest_key
from egress_assets.engine.mirror import bucket, partition, publish
from egress_assets.engine.mirror.copy import IN_FLIGHT
from egress_assets.engine.mirror.spec import (
    AnyMirror,
    BucketMirror,
    PartitionMirror,
    PublishMirror,
    Totals,
    calendar_of,
    find_mirror,
    watch_of,
)
from egress_assets.engine.partition import now
from egress_assets.engine.platform import Platform
from egress_assets.engine.progress import Listener, silent
from egress_assets.engine.release import OBJECTS, Truth, read_truth
from egress_assets.engine.result import StageResult, TableResult

logger = logging.getLogger(__name__)


def run(platform: Platform, name: str, date: str, *, again: bool = False, on: Listener = silent) -> StageResult:
    """Make the destination hold what the source holds, and note it.

    Idempotent: a second run transfers no byte. Nothing is deleted but what a publish wrote. Memory: see copy.py and
    publish.py, plus the manifests.
    An object that fails does not stop the others: the run fails at its end and lists it; the pointer stays.
    Raises ReleaseRefused, Held, CatalogError, ObjectMissing (no data of the date), StoreError, IntegrityError,
    Superseded.
    """
    mirror = find_mirror(platform, name)
    with noted(platform.evidence, mirror.unit, date):
        return _run(platform, mirror, date, again=again, on=on)


def _run(platform: Platform, mirror: AnyMirror, date: str, *, again: bool, on: Listener) -> StageResult:
    began = time.monotonic()
    calendar_of(platform, mirror).require_known(date, now())
    watch_of(platform, mirror).require_none()
    totals = Totals()
    if not isinstance(mirror, BucketMirror):
        repair(platform, mirror.parent, date)
    ended = None if again else _nothing_to_do(platform, mirror, date, totals)
    ended = ended or _mirrored(platform, mirror, date, on, totals)
    logger.info(
        "%s %s %s: %d objects, %d of them sent, %d bytes sent in %.1f s",
        "published" if isinstance(mirror, PublishMirror) else "mirrored", mirror.unit.names[0], date,
        totals.objects, totals.sent_objects, totals.sent_bytes, time.monotonic() - began,
    )  # fmt: skip
    return _result(mirror, date, ended, totals, began)


@dataclass(frozen=True, slots=True)
class _Ended:
    how: Literal["moved", "unchanged", "nothing"]
    pointer: Pointer


def _mirrored(platform: Platform, mirror: AnyMirror, date: str, on: Listener, totals: Totals) -> _Ended:
    if isinstance(mirror, BucketMirror):
        work = bucket.Work(platform, mirror, date, on, totals).draft
    elif isinstance(mirror, PublishMirror):
        work = publish.Work(platform, mirror, date, on, totals).draft
    else:
        work = partition.Work(platform, mirror, date, on, totals).draft
    try:
        outcome = platform.evidence.materialise(mirror.unit, date, work)
    except Superseded:  # by a run beside this one: of the same objects, or of newer ones
        if ended := _nothing_to_do(platform, mirror, date, totals):
            return ended
        raise
    return _Ended(outcome.how, outcome.pointer)


def _nothing_to_do(platform: Platform, mirror: AnyMirror, date: str, totals: Totals) -> _Ended | None:
    """A foreign bucket has no pointer that could say so: its listings are compared each time."""
    if isinstance(mirror, BucketMirror):
        return None
    look = publish.standing if isinstance(mirror, PublishMirror) else _standing
    standing = look(platform, mirror, date)  # type: ignore[arg-type]
    if standing is None:
        return None
    totals.restart()
    for o in standing.contents[OBJECTS].record.mirrored:
        totals.add(o.bytes, sent=False)
    return _Ended("nothing", standing.pointer)


def _standing(platform: Platform, mirror: PartitionMirror, date: str) -> Truth | None:
    """The mirror's truth when it stands for what the parent's pointer names and each object still answers."""
    mine, parent = read_truth(platform, mirror.unit, date), read_truth(platform, mirror.parent, date)
    if mine is None or parent is None or mine.pointer.spec_digest != mirror.spec_digest:
        return None
    draft = mine.contents[OBJECTS].manifest.draft
    release = partition.release_of(platform, mirror, parent)
    if draft.parents != parent.parents or dict(draft.basis) != dict(release.basis if release else {}):
        return None
    store = platform.store(mirror.to)
    if store.head(mirrored_manifest_key(mirror.prefix, mirror.parent, date)) is None:
        return None
    tasks = [task for task, _ in partition.jobs_of(platform, mirror, parent)]
    with ThreadPoolExecutor(IN_FLIGHT) as threads:
        heads = threads.map(lambda task: store.head(task.key), tasks)
        return mine if all(map(partition.is_there, tasks, heads)) else None


def _result(mirror: AnyMirror, date: str, ended: _Ended, totals: Totals, began: float) -> StageResult:
    entry = ended.pointer.entries[OBJECTS]
    table = TableResult(
        table=OBJECTS,
        attempt=entry.attempt,
        manifest=manifest_key(mirror.unit, date, entry.attempt),
        content_digest=entry.content_digest,
        moved=ended.how == "moved",
        bytes=totals.bytes,
        objects=totals.objects,
    )
    facts = {"gone_objects": totals.gone_objects, "swept_uploads": totals.swept_uploads}
    facts["removed_objects"] = totals.removed_objects
    return StageResult(
        unit=mirror.unit,
        date=date,
        how=ended.how,
        generation=ended.pointer.generation,
        tables={OBJECTS: table},
        seconds=time.monotonic() - began,
        sent_bytes=totals.sent_bytes,
        facts={"sent_objects": totals.sent_objects, **{name: n for name, n in facts.items() if n}},
    )
