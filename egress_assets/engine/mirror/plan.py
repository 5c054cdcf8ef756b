"""What a run of a mirror would do, found out without writing anything."""

from __future__ import annotations

from typing import Literal

from egress_assets.engine.errors import EgressError, ObjectMissing, PolicyError
from egress_assets.engine.evidence import turns
from egress_assets.engine.mirror import bucket, partition, publish
from egress_assets.engine.mirror.compare import settle
from egress_assets.engine.mirror.spec import (
    BucketMirror,
    OwnMirror,
    PartitionMirror,
    PublishMirror,
    find_mirror,
    watch_of,
)
from egress_assets.engine.mirror.writing import Found, look
from egress_assets.engine.platform import Platform
from egress_assets.engine.release import Truth, read_truth
from egress_assets.engine.result import PlanLine


def plan(platform: Platform, name: str, date: str) -> list[PlanLine]:
    """A line an object: `+` new at the destination, `*` replaced, `=` there, `-` removed (a publish's own name), `!`
    with the reason when it is refused.

    Memory: a line an object. Raises CatalogError, ObjectMissing, StoreError.
    """
    mirror = find_mirror(platform, name)
    try:
        watch_of(platform, mirror).require_none()
        if isinstance(mirror, BucketMirror):
            return _bucket(platform, mirror, date)
        if isinstance(mirror, PublishMirror):
            return _publish(platform, mirror, date)
        return _partition(platform, mirror, date)
    except PolicyError as error:
        return [PlanLine("!", mirror.unit.title, _said(error))]


def _partition(platform: Platform, mirror: PartitionMirror, date: str) -> list[PlanLine]:
    truth = _parent(platform, mirror, date)
    partition.release_of(platform, mirror, truth)
    store, lines = platform.store(mirror.to), list[PlanLine]()
    for task, _ in partition.jobs_of(platform, mirror, truth):
        there = store.head(task.key)
        sign = "+" if there is None else "=" if partition.is_there(task, there) else "*"
        lines.append(PlanLine(sign, task.key, f"{task.bytes} bytes"))
    return lines


def _publish(platform: Platform, mirror: PublishMirror, date: str) -> list[PlanLine]:
    """The flag is `*` when anything below it changes: it goes first and comes back last."""
    truth = _parent(platform, mirror, date)
    publish.release_of(platform, mirror, truth)
    wanted = publish.wanted_objects(mirror, truth, date)
    base = platform.evidence.pointer(mirror.unit, date)
    known = publish.known_of(platform, mirror, base)
    turn = publish.turn_of(mirror, truth.pointer, "", wanted, known)
    before = turns.holder(platform.evidence, mirror.unit, date)
    if before is not None and (base is None or before.attempt != base.by):
        turn = turn.joined(before)
    head = platform.store(mirror.to).head
    found = look(head, wanted, known, left=turn.keys, writer=str(mirror.unit))
    lines = [PlanLine(_sign(each.key, found), each.key, each.told) for each in wanted]
    lines += [PlanLine("-", key, "the date does not have it any more") for key in found.gone]
    flag = mirror.layout.flag(date)
    lines += [PlanLine("-", key, "the flag of before") for key in sorted(turn.flags - {flag}) if head(key)]
    if flag:
        there = head(flag)
        whole = len(found.kept) == len(wanted) and not any(line.sign == "-" for line in lines)
        lines.append(PlanLine("+" if there is None else "=" if whole else "*", flag, "the flag, last"))
    return lines


def _sign(key: str, found: Found) -> Literal["=", "+", "*"]:
    return "=" if key in found.kept else "+" if found.heads[key] is None else "*"


def _parent(platform: Platform, mirror: OwnMirror, date: str) -> Truth:
    truth = read_truth(platform, mirror.parent, date)
    if truth is None:
        raise ObjectMissing(
            f"{mirror.parent.title} has no data of {date}", hint="Materialise that date first; a mirror copies it."
        )
    return truth


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
