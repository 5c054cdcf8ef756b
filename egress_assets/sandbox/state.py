"""What the sandbox keeps: one folder, one lock, one file with ports and secrets.

The file `credentials.json` (0600) is written last: a folder without it is half-made and is made again from nothing.
Passwords live there and nowhere else, except where a server demands its own copy (also 0600).
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from egress_assets.sandbox.files import write_atomically

FORMAT = 1
DEFAULT_FOLDER = Path(__file__).resolve().parents[2] / ".egress" / "sandbox"
BUCKETS: Mapping[str, tuple[str, ...]] = {
    "s3": ("evidence", "lake", "quarantine", "recipient-inbox"),
    "ceph": ("mirror",),
}


@dataclass(frozen=True, slots=True)
class State:
    """Ports by server (the first of its block) and secrets by name; neither changes while servers run."""

    folder: Path
    ports: Mapping[str, int]
    secrets: Mapping[str, str] = field(repr=False)

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def run(self) -> Path:
        return self.folder / "run"


def state_folder() -> Path:
    """EGRESS_SANDBOX_DIR, else `.egress/sandbox` beside pyproject.toml: never a matter of the working directory."""
    configured = os.environ.get("EGRESS_SANDBOX_DIR", "")
    return Path(configured).absolute() if configured else DEFAULT_FOLDER


def make_folders(folder: Path) -> None:
    # 0711: Postgres under its own uid passes through, nobody else can look around.
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o711)
    for name in ("logs", "run"):
        (folder / name).mkdir(exist_ok=True, mode=0o700)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the one lock of this sandbox across processes; the kernel frees it when its holder dies."""
    make_folders(folder)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def load(folder: Path) -> State | None:
    """None when the sandbox was never made whole, or by another format."""
    try:
        note = json.loads((folder / "credentials.json").read_bytes())
        if note["format"] != FORMAT:
            return None
        return State(folder=folder, ports=note["ports"], secrets=note["secrets"])
    except (FileNotFoundError, ValueError, KeyError):
        return None


def save(state: State) -> None:
    note = {"format": FORMAT, "ports": dict(state.ports), "secrets": dict(state.secrets)}
    write_atomically(state.folder / "credentials.json", json.dumps(note, indent=1).encode())


def make_secrets() -> dict[str, str]:
    """Random credentials for every server, 160 bits and more each, in an alphabet that no syntax has to quote."""
    made = {name: secrets.token_hex(24) for name in ("postgres_admin", "postgres_reader")}
    for server, buckets in BUCKETS.items():
        for identity in ("admin", *buckets):
            made[f"{server}/{identity}/access_key"] = secrets.token_hex(10).upper()
            made[f"{server}/{identity}/secret_key"] = secrets.token_hex(20)
    made["scrub_key"] = secrets.token_hex(32)
    return made
