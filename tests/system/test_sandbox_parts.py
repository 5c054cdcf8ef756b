"""How the sandbox knows its processes, finds its ports, keeps its secrets; and that importing it costs little."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from egress_assets.sandbox import SandboxUnavailable, ports, processes, status
from egress_assets.sandbox.files import write_atomically
from egress_assets.sandbox.model import Sandbox
from egress_assets.sandbox.postgres import forget_dead_postmaster
from egress_assets.sandbox.state import BUCKETS, DEFAULT_FOLDER, State, load, make_secrets, save, state_folder

PORTS = {"postgres": 1, "s3": 2, "ceph": 3, "aws": 4, "receiver": 5}


def spawn_sleeper(folder: Path, *marks: str) -> processes.Process:
    """It forks nothing: a child looks like its parent until it becomes another program."""
    os.mkfifo(folder / "never")
    command = ["/bin/sh", "-c", "read line < never", *marks]
    pid = processes.spawn(command, log=folder / "log", folder=folder, environment={})
    ours = "\0".join([*command, ""]).encode()
    while Path(f"/proc/{pid}/cmdline").read_bytes() != ours:  # the shell that changes folder comes first
        time.sleep(0.001)
    process = processes.identify(pid)
    assert process is not None
    return process


def test_a_process_is_known_by_pid_start_and_arguments(tmp_path: Path) -> None:
    mark = f"--mark={tmp_path}"
    process = spawn_sleeper(tmp_path, "serve", mark)
    try:
        assert processes.alive(process, ("serve", mark))
        assert not processes.alive(process, ("serve", "--mark=/another"))
        assert not processes.alive(dataclasses.replace(process, started=process.started + 1), (mark,))
        assert not processes.alive(dataclasses.replace(process, boot="another"), (mark,))
        assert processes.find(("serve", mark)) == [process]
        assert os.getsid(process.pid) == process.pid
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        os.waitpid(process.pid, 0)
    assert not processes.alive(process, (mark,))


def test_a_zombie_is_not_alive() -> None:
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # it ended, and nobody has reaped it
    assert "Z" in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    assert processes.identify(pid) is None
    os.waitpid(pid, 0)


def test_a_process_that_ignores_the_signal_is_killed(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    command = ["/bin/sh", "-c", f"trap '' TERM; touch {ready}; while :; do sleep 60; done"]
    pid = processes.spawn(command, log=tmp_path / "log", folder=tmp_path, environment={"PATH": os.defpath})
    while not ready.exists():
        time.sleep(0.005)
    process = processes.identify(pid)
    assert process is not None
    processes.end([process], first=signal.SIGTERM, grace=0.05)
    assert processes.identify(pid) is None


def test_a_reused_pid_is_never_signalled(tmp_path: Path) -> None:
    process = spawn_sleeper(tmp_path)
    try:
        processes.end([dataclasses.replace(process, started=1)], first=signal.SIGKILL, grace=0.1)
        assert processes.identify(process.pid) == process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        os.waitpid(process.pid, 0)


@pytest.mark.parametrize("holder", ["nobody", "zombie", "another program"])
def test_a_postmaster_note_of_a_dead_postmaster_is_forgotten(tmp_path: Path, holder: str) -> None:
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    if holder != "zombie":
        os.waitpid(pid, 0)
    noted = os.getpid() if holder == "another program" else pid
    (tmp_path / "postmaster.pid").write_text(f"{noted}\n{tmp_path}\n")
    forget_dead_postmaster(tmp_path)
    assert not (tmp_path / "postmaster.pid").exists()
    if holder == "zombie":
        os.waitpid(pid, 0)


def test_a_postmaster_note_of_a_live_server_is_left(tmp_path: Path) -> None:
    process = spawn_sleeper(tmp_path, "-D", str(tmp_path))
    try:
        (tmp_path / "postmaster.pid").write_text(f"{process.pid}\n")
        forget_dead_postmaster(tmp_path)
        assert (tmp_path / "postmaster.pid").exists()
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        os.waitpid(process.pid, 0)


def test_a_kept_port_is_taken_again_unless_somebody_listens_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EGRESS_SANDBOX_PORT", raising=False)
    first = ports.choose("s3", 10, kept=None, taken=())
    assert ports.choose("s3", 10, kept=first, taken=()) == first
    with socket.socket() as listener:
        listener.bind((ports.HOST, first + 9))
        listener.listen()
        assert ports.answers(first + 9)
        other = ports.choose("s3", 10, kept=first, taken=())
    assert first + 9 not in range(other, other + 10)


def test_a_configured_port_is_never_replaced_silently(monkeypatch: pytest.MonkeyPatch) -> None:
    base = ports.choose("s3", 30, kept=None, taken=())
    monkeypatch.setenv("EGRESS_SANDBOX_PORT", str(base))
    assert ports.choose("ceph", 10, kept=None, taken=()) == base + 20
    with socket.socket() as listener:
        listener.bind((ports.HOST, base + 1))
        listener.listen()
        with pytest.raises(SandboxUnavailable, match=f"EGRESS_SANDBOX_PORT is {base}"):
            ports.choose("aws", 1, kept=base + 1, taken=())
    monkeypatch.setenv("EGRESS_SANDBOX_PORT", "many")
    with pytest.raises(SandboxUnavailable, match="'many'"):
        ports.choose("aws", 1, kept=None, taken=())


def test_a_state_is_read_back_whole_and_lies_in_a_private_file(tmp_path: Path) -> None:
    state = State(folder=tmp_path, ports=PORTS, secrets=make_secrets())
    assert load(tmp_path) is None
    save(state)
    assert load(tmp_path) == state
    assert (tmp_path / "credentials.json").stat().st_mode & 0o777 == 0o600
    write_atomically(tmp_path / "credentials.json", b'{"format": 0}')
    assert load(tmp_path) is None
    assert status(tmp_path).healthy is False


def test_secrets_differ_and_no_repr_shows_one(tmp_path: Path) -> None:
    secrets = make_secrets()
    assert len(set(secrets.values())) == len(secrets)
    sandbox = Sandbox(State(folder=tmp_path, ports=PORTS, secrets=secrets))
    shown = f"{sandbox!r} {sandbox.dsn('shop')!r} {sandbox.stores!r} {sandbox.receiver!r} {sandbox.endpoints()}"
    assert not [name for name, value in secrets.items() if value in shown]
    assert secrets["postgres_reader"] in sandbox.dsn("shop").conninfo
    assert len(bytes.fromhex(sandbox.scrub_key)) == 32


def test_each_bucket_has_its_own_credentials_and_zone(tmp_path: Path) -> None:
    stores = Sandbox(State(folder=tmp_path, ports=PORTS, secrets=make_secrets())).stores
    assert set(stores) == {bucket for buckets in BUCKETS.values() for bucket in buckets}
    assert len({settings.access_key for settings in stores.values()}) == len(stores)
    assert {name for name, settings in stores.items() if settings.zone == "external"} == {"mirror", "recipient-inbox"}
    assert stores["mirror"].endpoint == "http://127.0.0.1:3"


def test_the_state_folder_is_configured_or_beside_the_project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EGRESS_SANDBOX_DIR", raising=False)
    assert state_folder() == DEFAULT_FOLDER
    assert (DEFAULT_FOLDER.parents[1] / "pyproject.toml").exists()
    monkeypatch.setenv("EGRESS_SANDBOX_DIR", "here")
    assert state_folder() == tmp_path / "here"


def test_importing_the_sandbox_loads_nothing_heavy() -> None:
    code = "import egress_assets.sandbox, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"dagster", "pandas", "boto3", "botocore", "moto", "cryptography", "psycopg", "pydantic", "ssl"}
    assert heavy.isdisjoint(loaded)
