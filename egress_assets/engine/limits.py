"""Ceilings of the catalog: what one date of a dataset may come to. Above, nothing of it is published.

Counted while rows are read, so that a run which goes wrong ends early; what is counted last, before the seal, is exact.
What a recipient may get is delivery/allowance.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from egress_assets.engine.catalog.operate import Limits
from egress_assets.engine.errors import LimitExceeded
from egress_assets.engine.evidence.records import TableRecord
from egress_assets.engine.layout import Unit
from egress_assets.engine.platform import Platform


class Amount(NamedTuple):
    """`bytes` are uncompressed for a dataset, as sent for a recipient."""

    rows: int
    bytes: int


@dataclass(slots=True)
class Ceiling:
    """The running total of one date, by table. Memory: two numbers a table."""

    title: str
    limits: Limits
    place: str  # file:line of `limits`
    amounts: dict[str, Amount]

    def note(self, table: str, amount: Amount, *, is_whole: bool) -> None:
        """`table` has come to `amount` so far. Raises LimitExceeded as soon as the total is above a limit."""
        self.amounts[table] = amount
        for what in ("rows", "bytes"):
            limit, total = getattr(self.limits, what), sum(getattr(a, what) for a in self.amounts.values())
            if limit is not None and total > limit:
                raise self._exceeded(what, limit, total, so_far="" if is_whole else " so far")

    def _exceeded(self, what: str, limit: int, total: int, *, so_far: str) -> LimitExceeded:
        largest = max(self.amounts, key=lambda table: getattr(self.amounts[table], what))
        most = getattr(self.amounts[largest], what)
        return LimitExceeded(
            f"{self.title} comes to {total:,} {what}{so_far}, its limit is {limit:,}: "
            f"the largest table is {largest} with {most:,}",
            hint=f"Nothing was published, what was written is removed, the previous data stands. When so many {what} "
            f"are right, raise `limits` at {self.place or 'the dataset'}.",
        )


def ceiling_of(platform: Platform, unit: Unit, date: str, tables: tuple[str, ...]) -> Ceiling | None:
    """The ceiling of a run over `tables`, or None. What the date's other tables come to already is counted.

    Read anew for each try: a pointer that moves after this makes the run's swap fail and the run start over.
    """
    dataset = unit.names[0]
    limits = platform.catalog.dataset(dataset).limits
    if limits is None:
        return None
    place = platform.catalog.place(f"{dataset}.limits")
    return Ceiling(f"{unit.title} {date}", limits, place, _kept(platform, unit, date, tables))


def _kept(platform: Platform, unit: Unit, date: str, tables: tuple[str, ...]) -> dict[str, Amount]:
    wanted = platform.catalog.dataset(unit.names[0]).tables
    pointer = platform.evidence.pointer(unit, date)
    if pointer is None or len(tables) == len(wanted):
        return {}
    kept = frozenset(pointer.entries) - frozenset(tables)
    return {table: amount_of(record) for table, (_, record) in platform.evidence.tables(pointer, kept).items()}


def amount_of(record: TableRecord) -> Amount:
    """A table of the evidence, uncompressed."""
    return Amount(record.rows or 0, sum(o.bytes if o.raw_bytes is None else o.raw_bytes for o in record.objects))
