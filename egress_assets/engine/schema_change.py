"""What differs between two schemas of one table, column by column. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from egress_assets.engine.evidence.records import Column

_SHOWN = 8  # columns of an order that is shown

What = Literal["added", "removed", "type", "null", "mask", "order"]


@dataclass(frozen=True, slots=True)
class Change:
    """One difference; '' where a column was not or is not. An `order` is of the table, its column is ''."""

    column: str
    what: What
    was: str
    now: str


def changes(was: Sequence[Column], now: Sequence[Column]) -> list[Change]:
    """Columns added, removed, or of another type, nullability or mask, in the order of the columns as they are now.

    Last comes the order, where a column that stays is not at the place that removals alone leave it: who reads by
    position would take one column for another. A column added at the end moves none.
    """
    old, new = {c.name: c for c in was}, {c.name: c for c in now}
    out = [change for c in now for change in _changed(c.name, old.get(c.name), c)]
    out += [change for c in was if c.name not in new for change in _changed(c.name, c, None)]
    return out + list(_moved([name for name in old if name in new], list(new)))


def _changed(name: str, was: Column | None, now: Column | None) -> Iterator[Change]:
    if was is None or now is None:
        yield Change(name, "added" if was is None else "removed", was.type if was else "", now.type if now else "")
        return
    said: tuple[tuple[What, str, str], ...] = (
        ("type", was.type, now.type),
        ("null", _null(was), _null(now)),
        ("mask", was.mask, now.mask),
    )
    yield from (Change(name, what, old, new) for what, old, new in said if old != new)


def _null(column: Column) -> str:
    return "may be NULL" if column.nullable else "NOT NULL"


def _moved(stay: list[str], now: list[str]) -> Iterator[Change]:
    """`stay` are the columns that are in both, as they stood."""
    if stay != now[: len(stay)]:
        first = next(n for n, (old, new) in enumerate(zip(stay, now, strict=False)) if old != new)
        yield Change("", "order", _listed(stay[first:]), _listed(now[first:]))


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
