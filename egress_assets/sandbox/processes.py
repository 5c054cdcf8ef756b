"""Processes that outlive their parent, and how to know them again.

A pid alone proves nothing: it may belong to another program by now, or to a zombie that nobody reaps. A process is
ours when its start time, the boot and some exact arguments (the markers) are those noted, and it is not a zombie.
Linux only: it reads /proc. Source: proc(5).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from egress_assets.sandbox.files import write_atomically

POLL_SECONDS = 0.02
LOG_LIMIT = 8 * 2**20  # bytes; a longer log is set aside (one generation) when its server starts


@dataclass(frozen=True, slots=True)
class Process:
    """`started` is in clock ticks since the boot that `boot` names."""

    pid: int
    started: int
    boot: str


def spawn(command: Sequence[str], *, log: Path, folder: Path, environment: Mapping[str, str]) -> int:
    """Start `command` in its own session with `folder` as working directory and its output in `log`.

    posix_spawn, not subprocess: a Popen of a server that shall live on warns when it is collected.
    """
    rotate(log)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    shell = ["/bin/sh", "-c", 'cd "$0" && exec "$@"', str(folder), *command]
    return os.posix_spawn(shell[0], shell, dict(environment), file_actions=actions, setsid=True)


def rotate(log: Path) -> None:
    if log.exists() and log.stat().st_size > LOG_LIMIT:
        log.replace(log.with_suffix(".old.log"))


def identify(pid: int) -> Process | None:
    """The process as it can be known again later; None when it is gone or a zombie."""
    try:
        # The name in parentheses may hold spaces and parentheses: fields count from the last one.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    if fields[0] in "ZX":
        return None
    return Process(pid=pid, started=int(fields[19]), boot=_boot())


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def alive(process: Process, markers: Sequence[str]) -> bool:
    return identify(process.pid) == process and set(markers).issubset(arguments(process.pid))


def arguments(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return []


def find(markers: Sequence[str]) -> list[Process]:
    """Every live process that has all `markers` among its arguments (a scan of /proc, about 10 ms)."""
    return _scan(lambda pid: set(markers).issubset(arguments(pid)))


def working_in(folder: Path) -> list[Process]:
    """Every live process whose working directory is `folder`: the backends of a Postgres cluster."""

    def at_home(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/cwd").readlink() == folder
        except OSError:
            return False

    return _scan(at_home)


def _scan(wanted: Callable[[int], bool]) -> list[Process]:
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    found = (identify(pid) for pid in pids if pid != os.getpid() and wanted(pid))
    return [process for process in found if process is not None]


def end(processes: Iterable[Process], *, first: signal.Signals, grace: float) -> None:
    """Send `first`, wait `grace` seconds, then SIGKILL what is left; returns when none is running."""
    left = list(processes)
    for attempt, seconds in ((first, grace), (signal.SIGKILL, 5.0)):
        for process in left:
            _send(process, attempt)
        deadline = time.monotonic() + seconds
        while left and time.monotonic() < deadline:
            left = [process for process in left if _still(process)]
            if left:
                time.sleep(POLL_SECONDS)


def _send(process: Process, number: signal.Signals) -> None:
    if identify(process.pid) == process:
        os.kill(process.pid, number)


def _still(process: Process) -> bool:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)  # reaps it where it is a child of this very process
    return identify(process.pid) == process


def note(path: Path, process: Process) -> None:
    write_atomically(path, json.dumps(asdict(process)).encode())


def noted(path: Path) -> Process | None:
    try:
        return Process(**json.loads(path.read_bytes()))
    except (FileNotFoundError, ValueError, TypeError):
        return None
