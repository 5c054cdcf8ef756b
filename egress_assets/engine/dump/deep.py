"""`verify: deep`: the rows that a run has stored are compared with the rows that the server has, before the seal.

Two checksums a table (engine/checksum.py), of everything that the catalog selects, computed apart from each other: the
server's by dump/sums.py, the output's of the objects as the store gives them back, each sha256 compared, decompressed
and parsed in the dialect of the table's record. Server and workers are busy at the same time.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from egress_assets.engine.checksum import Checksum, Checksums, added
from egress_assets.engine.dump.extract import useful
from egress_assets.engine.dump.relations import LOCKABLE
from egress_assets.engine.dump.snapshot import Leader
from egress_assets.engine.dump.source import SourceSettings
from egress_assets.engine.dump.sums import Chosen, RereadTask, SumTask, checksum_query
from egress_assets.engine.dump.tasks import PartDone, TableDone
from egress_assets.engine.errors import ChecksumMismatch
from egress_assets.engine.progress import Listener, Tick
from egress_assets.engine.stores.settings import StoreSettings
from egress_assets.engine.workers import Job, Pool, Watched

logger = logging.getLogger(__name__)


def compare(
    leader: Leader,
    done: Mapping[str, TableDone],
    chosen: Sequence[Chosen],
    store: StoreSettings,
    *,
    settings: SourceSettings,
    on: Listener,
) -> dict[str, TableDone]:
    """`done` with each table's checksums, in worker processes: a job a table for the server, a job an object.

    Memory: a worker's (engine/stored_rows.py, 60 MB with the interpreter) x workers. Raises ChecksumMismatch naming all
    tables that differ, with both checksums and counts, or an object whose bytes are not those that were written;
    SourceError's and StoreError's kinds.
    """
    if not chosen:
        return dict(done)
    comparing = _Comparing(done, on)
    hello = {
        "source": settings.model_dump(),
        "store": store.model_dump(),
        "snapshot": leader.snapshot,
        "name": "egress worker",
    }
    jobs = [job for _, job in sorted(_jobs(leader, done, chosen), key=lambda sized: -sized[0])]
    sizes = [size for each in chosen for size in (each.relation.heap_bytes, done[each.relation.table].raw_bytes)]
    with Pool(hello, min(settings.workers, len(jobs), useful(sizes))) as pool:
        watched = Watched(leader.connection.fileno(), leader.verify)
        pool.run(jobs, comparing.hear, watched=watched, meanwhile=leader.require_time)
    leader.verify()
    return comparing.tables()


def _jobs(leader: Leader, done: Mapping[str, TableDone], chosen: Sequence[Chosen]) -> Iterator[tuple[int, Job]]:
    """Each with its bytes."""
    encoding = leader.connection.info.parameter_status("server_encoding") or ""
    for each in chosen:
        relation = each.relation
        lock = ((relation.schema, relation.name),) if relation.kind in LOCKABLE else ()
        task = SumTask(relation.table, checksum_query(each, encoding), each.session, lock)
        plain = asdict(task) | {"session": dict(each.session)}
        yield relation.heap_bytes, Job(f"{relation.table} in the server", {"sum": plain})
        for part in done[relation.table].parts:
            yield part.raw_bytes, Job(f"{part.key} again", {"reread": asdict(_reread(each, part))})


def _reread(each: Chosen, part: PartDone) -> RereadTask:
    return RereadTask(
        part.table, part.part, part.key, part.bytes, part.sha256, each.format, each.dialect.to_json(), len(each.select)
    )


class _Comparing:
    """Hears the workers; the table is compared when the last of its jobs is done."""

    def __init__(self, done: Mapping[str, TableDone], on: Listener) -> None:
        self._done, self._on = done, on
        self._source: dict[str, Checksum] = {}
        self._output: dict[str, dict[int, Checksum]] = {table: {} for table in done}
        self._whole = sum(1 + len(table.parts) for table in done.values())

    def hear(self, message: Mapping[str, Any]) -> None:
        said = message["done"]
        table, found = said["table"], Checksum.from_json(said)
        if said["part"] is None:
            self._source[table] = found
        else:
            self._output[table][said["part"]] = found
        done, total = len(self._output[table]) + (table in self._source), 1 + len(self._done[table].parts)
        self._on(Tick("deep", table, done, total, unit="checksums", finished=done == total, whole=self._whole))

    def tables(self) -> dict[str, TableDone]:
        """Raises ChecksumMismatch."""
        found = {t: Checksums(self._source[t], added(self._output[t].values())) for t in self._done}
        if differing := {table: sums for table, sums in found.items() if not sums.agree}:
            raise differs(differing)
        logger.info("equal in the server and as read back: %d tables", len(found))
        return {table: replace(done, checksums=found[table]) for table, done in self._done.items()}


def differs(found: Mapping[str, Checksums]) -> ChecksumMismatch:
    """The error that names tables, checksums and counts."""
    said = "; ".join(
        f"{table} has {sums.output} in the store, {sums.source} in the server" for table, sums in found.items()
    )
    hint = (
        "Nothing was published, the previous data stands. Run it again, and look at the store when it happens again. "
        "A view that shows other rows each time it is read (random(), clock_timestamp()) can't be compared."
    )
    return ChecksumMismatch(said, hint=hint)
