"""Progress on stderr, never mixed with results: bars on a terminal, a line every few seconds elsewhere.

Listeners are called from many threads.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from egress_assets.cli._output import clean, number, size

if TYPE_CHECKING:
    from egress_assets.engine.progress import Listener, Tick

_EVERY = 5.0  # seconds between two lines


@contextmanager
def progress() -> Iterator[Listener]:
    """A listener that shows what it hears until the block ends."""
    if sys.stderr.isatty():
        with _bars() as listener:
            yield listener
    else:
        yield _Lines()


class _Lines:
    """A line when something is finished, and one every 5 s of what goes on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._told = time.monotonic()

    def __call__(self, tick: Tick) -> None:
        with self._lock:
            if tick.finished or time.monotonic() - self._told >= _EVERY:
                self._told = time.monotonic()
                print(describe(tick), file=sys.stderr, flush=True)


def describe(tick: Tick) -> str:
    """`dump public.orders: 12.3 MB of 40.0 MB, 40,000 rows`."""
    amount = size if tick.unit == "bytes" else lambda count: f"{number(count)} {tick.unit}"
    done = amount(tick.done) + (f" of {amount(tick.total)}" if tick.total and not tick.finished else "")
    rows = f", {number(tick.rows)} rows" if tick.rows else ""
    return clean(f"{tick.phase} {tick.item}: {done}{rows}{' done' if tick.finished else ''}")


@contextmanager
def _bars() -> Iterator[Listener]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns: list[Any] = [SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(bar_width=24)]
    columns += [TextColumn("{task.fields[amount]}", markup=False), TimeElapsedColumn()]
    with Progress(*columns, console=Console(stderr=True, markup=False), transient=True) as shown:
        tasks: dict[tuple[str, str], Any] = {}
        lock = threading.Lock()

        def listen(tick: Tick) -> None:
            name = (tick.phase, tick.item)
            with lock:
                if name not in tasks:
                    tasks[name] = shown.add_task(clean(f"{tick.phase} {tick.item}"), total=None, amount="")
                total = tick.done or 1 if tick.finished else tick.total or None
                done = total if tick.finished else tick.done
                shown.update(tasks[name], completed=done, total=total, amount=describe(tick).partition(": ")[2])

        yield listen
