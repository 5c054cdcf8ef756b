"""The HTTPS recipient as a server of the sandbox: its certificates, its configuration, its process."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from egress_assets.sandbox import processes
from egress_assets.sandbox.files import write_atomically
from egress_assets.sandbox.server import Server

# A year of validity less the month before which the set is renewed, as in certificates.py, which is slow to import.
CERTIFICATE_SECONDS = (365 - 30) * 86_400.0


class Recipient(Server):
    @property
    def home(self) -> Path:
        return self.state.folder / "receiver"

    @property
    def config(self) -> Path:
        return self.home / "config.json"

    @property
    def markers(self) -> tuple[str, ...]:
        return ("egress_assets.sandbox.receiver", str(self.config))

    def running(self) -> bool:
        return super().running() and self._certificates_last()

    def _certificates_last(self) -> bool:
        """By the file's age: a set that must be renewed counts as a server to start again."""
        try:
            made = (self.home / "ca.pem").stat().st_mtime
        except FileNotFoundError:
            return False
        return time.time() - made < CERTIFICATE_SECONDS

    def launch(self) -> int:
        from egress_assets.sandbox import certificates  # cryptography: 0.15 s, on a start only

        self.home.mkdir(exist_ok=True, mode=0o700)
        certificates.ensure(self.home)
        write_atomically(self.config, json.dumps({"home": str(self.home), "port": self.port}).encode())
        command = [sys.executable, "-m", self.markers[0], "--config", str(self.config)]
        return processes.spawn(command, log=self.log, folder=self.home, environment=self.python_environment())

    def prepare(self) -> None:
        """It listens only when it can serve."""
