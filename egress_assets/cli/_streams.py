"""The standard streams of an invocation: a result that can't be told is an error, progress that can't be told is none.

Closed ones are opened on the null device first: the next socket would get their number, and whatever is printed would
go to a store. Every character can be written, in whatever encoding the environment asks for: what it lacks becomes
its escape.
"""

from __future__ import annotations

import io
import os
import sys
from typing import TextIO

from egress_assets.engine.errors import EgressError


class ReaderGone(Exception):
    """Whoever read stdout has left. No OSError: click and rich would take that for themselves, and exit with 1."""


class OutputLost(EgressError):
    """The result could not be written to stdout. What the run did stands."""

    code = "output_lost"


def make_safe() -> None:
    """Replace `sys.stdout` and `sys.stderr`. Call once, before anything is opened or printed."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number, which is this one
    sys.stdout = _text(_Result(1, "wb", closefd=False), sys.stdout)
    sys.stderr = _text(_Remarks(2, "wb", closefd=False), sys.stderr)


def _text(raw: io.FileIO, instead_of: TextIO | None) -> TextIO:
    encoding = instead_of.encoding if instead_of else "utf-8"
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, "backslashreplace", line_buffering=True)


class _Result(io.FileIO):
    """Raises ReaderGone or OutputLost once; what comes after is dropped, also at the interpreter's end."""

    _is_lost = False

    def write(self, data: bytes | memoryview, /) -> int:  # type: ignore[override]
        if self._is_lost:
            return len(data)
        try:
            return super().write(data)
        except BrokenPipeError:
            self._is_lost = True
            raise ReaderGone from None
        except OSError as error:
            self._is_lost = True
            hint = "What the run did stands: `egress status` tells it, or write somewhere else."
            raise OutputLost(f"the result can't be written to stdout: {error.strerror}", hint=hint) from None


class _Remarks(io.FileIO):
    """Drops what can't be written: nobody listens, and the run goes on."""

    def write(self, data: bytes | memoryview, /) -> int:  # type: ignore[override]
        try:
            return super().write(data)
        except OSError:
            return len(data)
