"""The canary: no secret of the sandbox is in a log, an event, an argument list, the evidence or a run configuration."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

from egress_assets.sandbox.sample import load

ROOT = Path(__file__).resolve().parents[3]


def secrets_of(whole) -> dict[str, bytes]:
    """Every random credential of the sandbox by name, and the private keys' bodies."""
    state = Path(whole.environment["EGRESS_SANDBOX_DIR"])
    found = {name: value.encode() for name, value in whole.sandbox.state.secrets.items() if len(value) >= 12}
    for key in state.rglob("*.key"):
        found[key.name] = b"".join(key.read_bytes().splitlines()[1:3])
    found |= {f"{name}.secret": s.secret_key.encode() for name, s in whole.sandbox.stores.items() if s.secret_key}
    assert len(found) > 5
    return found


def leaks(secrets: dict[str, bytes], place: str, body: bytes) -> list[str]:
    return [f"{name} in {place}" for name, value in secrets.items() if value in body]


class Arguments(threading.Thread):
    """Collects the argument lists of all processes while something runs."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: set[bytes] = set()
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.02):
            for proc in Path("/proc").iterdir():
                try:
                    self.seen.add((proc / "cmdline").read_bytes() if proc.name.isdigit() else b"")
                except OSError:
                    continue


def test_no_secret_is_anywhere(whole, tmp_path):
    secrets, watched = secrets_of(whole), Arguments()
    watched.start()
    said = [whole.stage(stage)[1] for stage in whole.stages]
    said += [whole.run(*verb)[1] for verb in (["status"], ["plan", "whole"], ["verify"], ["check", "--live"])]
    said += [whole.run(*verb, EGRESS_DEBUG="1")[1] for verb in (["dump", "nowhere"], ["verify", "--json"])]
    dagster_home = through_dagster(whole, tmp_path, said)
    watched.over.set()
    watched.join()

    assert len(watched.seen) > 3
    found = leaks(secrets, "an argument list", b"\n".join(watched.seen))
    found += leaks(secrets, "what a command printed", "\n".join(said).encode())
    for store in (whole.platform.evidence.store,):
        for listed in store.list():
            found += leaks(secrets, f"evidence {listed.key}", store.read(listed.key)[0])
    state = Path(whole.environment["EGRESS_SANDBOX_DIR"])
    for log in (state / "logs").rglob("*"):
        if log.is_file():
            found += leaks(secrets, f"log {log.name}", log.read_bytes())
    files = [path for path in dagster_home.rglob("*") if path.is_file()]
    assert any(path.suffix == ".db" for path in files), "Dagster recorded nothing"
    for path in files:
        found += leaks(secrets, f"Dagster's {path.name}", path.read_bytes())
    assert found == []


def through_dagster(whole, tmp_path: Path, said: list[str]) -> Path:
    """One run of the job of `whole`, recorded with events, logs and configuration in files of its own."""
    load(whole.sandbox)
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text().replace(".egress", str(home)))
    environment = {**whole.environment, "DAGSTER_HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-m", "egress_assets.launch", whole.date, "whole"],
        env=environment, cwd=home, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    said.append(done.stdout + done.stderr)
    return home


def test_the_canary_would_find_a_leak(whole):
    """The search itself works: a planted secret is found in a file and in the evidence store's bytes."""
    secrets = secrets_of(whole)
    name, value = next(iter(secrets.items()))
    assert leaks(secrets, "here", b"x" + value + b"y")[0] == f"{name} in here"
    assert leaks(secrets, "here", json.dumps(dict(os.environ)).encode()) == []
