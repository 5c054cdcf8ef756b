"""Direct identifiers in a stream of bytes: which detectors there are, and the scanner that runs them.

The scanner reads every byte of the output in any chunking, holds one window and finds what lies across borders once.
It reports counts, offsets and shapes (`aaa.aaa@aaa.aaa`, `99999 999999`), never a value.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import re2

from egress_assets.engine.dialect import ESCAPES
from egress_assets.engine.dump.tasks import KEPT
from egress_assets.engine.errors import CatalogError
from egress_assets.engine.scrub.detectors import DETECTORS, Detector

WINDOW = 1 << 20
"""Bytes that are scanned at once. Measured 64 KiB .. 8 MiB: flat above 256 KiB."""

AHEAD = 384
"""Bytes kept back for the next window: more than the longest identifier (an address with its domain, 320)."""

BEHIND = 96
"""Bytes kept from the window before: left context of boundaries, and the local part in an address's shape."""

NOTHING = rb"[^\x00-\xff]"
"""A pattern that no byte matches: what no detectors look for."""

MEMORY = 64 << 20
"""Bytes that a pattern's lazily built automaton may take; below 8 MiB it is thrown away and built anew all the time."""


_ESCAPES = ((b"\\\\", b"\0\0"), *((f"\\{letter}".encode(), sign.encode() * 2) for letter, sign in ESCAPES.items()))
"""The escaped backslash first: what follows it is a letter of its own."""


def without_escapes(rows: bytes) -> bytes:
    """Rows of COPY's text format, as long as they were, with what the escapes stand for in their place.

    The n of a line's end would hide the number that follows it: to a detector it is a letter before it.
    """
    if b"\\" in rows:
        for escape, sign in _ESCAPES:
            rows = rows.replace(escape, sign)
    return rows


@dataclass(slots=True)
class _Found:
    count: int = 0
    offsets: list[int] = field(default_factory=list)
    shapes: dict[str, None] = field(default_factory=dict)  # an ordered set

    def add(self, offset: int, shape: str) -> None:
        self.count += 1
        if len(self.offsets) < KEPT:
            self.offsets.append(offset)
            self.shapes[shape] = None

    def to_json(self) -> dict[str, Any]:
        return {"count": self.count, "offsets": self.offsets, "shapes": list(self.shapes)}


class Scanner:
    """Feed the uncompressed bytes of one table, then ask `finish` what was in them.

    Memory: two windows (2 MiB) however large the stream. One alternation of all detectors decides whether a window is
    clean, the normal case; only a window that is not is read again, detector by detector.
    """

    def __init__(self, detectors: Sequence[str] | None = None, *, window: int = WINDOW, escaped: bool = False) -> None:
        self._window, self._escaped = window, escaped
        self._detectors = [find_detector(name) for name in (DETECTORS if detectors is None else detectors)]
        patterns = [b"(?:" + d.pattern + b")" for d in self._detectors]
        self._any = _compile(b"|".join(patterns) or NOTHING)
        self._each = [(d, _compile(d.pattern)) for d in self._detectors]
        self._found = {d.name: _Found() for d in self._detectors}
        self._next = {d.name: 0 for d in self._detectors}  # absolute offset from which a detector goes on
        self._buffer = bytearray()
        self._base = 0  # absolute offset of the buffer's first byte

    def feed(self, chunk: bytes | memoryview) -> None:
        """Whole rows where they are `escaped`, else any piece."""
        self._buffer += without_escapes(bytes(chunk)) if self._escaped else chunk
        if len(self._buffer) >= self._window + AHEAD + BEHIND:
            self._scan(len(self._buffer) - AHEAD)

    def finish(self) -> dict[str, dict[str, Any]]:
        """Detector -> {count, offsets, shapes} of those that found something; offsets count uncompressed bytes."""
        self._scan(len(self._buffer))
        return {name: found.to_json() for name, found in self._found.items() if found.count}

    def _scan(self, limit: int) -> None:
        """Accept what begins before `limit`; keep the rest, and a little before it, for the next window."""
        first = self._first(limit)
        if first is not None:
            for detector, pattern in self._each:
                self._scan_for(detector, pattern, first, limit)
        cut = max(limit - BEHIND, 0)
        self._base += cut
        for name, offset in self._next.items():
            self._next[name] = max(offset, self._base - cut + limit)
        del self._buffer[:cut]

    def _first(self, limit: int) -> int | None:
        """Where the first candidate of any detector begins, among bytes that are not scanned yet."""
        match = self._any.search(self._buffer, min(self._next.values(), default=0) - self._base)
        return match.start() if match is not None and match.start() < limit else None

    def _scan_for(self, detector: Detector, pattern: Any, first: int, limit: int) -> None:
        found, at = self._found[detector.name], max(first, self._next[detector.name] - self._base)
        while (match := pattern.search(self._buffer, at)) is not None and match.start() < limit:
            span = detector.confirm(self._buffer, match.start(), match.end())
            if span is None:
                at = match.start() + 1  # a rejected candidate may hide one that begins inside it
            else:
                found.add(self._base + span[0], _shape(self._buffer[span[0] : span[1]]))
                at = span[1]
        self._next[detector.name] = self._base + at


def find_detector(name: str) -> Detector:
    """Raises CatalogError naming the valid detectors."""
    if name not in DETECTORS:
        raise CatalogError(f"detector {name!r} is unknown", hint=f"Valid detectors: {', '.join(DETECTORS)}.")
    return DETECTORS[name]


def scan(
    chunks: Iterable[bytes], detectors: Sequence[str] | None = None, *, escaped: bool = False
) -> dict[str, dict[str, Any]]:
    """Findings over the whole of `chunks`, as `Scanner.finish` gives them."""
    scanner = Scanner(detectors, escaped=escaped)
    for chunk in chunks:
        scanner.feed(chunk)
    return scanner.finish()


@cache
def _compile(pattern: bytes) -> Any:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.never_capture = True
    options.max_mem = MEMORY
    return re2.compile(pattern, options)


_SHAPES = bytes(
    ord("9")
    if chr(b).isdigit() and b < 128
    else ord("a")
    if b >= 128 or chr(b).isalpha()
    else b
    if 32 <= b < 127
    else 63
    for b in range(256)
)


def _shape(value: bytearray) -> str:
    """`aaa.aaa@aaa.aa`, `99999 999999`: which characters, never which letters or digits; cut at 64."""
    return value[:64].translate(_SHAPES).decode("ascii")
