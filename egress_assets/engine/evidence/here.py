"""Which process this is, and whether another one of this host is gone.

A process is named by host, boot, pid namespace, pid and start time; a pid alone is reused. Where /proc does not tell
(not Linux) nothing is ever said to be gone, and an attempt is stale by its age only.
"""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

from egress_assets.engine.evidence.records import Note

_PROC = Path("/proc")


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def boot() -> str:
    """The kernel's boot and this process's pid namespace: two containers of a node don't know each other's pids."""
    identifier = _read(_PROC / "sys/kernel/random/boot_id").strip()
    try:
        return f"{identifier} {(_PROC / 'self/ns/pid').readlink()}" if identifier else ""
    except OSError:
        return ""


def started(pid: int) -> str:
    """When the process started, in clock ticks since the boot; empty when there is none. A zombie counts as gone."""
    fields = _read(_PROC / str(pid) / "stat").rpartition(")")[2].split()
    return "" if not fields or fields[0] in ("Z", "X") else fields[19]


def began_at(pid: int) -> float | None:
    """When the process started, in seconds of the wall clock, 0.02 s early at most; None when there is none.

    Where /proc does not tell, any process of that number counts as having been there all along.
    """
    ticks = started(pid)
    if ticks:
        up = float(_read(_PROC / "uptime").split()[0])
        return time.time() - up + int(ticks) / os.sysconf("SC_CLK_TCK") - 0.02
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return None if boot() else 0.0


def this(attempt: str) -> Note:
    """The note of an attempt that this process runs."""
    return Note(attempt, socket.gethostname(), boot(), os.getpid(), started(os.getpid()))


def is_gone(note: Note) -> bool:
    """Whether the noted process surely is gone; False when this process can't tell."""
    if not note.boot or (note.host, note.boot) != (socket.gethostname(), boot()):
        return False
    return started(note.pid) != note.started
