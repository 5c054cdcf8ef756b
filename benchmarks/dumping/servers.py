"""Throwaway servers: PostgreSQL (embedded, Debian's) without autovacuum and fsync, and S3 sinks of tools/s3mem."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from egress_assets.sandbox.postgres import binaries_folder, unprivileged_account

ROOT = Path(__file__).parents[2]
S3MEM = ROOT / "tools" / "bin" / "s3mem"
DATABASE = "bench"


@dataclass(frozen=True, slots=True)
class Postgres:
    """A running server; one superuser, one database."""

    title: str
    binaries: Path
    port: int
    password: str

    @property
    def url(self) -> str:
        return f"postgresql://owner:{self.password}@127.0.0.1:{self.port}/{DATABASE}"

    @property
    def environment(self) -> dict[str, str]:
        """For libpq's programs: no password in any argument list."""
        place = {"PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGUSER": "owner", "PGDATABASE": DATABASE}
        return {**place, "PGPASSWORD": self.password, "PGSSLMODE": "disable", "PGCLIENTENCODING": "UTF8"}

    def connect(self, database: str = DATABASE) -> psycopg.Connection:
        place = {"host": "127.0.0.1", "port": self.port, "user": "owner", "password": self.password}
        return psycopg.connect(**place, dbname=database, sslmode="disable", autocommit=True)


def debian_binaries() -> Path:
    """Where Debian's newest server lies; ends the program when there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not found:
        sys.exit("Debian's package postgresql is missing: tools/apt.sh postgresql")
    return found[-1].parent


@contextmanager
def postgres(kind: str) -> Iterator[Postgres]:
    """A server of `kind` (embedded, debian) in a folder of its own, gone afterwards."""
    binaries = binaries_folder() if kind == "embedded" else debian_binaries()
    home = Path(tempfile.mkdtemp(prefix="egress-bench-pg-", dir="/var/tmp"))
    home.chmod(0o711)
    try:
        yield _start(kind, home, binaries)
    finally:
        _run([str(binaries / "pg_ctl"), "stop", "-s", "-m", "immediate", "-D", str(home / "data")])
        shutil.rmtree(home, ignore_errors=True)


def _start(kind: str, home: Path, binaries: Path) -> Postgres:
    port, password, note = free_port(), secrets.token_hex(16), home / "password"
    note.write_text(password)
    account = unprivileged_account()
    for path in (home, note) if account else ():
        os.chown(path, account.pw_uid, account.pw_gid)
    initdb = [str(binaries / "initdb"), "-D", str(home / "data"), "-U", "owner", "-A", "scram-sha-256"]
    _run([*initdb, f"--pwfile={note}", "--no-sync", "-E", "UTF8", "--locale=C"])
    flags = f"-h 127.0.0.1 -p {port} -k '' -c fsync=off -c autovacuum=off -c max_wal_size=8GB -c timezone=UTC"
    _run(
        [str(binaries / "pg_ctl"), "start", "-w", "-s", "-D", str(home / "data"), "-l", str(home / "log"), "-o", flags]
    )
    version = subprocess.run([binaries / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    server = Postgres(f"{kind} PostgreSQL {version.split()[2]}", binaries, port, password)
    with server.connect("postgres") as session:
        session.execute(f"CREATE DATABASE {DATABASE}".encode())
    return server


def _run(command: list[str]) -> None:
    """As the account that may run Postgres; its output is dropped, since pg_ctl hands it on to the server."""
    account, options = unprivileged_account(), {}
    if account:
        options = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    streams: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    done = subprocess.run(command, cwd="/", check=False, **streams, **options)
    if done.returncode:
        sys.exit(f"{Path(command[0]).name} ended with {done.returncode}")


@contextmanager
def s3(*flags: str) -> Iterator[str]:
    """The endpoint of an S3 server in memory; with `-null` bodies are thrown away."""
    if not S3MEM.exists():
        sys.exit(f"{S3MEM} is missing: make tools/bin/s3mem")
    port = free_port()
    process = subprocess.Popen([S3MEM, *flags, "-server", "AmazonS3", "-addr", f"127.0.0.1:{port}"])
    try:
        _until_it_listens(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _until_it_listens(port: int) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    sys.exit("s3mem did not start")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]
