"""Writing over fixed names so that a flag is never above two versions.

The flag goes first, then the objects are written, what the date does not have any more is removed, then the flag comes
back. So whoever finds the flag finds whole objects of one version, wherever a run was killed; the next one completes.
Without a flag each object is still whole, the set may be of two versions for a while.

Memory: two uploads of the store's formula (8 MiB x 5) of large objects, six below 1 MiB of stored bytes beside them,
and the records of a date.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from hashlib import sha256

from egress_assets.engine.errors import EgressError, ObjectMissing, OutcomeUnknown
from egress_assets.engine.evidence import turns
from egress_assets.engine.evidence.records import ObjectRecord
from egress_assets.engine.evidence.turns import Turn
from egress_assets.engine.failures import Failures
from egress_assets.engine.holds import Watch
from egress_assets.engine.mirror.copy import IN_FLIGHT, SMALL, each
from egress_assets.engine.mirror.outlet import Outlet
from egress_assets.engine.mirror.publication import FLAG, MADE_OF, WRITER, Known, Wanted, flag_body, is_there
from egress_assets.engine.mirror.spec import PublishMirror, Totals, watch_of
from egress_assets.engine.platform import Platform
from egress_assets.engine.progress import Listener, Tick
from egress_assets.engine.stores import Head


@dataclass(frozen=True, slots=True)
class Found:
    """The destination before anything is written: `heads` by wanted key, `kept` of them, `gone` are to be removed."""

    heads: Mapping[str, Head | None]
    kept: frozenset[str]
    gone: tuple[str, ...]


def look(
    head: Callable[[str], Head | None], wanted: Iterable[Wanted], known: Known, *, left: Iterable[str], writer: str
) -> Found:
    """Ask HEAD of each wanted name, eight at a time, and of what is `left` from before; only `writer`'s own is gone."""
    wanted = list(wanted)
    with ThreadPoolExecutor(IN_FLIGHT) as threads:
        heads = dict(zip((w.key for w in wanted), threads.map(lambda w: head(w.key), wanted), strict=True))
    kept = frozenset(w.key for w in wanted if is_there(w, known.get(w.key), heads[w.key]))
    others = ((key, head(key)) for key in sorted(set(left) - set(heads)))
    gone = tuple(key for key, there in others if there is not None and there.metadata.get(WRITER) == writer)
    return Found(heads, kept, gone)


@dataclass(frozen=True, slots=True)
class Writing:
    """Makes the destination hold what is wanted, in the order that keeps the flag true."""

    platform: Platform
    mirror: PublishMirror
    on: Listener
    totals: Totals
    outlet: Outlet
    turn: Turn
    wanted: list[Wanted]
    known: Known
    watch: Watch = field(init=False)
    stop: threading.Event = field(default_factory=threading.Event, init=False)
    large: threading.Semaphore = field(default_factory=lambda: threading.BoundedSemaphore(2), init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "watch", watch_of(self.platform, self.mirror))

    def run(self) -> list[ObjectRecord]:
        """The records of all objects, the flag's last. Raises OutcomeUnknown when another run took over."""
        found = look(self.outlet.head, self.wanted, self.known, left=self.turn.keys, writer=str(self.turn.unit))
        try:
            if len(found.kept) < len(self.wanted) or found.gone or self.turn.flags - {self._flag}:
                self._lower_flags()
            records = self._write_objects(found)
            self._remove(found.gone)
            return self._raise_flag(records)
        except EgressError:
            self._leave_no_mixture()
            raise

    def _lower_flags(self) -> None:
        """Before anything below it changes; those of another template too."""
        self.watch.require_none()
        self._require_turn()
        for flag in sorted(self.turn.flags):
            self.outlet.delete(flag)

    # ----------------------------------------------------------------------------------------------------- the objects
    def _write_objects(self, found: Found) -> list[ObjectRecord]:
        name, failures, records = self.mirror.unit.names[0], Failures("published"), list[ObjectRecord]()
        total, done = sum(w.record.bytes for w in self.wanted), 0
        for ended in each(self.wanted, self._write, idle=lambda w: w.key in found.kept, stop=self.stop):
            wanted = ended.job
            done += wanted.record.bytes
            self.on(Tick("publish", name, done, total, finished=done == total))
            if isinstance(ended.error, OutcomeUnknown | ObjectMissing):
                raise ended.error  # another run has the turn, or the parent moved: nothing of this version is wanted
            failures.add(wanted.key, ended.error)
            if ended.error is None:
                records.append(ended.result or self._as_known(wanted, found.heads[wanted.key]))
                self.totals.add(records[-1].bytes, sent=ended.result is not None)
        failures.check()
        return records

    def _as_known(self, wanted: Wanted, there: Head | None) -> ObjectRecord:
        known = self.known[wanted.key]
        return wanted.as_written(known.bytes, known.sha256, there.etag if there else known.etag)

    def _write(self, wanted: Wanted) -> ObjectRecord:
        self.watch.look()
        self._require_turn()
        size = wanted.record.bytes if wanted.is_as_stored else None
        with self.large if wanted.record.bytes > SMALL else nullcontext():
            done = self.outlet.write(wanted.copy(str(self.turn.unit)), self._until_stopped(wanted), size=size)
        return wanted.as_written(done.bytes, done.sha256, done.etag)

    def _until_stopped(self, wanted: Wanted) -> Iterator[bytes]:
        for chunk in wanted.chunks(self.platform):
            if self.stop.is_set():
                raise OutcomeUnknown(f"{wanted.key} was given up with the run")
            self.watch.look()
            yield chunk

    def _remove(self, gone: Iterable[str]) -> None:
        for key in gone:
            self._require_turn()
            self.outlet.delete(key)
            self.totals.removed_objects += 1

    # --------------------------------------------------------------------------------------------------------- the turn
    def _holder(self) -> Turn | None:
        return turns.holder(self.platform.evidence, self.turn.unit, self.turn.date)

    def _require_turn(self) -> None:
        """Raises OutcomeUnknown when another attempt took the turn."""
        now = self._holder()
        if now is None or now.attempt != self.turn.attempt:
            by = f"attempt {now.attempt}" if now else "nobody"
            raise OutcomeUnknown(
                f"{self.turn.unit.title} {self.turn.date} is being published by {by}, no longer by {self.turn.attempt}",
                hint="Two runs of one date write the same names. Run again: whatever is missing is completed.",
            )

    def _leave_no_mixture(self) -> None:
        """When another run has taken over and writes other bytes, one of ours may have come after one of its own."""
        now = self._holder()
        if now is not None and now.attempt != self.turn.attempt and now.version != self.turn.version:
            for flag in sorted(self.turn.flags):
                self.outlet.delete(flag)

    # --------------------------------------------------------------------------------------------------------- the flag
    @property
    def _flag(self) -> str:
        return self.mirror.layout.flag(self.turn.date)

    def _raise_flag(self, records: list[ObjectRecord]) -> list[ObjectRecord]:
        """Once nothing below it changes any more; left alone where it says this already."""
        self._require_turn()
        if not self._flag:
            return records
        body = flag_body(self.mirror, self.turn.date, records)
        told = sha256(body).hexdigest()
        there = self.outlet.head(self._flag)
        stands = there is not None and (there.bytes, there.metadata.get(MADE_OF)) == (len(body), told)
        if not stands:
            self.watch.require_none()
            metadata = {MADE_OF: told, WRITER: str(self.turn.unit)}
            etag = self.outlet.write_note(self._flag, body, metadata).etag
            self._require_turn()  # it may have come after another run took the flag down
        else:
            etag = there.etag if there else ""
        self.totals.add(len(body), sent=not stands)
        source = {FLAG: True, "made_of": told}
        return [*records, ObjectRecord(self._flag, len(body), told, 0, etag, source, len(body))]
