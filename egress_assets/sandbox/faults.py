"""Faults that the HTTPS recipient commits on demand, so that tests can prove what a sender makes of them.

A JSON file beside the inbox, looked at on every request; writing it anew starts all counts again:

    {"answer_503": 2}            the next two requests get 503 before anything is read or stored
    {"drop_before_store": 1}     the body is read, then the connection is cut and nothing is kept
    {"drop_after_store": 1}      the file is stored, then the connection is cut without an answer
    {"delay_before_store": 1.5}  seconds between the body and the commit, for every request
    {"delay_after_store": 1.5}   seconds between the commit and the answer, for every request
"""

from __future__ import annotations

import json
import threading
from pathlib import Path


class Faults:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._version: tuple[int, int] | None = None
        self._left: dict[str, float] = {}

    def take(self, name: str) -> bool:
        """Whether this fault is due; each True uses one up."""
        with self._lock:
            left = self._refresh().get(name, 0)
            if left < 1:
                return False
            self._left[name] = left - 1
            return True

    def seconds(self, name: str) -> float:
        with self._lock:
            return self._refresh().get(name, 0.0)

    def _refresh(self) -> dict[str, float]:
        try:
            found = self._path.stat()
            version = (found.st_ino, found.st_mtime_ns)
            if version != self._version:
                self._left, self._version = json.loads(self._path.read_bytes()), version
        except (FileNotFoundError, ValueError):  # absent, or half written: no faults
            self._left, self._version = {}, None
        return self._left
