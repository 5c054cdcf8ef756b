"""What a run of a mirror would do, found out without writing anything."""

from __future__ import annotations

from egress_assets.engine.errors import EgressError, ObjectMissing, PolicyError
from egress_assets.engine.mirror import bucket, partition
from egress_assets.engine.mirror.compare import settle
from egress_assets.engine.mirror.spec import BucketMirror, PartitionMirror, find_mirror, watch_of
from egress_assets.engine.platform import Platform
from egress_assets.engine.release import read_truth
from egress_assets.engine.result import PlanLine


def plan(platform: Platform, name: str, date: str) -> list[PlanLine]:
    """A line an object: `+` new at the destination, `*` replaced, `=` there; `!` with the reason when it is refused.

    Memory: a line an object. Raises CatalogError, ObjectMissing, StoreError.
    """
    mirror = find_mirror(platform, name)
    try:
        watch_of(platform, mirror).require_none()
        return (
            _bucket(platform, mirror, date) if isinstance(mirror, BucketMirror) else _partition(platform, mirror, date)
        )
    except PolicyError as error:
        return [PlanLine("!", mirror.unit.title, _said(error))]


def _partition(platform: Platform, mirror: PartitionMirror, date: str) -> list[PlanLine]:
    truth = read_truth(platform, mirror.parent, date)
    if truth is None:
        raise ObjectMissing(
            f"{mirror.parent.title} has no data of {date}", hint="Materialise that date first; a mirror copies it."
        )
    partition.release_of(platform, mirror, truth)
    store, lines = platform.store(mirror.to), list[PlanLine]()
    for task, _ in partition.jobs_of(platform, mirror, truth):
        there = store.head(task.key)
        sign = "+" if there is None else "=" if partition.is_there(task, there) else "*"
        lines.append(PlanLine(sign, task.key, f"{task.bytes} bytes"))
    return lines


def _bucket(platform: Platform, mirror: BucketMirror, date: str) -> list[PlanLine]:
    bucket.release_of(platform, mirror, date)
    known = bucket.previous(platform, platform.evidence.pointer(mirror.unit, date))
    head = platform.store(mirror.to).head
    lines = list[PlanLine]()
    for pair in bucket.pairs(platform, mirror, known=known):
        sign = settle(pair, head)
        lines.append(PlanLine("!" if sign == "?" else sign, pair.key, f"{pair.source.bytes} bytes"))
    return lines


def _said(error: EgressError) -> str:
    return f"{error.message}. {error.hint}"
