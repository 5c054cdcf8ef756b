"""Start, stop and look at the sandbox. One set of servers a folder, whoever starts it and however often.

Everything that changes something holds the folder's lock; the servers don't, so they outlive the starter. The common
case, all is running, takes no lock: it reads one file, looks at each process and connects to each port.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from egress_assets.sandbox import ports
from egress_assets.sandbox.aws import Moto
from egress_assets.sandbox.model import Sandbox
from egress_assets.sandbox.postgres import Postgres, data_folder
from egress_assets.sandbox.recipient import Recipient
from egress_assets.sandbox.s3 import Seaweed
from egress_assets.sandbox.server import Server
from egress_assets.sandbox.state import State, load, locked, make_folders, make_secrets, save, state_folder

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """`endpoint` is for people and holds no secret; `pid` is None when the process is not running."""

    name: str
    endpoint: str
    healthy: bool
    pid: int | None
    log: Path


@dataclass(frozen=True, slots=True)
class Status:
    folder: Path
    servers: tuple[ServerStatus, ...]

    @property
    def healthy(self) -> bool:
        return bool(self.servers) and all(server.healthy for server in self.servers)


def start(folder: Path | None = None) -> Sandbox:
    """Start what does not run, and return when all of it serves. Safe to call from many processes at once.

    Cold about 4 s, below 0.1 s when all is running. Data survives a stop, a kill and a start.
    Raises: SandboxUnavailable, with the log to read.
    """
    folder = (folder or state_folder()).absolute()
    state = load(folder)
    if state is not None and all(server.running() for server in servers(state)):
        return Sandbox(state)
    with locked(folder):
        return Sandbox(_start_missing(folder))


def _start_missing(folder: Path) -> State:
    began = time.monotonic()
    state = load(folder)
    if state is None:
        _clear(folder)
        state = State(folder=folder, ports={}, secrets=make_secrets())
    (folder / "drop").mkdir(exist_ok=True, mode=0o700)
    missing = [server for server in servers(state) if not server.running()]
    _at_once(server.stop for server in missing)
    state = _with_ports(state, missing)
    renewed = [server for server in servers(state) if server.name in {each.name for each in missing}]
    try:
        _at_once(server.start for server in renewed)
    except BaseException:
        _at_once(server.stop for server in renewed)
        raise
    save(state)
    logger.info("sandbox serves: %d servers started in %.1f s", len(renewed), time.monotonic() - began)
    return state


def servers(state: State) -> tuple[Server, ...]:
    """All of them; the object does nothing yet."""
    stores = (Seaweed(state, "s3"), Seaweed(state, "ceph"))
    return (Postgres(state, "postgres"), *stores, Moto(state, "aws"), Recipient(state, "receiver"))


def _with_ports(state: State, missing: Sequence[Server]) -> State:
    chosen = dict(state.ports)
    for server in missing:
        kept = chosen.pop(server.name, None)
        taken = _blocks(chosen)
        chosen[server.name] = ports.choose(server.name, server.port_count, kept=kept, taken=taken)
    return replace(state, ports=chosen)


def _blocks(chosen: dict[str, int]) -> set[int]:
    widest = Seaweed.port_count
    return {port for base in chosen.values() for port in range(base, base + widest)}


def _at_once(actions: Iterable[Callable[[], None]]) -> None:
    """Run all, in threads; raise the first failure after the last one has ended."""
    with ThreadPoolExecutor() as pool:
        running = [pool.submit(action) for action in actions]
    for future in running:
        future.result()


def stop(folder: Path | None = None) -> None:
    """End every server, within 15 s, and keep its data."""
    folder = (folder or state_folder()).absolute()
    if not folder.exists():
        return
    with locked(folder):
        _at_once(server.stop for server in servers(_known(folder)))


def _known(folder: Path) -> State:
    """The state, as far as it is known: enough to find the processes of a half-made sandbox."""
    return load(folder) or State(folder=folder, ports={}, secrets={})


def remove(folder: Path | None = None) -> None:
    """Stop, then delete all data and credentials."""
    folder = (folder or state_folder()).absolute()
    if not folder.exists():
        return
    with locked(folder):
        _clear(folder)


def _clear(folder: Path) -> None:
    """Back to nothing, the credentials first: from then on the folder is half-made. The lock's file stays."""
    known = _known(folder)
    (folder / "credentials.json").unlink(missing_ok=True)
    _at_once(server.kill for server in servers(known))
    cluster = data_folder(folder)
    for entry in (cluster, *folder.iterdir()):
        if entry.name == "lock":
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=entry == cluster or entry.name.startswith("."))
        else:
            entry.unlink(missing_ok=True)
    if not cluster.is_relative_to(folder):
        shutil.rmtree(cluster.parent, ignore_errors=True)
    make_folders(folder)


def status(folder: Path | None = None) -> Status:
    """Health of each server, for printing; changes nothing."""
    folder = (folder or state_folder()).absolute()
    state = load(folder)
    if state is None:
        return Status(folder=folder, servers=())
    return Status(folder=folder, servers=tuple(_status(server) for server in servers(state)))


def _status(server: Server) -> ServerStatus:
    process = server.process()
    return ServerStatus(
        name=server.name,
        endpoint=Sandbox(server.state).endpoints()[server.name],
        healthy=process is not None and ports.answers(server.port),
        pid=None if process is None else process.pid,
        log=server.log,
    )
