"""A Dagster of a test's own, as `make dev` starts it: code server, webserver and daemon over a private sandbox.

It has its own instance, port, catalog and sandbox, so nothing that a developer has running is seen or touched.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import psycopg
import yaml

from egress_assets.engine.catalog.loader import load_catalog
from egress_assets.engine.platform import Platform
from egress_assets.sandbox import Sandbox, remove, sample, start
from egress_assets.sandbox.provider import SandboxProvider

ROOT = Path(__file__).resolve().parents[1]
DAYS = 8
"""Dates of the catalog unless it is told: the sandbox's events reach back 14 days."""
UNFINISHED = {"QUEUED", "NOT_STARTED", "MANAGED", "STARTING", "STARTED", "CANCELING"}
T = TypeVar("T")


def until(look: Callable[[], T], what: str, seconds: float = 120.0, every: float = 0.25) -> T:
    """What `look` finds as soon as it is true. The deadline is generous: for a machine that has other work."""
    ends = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < ends, f"{what}: not within {seconds:.0f} s"
        time.sleep(every)
    return found


@dataclass(slots=True)
class Live:
    """A running `make dev`; `dates` are those of the catalog, the oldest first."""

    home: Path
    environment: Mapping[str, str]
    sandbox: Sandbox
    platform: Platform
    port: int
    dates: list[str]
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.home / "dagster.log").read_text(errors="replace")

    # ------------------------------------------------------------------------------------------------------ processes
    def begin(self, *command: str) -> None:
        """Returns when the catalog is loaded. `command` starts it in place of what `make dev` starts."""
        command = command or (sys.executable, "-m", "egress_assets.sandbox.dev", "--port", str(self.port))
        with (self.home / "dagster.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.home, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        until(self._serves, "make dev serves", 180)

    def _serves(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log[-3000:]
        try:
            found = self.graphql("{repositoriesOrError{... on RepositoryConnection{nodes{name}}}}")
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False
        return bool(found["repositoriesOrError"].get("nodes"))

    def end(self) -> None:
        """As ctrl-C does; what does not listen is killed with its children."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(30)
        self.kill()

    def kill(self) -> None:
        """kill -9 of all of it at once, runs included: what a machine does that loses its power."""
        if self.process is not None:
            for pid in self.pids():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def pids(self, said: str = "") -> list[int]:
        """Processes of this Dagster (of its session) with `said` in their command line."""
        assert self.process is not None
        found = []
        for proc in Path("/proc").iterdir():
            if proc.name.isdigit():
                try:
                    session = int((proc / "stat").read_text().rpartition(")")[2].split()[3])
                    line = (proc / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                except (OSError, ValueError):
                    continue
                if session == self.process.pid and said in line:
                    found.append(int(proc.name))
        return sorted(found)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`egress ...` beside it, on the same catalog and sandbox."""
        return subprocess.run(
            [sys.executable, "-m", "egress_assets.cli", *arguments], env=self.environment, cwd=self.home, text=True,
            capture_output=True, stdin=subprocess.DEVNULL, timeout=120, check=False,
        )  # fmt: skip

    @contextmanager
    def session(self, database: str) -> Iterator[psycopg.Connection]:
        """As the owner of the sample data."""
        with psycopg.connect(**self.sandbox.admin_dsn(database).settings, autocommit=True) as session:
            yield session

    # -------------------------------------------------------------------------------------------------------- GraphQL
    def graphql(self, query: str, **variables: Any) -> Any:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            said = json.load(answer)
        assert "errors" not in said, said["errors"]
        return said["data"]

    def launch(self, job: str, date: str, assets: list[str] | None = None, **tags: str) -> str:
        """A run by the API, as a person's script would start it; its id. `assets` are keys with slashes."""
        selector: dict[str, Any] = {
            "repositoryLocationName": "egress", "repositoryName": "__repository__", "jobName": job,
        }  # fmt: skip
        if assets:
            selector["assetSelection"] = [{"path": key.split("/")} for key in assets]
        said = [{"key": "dagster/partition", "value": date}, *({"key": k, "value": v} for k, v in tags.items())]
        answer = self.graphql(
            LAUNCH, p={"selector": selector, "runConfigData": {}, "executionMetadata": {"tags": said}}
        )["launchRun"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return answer["run"]["runId"]

    def runs(self, **filters: Any) -> list[dict[str, Any]]:
        """The newest first."""
        return self.graphql(RUNS, filter=filters)["runsOrError"]["results"]

    def run(self, run_id: str) -> dict[str, Any]:
        return self.runs(runIds=[run_id])[0]

    def ended(self, run_id: str, seconds: float = 180) -> str:
        """The status with which the run ended."""

        def look() -> str:
            status = self.run(run_id)["status"]
            return "" if status in UNFINISHED else status

        return until(look, f"run {run_id} ends", seconds, every=0.5)

    def quiet(self, seconds: float = 180) -> None:
        """No run is on its way."""
        until(lambda: not self.runs(statuses=sorted(UNFINISHED)), "all runs end", seconds, every=0.5)

    def materialised(self, key: str) -> dict[str, list[str]]:
        """Run ids by date, the newest first."""
        found = self.graphql(MATERIALISED, key={"path": key.split("/")})["assetOrError"]["assetMaterializations"]
        dates: dict[str, list[str]] = {}
        for each in found:
            dates.setdefault(each["partition"], []).append(each["runId"])
        return dates

    def observed(self, key: str) -> list[str]:
        """What observations of the asset say, the newest first."""
        found = self.graphql(OBSERVED, key={"path": key.split("/")})["assetOrError"].get("assetObservations") or []
        return [each["description"] or "" for each in found]

    def latest(self, key: str) -> str:
        """All that the asset's newest materialisation tells, as text; empty when there is none."""
        found = self.graphql(LATEST, key={"path": key.split("/")})["assetOrError"].get("assetMaterializations")
        return json.dumps(found[0]["metadataEntries"]) if found else ""

    def automation(self, **wanted: bool) -> None:
        """Turn sensors and schedules on or off by name; `others=False` is for those that are not named."""
        nodes = self.graphql(INSTIGATORS)["repositoriesOrError"]["nodes"]
        for repository in nodes:
            for kind in ("sensors", "schedules"):
                for each in repository[kind]:
                    on = wanted.get(each["name"], wanted.get("others", True))
                    self._turn(kind, each, on, repository["name"])

    def _turn(self, kind: str, each: dict[str, Any], on: bool, repository: str) -> None:
        state = each.get("sensorState") or each.get("scheduleState")
        if (state["status"] == "RUNNING") == on:
            return
        at = {"repositoryLocationName": "egress", "repositoryName": repository}
        if on:
            word = "sensor" if kind == "sensors" else "schedule"
            query = START.replace("KIND", word.capitalize()).replace("kind", word)
            self.graphql(query, s={**at, f"{word}Name": each["name"]})
        else:
            query = STOP_SENSOR if kind == "sensors" else STOP_SCHEDULE
            self.graphql(query, id=state["id"])


LAUNCH = """mutation($p: ExecutionParams!) {launchRun(executionParams: $p) {__typename
  ... on LaunchRunSuccess {run {runId}} ... on PythonError {message} ... on InvalidSubsetError {message}}}"""
RUNS = """query($filter: RunsFilter!) {runsOrError(filter: $filter) {... on Runs {results {
  runId status jobName tags {key value} assetSelection {path}}}}}"""
MATERIALISED = """query($key: AssetKeyInput!) {assetOrError(assetKey: $key) {... on Asset {
  assetMaterializations(limit: 1000) {partition runId}}}}"""
OBSERVED = """query($key: AssetKeyInput!) {assetOrError(assetKey: $key) {... on Asset {
  assetObservations(limit: 10) {description}}}}"""
LATEST = """query($key: AssetKeyInput!) {assetOrError(assetKey: $key) {... on Asset {
  assetMaterializations(limit: 1) {metadataEntries {label ... on TableMetadataEntry {table {records}}}}}}}"""
INSTIGATORS = """{repositoriesOrError {... on RepositoryConnection {nodes {name
  sensors {name sensorState {id status}} schedules {name scheduleState {id status}}}}}}"""
START = """mutation($s: KINDSelector!) {startKIND(kindSelector: $s) {__typename ... on PythonError {message}}}"""
STOP_SENSOR = """mutation($id: String!) {stopSensor(id: $id) {__typename ... on PythonError {message}}}"""
STOP_SCHEDULE = """mutation($id: String!) {stopRunningSchedule(id: $id) {__typename ... on PythonError {message}}}"""


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _catalog(home: Path, days: int) -> list[str]:
    """The shipped catalog with its last `days` dates; which those are."""
    last = datetime.now(ZoneInfo("Europe/London")).date() - timedelta(days=1)  # the catalog's timezone
    first = last - timedelta(days=days - 1)
    shutil.copytree(ROOT / "catalog", home / "catalog")
    for file in (home / "catalog").glob("*.yaml"):
        lines = [f"start: {first}" if line.startswith("start: ") else line for line in file.read_text().splitlines()]
        file.write_text("\n".join(lines) + "\n")
    return [(first + timedelta(days=n)).isoformat() for n in range(days)]


def _instance(home: Path) -> None:
    """The repository's dagster.yaml with its folders in here; dead runs are looked for more often."""
    said = yaml.safe_load((ROOT / "dagster.yaml").read_text().replace(".egress/dagster", str(home)))
    said["run_monitoring"]["poll_interval_seconds"] = 5
    (home / "dagster.yaml").write_text(yaml.safe_dump(said))


@contextmanager
def live(days: int = DAYS) -> Iterator[Live]:
    """A sandbox with its data and an instance; `begin` starts Dagster. All of it is gone afterwards."""
    home = Path(tempfile.mkdtemp(prefix="egress-l-", dir="/var/tmp"))
    home.chmod(0o711)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("EGRESS_", "DAGSTER_"))}
    said = {"EGRESS_SANDBOX_DIR": str(home / "s"), "EGRESS_CATALOG": str(home / "catalog"), "DAGSTER_HOME": str(home)}
    said |= {"EGRESS_OPERATOR": "kim"}
    before = dict(os.environ)
    made = None
    try:
        os.environ.clear()
        os.environ.update(kept | said)
        dates = _catalog(home, days)
        _instance(home)
        sandbox = start()
        sample.load(sandbox)
        catalog = load_catalog(home / "catalog")
        platform = Platform(catalog, SandboxProvider(catalog))
        made = Live(home, kept | said, sandbox, platform, _free_port(), dates)
        yield made
    finally:
        if made is not None:
            made.end()
        remove()
        os.environ.clear()
        os.environ.update(before)
        subprocess.run(["rm", "-rf", home], check=False)
