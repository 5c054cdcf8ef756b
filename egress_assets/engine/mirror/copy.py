"""Copying objects: many at once, each from one version of its source, each proven at the destination.

Memory: `IN_FLIGHT` bodies of at most one part (8 MiB) that go in a single PUT, and two multipart uploads of the
store's formula (8 MiB x 5): 144 MiB at worst, whatever the number and size of objects.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from egress_assets.engine.errors import EgressError, ObjectConflict, ObjectMissing, PolicyError
from egress_assets.engine.evidence.reader import verified
from egress_assets.engine.evidence.records import ObjectRecord
from egress_assets.engine.holds import Watch
from egress_assets.engine.mirror.inventory import Copied
from egress_assets.engine.mirror.outlet import Copy, Outlet
from egress_assets.engine.release import ReleasedObject
from egress_assets.engine.stores import Head, Store

logger = logging.getLogger(__name__)

IN_FLIGHT = 8
WINDOW = 256  # results waiting for an earlier one, so that one large object does not stop small ones
TRIES = 3  # of an object whose source changes while it is read
SMALL = 2**20  # bytes; below, one GET tells bytes and metadata of one version, and one PUT writes them
_LARGE = 8 * 2**20  # bytes; above, an upload has several parts in flight

J = TypeVar("J")
R = TypeVar("R")


class _GivenUp(Exception):
    """The run ends; this thread's upload leaves nothing."""


@dataclass(frozen=True, slots=True)
class Task:
    """One object to copy. `record` is what our own evidence says of the bytes; foreign objects have none."""

    source: Store
    source_key: str
    key: str
    bytes: int
    item: ReleasedObject
    record: ObjectRecord | None = None


@dataclass(slots=True)
class Copier:
    """Shared by the threads of one run."""

    outlet: Outlet
    metadata_of: Callable[[Task, Head], Mapping[str, str]]
    watch: Watch
    stop: threading.Event = field(default_factory=threading.Event)
    large: threading.Semaphore = field(default_factory=lambda: threading.BoundedSemaphore(2))

    def copy(self, task: Task) -> Copied:
        """Copy one version of the source whole. Raises ObjectConflict when it changed `TRIES` times under the copy, and
        Held: then nothing of it is visible.
        """
        self.watch.look()
        for left in reversed(range(TRIES)):
            try:
                return self._small(task) if task.bytes <= SMALL else self._streamed(task)
            except ObjectConflict:
                if not left:
                    raise
                logger.info("changed while it was copied, again: %r", task.source_key)
        raise AssertionError

    def _small(self, task: Task) -> Copied:
        found = task.source.read(task.source_key)
        if found is None:
            raise _gone(task)
        body, head = found
        if task.record is not None:
            body = b"".join(verified(task.record, (body,)))
        uploaded = self.outlet.write_whole(self._as_copy(task, head), body)
        return Copied(task.key, uploaded.bytes, uploaded.etag, uploaded.sha256, task.source_key, head.etag)

    def _streamed(self, task: Task) -> Copied:
        head = task.source.head(task.source_key)
        if head is None:
            raise _gone(task)
        chunks = self._until_stopped(task.source.get(task.source_key, etag=head.etag))
        if task.record is not None:
            chunks = verified(task.record, chunks)
        if head.bytes <= _LARGE:
            uploaded = self.outlet.write(self._as_copy(task, head), chunks, size=head.bytes)
        else:
            with self.large:
                uploaded = self.outlet.write(self._as_copy(task, head), chunks, size=head.bytes)
        return Copied(task.key, uploaded.bytes, uploaded.etag, uploaded.sha256, task.source_key, head.etag)

    def _as_copy(self, task: Task, head: Head) -> Copy:
        return Copy((task.item,), task.key, {**head.metadata, **self.metadata_of(task, head)}, head.headers)

    def _until_stopped(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            if self.stop.is_set():
                raise _GivenUp
            self.watch.look()
            yield chunk


@dataclass(frozen=True, slots=True)
class Ended(Generic[J, R]):
    """How one job ended: `result`, or the `error` that it raised."""

    job: J
    result: R | None = None
    error: EgressError | None = None


def each(
    jobs: Iterable[J],
    work: Callable[[J], R],
    *,
    idle: Callable[[J], bool],
    waits: Callable[[J], bool] = lambda _job: False,
    stop: threading.Event,
) -> Iterator[Ended[J, R]]:
    """Do the jobs in threads and yield how each ended, in the order of the jobs; `idle` ones pass untouched.

    A job that `waits` begins when all before it have ended. An EgressError of one job is its result. A PolicyError, or
    whatever else is raised here or by `jobs` (a listing that breaks off), stops the others, waits for them and goes up.
    Memory: WINDOW results.
    """
    waiting: deque[tuple[J, Future[R] | None]] = deque()
    pool = ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="mirror")
    try:
        for job in jobs:
            if waits(job):
                wait([future for _, future in waiting if future is not None])
            waiting.append((job, None if idle(job) else pool.submit(work, job)))
            while waiting and (len(waiting) >= WINDOW or _is_done(waiting[0][1])):
                yield _ended(*waiting.popleft())
        while waiting:
            yield _ended(*waiting.popleft())
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _is_done(future: Future[R] | None) -> bool:
    return future is None or future.done()


def _ended(job: J, future: Future[R] | None) -> Ended[J, R]:
    if future is None:
        return Ended(job)
    try:
        return Ended(job, future.result())
    except PolicyError:
        raise
    except EgressError as error:
        return Ended(job, error=error)


def _gone(task: Task) -> ObjectMissing:
    return ObjectMissing(f"{task.source_key!r} is not in {task.source.name} any more")
