"""What an incremental date reads of a table, and what it leaves for the date after it.

    above the watermark of the date before     every row
    from there down to the floor (`overlap`)   rows whose version the date before had not: they were committed late,
                                               or changed without a newer watermark
    below the floor                            nothing; rows that were written since are counted (`late: count`)

All of it is of the one snapshot that the rows are read in. A table begins anew, with all rows, where there is nothing
to continue from: a first date, a new table, one that was created anew, another watermark column or `where`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from psycopg import sql

from egress_assets.engine.catalog.models import TableModel
from egress_assets.engine.dialect import Dialect
from egress_assets.engine.dump.cells import by_leaf, copy_cells, picked_cells
from egress_assets.engine.dump.chain import Link
from egress_assets.engine.dump.overlap import VERSION, Picked, RowKey, digests, index_chunks, not_in_index, write_index
from egress_assets.engine.dump.snapshot import Leader
from egress_assets.engine.dump.sqlstate import reworded
from egress_assets.engine.dump.tasks import Cell, ColumnInfo, Relation
from egress_assets.engine.dump.watermarks import Watermark
from egress_assets.engine.errors import ChecksumMismatch, ObjectConflict, ObjectMissing, SourceDenied, SourceError
from egress_assets.engine.partition import Calendar
from egress_assets.engine.stage import GoingOn
from egress_assets.engine.stores import Store

logger = logging.getLogger(__name__)

_XIDS = 2**32

Leaves = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Asked:
    """One table of one date. `where` is the catalog's, checked; `columns` are what a row version consists of."""

    leader: Leader
    relation: Relation
    model: TableModel
    date: str
    calendar: Calendar
    link: Link | None
    where: sql.Composable | None
    columns: tuple[ColumnInfo, ...]
    key: RowKey
    store: Callable[[str], Store]  # by name in the catalog


@dataclass(frozen=True, slots=True)
class Cut:
    """`rows` chooses what is above, `late` are single rows below; `continues` is the record's, without an index."""

    rows: sql.Composable | None
    late: Picked
    continues: Mapping[str, Any]
    index: sql.Composed | None = field(repr=False)

    @property
    def late_rows(self) -> int:
        return sum(len(tids) for tids in self.late.values())

    def cells(self, asked: Asked, select: Sequence[tuple[str, sql.Composable]], dialect: Dialect) -> tuple[Cell, ...]:
        above = copy_cells(asked.relation, select, self.rows, asked.leader.connection, dialect=dialect)
        return (*above, *picked_cells(asked.relation, select, self.late, dialect=dialect))

    def going_on(self, asked: Asked, store: Store, key: str) -> GoingOn:
        """Write the index. Raises SourceError's and StoreError's kinds."""
        if self.index is None:
            return GoingOn(self.continues, None)
        record = write_index(asked.leader.connection, self.index, store, key, table=asked.relation.table)
        return GoingOn(self.continues, record)


def cut(asked: Asked) -> Cut:
    """Decide what belongs to the date. Reads the overlap's rows in the server, and those below it to count.

    Raises CatalogError, TableMissing, SourceError's kinds (rows without a watermark), StoreError's kinds.
    """
    table = asked.relation.table
    watermark = Watermark.of(asked.model, asked.relation)
    with reworded(f"table {table}"):
        if not by_leaf(asked.relation, asked.leader.connection):
            hint = "Grant SELECT on its partitions and USAGE on their schemas."
            raise SourceDenied(f"the role may not read the partitions of {table}, which are read one by one", hint=hint)
        for name, value in asked.key.session.items():
            asked.leader.connection.execute("SELECT set_config(%s, %s, true)", (name, value))
    asked.leader.require_time()
    return _Cutting(asked, watermark).cut()


class _Cutting:
    def __init__(self, asked: Asked, watermark: Watermark) -> None:
        self._asked, self._mark = asked, watermark
        self._title = asked.relation.table
        self._as_of = datetime.fromisoformat(asked.leader.as_of)
        self._until = watermark.of_date(asked.date, self._as_of, asked.calendar)
        self._snapshot = str(self._one(sql.SQL("SELECT pg_current_snapshot()::text")))
        self._begins = self._why_anew()
        link = asked.link if not self._begins else None
        self._last: Mapping[str, Any] = link.record.continues if link else {}
        self._was: str | None = self._last.get("watermark")
        self._floor: str | None = self._last.get("floor")

    def cut(self) -> Cut:
        self._refuse_nulls()
        late, again = self._late()
        above = self._floor if again else self._was
        rows = self._all(self._mark.above(above) if above else None, self._until)
        watermark, floor = self._reached()
        continues = {
            **self._identity(),
            "watermark": watermark,
            "floor": floor,
            "after": self._asked.link.name if self._asked.link else "",
            "begins": self._begins,
            "again": again,
            "late_rows": sum(len(tids) for tids in late.values()),
            "ahead_rows": self._ahead(),
            "missed_rows": self._missed(),
        }
        self._tell(continues)
        return Cut(rows, late, continues, self._index(watermark, floor))

    # ------------------------------------------------------------------------------------------------------- continuing
    def _identity(self) -> dict[str, Any]:
        """What has to be equal for a date to continue, and for its rows to be compared."""
        leader, column = self._asked.leader, self._mark.info
        return {
            "column": column.name,
            "type": column.base,
            "oid": self._asked.relation.oid,
            "leaves": [list(leaf) for leaf in self._asked.relation.leaves],
            "where": self._asked.model.where or "",
            "system": leader.position.line.partition("/")[0],
            "snapshot": self._snapshot,
            "columns": [[c.name, c.type] for c in self._asked.columns],
            "key_id": self._asked.key.key_id,
            "digest": VERSION,
        }

    def _why_anew(self) -> str:
        """'' where the table continues."""
        if self._asked.link is None:
            return "there is nothing to continue from"
        last = self._asked.link.record.continues
        if last["oid"] != self._asked.relation.oid:
            return "it was dropped and created anew"
        if [last["column"], last["type"]] != [self._mark.info.name, self._mark.info.base]:
            return "its watermark column has changed"
        if last["where"] != (self._asked.model.where or ""):
            return "its `where` has changed"
        return ""

    def _not_comparable(self) -> str:
        """Why no row of the overlap can be recognised; '' where they can."""
        last = self._last
        if (last["digest"], last["key_id"]) != (VERSION, self._asked.key.key_id):
            return "its key has changed"
        now = [[c.name, c.type] for c in self._asked.relation.columns]
        return "" if all(column in now for column in last["columns"]) else "columns have changed"

    def _late(self) -> tuple[Picked, str]:
        """The late rows; or why all rows of the overlap are taken again, which loses none."""
        link = self._asked.link
        if link is None or self._was is None or self._floor is None:
            return {}, ""
        if why := self._not_comparable():
            return {}, why
        clause = self._all(self._mark.above(self._floor), self._mark.up_to(self._was))
        names = [name for name, _ in self._last["columns"]]
        query = self._digests(names, clause, places=True)
        if query is None:
            return {}, ""
        chunks = index_chunks(self._asked.store(link.store), link.record.index)
        try:
            return not_in_index(self._asked.leader.connection, query, chunks, self._asked.relation), ""
        except (ObjectMissing, ObjectConflict, ChecksumMismatch) as error:
            return {}, f"its index can't be read: {error.code}"

    def _reached(self) -> tuple[str | None, str | None]:
        """The watermark and the floor for the date after; a watermark never falls, whatever was deleted."""
        highest = sql.SQL("SELECT max({}) AS m FROM ONLY {} WHERE {}")
        leaves = self._by_leaf(highest, self._mark.column, where=self._all(self._until))
        was = self._mark.value(self._was) if self._was else sql.SQL("NULL")
        watermark = self._was
        if leaves is not None:
            watermark = self._one(sql.SQL("SELECT greatest(max(m), {})::text FROM ({}) AS l").format(was, leaves))
        if watermark is None:
            return None, None
        return watermark, self._one(sql.SQL("SELECT {}").format(self._mark.floor(watermark)))

    def _index(self, watermark: str | None, floor: str | None) -> sql.Composed | None:
        if watermark is None or floor is None:
            return None
        clause = self._all(self._mark.above(floor), self._mark.up_to(watermark))
        return self._digests([c.name for c in self._asked.columns], clause, places=False)

    # --------------------------------------------------------------------------------------------------------- counting
    def _refuse_nulls(self) -> None:
        if not self._mark.info.nullable:
            return
        leaves = self._by_leaf(
            sql.SQL("(SELECT 1 AS m FROM ONLY {} WHERE {} LIMIT 1)"), where=self._all(self._mark.is_null)
        )
        if leaves is not None and self._one(sql.SQL("SELECT count(*) FROM ({}) AS l").format(leaves)):
            name = self._mark.info.name
            raise SourceError(
                f"{self._title} has rows whose watermark {name} is NULL, no date would ever have them",
                hint=f"Fill the column and make it NOT NULL, or leave such rows out: `where: {name} IS NOT NULL`.",
            )

    def _ahead(self) -> int:
        """Rows that are dated after the snapshot: they wait for their date."""
        clause = self._mark.ahead(self._as_of, self._asked.calendar)
        return self._count(clause) if clause else 0

    def _missed(self) -> int | None:
        """Rows below the floor that were written since the date before was read, or attached; None: not counted.

        By the transaction that wrote them: it had not ended when the date before took its snapshot. What a savepoint
        of such a transaction wrote is told only when it began after that. Exact for two billion transactions.
        """
        if self._asked.model.late == "ignore" or self._floor is None or not self._is_same_system():
            return None
        then, now = (text.split(":") for text in (self._last["snapshot"], self._snapshot))
        if int(now[1]) - int(then[1]) >= _XIDS // 2:
            return None
        since = max(3, int(then[1]) % _XIDS)
        running = [str(int(xid) % _XIDS) for xid in then[2].split(",") if xid]
        written = sql.SQL("(age(xmin) BETWEEN 0 AND age({}::xid) OR xmin = ANY({}::xid[]))")
        clause = written.format(sql.Literal(str(since)), sql.Literal("{" + ",".join(running) + "}"))
        below = self._mark.up_to(self._floor)
        attached = [leaf for leaf in self._asked.relation.leaves if list(leaf) not in self._last["leaves"]]
        known = [leaf for leaf in self._asked.relation.leaves if leaf not in attached]
        return self._count(sql.SQL("{} AND {}").format(below, clause), known) + self._count(below, attached)

    def _is_same_system(self) -> bool:
        """Transactions are counted by one server and its standbys."""
        return self._last["system"] == self._asked.leader.position.line.partition("/")[0]

    def _tell(self, continues: Mapping[str, Any]) -> None:
        title, date, column = self._title, self._asked.date, self._mark.info.name
        if self._begins and self._asked.link is not None:
            logger.warning("%s %s begins anew with all rows: %s", title, date, self._begins)
        if continues["late_rows"]:
            logger.info("%s %s has %d late rows", title, date, continues["late_rows"])
        if continues["again"]:
            logger.warning("%s %s takes the rows of the overlap again: %s", title, date, continues["again"])
        if continues["ahead_rows"]:
            logger.warning(
                "%s has %d rows whose %s is in the future: they wait", title, continues["ahead_rows"], column
            )
        if continues["missed_rows"]:
            logger.warning(
                "%s has %d rows that were written since the date before and are dated below the overlap: %s lacks them",
                title, continues["missed_rows"], date,
            )  # fmt: skip

    # -------------------------------------------------------------------------------------------------------------- SQL
    def _all(self, *clauses: sql.Composable | None) -> sql.Composed | None:
        kept = [clause for clause in (self._asked.where, *clauses) if clause is not None]
        return sql.SQL(" AND ").join(sql.SQL("({})").format(clause) for clause in kept) if kept else None

    def _by_leaf(
        self, each: sql.SQL, *given: sql.Composable, where: sql.Composable | None, leaves: Leaves | None = None
    ) -> sql.Composed | None:
        """`each` over every leaf, or those of `leaves`, put together; None where there is none."""
        clause, chosen = where or sql.SQL("true"), self._asked.relation.leaves if leaves is None else leaves
        found = [each.format(*given, sql.Identifier(*leaf), clause) for leaf in chosen]
        return sql.SQL(" UNION ALL ").join(found) if found else None

    def _digests(self, columns: Sequence[str], where: sql.Composable | None, *, places: bool) -> sql.Composed | None:
        if not self._asked.relation.leaves or where is None:
            return None
        return digests(self._asked.relation, columns, where, self._asked.key, places=places)

    def _count(self, clause: sql.Composable, leaves: Leaves | None = None) -> int:
        each = sql.SQL("SELECT count(*) AS m FROM ONLY {} WHERE {}")
        counts = self._by_leaf(each, where=self._all(clause), leaves=leaves)
        return int(self._one(sql.SQL("SELECT sum(m) FROM ({}) AS l").format(counts))) if counts else 0

    def _one(self, query: sql.SQL | sql.Composed) -> Any:
        with reworded(f"table {self._title}"):
            row = self._asked.leader.connection.execute(query).fetchone()
        return row[0] if row else None
