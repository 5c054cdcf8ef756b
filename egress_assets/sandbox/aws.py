"""The embedded queue and table: moto's server for SQS, DynamoDB, SSM and KMS, in memory, any credentials accepted."""

from __future__ import annotations

import sys
import time

from egress_assets.sandbox import processes
from egress_assets.sandbox.ports import HOST
from egress_assets.sandbox.server import Server


class Moto(Server):
    """What it holds is gone when it stops: whoever uses it makes its queues and tables where they are missing."""

    @property
    def markers(self) -> tuple[str, ...]:
        return ("egress_assets.sandbox.aws_server", str(self.state.folder / self.name))

    def launch(self) -> int:
        home = self.state.folder / self.name
        home.mkdir(exist_ok=True, mode=0o700)
        command = [sys.executable, "-m", *self.markers, str(self.port)]
        return processes.spawn(command, log=self.log, folder=home, environment=self.python_environment())

    def prepare(self) -> None:
        import urllib.request  # 0.03 s, on a start only

        deadline = time.monotonic() + 30.0
        while True:
            try:
                urllib.request.urlopen(f"http://{HOST}:{self.port}/moto-api/", timeout=10).close()
                return
            except OSError as error:  # also urllib.error.URLError
                if time.monotonic() > deadline:
                    raise self._failed("does not answer") from error
            time.sleep(0.05)
