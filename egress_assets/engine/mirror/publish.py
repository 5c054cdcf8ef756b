"""`publish:`: tables under fixed names, each object whole or absent, the flag last.

Evidence is as for any mirror: an attempt, its manifest, the pointer after the flag. Fixed names are written over, so
before anything is touched the attempt takes the turn (evidence/turns.py); writing.py has the order of things.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from egress_assets.engine.errors import ObjectMissing
from egress_assets.engine.evidence import turns
from egress_assets.engine.evidence.reader import Tables
from egress_assets.engine.evidence.records import Draft, ObjectRecord, Pointer, Position, TableRecord, digest
from egress_assets.engine.evidence.turns import Turn
from egress_assets.engine.mirror.copy import IN_FLIGHT
from egress_assets.engine.mirror.outlet import Outlet
from egress_assets.engine.mirror.publication import FLAG, MADE_OF, SCHEMA, Known, Wanted, wanted_of
from egress_assets.engine.mirror.spec import PublishMirror, Totals
from egress_assets.engine.mirror.uploads import sweep_uploads
from egress_assets.engine.mirror.writing import Writing
from egress_assets.engine.path_template import common_head
from egress_assets.engine.platform import Platform
from egress_assets.engine.progress import Listener, Tick
from egress_assets.engine.release import (
    OBJECTS,
    Release,
    Truth,
    read_truth,
    release_truth,
    require_consistent,
    truth_of,
)
from egress_assets.engine.stores import Head


@dataclass(frozen=True, slots=True)
class Work:
    """One run: `draft` is what evidence calls between reading the publish's pointer and sealing."""

    platform: Platform
    mirror: PublishMirror
    date: str
    on: Listener
    totals: Totals

    def draft(self, base: Pointer | None, me: str) -> Draft:
        return self.platform.evidence.read(self.mirror.parent, self.date, partial(self._publish, base, me))

    def _publish(self, base: Pointer | None, me: str, pointer: Pointer, tables: Tables) -> Draft:
        self.totals.restart()
        platform, mirror = self.platform, self.mirror
        truth = truth_of(pointer, tables)
        release = release_of(platform, mirror, truth)
        wanted = wanted_objects(mirror, truth, self.date)
        outlet = Outlet(platform.store(mirror.to), release)
        known = known_of(platform, mirror, base)
        turn = turns.take(
            platform.evidence, turn_of(mirror, pointer, me, wanted, known), ended_by=base.by if base else ""
        )
        names = turn.keys | turn.flags
        self.totals.swept_uploads += sweep_uploads(
            platform, mirror.unit, me, outlet, common_head(names), is_ours=names.__contains__
        )
        records = Writing(platform, mirror, self.on, self.totals, outlet, turn, wanted, known).run()
        self.on(Tick("seal", mirror.unit.names[0], unit="objects", total=len(records)))
        return draft_of(mirror, truth, records, release)


def wanted_objects(mirror: PublishMirror, truth: Truth, date: str) -> list[Wanted]:
    """As `wanted_of`; nothing to publish is an error (ObjectMissing), since it would look like success."""
    if wanted := wanted_of(mirror, truth, date):
        return wanted
    raise ObjectMissing(
        f"{mirror.parent.title} {date} has none of the tables that {mirror.name} publishes",
        hint=f"Materialise them first: {', '.join(mirror.layout.tables)}.",
    )


def turn_of(mirror: PublishMirror, pointer: Pointer, me: str, wanted: list[Wanted], known: Known) -> Turn:
    """What this attempt may write, and what its base says lies there."""
    flag = mirror.layout.flag(pointer.date)
    flags = {key for key, record in known.items() if record.source.get(FLAG)} | ({flag} if flag else set())
    keys = ({w.key for w in wanted} | set(known)) - flags
    version = digest(sorted([w.key, w.made_of] for w in wanted))
    return Turn(mirror.unit, pointer.date, me, position_of(pointer), version, frozenset(keys), frozenset(flags))


def position_of(parent: Pointer) -> Position:
    return Position(f"parents:{parent.unit}", parent.generation)


def known_of(platform: Platform, mirror: PublishMirror, base: Pointer | None) -> Known:
    """What the pointer says lies at the destination; nothing where that is another store by now."""
    found = platform.evidence.tables(base).get(OBJECTS) if base else None
    if found is None or found[0].draft.store != mirror.to:
        return {}
    return {record.key: record for record in found[1].mirrored}


def release_of(platform: Platform, mirror: PublishMirror, truth: Truth) -> Release | None:
    """What lets the tables go to this destination; None where a trusted store needs nothing and nothing is stated.

    Half a dataset is published nowhere, unless the catalog's `consistency` allows it. Raises ReleaseRefused.
    """
    if platform.store(mirror.to).zone == "trusted" and mirror.basis is None and truth.pointer.unit.stage != "scrub":
        require_consistent(platform, truth.pointer)
        return None
    return release_truth(platform, truth, mirror.basis, recipient=mirror.to)


def standing(platform: Platform, mirror: PublishMirror, date: str) -> Truth | None:
    """The publish's truth when it stands for what the parent's pointer names, and each object and the flag answer."""
    mine, parent = read_truth(platform, mirror.unit, date), read_truth(platform, mirror.parent, date)
    if mine is None or parent is None or mine.pointer.spec_digest != mirror.spec_digest:
        return None
    content = mine.contents[OBJECTS]
    release = release_of(platform, mirror, parent)
    draft = content.manifest.draft
    if draft.parents != parent.parents or dict(draft.basis) != dict(release.basis if release else {}):
        return None
    store = platform.store(mirror.to)
    with ThreadPoolExecutor(IN_FLIGHT) as threads:
        heads = threads.map(lambda o: store.head(o.key), content.record.mirrored)
        pairs = zip(content.record.mirrored, heads, strict=True)
        return mine if all(_answers(record, there) for record, there in pairs) else None


def _answers(record: ObjectRecord, there: Head | None) -> bool:
    if there is None:
        return False
    return (there.bytes, there.metadata.get(MADE_OF)) == (record.bytes, record.source.get("made_of"))


def draft_of(mirror: PublishMirror, truth: Truth, records: list[ObjectRecord], release: Release | None) -> Draft:
    """The publish's evidence: what lies at the destination now, by parents and basis.

    Both are part of its content: an entry kept for equal bytes would name the parents of an earlier run.
    """
    pointer, basis = truth.pointer, dict(release.basis) if release else {}
    drafts = [content.manifest.draft for content in truth.contents.values()]
    content = digest([truth.parents, basis, [[o.key, o.bytes, o.sha256] for o in records]])
    sidecars = tuple(o for o in records if SCHEMA in o.source)
    objects = tuple(o for o in records if SCHEMA not in o.source)
    return Draft(
        tables={OBJECTS: TableRecord(objects, content, rows=sum(o.rows or 0 for o in objects), sidecars=sidecars)},
        position=position_of(pointer),
        snapshot=f"{pointer.unit}@{pointer.generation}",
        as_of=max((draft.as_of for draft in drafts), default=""),
        store=mirror.to,
        spec_digest=mirror.spec_digest,
        audience=next((draft.audience for draft in drafts), ""),
        basis=basis,
        parents=truth.parents,
        facts={"certificate": release.certificate} if release and release.certificate else {},
    )
