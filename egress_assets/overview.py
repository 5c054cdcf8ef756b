"""`egress status` in the UI: one asset whose newest event is the morning's table, told when it has changed.

It is external to Dagster: nothing runs for it, the evidence sensor reports it. The rows are those of engine/status.py,
so what the UI shows and what the command prints can't differ. Pure, but for the shape of what Dagster takes.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any

import dagster as dg

from egress_assets import pictures
from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.drift import Drift
from egress_assets.engine.evidence.proofs import Hold
from egress_assets.engine.evidence.records import digest
from egress_assets.engine.holds import since
from egress_assets.engine.status import GOOD, WORST, Row, State
from egress_assets.specs import code_reference
from egress_assets.stages import STAGE

KEY = dg.AssetKey("overview")
DAYS = 7
ROWS = 300
"""Rows of the table: an event is read whole by the UI; 300 are about 60 kB. `egress status` has all of them."""
UNITS = 60
"""Lines of the picture."""
COLOURS: Mapping[State, str] = {
    "done": "#2e7d32", "delivered": "#1b5e20", "due": "#cfd8dc", "missing": "#ffb300", "not sealed": "#64b5f6",
    "held": "#8e24aa", "partial": "#fdd835", "late": "#f4511e", "missed": "#6d4c41", "failed": "#c62828",
}  # fmt: skip


def asset(catalog: Catalog) -> dg.AssetSpec:
    """The asset of the whole platform."""
    return dg.AssetSpec(
        KEY,
        group_name="egress",
        description=f"Every unit of every dataset on its newest {DAYS} dates: what is done, what is not, and why.",
        kinds={"egress"},
        tags={STAGE: "overview"},
        metadata=code_reference(catalog, "endpoints", "endpoints.evidence"),
    )


def worst_first(rows: Iterable[Row]) -> list[Row]:
    """By state, then the newest date; rows of one state and date stay in the order in which they become true."""
    newest = sorted(rows, key=lambda row: row.date, reverse=True)
    return sorted(newest, key=lambda row: WORST.index(row.state))


def content(rows: Sequence[Row], holds: Iterable[Hold], drift: Iterable[Drift]) -> str:
    """A digest of all that is shown: equal ones need no new event."""
    told = [[row.date, str(row.unit), row.state, row.detail, row.rows, row.bytes, row.generation] for row in rows]
    held = sorted([hold.event.name, hold.event.nonce] for hold in holds)
    return digest([told, held, [[d.title, d.dates, d.last] for d in drift]])[:16]


def metadata(rows: Sequence[Row], holds: Sequence[Hold], drift: Sequence[Drift], at: datetime) -> dict[str, Any]:
    """What the event holds: the picture, the table, counts that plot by themselves, holds, what left the catalog."""
    counts = Counter(row.state for row in rows)
    told: dict[str, Any] = {
        "picture": dg.MetadataValue.md(picture(rows)),
        "status": _table(_ROW, [_row(row) for row in worst_first(rows)[:ROWS]]),
        "rows": len(rows),
        "at": dg.MetadataValue.timestamp(at),
    }
    told |= {f"state/{state}": counts[state] for state in WORST}
    if holds:
        told["holds"] = _table(_HOLD, [_hold(hold) for hold in holds])
    if drift:
        told["not_in_the_catalog"] = drifted(drift)
    return told


def summary(rows: Sequence[Row]) -> str:
    """One line for lists of events."""
    counts = Counter(row.state for row in rows if row.state not in GOOD)
    bad = [f"{counts[state]} {state}" for state in WORST if counts[state]]
    return ", ".join(bad) if bad else f"all well: {len(rows)} rows"


# --------------------------------------------------------------------------------------------------------------- tables
_ROW = ("state", "dataset", "date", "unit", "detail", "rows", "bytes", "receipts")
_HOLD = ("held", "by", "since", "reason")
_GONE = ("what", "dates", "first", "last")


def drifted(drift: Sequence[Drift]) -> dg.TableMetadataValue:
    """What evidence has and the catalog doesn't."""
    return _table(_GONE, [{"what": d.title, "dates": d.dates, "first": d.first, "last": d.last} for d in drift])


def _table(columns: tuple[str, ...], records: Sequence[Mapping[str, Any]]) -> dg.TableMetadataValue:
    schema = dg.TableSchema([dg.TableColumn(name, type="int" if name in _NUMBERS else "string") for name in columns])
    return dg.MetadataValue.table([dg.TableRecord(dict(record)) for record in records], schema)


_NUMBERS = frozenset({"rows", "bytes", "receipts", "dates"})


def _row(row: Row) -> dict[str, Any]:
    return {
        "state": row.state, "dataset": row.dataset, "date": row.date, "unit": row.unit.title, "detail": row.detail,
        "rows": row.rows, "bytes": row.bytes, "receipts": row.receipts,
    }  # fmt: skip


def _hold(hold: Hold) -> dict[str, Any]:
    return {"held": hold.event.name, "by": hold.event.by, "since": since(hold), "reason": hold.event.reason}


# -------------------------------------------------------------------------------------------------------------- picture
_CELL, _LABEL, _LINE, _HEAD = 22, 260, 18, 20  # pixels


def picture(rows: Sequence[Row]) -> str:
    """The heat map as markdown: the UI strips HTML and shows images in data URLs, long ones behind a link."""
    return pictures.markdown(heat_map(rows), summary(rows))


def heat_map(rows: Sequence[Row]) -> str:
    """SVG: a line a unit, the worst ones when there are more than UNITS; a cell a date, the newest on the right.

    One path a state, 20 bytes a cell: 60 units are 12 kB.
    """
    dates = sorted({row.date for row in rows})[-DAYS:]
    lines = _lines(rows)
    texts = [_text(_LABEL + n * _CELL + 3, 13, date[8:]) for n, date in enumerate(dates)]
    cells: dict[State, list[str]] = {}
    for n, (title, by_date) in enumerate(lines):
        y = _HEAD + n * _LINE
        texts.append(_text(0, y + 12, title[:42]))
        for m, date in enumerate(dates):
            if row := by_date.get(date):
                cells.setdefault(row.state, []).append(f"M{_LABEL + m * _CELL} {y}h20v16h-20z")
    shown: list[State] = [state for state in WORST if state in cells]
    paths = [f'<path d="{"".join(cells[state])}" fill="{COLOURS[state]}"/>' for state in shown]
    below = _HEAD + len(lines) * _LINE
    texts += [_text(n * 62, below + 14, state, COLOURS[state]) for n, state in enumerate(shown)]
    width, height = max(_LABEL + _CELL * len(dates), 62 * len(shown)), below + _HEAD
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-size="11" fill="#888">'
    return "".join([head, *texts, *paths, "</svg>"])


def _text(x: int, y: int, text: str, colour: str = "") -> str:
    fill = f' fill="{colour}"' if colour else ""
    return f'<text x="{x}" y="{y}"{fill}>{escape(text)}</text>'


def _lines(rows: Sequence[Row]) -> list[tuple[str, dict[str, Row]]]:
    """(title, row by date) of each unit, in the order of the table; of too many those with the worst row."""
    units: dict[str, dict[str, Row]] = {}
    for row in rows:
        units.setdefault(row.unit.title, {})[row.date] = row
    if len(units) > UNITS:
        worst = {title: min(WORST.index(row.state) for row in cells.values()) for title, cells in units.items()}
        kept = set(sorted(units, key=lambda title: worst[title])[:UNITS])
        units = {title: cells for title, cells in units.items() if title in kept}
    return list(units.items())
