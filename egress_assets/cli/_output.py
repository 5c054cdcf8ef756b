"""What is printed: one JSON document, or tables for people. Names from outside can't move the cursor or colour it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from egress_assets.cli._state import State

_GOOD, _BAD, _WARN = "green", "red", "yellow"
_COLOURS = {
    "done": _GOOD, "delivered": _GOOD, "ok": _GOOD, "moved": _GOOD, "problem": _BAD, "failed": _BAD, "late": _BAD,
    "missing": _BAD, "corrupt": _BAD, "partial": _WARN, "held": _WARN, "not sealed": _WARN, "pending": _WARN,
    "!": _BAD, "+": _GOOD, "*": _WARN, "-": _WARN,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shown:
    """A table for people: `numbers` are right-aligned columns."""

    columns: Sequence[str]
    rows: Iterable[Sequence[Any]]
    title: str = ""
    numbers: frozenset[str] = frozenset()


def write(text: str) -> None:
    """Print to stdout now. Raises ReaderGone, OutputLost."""
    print(text, flush=True)


def write_document(document: Mapping[str, Any]) -> None:
    """One line of JSON in ASCII: valid whatever encoding the environment asks for. Raises as `write`."""
    write(json.dumps(document, default=str))


def emit(state: State, document: Mapping[str, Any], *shown: Shown | str) -> None:
    """Print the document with --json, else what is shown. Called once an invocation."""
    if state.json:
        write_document(document)
        return
    from rich.console import Console

    console = Console(markup=False, highlight=False, soft_wrap=True)
    with console.capture() if not console.is_terminal else nullcontext() as captured:
        if captured:
            console.width = 10_000  # a file or a pipe has no edge to wrap at
        for each in shown:
            console.print(clean(each) if isinstance(each, str) else _table(each))
    if captured:
        write("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _table(shown: Shown) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, title=shown.title or None, title_justify="left", title_style="bold")
    for column in shown.columns:
        justify = "right" if column in shown.numbers else "left"
        table.add_column(column, justify=justify, no_wrap=column not in ("detail", "meaning"), header_style="dim")
    for row in shown.rows:
        table.add_row(*(Text(clean(str(cell)), style=_COLOURS.get(str(cell), "")) for cell in row))
    return table


def clean(text: str) -> str:
    """Text in which every character is seen: control characters as their escapes."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def size(count: int | None) -> str:
    """`1.2 MB`; empty for None."""
    if count is None:
        return ""
    value, units = float(count), ["B", "kB", "MB", "GB", "TB", "PB"]
    while value >= 1000 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{count} B" if units[0] == "B" else f"{value:.1f} {units[0]}"


def number(count: int | None) -> str:
    """`1,234,567`; empty for None."""
    return "" if count is None else f"{count:,}"
