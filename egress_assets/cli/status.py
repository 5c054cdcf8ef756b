"""`egress status`"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from egress_assets.cli._options import json_option
from egress_assets.cli._output import Shown, emit, number, size
from egress_assets.cli._state import State

if TYPE_CHECKING:
    from egress_assets.engine.drift import Drift
    from egress_assets.engine.status import Row

_COLUMNS = ("date", "unit", "state", "generation", "tables", "rows", "bytes", "detail")
_NUMBERS = frozenset({"generation", "tables", "rows", "bytes"})


@click.command("status")
@click.option("--days", default=7, show_default=True, type=click.IntRange(1, 366), help="How many dates back.")
@json_option
@click.pass_obj
def command(state: State, days: int) -> None:
    """Show what each date of each unit has come to, from evidence alone."""
    from egress_assets.engine.certificate.stored import uncertified
    from egress_assets.engine.drift import tables_gone, units_gone
    from egress_assets.engine.partition import now
    from egress_assets.engine.seen import look
    from egress_assets.engine.status import judge, newest

    platform, at = state.platform(), now()
    catalog, evidence, dates = platform.catalog, platform.evidence, newest(platform.catalog, days, at)
    seen = look(catalog, evidence, dates)
    bare = uncertified(evidence, seen)
    judged = judge(catalog, seen, dates, at)
    rows = [_noting(row, "no certificate") if (row.unit, row.date) in bare else row for row in judged]
    drift = [*units_gone(catalog, evidence.pointers()), *tables_gone(catalog, seen.truths)]
    datasets = list(dict.fromkeys(row.dataset for row in rows))
    shown = [
        Shown(_COLUMNS, [_cells(row) for row in rows if row.dataset == name], title=name, numbers=_NUMBERS)
        for name in datasets
    ]
    lapsed = [f"lapsed: {problem}" for problem in platform.catalog.lapsed]
    gone = [f"not in the catalog any more: {d.title}, {d.dates} dates, the last {d.last}" for d in drift]
    said = {"rows": [_said(row) for row in rows], "not_in_the_catalog": [_gone(each) for each in drift]}
    emit(state, {"at": at.isoformat(timespec="seconds"), **said}, *shown, *lapsed, *gone)


def _noting(row: Row, remark: str) -> Row:
    return replace(row, detail=f"{row.detail}; {remark}" if row.detail else remark)


def _cells(row: Row) -> tuple[str, ...]:
    there = row.generation or ""
    return (
        row.date, row.unit.title, row.state, str(there), str(row.tables or ""), number(row.rows), size(row.bytes),
        row.detail,
    )  # fmt: skip


def _said(row: Row) -> dict[str, Any]:
    return {
        "dataset": row.dataset, "date": row.date, "unit": row.unit.title, "state": row.state, "detail": row.detail,
        "generation": row.generation, "tables": row.tables, "rows": row.rows, "bytes": row.bytes,
        "receipts": row.receipts,
    }  # fmt: skip


def _gone(drift: Drift) -> dict[str, Any]:
    return {"what": drift.title, "dates": drift.dates, "first": drift.first, "last": drift.last}
