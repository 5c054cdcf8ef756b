"""How an invocation ends: its exit code, one error with its way out, and signals that leave nothing half done.

Signal handlers are installed here and nowhere else in the project (Dagster has its own). A signal raises in the main
thread; what a run has not made true by then stays invisible. Should it not end by itself, the process ends after
5 seconds: being killed is what the engine is built for.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

import click

from egress_assets.cli._output import write_document
from egress_assets.cli._state import State
from egress_assets.cli._streams import OutputLost, ReaderGone
from egress_assets.engine.errors import CatalogError, EgressError

USAGE, UNEXPECTED, BROKEN_PIPE = 2, 1, 141
PATIENCE = 4.5  # seconds from the first signal to the end, below the 5 that are promised


class Stopped(KeyboardInterrupt):
    """A signal asked for the end; everything that lets a KeyboardInterrupt through lets this through."""


def ended(state: State, work: Callable[[], Any]) -> int:
    """Run `work`; the process's exit code. The error, if any, is told on stderr (with --json: on stdout)."""
    _listen(state)
    try:
        code = work()
    except (KeyboardInterrupt, click.Abort):
        return 128 + (state.signal or signal.SIGINT)
    except click.ClickException as error:
        error.show()
        return USAGE
    except EgressError as error:
        return _told(state, error)
    except ReaderGone:
        return BROKEN_PIPE
    except Exception as error:  # noqa: BLE001 - the last place where it can be told without a traceback
        return _unexpected(state, error)
    return code if isinstance(code, int) else 0


def _listen(state: State) -> None:
    def stop(number: int, _frame: FrameType | None) -> None:
        if not state.signal:
            state.signal = number
            timer = threading.Timer(PATIENCE, os._exit, (128 + number,))
            timer.daemon = True
            timer.start()
            raise Stopped

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)


def _told(state: State, error: EgressError) -> int:
    problems = list(error.problems) if isinstance(error, CatalogError) else []
    _tell(state, {"code": error.code, "message": error.message, "hint": error.hint, "problems": problems})
    return error.exit_code


def _unexpected(state: State, error: Exception) -> int:
    """A mistake of ours. Its text may hold a value, so only its kind and place are told."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    message = f"unexpected {type(error).__name__} at {os.path.basename(last.filename)}:{last.lineno}"  # noqa: PTH119
    _tell(state, {"code": "unexpected", "message": message, "hint": "EGRESS_DEBUG=1 shows all of it.", "problems": []})
    return UNEXPECTED


def _tell(state: State, error: dict[str, Any]) -> None:
    if os.environ.get("EGRESS_DEBUG") == "1":
        traceback.print_exc()
    if state.json and error["code"] != OutputLost.code:
        with suppress(ReaderGone, OutputLost):  # stderr may still have a reader; the error's own code is what counts
            write_document({"error": error})
            return
    lines = [f"error: {error['message']}", *error["problems"], *([f"HINT: {error['hint']}"] if error["hint"] else [])]
    print(*lines, sep="\n", file=sys.stderr, flush=True)
