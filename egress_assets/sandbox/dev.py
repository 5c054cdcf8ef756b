"""`make dev`: the sandbox and the Dagster UI on localhost:3000, in one terminal.

Both start at once, in one process: Dagster needs the servers when its first run does, seconds later, and what waits for
them is the run. Signals have their default handlers: a Dagster that inherits "ignore SIGINT" from a script's
background job can only be killed, and leaves its children.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading

from egress_assets.sandbox import SandboxUnavailable, start


class Servers(threading.Thread):
    """Starts the sandbox; when that fails, says why and ends the process as Ctrl-C would."""

    def __init__(self) -> None:
        super().__init__(name="sandbox", daemon=True)
        self.failed = False

    def run(self) -> None:
        try:
            endpoints = start().endpoints()
        except SandboxUnavailable as error:
            self.failed = True
            print(f"error: {error.message}\nHINT: {error.hint}", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGINT)
        else:
            print("the sandbox is up:", ", ".join(f"{name} {at}" for name, at in endpoints.items()), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make dev", description="The sandbox and the Dagster UI.")
    parser.add_argument("--port", type=int, default=3000, help="of the UI, on 127.0.0.1")
    port = parser.parse_args().port
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    servers = Servers()
    servers.start()
    try:
        from egress_assets.launch import serve_ui  # imports dagster, a second of CPU, while the servers start

        serve_ui(port)
    except KeyboardInterrupt:
        return 1 if servers.failed else 128 + signal.SIGINT
    return 1 if servers.failed else 0


if __name__ == "__main__":
    sys.exit(main())
