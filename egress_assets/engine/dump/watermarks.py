"""The watermark column of an incremental extract: its kinds, and the clauses that cut the rows of a date by it.

A date ends when its day ends, or at the snapshot's own moment when that is earlier: what is dated later waits for its
date, so that a clock that runs ahead can't lift the watermark over rows to come. Integers have no day: a date takes all
that there are. Values travel as the server's own text, never parsed: infinity, years before Christ and microseconds
come back as they were.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from psycopg import sql

from egress_assets.engine.catalog.models import TableModel
from egress_assets.engine.dump.tasks import ColumnInfo, Relation
from egress_assets.engine.errors import CatalogError, TableMissing
from egress_assets.engine.partition import Calendar, parse_date

OVERLAP = timedelta(hours=1)
"""Of time columns, where the catalog says nothing. A transaction that stays open for longer after it took its time is
beyond it; between the end of the day and the run there is usually more."""

_INTEGERS = ("int2", "int4", "int8")
_TIMES = ("timestamptz", "timestamp", "date")
_WALL_CLOCK = timedelta(hours=1)
"""A wall clock goes back by this when summer ends, so rows of an hour come with the times of the hour before."""
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Watermark:
    """A table's watermark column, checked. `overlap` is of the column's kind."""

    table: str
    info: ColumnInfo
    overlap: timedelta | int

    @staticmethod
    def of(model: TableModel, relation: Relation) -> Watermark:
        """Raises TableMissing, CatalogError (not a table, a type that doesn't grow, an overlap of another kind)."""
        where = f"the watermark {relation.table}.{model.watermark}"
        if relation.kind not in "rp":
            hint = "Views and foreign tables have no rows with a place of their own: use `extract: full` or `window`."
            raise CatalogError(f"{relation.table} is not a table, `extract: incremental` needs one", hint=hint)
        info = next((column for column in relation.columns if column.name == model.watermark), None)
        if info is None:
            raise TableMissing(f"{relation.table} has no column {model.watermark}", hint="Correct `watermark`.")
        if info.base not in _TIMES + _INTEGERS:
            hint = "Name a column of type timestamptz, timestamp, date, smallint, integer or bigint."
            raise CatalogError(f"{where} is of type {info.type}", hint=hint)
        if info.base in _INTEGERS and not isinstance(model.overlap, int):
            hint = "Say how many values the longest transaction may be behind: `overlap: 100000`."
            raise CatalogError(f"{where} is of type {info.type} and needs an `overlap` of so many values", hint=hint)
        if info.base in _TIMES and isinstance(model.overlap, int):
            raise CatalogError(
                f"{where} is of type {info.type}, its `overlap` is a number", hint="Write a duration, for example 1h."
            )
        return Watermark(relation.table, info, OVERLAP if model.overlap is None else model.overlap)

    @property
    def column(self) -> sql.Composable:
        return sql.Identifier(self.info.name)

    @property
    def is_time(self) -> bool:
        return self.info.base in _TIMES

    def value(self, text: str) -> sql.Composable:
        """A literal that compares with the column."""
        # A bound of integers may lie outside of the smaller ones; comparisons between them use an index as well.
        kind = sql.SQL(self.info.base if self.is_time else "int8")  # type: ignore[arg-type]  # one of four words
        return sql.SQL("{}::pg_catalog.{}").format(sql.Literal(text), kind)

    def above(self, text: str) -> sql.Composable:
        return sql.SQL("{} > {}").format(self.column, self.value(text))

    def up_to(self, text: str) -> sql.Composable:
        return sql.SQL("{} <= {}").format(self.column, self.value(text))

    @property
    def is_null(self) -> sql.Composable:
        return sql.SQL("{} IS NULL").format(self.column)

    def of_date(self, date: str, as_of: datetime, calendar: Calendar) -> sql.Composable | None:
        """The rows that a date may have: dated neither after its day nor after the snapshot. None: no such bound."""
        if not self.is_time:
            return None
        clause = sql.SQL("{} < {}").format(self.column, self.value(self._end(date, calendar)))
        return sql.SQL("{} AND {}").format(clause, self.up_to(self._wall(as_of, calendar.zone)))

    def ahead(self, as_of: datetime, calendar: Calendar) -> sql.Composable | None:
        """Rows that are dated after the snapshot; None where nothing can be."""
        return self.above(self._wall(as_of, calendar.zone)) if self.is_time else None

    def floor(self, text: str) -> sql.Composable:
        """Below which value nothing is compared any more, as an expression of type text.

        Wall clocks get an hour more and dates a day more than the overlap: by so much may a value be behind for
        other reasons than a late commit.
        """
        if not self.is_time:
            lowest = sql.SQL("greatest({}::numeric - {}, -9223372036854775808)::bigint::text")
            return lowest.format(sql.Literal(text), sql.Literal(int(self._number)))
        back = self._duration
        if self.info.base == "date":
            days = -(-back // _DAY) + 1
            return sql.SQL("({} - {})::text").format(self.value(text), sql.Literal(days))
        if self.info.base == "timestamp":
            back += _WALL_CLOCK
        seconds = sql.Literal(f"{back // timedelta(seconds=1)} seconds")
        return sql.SQL("({} - {}::interval)::text").format(self.value(text), seconds)

    @property
    def _duration(self) -> timedelta:
        return self.overlap if isinstance(self.overlap, timedelta) else OVERLAP

    @property
    def _number(self) -> int:
        return self.overlap if isinstance(self.overlap, int) else 0

    def _end(self, date: str, calendar: Calendar) -> str:
        """Timestamptz by the day's instants, timestamp and date by the wall clock."""
        if self.info.base == "timestamptz":
            return f"{calendar.bounds(date)[1].astimezone(UTC):%Y-%m-%d %H:%M:%S}+00"
        return (parse_date(date) + _DAY).isoformat()

    def _wall(self, at: datetime, zone: ZoneInfo) -> str:
        if self.info.base == "timestamptz":
            return at.astimezone(UTC).isoformat(sep=" ")
        local = at.astimezone(zone).replace(tzinfo=None)
        return local.date().isoformat() if self.info.base == "date" else local.isoformat(sep=" ")
