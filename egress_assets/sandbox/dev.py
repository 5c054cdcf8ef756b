"""`make dev`: the sandbox and the Dagster UI on localhost:3000, in one terminal.

Dagster is started with default signal handlers: one that inherits "ignore SIGINT" from a script's background job can
only be killed, and leaves its children. Runs that a dead daemon left as started are marked failed first.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from egress_assets.sandbox import start

ROOT = Path(__file__).resolve().parent.parent.parent


def main() -> int:
    sandbox = start()
    print("the sandbox is up:", ", ".join(f"{name} {where}" for name, where in sandbox.endpoints().items()), flush=True)
    environment = dict(os.environ)
    environment.setdefault("DAGSTER_HOME", str(ROOT))
    binary = Path(sys.executable).with_name("dagster")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    subprocess.run(
        [sys.executable, "-m", "egress_assets.launch", "--fail-dead-runs"], cwd=ROOT, env=environment, check=True
    )
    os.chdir(ROOT)
    os.execve(binary, [str(binary), "dev", "-h", "127.0.0.1", "-p", "3000"], environment)


if __name__ == "__main__":
    sys.exit(main())
