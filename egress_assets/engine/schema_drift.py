"""Schema drift: a table's columns differ from those of the date before, or a table is no longer dumped.

Readers by position, of CSV without a header above all, would go on with the wrong columns and nobody would see it. So
the catalog says by kind what a run does (`drift`: fail, the default, or warn, or accept), and it is decided under the
snapshot's locks, before the first row. What a run compares with is evidence alone: of each table the newest pointer of
the same unit at the same date or an earlier one. A first dump has nothing to compare with.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from itertools import groupby
from typing import Any

from egress_assets.engine.catalog.models import Catalog, DatasetModel
from egress_assets.engine.catalog.operate import DriftKind
from egress_assets.engine.errors import ManifestInvalid, SchemaDrift
from egress_assets.engine.evidence.driver import Evidence
from egress_assets.engine.evidence.records import Column
from egress_assets.engine.layout import Unit, parse_pointer_key, pointer_key, pointer_prefix
from egress_assets.engine.partition import parse_date
from egress_assets.engine.schema_change import What, changes

logger = logging.getLogger(__name__)

DAYS = 400
"""How far back: one page of a listing. A dataset that rested for a year still has something to compare with."""
POINTERS = 30
"""How many dates are read at the most: one, unless a table is new or was not in the last runs."""
FACT = "drift"  # in a manifest's facts
ONCE = "accepted once"
_SHOWN = 20  # differences in a message

# A mask is the catalog's own: whoever changes it has decided.
_KINDS: Mapping[What, DriftKind] = {
    "added": "added",
    "removed": "removed",
    "type": "retyped",
    "null": "nullable",
    "order": "reordered",
}


@dataclass(frozen=True, slots=True)
class Drifted:
    """One difference and what is done about it: `how` is `fail`, `warn`, `accept` or `accepted once`."""

    table: str
    since: str  # the date that it is compared with
    kind: DriftKind
    column: str
    was: str
    now: str
    how: str

    @property
    def line(self) -> str:
        """`+ column type`, `- column type`, `* column: old -> new`."""
        match self.kind:
            case "added":
                return f"+ {self.column} {self.now}"
            case "removed":
                return f"- {self.column} {self.was}"
            case "removed_table":
                return "- the table, which left the catalog"
            case "reordered":
                return f"* order of columns: {self.was} -> {self.now}"
            case _:
                return f"* {self.column}: {self.was} -> {self.now}"


@dataclass(slots=True)
class Before:
    """What the newest pointers hold. `columns` is by table: date and columns; `left` are tables the catalog has not."""

    columns: dict[str, tuple[str, tuple[Column, ...]]] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)


def before(evidence: Evidence, unit: Unit, date: str, wanted: Iterable[str], known: frozenset[str]) -> Before:
    """Of each of `wanted` the newest columns at `date` or before; `known` are all tables of the catalog.

    Tables that left are looked for in the newest pointer, and in the one before where some wanted table is only there:
    a run of some tables leaves a pointer without the others. One listing and mostly one pointer with its manifests,
    bounded by DAYS and POINTERS; a date that can't be read is passed over with a warning. Raises StoreError's kinds.
    """
    out, lacking = Before(), set(wanted)
    others: list[tuple[str, set[str], set[str]]] = []  # date, tables that are not the catalog's, tables that were found
    for day in _dates(evidence, unit, date):
        try:
            pointer = evidence.pointer(unit, day)
            found = evidence.tables(pointer, frozenset(lacking)) if pointer else {}
        except ManifestInvalid as error:
            logger.warning("columns of %s %s are not compared with: %s", unit.title, day, error)
            continue
        entries = set(pointer.entries) if pointer else set()
        others.append((day, entries - known, set(found)))
        out.columns |= {table: (day, record.columns) for table, (_, record) in found.items()}
        lacking -= set(found)
        if not lacking:
            break
    newest = others[:2] if len(others) > 1 and others[1][2] else others[:1]
    for day, left, _ in reversed(newest):
        out.left |= dict.fromkeys(left, day)
    return out


def _dates(evidence: Evidence, unit: Unit, date: str) -> list[str]:
    """Dates with a pointer, the newest first."""
    first = (parse_date(date) - timedelta(days=DAYS)).isoformat()
    days: list[str] = []
    after = pointer_key(unit, first).removesuffix(".json")
    for listed in evidence.store.list(f"{pointer_prefix(unit)}date=", start_after=after):
        _, day = parse_pointer_key(listed.key)
        if day > date:
            break
        days.append(day)
    return days[: -POINTERS - 1 : -1]


def drifted(
    model: DatasetModel, past: Before, now: Mapping[str, Sequence[Column]], *, whole: bool
) -> tuple[Drifted, ...]:
    """Every difference, and what the catalog says of it. Only a run over all tables takes one away (`whole`). Pure."""
    found: list[Drifted] = []
    for table, columns in now.items():
        since, was = past.columns.get(table, ("", columns))
        for change in changes(was, columns):
            if kind := _KINDS.get(change.what):
                how = model.on_drift(table, kind)
                found.append(Drifted(table, since, kind, change.column, change.was, change.now, how))
    if whole:
        how = model.on_drift("", "removed_table")
        found += [Drifted(table, day, "removed_table", "", "", "", how) for table, day in sorted(past.left.items())]
    return tuple(found)


def settled(catalog: Catalog, unit: Unit, date: str, found: Sequence[Drifted], *, accept: bool) -> tuple[Drifted, ...]:
    """What of `found` the run goes on with, told in the log; `accept` takes all of it this once. Raises SchemaDrift."""
    refused = tuple(each for each in found if each.how == "fail")
    if refused and not accept:
        raise refusal(catalog, unit, date, refused)
    settled = tuple(replace(each, how=ONCE) if each.how == "fail" else each for each in found)
    for how, told in groupby(sorted(settled, key=lambda each: each.how), lambda each: each.how):
        log = logger.info if how == "accept" else logger.warning
        log("schema drift of %s %s (%s): %s", unit.title, date, how, words(list(told)))
    return settled


def refusal(catalog: Catalog, unit: Unit, date: str, refused: Sequence[Drifted]) -> SchemaDrift:
    """The error: the diff by table, and the ways to accept it."""
    dataset = unit.names[0]
    kinds = ", ".join(f"{kind}: accept" for kind in dict.fromkeys(each.kind for each in refused))
    place = catalog.place(f"{dataset}.drift") or catalog.place(dataset) or f"{dataset}.yaml"
    return SchemaDrift(
        f"schema drift of {unit.title} {date}: {words(refused)}",
        hint="Nothing was written, what was there stands. Accept it once by "
        f"`egress {unit.stage} {dataset} --date {date} --accept-drift` (in the UI: job {dataset}_range, "
        f"`accept_drift: true`), or from now on by `drift: {{{kinds}}}` at {place}.",
        found=tuple(asdict(each) for each in refused),
    )


def words(found: Sequence[Drifted]) -> str:
    """The diff in a line: `public.orders since 2026-11-19: + note text, - total numeric(12,2); public.x since ...`."""
    shown = [
        f"{table} since {since}: {', '.join(each.line for each in lines)}"
        for (table, since), lines in groupby(found[:_SHOWN], lambda each: (each.table, each.since))
    ]
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return "; ".join(shown) + more


# ------------------------------------------------------------------------------------------------------------- evidence
def facts_of(found: Sequence[Drifted]) -> dict[str, Any]:
    """What the manifest notes; nothing where nothing has drifted."""
    return {FACT: [asdict(each) for each in found]} if found else {}


def noted(facts: Mapping[str, Any], table: str | None = None) -> Iterator[Drifted]:
    """What a manifest's facts say, of one table or (None) of all."""
    return (Drifted(**row) for row in facts.get(FACT, ()) if table in (None, row["table"]))
