"""A stand-in for Dagster's API, and a caller of `egress serve-trigger` over real sockets.

tests/graph/test_trigger_queries.py holds the queries that the stand-in answers against Dagster's own schema.
"""

import contextlib
import json
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

MIRROR = "m" * 32  # the token of the mirror's path

NO_RUNS: dict[str, Any] = {"__typename": "Runs", "results": []}


@dataclass
class Dagster:
    """The queries of a webserver: runs by tag and status, and a launch. `runs` is what it knows, the newest last."""

    runs: list[dict[str, Any]] = field(default_factory=list)
    launches: list[dict[str, Any]] = field(default_factory=list)
    answer: Callable[[], tuple[int, Any]] | None = None  # instead of the right one
    pause: float = 0.0  # before it answers a launch
    asked: threading.Event = field(default_factory=threading.Event)  # a launch is on its way

    def __call__(self, query: str, variables: dict[str, Any]) -> tuple[int, Any]:
        if self.answer:
            return self.answer()
        if "launchRun" in query:
            return 200, {"data": {"launchRun": self._launch(variables["params"])}}
        wanted = variables["filter"]
        tags = {(tag["key"], tag["value"]) for tag in wanted["tags"]}
        found = [r for r in self.runs if r["status"] in wanted["statuses"] and tags <= r["tags"].items()]
        shown = [{name: run[name] for name in ("runId", "assetSelection")} for run in reversed(found)]
        return 200, {"data": {"runsOrError": {"__typename": "Runs", "results": shown}}}

    def _launch(self, params: dict[str, Any]) -> dict[str, Any]:
        runs, launches = self.runs, self.launches  # of the test that asks, also when it has ended meanwhile
        self.asked.set()
        time.sleep(self.pause)
        launches.append(params)
        tags = {tag["key"]: tag["value"] for tag in params["executionMetadata"]["tags"]}
        return {"__typename": "LaunchRunSuccess", "run": {"runId": begun(runs, tags, params["selector"])}}


def begun(runs: list[dict[str, Any]], tags: dict[str, str], selector: dict[str, Any]) -> str:
    run = {"runId": str(uuid.uuid4()), "status": "QUEUED", "tags": tags}
    runs.append(run | {"assetSelection": selector.get("assetSelection")})
    return run["runId"]


@dataclass(frozen=True)
class Said:
    status: int
    headers: dict[str, str]
    document: dict[str, Any]


@dataclass
class Trigger:
    """The served process."""

    port: int
    process: subprocess.Popen[str]
    dagster: Dagster
    tokens: Path
    log: Path

    def connect(self) -> HTTPConnection:
        return HTTPConnection("127.0.0.1", self.port, timeout=30)

    def ask(self, path: str = "/mirror/shop", body: Any = "{}", method: str = "POST", **headers: str) -> Said:
        with contextlib.closing(self.connect()) as connection:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            return said(connection.getresponse())

    def post(self, path: str = "/mirror/shop", token: str = MIRROR, body: Any = "{}") -> Said:
        return self.ask(path, body, Authorization=f"Bearer {token}")

    def raw(self, data: bytes) -> bytes:
        """All that comes back until it closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(data)
            return b"".join(iter(lambda: connection.recv(2**16), b""))


def said(response: HTTPResponse) -> Said:
    body = response.read()
    return Said(response.status, dict(response.headers), json.loads(body) if body else {})
