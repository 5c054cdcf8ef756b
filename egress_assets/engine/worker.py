"""A process that reads tables in somebody else's snapshot: `python -m egress_assets.engine.worker`.

Spoken as JSON lines. In: first {source, store, snapshot, name}, then {task} each (of `verify: deep` {sum} or {reread},
engine/dump/sums.py), {share} at any time (how fast to read), at the end {bye}. Out: {tick}, {done}, or {error: {code,
message, hint}}, after which it ends. Secrets come by standard input only. Its end without {bye} means that the parent
is dead: the server's query is cancelled, the upload aborted, nothing reported.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, BinaryIO

from egress_assets.engine.dump.copying import Stopped
from egress_assets.engine.dump.readers import Reader, reader_of
from egress_assets.engine.dump.source import SourceSettings
from egress_assets.engine.dump.tasks import Cell, PartTask, StoredColumn
from egress_assets.engine.dump.throttle import Pace
from egress_assets.engine.errors import EgressError
from egress_assets.engine.stores import Store, open_store
from egress_assets.engine.stores.settings import StoreSettings

if TYPE_CHECKING:
    from egress_assets.engine.dump.sums import Sums

logger = logging.getLogger(__name__)

_PATIENCE = 8.0  # seconds after the parent's death in which an upload may be aborted in good order
_GONE = 70


class Worker:
    """One session with the source, one store, one part of a table at a time."""

    def __init__(self, lines: Iterable[bytes], answers: BinaryIO) -> None:
        self._lines, self._answers = lines, answers
        self._speaking = threading.Lock()
        self._stop = threading.Event()
        self._pace = Pace()
        self._inbox: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._readers: dict[str, Reader] = {}  # by format; all parts of a run have one
        self._sums: Sums | None = None

    def run(self) -> int:
        """Until {bye}; the exit code."""
        threading.Thread(target=self._listen, name="inbox", daemon=True).start()
        try:
            self._work()
        except EgressError as error:
            self._say({"error": {"code": error.code, "message": error.message, "hint": error.hint}})
            return error.exit_code
        except (Stopped, BrokenPipeError):
            return _GONE
        except Exception as error:  # noqa: BLE001 - the process border: its text may quote a row, its place can't
            logger.error("failed in %s", "".join(traceback.format_tb(error.__traceback__)))  # noqa: TRY400
            self._say({"error": {"code": "egress", "message": f"a worker failed: {type(error).__name__}", "hint": ""}})
            return 1
        finally:
            self._hang_up()
        return 0

    def _work(self) -> None:
        hello = self._next()
        if hello is None:
            return
        settings = SourceSettings.model_validate(hello["source"])
        store = open_store(StoreSettings.model_validate(hello["store"]))
        while (message := self._next()) is not None:
            if "task" in message:
                self._one(task_of(message["task"]), hello, settings, store)
            else:
                self._say({"done": self._sums_of(hello, settings).answer(message, hello["snapshot"], store)})

    def _one(self, task: PartTask, hello: Mapping[str, Any], settings: SourceSettings, store: Store) -> None:
        if task.format not in self._readers:
            self._readers[task.format] = reader_of(task.format, settings, hello["name"])

        def tell(size: int, rows: int) -> None:
            self._say({"tick": {"table": task.table, "part": task.part, "done": size, "rows": rows}})

        reader = self._readers[task.format]
        done = reader.read(task, hello["snapshot"], store, stop=self._stop, tell=tell, pace=self._pace)
        self._say({"done": asdict(done)})

    def _sums_of(self, hello: Mapping[str, Any], settings: SourceSettings) -> Sums:
        from egress_assets.engine.dump.sums import Sums  # reads evidence's records, which no extract needs

        self._sums = self._sums or Sums(settings, hello["name"])
        return self._sums

    def _next(self) -> dict[str, Any] | None:
        """The next message; None after {bye}. Raises Stopped when the parent is dead."""
        message = self._inbox.get()
        if message is None:
            raise Stopped
        return None if "bye" in message else message

    def _listen(self) -> None:
        try:
            for line in self._lines:
                message = json.loads(line)
                if "share" in message:
                    self._pace.change(message["share"])
                    continue
                self._inbox.put(message)
                if "bye" in message:
                    return
        except ValueError:
            logger.warning("unreadable input")  # not what it was: it may hold a password
        self._abandon()

    def _abandon(self) -> None:
        """Nobody is there to work for."""
        self._inbox.put(None)
        self._stop.set()
        for session in self._sessions():
            session.cancel()
        time.sleep(_PATIENCE)
        os._exit(_GONE)  # a store that does not answer must not keep an orphan alive

    def _say(self, message: Mapping[str, Any]) -> None:
        with self._speaking:
            self._answers.write(json.dumps(message).encode() + b"\n")
            self._answers.flush()

    def _hang_up(self) -> None:
        for session in self._sessions():
            session.hang_up()

    def _sessions(self) -> list[Reader | Sums]:
        return [*self._readers.values(), *((self._sums,) if self._sums else ())]


def task_of(message: Mapping[str, Any]) -> PartTask:
    """A PartTask as it was before `asdict` and JSON."""
    plain = dict(message)
    plain["cells"] = tuple(_cell(cell) for cell in message["cells"])
    plain["lock"] = tuple((schema, name) for schema, name in message["lock"])
    plain["detectors"] = tuple(message["detectors"])
    plain["columns"] = tuple(StoredColumn(**column) for column in message["columns"])
    return PartTask(**plain)


def _cell(plain: Mapping[str, Any]) -> Cell:
    return Cell(**{**plain, "reads": tuple(plain["reads"]) if plain["reads"] else None})


def _lines(descriptor: int) -> Iterator[bytes]:
    """Not sys.stdin: Python dies with a fatal error when it exits while another thread reads that."""
    rest = b""
    while read := os.read(descriptor, 2**16):
        *whole, rest = (rest + read).split(b"\n")
        yield from whole


def _terminated(_number: int, _frame: object) -> None:
    raise Stopped


def main() -> int:
    """Standard output is the protocol's alone: whatever else prints goes to the log."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    signal.signal(signal.SIGTERM, _terminated)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s:%(name)s: %(message)s")
    return Worker(_lines(0), answers).run()


if __name__ == "__main__":
    sys.exit(main())
