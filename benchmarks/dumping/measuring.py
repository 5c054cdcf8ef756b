"""A command's wall time, its processor time and its processes' memory; the servers' are not in it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

_EVERY = 0.05  # seconds between looks at the processes; peaks are the kernel's own, which only grow
_PATIENCE = 300.0  # seconds; the slowest that ends at all takes 100 for a million rows


class Failed(Exception):
    """The command could not be run, or said no; its last line."""


@dataclass(frozen=True, slots=True)
class Command:
    """A program with its environment and standard input; what it prints goes to /dev/null unless it is `reported`."""

    words: tuple[str, ...]
    environment: Mapping[str, str]
    given: bytes = b""


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds; megabytes (1e6) of the program itself and of its largest child."""

    KINDS: ClassVar = ("seconds", "cpu", "own", "child")

    seconds: float
    cpu: float
    own: float
    child: float


def measure(command: Command, reported: bool) -> Measured:
    """Run it to its end. `reported`: the program prints its own seconds, as JSON. Raises Failed."""
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as errors, tempfile.TemporaryFile() as given:
        given.write(command.given)
        given.seek(0)
        out = said if reported else subprocess.DEVNULL
        began = time.perf_counter()
        try:
            process = subprocess.Popen(
                command.words,
                env={**os.environ, **command.environment},
                stdin=given,
                stdout=out,
                stderr=errors,
                start_new_session=True,
            )
        except OSError as error:
            raise Failed(f"{command.words[0]}: {error.strerror}") from None
        try:
            status, usage, peaks = _watched(process.pid, began)
        except BaseException:  # it is in a session of its own: Ctrl-C went to us alone
            os.killpg(process.pid, signal.SIGKILL)
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - began
        if seconds > _PATIENCE:
            raise Failed(f"did not end within {_PATIENCE:.0f} s")
        if process.returncode:
            errors.seek(0)
            last = errors.read().decode(errors="replace").strip().splitlines()[-1:] or [f"code {process.returncode}"]
            raise Failed(last[0][:160])
        if reported:
            said.seek(0)
            seconds = json.loads(said.read())["seconds"]
    own = peaks.pop(process.pid, 0.0)
    return Measured(seconds, usage.ru_utime + usage.ru_stime, own, max(peaks.values(), default=0.0))


def _watched(pid: int, began: float) -> tuple[int, Any, dict[int, float]]:
    peaks: dict[int, float] = {}
    while True:
        for found in (pid, *_below(pid)):
            peaks[found] = max(peaks.get(found, 0.0), _peak(found))
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            return status, usage, peaks
        if time.perf_counter() - began > _PATIENCE:
            os.killpg(pid, signal.SIGKILL)
        time.sleep(_EVERY)


def _below(pid: int) -> list[int]:
    try:
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return [found for child in children for found in (child, *_below(child))]


def _peak(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM:")), 0.0)


def load() -> float:
    """Processes that want a core, over the last minute."""
    return os.getloadavg()[0]
