"""One embedded server: how it is started, known again, healed and ended. Subclasses say what to run."""

from __future__ import annotations

import logging
import os
import signal
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from egress_assets.sandbox import ports, processes
from egress_assets.sandbox.errors import SandboxUnavailable
from egress_assets.sandbox.state import State

logger = logging.getLogger(__name__)

READY_SECONDS = 60.0  # a cold start takes 1.5 s; a laptop under load has been seen to need 20


class Server(ABC):
    """Lives on loopback, in its own session, and outlives whoever started it."""

    name: str
    port_count: ClassVar[int] = 1
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    grace: ClassVar[float] = 10.0  # seconds between the stop signal and SIGKILL

    def __init__(self, state: State, name: str) -> None:
        self.state = state
        self.name = name

    @property
    def port(self) -> int:
        return self.state.ports[self.name]

    @property
    def log(self) -> Path:
        return self.state.logs / f"{self.name}.log"

    @property
    def _note(self) -> Path:
        return self.state.run / f"{self.name}.json"

    @property
    @abstractmethod
    def markers(self) -> tuple[str, ...]:
        """Arguments that the command has, all of them and exactly, and no other program: they name this folder."""

    @abstractmethod
    def launch(self) -> int:
        """Start the process; its pid."""

    @abstractmethod
    def prepare(self) -> None:
        """Wait until it does its work and make what it must hold (roles, buckets). Idempotent."""

    def process(self) -> processes.Process | None:
        """The running process, known by pid, start time and arguments."""
        process = processes.noted(self._note)
        return process if process is not None and processes.alive(process, self.markers) else None

    def running(self) -> bool:
        """Cheap (below 1 ms): the noted process lives and its port accepts connections."""
        return self.name in self.state.ports and self.process() is not None and ports.answers(self.port)

    def start(self) -> None:
        """Raises SandboxUnavailable, with the log's path, when it does not come up."""
        began = time.monotonic()
        pid = self.launch()
        process = processes.identify(pid)
        if process is None:
            raise self._failed("ended at once")
        processes.note(self._note, process)
        self.await_port(process)
        self.prepare()
        logger.info("started %s: 127.0.0.1:%d in %.1f s", self.name, self.port, time.monotonic() - began)

    def stop(self) -> None:
        """End it in order, and every stray of an earlier start that was killed before it could note its process."""
        self._end(self.stop_signal)

    def kill(self) -> None:
        """End it at once: its data is not wanted any more."""
        self._end(signal.SIGKILL)

    def _end(self, first: signal.Signals) -> None:
        processes.end(processes.find(self.markers), first=first, grace=self.grace)
        self._note.unlink(missing_ok=True)

    def await_port(self, process: processes.Process) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not ports.answers(self.port):
            if processes.identify(process.pid) != process:
                raise self._failed("ended while starting")
            if time.monotonic() > deadline:
                raise self._failed(f"did not listen on port {self.port} within {READY_SECONDS:.0f} s")
            time.sleep(processes.POLL_SECONDS)

    def environment(self) -> dict[str, str]:
        """Nothing of the caller's environment but PATH: it may hold secrets, and settings that change servers."""
        home = self.state.folder / self.name
        return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "LANG": "C.UTF-8"}

    def python_environment(self) -> dict[str, str]:
        """For servers of this package, wherever it is imported from."""
        return self.environment() | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}

    def _failed(self, what: str) -> SandboxUnavailable:
        return SandboxUnavailable(f"sandbox server {self.name} {what}", hint=f"Its last words are in {self.log}.")
