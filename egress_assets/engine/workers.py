"""A pool of worker processes, driven from one thread: jobs out, answers and logs in, none left behind.

Plain subprocesses, never multiprocessing (it would import the parent's main module again, Dagster with it, and forked
locks hang). Every wait is in the calling thread and at most 0.5 s long, so that a signal handler's exception comes
through; then the workers' standard input is closed, which cancels them, and after 3 s they are killed.
"""

from __future__ import annotations

import json
import logging
import os
import selectors
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO, Any

from egress_assets.engine.errors import EgressError, SourceUnavailable

logger = logging.getLogger(__name__)

GRACE = 3.0  # seconds between a cancelled worker and its SIGKILL
_SLICE = 0.5
_COMMAND = (sys.executable, "-m", "egress_assets.engine.worker")


@dataclass(frozen=True, slots=True)
class Job:
    """One message for whichever worker is free; `title` is for people."""

    title: str
    message: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Watched:
    """A file descriptor that is silent as long as all is well; `check` is called when it is not."""

    descriptor: int
    check: Callable[[], None]


class _Process:
    """A worker as its parent sees it."""

    def __init__(self, hello: Mapping[str, Any]) -> None:
        # Its own session: Ctrl-C goes to the parent, which ends its workers in order.
        self.popen = subprocess.Popen(
            _COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
        self.job: Job | None = None
        self.share: Mapping[str, float] = {}
        self._rests: dict[int, bytes] = {}
        self.say(hello)

    def say(self, message: Mapping[str, Any]) -> None:
        """A worker that is gone already is noticed by the end of its output."""
        with suppress(BrokenPipeError):
            _pipe(self.popen.stdin).write(json.dumps(message).encode() + b"\n")
            _pipe(self.popen.stdin).flush()

    def start(self, job: Job) -> None:
        self.job = job
        self.say(job.message)

    def allow(self, share: Mapping[str, float]) -> None:
        """How fast it may read from now on; said when it is another than before."""
        if share != self.share:
            self.share = share
            self.say({"share": share})

    def lines(self, stream: IO[bytes]) -> Iterator[bytes] | None:
        """Complete lines that have arrived; None at the end of the stream."""
        read = os.read(stream.fileno(), 2**16)
        if not read:
            return None
        *whole, rest = (self._rests.get(stream.fileno(), b"") + read).split(b"\n")
        self._rests[stream.fileno()] = rest
        return iter(whole)

    def hang_up(self) -> None:
        with suppress(BrokenPipeError):
            _pipe(self.popen.stdin).close()

    def died(self) -> SourceUnavailable:
        code = self.popen.wait()
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        what = f"while it read {self.job.title}" if self.job else "before it read anything"
        return SourceUnavailable(
            f"worker process {self.popen.pid} {how} {what}",
            hint="Signal 9 is often the kernel's or the pod's memory limit; the whole dataset is dumped again.",
        )


class Pool:
    """`with Pool(hello, count) as pool: pool.run(jobs, hear)`."""

    def __init__(self, hello: Mapping[str, Any], count: int) -> None:
        self._hello, self._count = hello, count
        self._processes: list[_Process] = []
        self._selector = selectors.DefaultSelector()

    def __enter__(self) -> Pool:
        try:
            for _ in range(self._count):
                self._processes.append(_Process(self._hello))
        except BaseException:
            self._end()
            raise
        for process in self._processes:
            for stream in (process.popen.stdout, process.popen.stderr):
                self._selector.register(_pipe(stream), selectors.EVENT_READ, process)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            for process in self._processes:
                process.say({"bye": True})
        self._end()

    def run(
        self,
        jobs: Sequence[Job],
        hear: Callable[[Mapping[str, Any]], None],
        *,
        watched: Watched | None = None,
        share: Callable[[int], Mapping[str, float]] | None = None,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        """Hand out `jobs` in order, the next one to whoever is free; `hear` gets ticks and results.

        `share` says how fast each of so many workers may read at this moment; it is asked at least twice a second,
        and so is `meanwhile`, which ends the run by raising.

        Raises the first worker's error (an EgressError by its code), or SourceUnavailable naming the job whose
        worker died, or what `hear` and `meanwhile` raise.
        """
        waiting, left = deque(jobs), len(jobs)
        for process in self._processes[: len(jobs)]:
            process.allow(share(min(len(jobs), self._count)) if share else {})
            process.start(waiting.popleft())
        if watched:
            self._selector.register(watched.descriptor, selectors.EVENT_READ, watched)
        while left:
            meanwhile()
            if share:
                self._allow(share)
            for process, message in self._messages():
                if "error" in message:
                    raise rebuilt(message["error"])
                hear(message)
                if "done" in message:
                    left -= 1
                    process.job = None
                    if waiting:
                        process.start(waiting.popleft())

    def _allow(self, share: Callable[[int], Mapping[str, float]]) -> None:
        busy = [process for process in self._processes if process.job]
        each = share(len(busy))
        for process in busy:
            process.allow(each)

    def _messages(self) -> Iterator[tuple[_Process, Mapping[str, Any]]]:
        for key, _ in self._selector.select(_SLICE):
            if isinstance(key.data, Watched):
                key.data.check()
                continue
            process: _Process = key.data
            lines = process.lines(key.fileobj)  # type: ignore[arg-type]
            if lines is None:
                self._selector.unregister(key.fileobj)
                if key.fileobj is process.popen.stdout:
                    raise process.died()
            elif key.fileobj is process.popen.stderr:
                _log(lines)
            else:
                yield from ((process, json.loads(line)) for line in lines)

    def _end(self) -> None:
        """Every worker's input is closed (a cancel, unless it heard {bye}); killed after GRACE; none is left."""
        for process in self._processes:
            process.hang_up()
        deadline = time.monotonic() + GRACE
        for process in self._processes:
            try:
                process.popen.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                logger.warning("killed worker process %d: it did not end within %.0f s", process.popen.pid, GRACE)
                process.popen.kill()
                process.popen.wait()
        for process in self._processes:
            _log(_pipe(process.popen.stderr).read().splitlines())
            _pipe(process.popen.stdout).close()
            _pipe(process.popen.stderr).close()
        self._selector.close()


def rebuilt(error: Mapping[str, str]) -> EgressError:
    """The error that a worker raised, of the same class."""
    kinds = [EgressError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    found = next((kind for kind in kinds if kind.code == error["code"]), EgressError)
    return found(error["message"], hint=error["hint"])


def _log(lines: Iterator[bytes] | Sequence[bytes]) -> None:
    for line in lines:
        level, _, text = line.decode(errors="replace").partition(":")
        number = logging.getLevelNamesMapping().get(level)
        if number is None:
            logger.warning("worker: %s", line.decode(errors="replace"))
        else:
            logger.log(number, "%s", text)


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise RuntimeError("a worker was started without pipes")
    return stream
