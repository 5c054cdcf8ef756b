"""Read the tables of one snapshot with several processes: each part is one job, the largest first."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from egress_assets.engine.dump.bounds import Bounds
from egress_assets.engine.dump.snapshot import Leader
from egress_assets.engine.dump.source import SourceSettings
from egress_assets.engine.dump.tasks import CellDone, PartDone, PartTask, TableDone
from egress_assets.engine.limits import Amount
from egress_assets.engine.progress import Listener, Tick
from egress_assets.engine.stores.settings import StoreSettings
from egress_assets.engine.workers import Job, Pool, Watched

logger = logging.getLogger(__name__)

_WORTH_A_WORKER = 64 * 2**20
"""Bytes of tables. A worker takes 0.7 s of CPU to start, in which one that runs reads about this much."""


def extract(
    leader: Leader,
    tasks: Sequence[PartTask],
    store: StoreSettings,
    *,
    settings: SourceSettings,
    workers: int,
    on: Listener,
    phase: str = "dump",
    bounds: Bounds | None = None,
) -> dict[str, TableDone]:
    """Run `tasks` in at most `workers` processes. Afterwards all are whole in the store and the snapshot has held.

    Whoever is free takes the next part, whatever table it is of. Memory: a worker's (engine/dump/copying.py; measured
    70 MB, of which 45 are the interpreter) x workers, and 1 KB a cell.

    Raises what the first failing worker raised; SourceUnavailable naming the part whose worker was killed, or when the
    snapshot was held for longer than it may be; SourceChanged when the snapshot's session is gone or a table was
    rewritten under it; LimitExceeded at most a second after the rows read came to more than `bounds` allow. On any
    exception, a signal's too, no worker is left.
    """
    if not tasks:
        return {}
    reading = _Reading(tasks, phase, on, bounds or Bounds())
    jobs = [Job(reading.title(t), {"task": _plain(t)}) for t in sorted(tasks, key=lambda t: -t.expected_bytes)]
    hello = {
        "source": settings.model_dump(),
        "store": store.model_dump(),
        "snapshot": leader.snapshot,
        "name": "egress worker",
    }
    throttling = reading.bounds.throttling
    if throttling:
        logger.info("throttled to %s, all workers together", throttling)
    with Pool(hello, min(workers, len(jobs), useful(task.expected_bytes for task in tasks))) as pool:
        share = throttling.share if throttling else None
        watched = Watched(leader.connection.fileno(), leader.verify)
        pool.run(jobs, reading.hear, watched=watched, share=share, meanwhile=leader.require_time)
    leader.verify()
    return reading.tables()


@dataclass(slots=True)
class _Table:
    """What has come of one table's parts. Memory: O(parts)."""

    expected: dict[int, int]  # bytes by part: the planner's, until the part is read
    under_way: dict[int, Amount] = field(default_factory=dict)
    done: dict[int, PartDone] = field(default_factory=dict)

    @property
    def so_far(self) -> Amount:
        read = [*self.under_way.values(), *(Amount(part.rows, part.raw_bytes) for part in self.done.values())]
        return Amount(sum(amount.rows for amount in read), sum(amount.bytes for amount in read))

    @property
    def total(self) -> int:
        return sum(self.expected.values())

    @property
    def is_whole(self) -> bool:
        return len(self.done) == len(self.expected)

    def finish(self, part: PartDone) -> None:
        self.under_way.pop(part.part, None)
        self.done[part.part] = part
        self.expected[part.part] = part.raw_bytes

    def told(self, name: str) -> TableDone:
        return TableDone(name, tuple(part for _, part in sorted(self.done.items())))


class _Reading:
    """Hears the workers and tells of whole tables, whoever reads their parts."""

    def __init__(self, tasks: Sequence[PartTask], phase: str, on: Listener, bounds: Bounds) -> None:
        self.bounds = bounds
        self._phase, self._on = phase, on
        self._tables: dict[str, _Table] = {}
        for task in tasks:
            self._tables.setdefault(task.table, _Table({})).expected[task.part] = task.expected_bytes
        self._whole = sum(table.total for table in self._tables.values())
        self._tell(max(tasks, key=lambda task: task.expected_bytes).table)

    def title(self, task: PartTask) -> str:
        parts = len(self._tables[task.table].expected)
        return task.table if parts == 1 else f"{task.table} part {task.part} of {parts}"

    def hear(self, message: Mapping[str, Any]) -> None:
        """Raises LimitExceeded."""
        if "tick" in message:
            said = message["tick"]
            name = said["table"]
            self._tables[name].under_way[said["part"]] = Amount(said["rows"], said["done"])
        else:
            part = _done_of(message["done"])
            name = part.table
            before = self._tables[name].total
            self._tables[name].finish(part)
            self._whole += self._tables[name].total - before
        if self.bounds.ceiling:
            is_whole = all(table.is_whole for table in self._tables.values())
            self.bounds.ceiling.note(name, self._tables[name].so_far, is_whole=is_whole)
        self._tell(name)

    def tables(self) -> dict[str, TableDone]:
        return {name: table.told(name) for name, table in self._tables.items()}

    def _tell(self, name: str) -> None:
        table = self._tables[name]
        if table.is_whole:
            done = table.told(name)
            took = f"{len(done.parts)} parts, {done.seconds:.1f} s of workers"
            logger.info(
                "read %s: %d rows, %d bytes (%d stored) in %s",
                name, done.rows, done.raw_bytes, done.bytes, took if len(done.parts) > 1 else f"{done.seconds:.1f} s",
            )  # fmt: skip
        read = table.so_far
        self._on(
            Tick(
                self._phase, name, read.bytes, table.total, read.rows, finished=table.is_whole, whole=self._whole,
                estimated=True,
            )
        )  # fmt: skip


def useful(sizes: Iterable[int]) -> int:
    """How many workers pay off for jobs of so many bytes. One of unknown size (a view, for one) is worth its own."""
    return max(1, sum(size or _WORTH_A_WORKER for size in sizes) // _WORTH_A_WORKER)


def _plain(task: PartTask) -> dict[str, Any]:
    return asdict(task) | {"session": dict(task.session)}


def _done_of(message: Mapping[str, Any]) -> PartDone:
    plain = dict(message)
    plain["cells"] = tuple(CellDone(**cell) for cell in message["cells"])
    return PartDone(**plain)
