"""Run one stage for one date and tell it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from egress_assets.cli._options import date_of
from egress_assets.cli._output import Shown, emit, number, size
from egress_assets.cli._progress import progress
from egress_assets.cli._state import State

if TYPE_CHECKING:
    from egress_assets.engine.layout import Unit
    from egress_assets.engine.platform import Platform
    from egress_assets.engine.progress import Listener
    from egress_assets.engine.result import StageResult

    Call = Callable[[Platform, str, Listener], StageResult]

_COLUMNS = ("table", "how", "rows", "bytes", "objects")
_DRIFT = ("table", "since", "difference", "how")


def run_stage(state: State, unit: Callable[[Platform], Unit], date: str | None, call: Call) -> None:
    """Run `call(platform, date, listener)` of a unit."""
    from egress_assets.engine.catalog.units import dataset_of

    platform = state.platform()
    found = unit(platform)
    day = date_of(platform.catalog, dataset_of(platform.catalog, found), date)
    with progress() as listener:
        result = call(platform, day, listener)
    _tell(state, result)


def _tell(state: State, result: StageResult) -> None:
    from egress_assets.engine.schema_drift import noted

    rate = f", {size(int(result.sent_bytes / result.seconds))}/s" if result.sent_bytes and result.seconds > 0 else ""
    line = (
        f"{result.unit.title} {result.date}: {result.how}, generation {result.generation}, "
        f"{size(result.sent_bytes)} sent in {result.seconds:.1f} s{rate}"
    )
    rows = [
        (name, "moved" if t.moved else "kept", number(t.rows), size(t.bytes), number(t.objects))
        for name, t in result.tables.items()
    ]
    shown: list[Shown | str] = [line, Shown(_COLUMNS, rows, numbers=frozenset({"rows", "bytes", "objects"}))]
    if found := [(d.table, d.since, d.line, d.how) for d in noted(result.facts)]:
        shown.append(Shown(_DRIFT, found, title="schema drift"))
    emit(state, document(result), *shown)


def document(result: StageResult) -> dict[str, Any]:
    """A result as JSON."""
    from egress_assets.engine.result import continuing

    return {
        "unit": result.unit.title, "date": result.date, "how": result.how, "generation": result.generation,
        "seconds": round(result.seconds, 3), "sent_bytes": result.sent_bytes,
        "phases": {name: round(seconds, 3) for name, seconds in result.phases.items()},
        "facts": dict(result.facts),
        "tables": {
            name: {
                "attempt": t.attempt, "manifest": t.manifest, "content_digest": t.content_digest, "moved": t.moved,
                "rows": t.rows, "bytes": t.bytes, "raw_bytes": t.raw_bytes, "objects": t.objects,
                "checks": [check.to_json() for check in t.checks], "continues": continuing(t.continues),
            }
            for name, t in result.tables.items()
        },
    }  # fmt: skip
