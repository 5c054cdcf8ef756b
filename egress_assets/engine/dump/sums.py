"""Checksums of a table's rows in the server, and of its stored objects: what a worker process does of `verify: deep`.

The server's is one statement over the relation as a whole, by neither leaves nor block ranges, in the same snapshot and
with the same session settings: it sees what the division into cells loses. It reads the table a second time, with the
parallelism that the server allows its own queries, and is not throttled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from egress_assets.engine.checksum import MODULUS, Checksum
from egress_assets.engine.dialect import PLAIN, Dialect
from egress_assets.engine.dump.snapshot import joined
from egress_assets.engine.dump.source import SourceSettings, cancel, connect, hang_up
from egress_assets.engine.dump.tasks import Relation
from egress_assets.engine.evidence.records import ObjectRecord
from egress_assets.engine.evidence.verify import verified_chunks
from egress_assets.engine.stored_rows import rows_checksum
from egress_assets.engine.stores import Store

# OFFSET 0 keeps a mask from being evaluated twice, for the value and for whether it is NULL. Not by IS NULL: that is
# true of a composite of NULLs too. `concat` writes any type as COPY does, by its output function; a cast to text would
# write true, 10.0.0.1/32 and bpchar without its blanks.
_CHECKSUM = """
SELECT count(*), sum(('x' || encode(substr(digest, 1, 8), 'hex'))::bit(64)::bigint)
FROM (SELECT sha256({row}) AS digest FROM (SELECT {columns} FROM {source}{where} OFFSET 0) AS chosen) AS hashed
"""
_VALUE = "CASE WHEN {name} IS DISTINCT FROM NULL THEN {text} || decode('ff', 'hex') ELSE decode('feff', 'hex') END"
# textsend is the cheaper one (a fifth of the query); it writes the client's encoding, which in a parallel worker is the
# database's.
_TEXT = "textsend(concat({name}))"
_TEXT_RECODED = "convert_to(concat({name}), 'UTF8')"


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a run selected of a table, and how it wrote that."""

    relation: Relation
    select: Sequence[tuple[str, sql.Composable]]
    where: sql.Composable | None
    format: str
    dialect: Dialect = PLAIN
    session: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class SumTask:
    """One table's checksum in the server, for one worker process."""

    table: str
    query: str
    session: Mapping[str, str] = field(repr=False)
    lock: tuple[tuple[str, str], ...]

    @staticmethod
    def of(message: Mapping[str, Any]) -> SumTask:
        """As it was before `asdict` and JSON."""
        return SumTask(**{**message, "lock": tuple((schema, name) for schema, name in message["lock"])})


@dataclass(frozen=True, slots=True)
class RereadTask:
    """One object of a table, to be read back by one worker process. `dialect` is as a record has it."""

    table: str
    part: int
    key: str
    bytes: int
    sha256: str
    format: str
    dialect: Mapping[str, str]
    columns: int


def checksum_query(chosen: Chosen, encoding: str) -> str:
    """Of one row: how many rows, and the sum of their numbers as signed integers. `encoding` is the server's."""
    names = [f"c{place}" for place in range(len(chosen.select))]
    columns = [
        sql.SQL("{} AS {}").format(expression, sql.Identifier(name))
        for name, (_, expression) in zip(names, chosen.select, strict=True)
    ]
    source = sql.Identifier(chosen.relation.schema, chosen.relation.name)
    where = sql.SQL(" WHERE {}").format(chosen.where) if chosen.where else sql.SQL("")
    text = sql.SQL(_TEXT if encoding == "UTF8" else _TEXT_RECODED)
    row = _joined([sql.SQL(_VALUE).format(name=n, text=text.format(name=n)) for n in map(sql.Identifier, names)])
    columns = sql.SQL(", ").join(columns)
    return sql.SQL(_CHECKSUM).format(row=row, columns=columns, source=source, where=where).as_string()


def _joined(values: Sequence[sql.Composable]) -> sql.Composable:
    """By halves: one after the other, a row of 1,600 columns would be copied 1,600 times."""
    if len(values) < 2:
        return values[0] if values else sql.SQL("''::bytea")
    half = len(values) // 2
    return sql.SQL("({} || {})").format(_joined(values[:half]), _joined(values[half:]))


class Sums:
    """A worker's side; its session begins when the server is asked for the first time."""

    def __init__(self, settings: SourceSettings, application_name: str) -> None:
        self._settings, self._name = settings, application_name
        self._connection: psycopg.Connection | None = None

    def answer(self, message: Mapping[str, Any], snapshot: str, store: Store) -> dict[str, Any]:
        """To {sum} or {reread}. Raises as `sum_in_server` and `sum_of_object`."""
        if "reread" in message:
            return sum_of_object(store, RereadTask(**message["reread"]))
        if self._connection is None:
            self._connection = connect(self._settings, application_name=self._name)
        return sum_in_server(self._connection, snapshot, SumTask.of(message["sum"]))

    def cancel(self) -> None:
        """From any thread."""
        if self._connection is not None:
            cancel(self._connection)

    def hang_up(self) -> None:
        if self._connection is not None:
            hang_up(self._connection)


def sum_in_server(connection: psycopg.Connection, snapshot: str, task: SumTask) -> dict[str, Any]:
    """Within the snapshot. Raises SourceError's kinds."""
    with joined(connection, snapshot, task):
        # Order does not matter here. Nothing that has an order is read in this transaction any more.
        connection.execute("SET LOCAL max_parallel_workers_per_gather TO DEFAULT")
        rows, total = connection.execute(task.query.encode()).fetchone() or (0, None)
    return {"table": task.table, "part": None, **Checksum(rows, int(total or 0) % MODULUS).to_json()}


def sum_of_object(store: Store, task: RereadTask) -> dict[str, Any]:
    """Read from the store. Raises ChecksumMismatch, StoreError's kinds."""
    record = ObjectRecord(task.key, task.bytes, task.sha256)
    dialect = Dialect.from_json(task.dialect)
    found = rows_checksum(verified_chunks(store, record), task.format, dialect, task.columns)
    return {"table": task.table, "part": task.part, **found.to_json()}
