"""Read the tables of one snapshot with several processes: each table is one job, the largest first."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from egress_assets.engine.dump.bounds import Bounds
from egress_assets.engine.dump.snapshot import Leader
from egress_assets.engine.dump.source import SourceSettings
from egress_assets.engine.dump.tasks import CellDone, TableDone, TableTask
from egress_assets.engine.limits import Amount
from egress_assets.engine.progress import Listener, Tick
from egress_assets.engine.stores.settings import StoreSettings
from egress_assets.engine.workers import Job, Pool, Watched

logger = logging.getLogger(__name__)

_WORTH_A_WORKER = 64 * 2**20
"""Bytes of a table. A worker takes 0.7 s of CPU to start, in which one that runs reads about this much."""


def extract(
    leader: Leader,
    tasks: Sequence[TableTask],
    store: StoreSettings,
    *,
    settings: SourceSettings,
    workers: int,
    on: Listener,
    phase: str = "dump",
    bounds: Bounds | None = None,
) -> dict[str, TableDone]:
    """Run `tasks` in at most `workers` processes. Afterwards all are whole in the store and the snapshot has held.

    Memory: a worker's (engine/dump/copying.py: about 55 MB with its interpreter) x workers. Raises what the first
    failing worker raised; SourceUnavailable naming the table whose worker was killed; SourceChanged when the
    snapshot's session is gone or a table was rewritten under it; LimitExceeded at most a second after the rows read
    came to more than `bounds` allow. On any exception, a signal's too, no worker is left.
    """
    if not tasks:
        return {}
    done: dict[str, TableDone] = {}
    expected = {task.table: task.expected_bytes for task in tasks}  # the planner's, until a table is read
    bounds = bounds or Bounds()

    def tick_of(**said: Any) -> Tick:
        return Tick(phase, **said, whole=sum(expected.values()), estimated=True)

    def hear(message: Mapping[str, Any]) -> None:
        if "tick" in message:
            tick = tick_of(**message["tick"])
            if bounds.ceiling:
                bounds.ceiling.note(tick.item, Amount(tick.rows, tick.done), is_whole=False)
            on(tick)
            return
        table = _done_of(message["done"])
        done[table.table] = table
        if bounds.ceiling:
            bounds.ceiling.note(table.table, Amount(table.rows, table.raw_bytes), is_whole=len(done) == len(tasks))
        logger.info(
            "read %s: %d rows, %d bytes (%d stored) in %.1f s",
            table.table, table.rows, table.raw_bytes, table.bytes, table.seconds,
        )  # fmt: skip
        expected[table.table] = size = table.raw_bytes
        on(tick_of(item=table.table, done=size, total=size, rows=table.rows, finished=True))

    jobs = [Job(t.table, {"task": _plain(t)}) for t in sorted(tasks, key=lambda t: -t.expected_bytes)]
    hello = {
        "source": settings.model_dump(),
        "store": store.model_dump(),
        "snapshot": leader.snapshot,
        "name": "egress worker",
    }
    on(tick_of(item=jobs[0].title, total=expected[jobs[0].title]))
    if bounds.throttling:
        logger.info("throttled to %s, all workers together", bounds.throttling)
    with Pool(hello, min(workers, len(jobs), _useful(tasks))) as pool:
        share = bounds.throttling.share if bounds.throttling else None
        pool.run(jobs, hear, watched=Watched(leader.connection.fileno(), leader.verify), share=share)
    leader.verify()
    return {task.table: done[task.table] for task in tasks}


def _useful(tasks: Sequence[TableTask]) -> int:
    """How many workers pay off. A table of unknown size (a view, for one) counts as worth its own."""
    return max(1, sum(task.expected_bytes or _WORTH_A_WORKER for task in tasks) // _WORTH_A_WORKER)


def _plain(task: TableTask) -> dict[str, Any]:
    return asdict(task) | {"session": dict(task.session)}


def _done_of(message: Mapping[str, Any]) -> TableDone:
    plain = dict(message)
    plain["cells"] = tuple(CellDone(**cell) for cell in message["cells"])
    return TableDone(**plain)
