"""What people wait for around the engine: `python benchmarks/shell.py`. Two cores, about two minutes.

Starts `make dev` twice with a sandbox, an instance and a port of its own, the second time over what the first one made;
runs the demo's shop by the UI's own mutation, once with everything to do and then with nothing to send; reads how long
the daemon's sensors took; loads a catalog of 500 tables. Prints seconds on the wall and of CPU (all processes of the
Dagster side together) beside their bounds. Exits 1 above a limit.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NOTHING_TO_SEND, LIMIT = 8.0, 15.0  # seconds from launch to SUCCESS: wanted, and allowed
UI, LOAD, TICK = 12.0, 5.0, 1.0
TICKS = os.sysconf("SC_CLK_TCK")
ENDPOINTS = """
timezone: Europe/London
evidence: {store: evidence}
sources: {shop_db: {dsn: {env: SHOP_DSN}}}
stores:
  evidence: {bucket: shop-evidence, zone: trusted}
  lake: {bucket: shop-egress, zone: trusted}
  ceph: {kind: ceph, endpoint: {env: CEPH_URL}, bucket: mirror, zone: external}
recipients: {acme: {transfer_type: sft, url: "https://acme.example/DA", key: {file: /secrets/acme.key}}}
"""
STATUS = "{workspaceOrError{... on Workspace{locationEntries{loadStatus locationOrLoadError{__typename}}}}}"
LAUNCH = """mutation($p: ExecutionParams!) {launchRun(executionParams: $p) {
  __typename ... on LaunchRunSuccess {run {runId}} ... on PythonError {message}}}"""
RUN = "query($id: ID!) {runOrError(runId: $id) {... on Run {status startTime endTime creationTime}}}"
WHY = """query($id: ID!) {runOrError(runId: $id) {... on Run {eventConnection(limit: 1000) {events {
  ... on RunFailureEvent {error {message}} ... on ExecutionStepFailureEvent {stepKey error {message}}}}}}}"""
# By status: else Dagster looks them up by origin, which is another one after every start of `dagster dev`.
SENSORS = """query($s: RepositorySelector!) {sensorsOrError(repositorySelector: $s) {... on Sensors {results {
  name sensorState {ticks(limit: 50, statuses: [SKIPPED, SUCCESS]) {timestamp endTimestamp status}}}}}}"""
REPOSITORY = {"repositoryName": "__repository__", "repositoryLocationName": "egress"}


@dataclass(frozen=True, slots=True)
class Figure:
    """`limit` fails the run; `bound` is what is wanted of it."""

    what: str
    seconds: float
    bound: float
    limit: float
    cpu: float | None = None

    @staticmethod
    def heading() -> str:
        return f"{'':<52} {'seconds':>8} {'CPU s':>7} {'wanted':>7} {'limit':>6}"

    def told(self) -> str:
        cpu = "" if self.cpu is None else f"{self.cpu:.1f}"
        state = "" if self.seconds <= self.bound else "slow" if self.seconds <= self.limit else "TOO SLOW"
        return f"{self.what:<52} {self.seconds:8.2f} {cpu:>7} {self.bound:7.0f} {self.limit:6.0f} {state}"


def main() -> int:
    home = Path(tempfile.mkdtemp(prefix="egress-b-", dir="/var/tmp"))
    home.chmod(0o711)
    try:
        figures = measured(home)
    finally:
        subprocess.run(
            [sys.executable, "-m", "egress_assets.cli", "sandbox", "stop", "--delete"],
            env=environment(home),
            check=True,
        )
        shutil.rmtree(home, ignore_errors=True)
    print(Figure.heading())
    print(*(figure.told() for figure in figures), sep="\n", flush=True)
    return 1 if any(figure.seconds > figure.limit for figure in figures) else 0


def measured(home: Path) -> list[Figure]:
    with ui(home) as (_, seconds, cpu):
        first = Figure("make dev to a loaded UI, nothing made before", seconds, UI, 2 * UI, cpu)
    with ui(home) as (shell, seconds, cpu):
        figures = [first, Figure("make dev to a loaded UI", seconds, UI, 2 * UI, cpu)]
        figures.append(shell.chain("the chain of shop, all to do", bound=60))
        figures += [shell.chain("the chain of shop, nothing to send") for _ in range(3)]
        time.sleep(60)  # sensors tick every 30 s
        figures += shell.ticks()
    return [*figures, load_500_tables(home / "catalog")]


def environment(home: Path) -> dict[str, str]:
    """Of the catalog it keeps what EGRESS_CATALOG says, if anything."""
    ours = ("EGRESS_ENV", "EGRESS_NOW", "EGRESS_SANDBOX")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)  # as the Makefile does
    return kept | {"EGRESS_SANDBOX_DIR": str(home / "s"), "DAGSTER_HOME": str(home / "dagster")}


@dataclass(frozen=True, slots=True)
class Shell:
    """A running `make dev`."""

    port: int
    pid: int

    def ask(self, query: str, **variables: Any) -> Any:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/graphql", body)
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=60) as answer:
            said = json.load(answer)
        if "errors" in said:
            raise SystemExit(f"GraphQL: {said['errors']}")
        return said["data"]

    def is_loaded(self) -> bool:
        try:
            entries = self.ask(STATUS)["workspaceOrError"]["locationEntries"]
        except OSError:
            return False
        return bool(entries) and all(
            e["loadStatus"] == "LOADED" and (e["locationOrLoadError"] or {}).get("__typename") == "RepositoryLocation"
            for e in entries
        )

    def chain(self, what: str, *, bound: float = NOTHING_TO_SEND) -> Figure:
        """The job of the last complete date, from the mutation to the end that the run's record says."""
        from egress_assets.engine.catalog.loader import load_catalog
        from egress_assets.engine.partition import now

        date = load_catalog(ROOT / "catalog").calendar("shop").last_complete(now())
        selector = {**REPOSITORY, "jobName": "shop"}
        tags = [{"key": "dagster/partition", "value": date}]
        began, cpu = time.time(), tree_cpu(self.pid)
        asked = self.ask(LAUNCH, p={"selector": selector, "runConfigData": {}, "executionMetadata": {"tags": tags}})
        run = asked["launchRun"]["run"]["runId"]
        wait(lambda: self.ask(RUN, id=run)["runOrError"]["endTime"], 300)
        found = self.ask(RUN, id=run)["runOrError"]
        if found["status"] != "SUCCESS":
            raise SystemExit(f"{what}: run {run} ended as {found['status']}: {self.ask(WHY, id=run)}")
        queued = found["startTime"] - began
        text = f"{what} ({queued:.1f} to the start, {found['endTime'] - found['startTime']:.1f} at work)"
        return Figure(
            text,
            found["endTime"] - began,
            bound,
            LIMIT if bound == NOTHING_TO_SEND else 2 * bound,
            tree_cpu(self.pid) - cpu,
        )

    def ticks(self, limit: float = 10 * TICK) -> list[Figure]:
        """The longest tick of each sensor but its first, which is the first after a start."""
        found = self.ask(SENSORS, s=REPOSITORY)["sensorsOrError"]["results"]
        spent = {s["name"]: [t["endTimestamp"] - t["timestamp"] for t in _ended(s)][:-1] for s in found}
        return [
            Figure(f"longest of {len(each)} ticks of sensor {name}", max(each), TICK, limit)
            for name, each in spent.items()
            if each
        ]


def _ended(sensor: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [tick for tick in sensor["sensorState"]["ticks"] if tick["endTimestamp"]]


@contextmanager
def ui(home: Path) -> Iterator[tuple[Shell, float, float]]:
    """`make dev` until its page and its code location are there: (shell, seconds on the wall, CPU seconds)."""
    make_instance(home / "dagster")
    port = free_port()
    began = time.monotonic()
    with (home / "log").open("ab") as log:
        command = [sys.executable, "-m", "egress_assets.sandbox.dev", "--port", str(port)]
        process = subprocess.Popen(command, cwd=ROOT, env=environment(home), stdout=log, stderr=log)
    try:
        shell = Shell(port, process.pid)
        wait(lambda: process.poll() is not None or shell.is_loaded(), 120)
        if process.poll() is not None:
            raise SystemExit((home / "log").read_text())
        yield shell, time.monotonic() - began, tree_cpu(process.pid)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(180)  # a daemon ends between two ticks


def make_instance(folder: Path, max_runs: int = 2) -> None:
    """The project's own instance settings, with storage below `folder`; as it is when it is there."""
    if not folder.exists():
        folder.mkdir()
        text = (ROOT / "dagster.yaml").read_text().replace(".egress/dagster", str(folder / "kept"))
        text = re.sub(r"max_concurrent_runs: \d+", f"max_concurrent_runs: {max_runs}", text)
        (folder / "dagster.yaml").write_text(text)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait(done: Callable[[], Any], seconds: float) -> None:
    ends = time.monotonic() + seconds
    while not done():
        if time.monotonic() > ends:
            raise SystemExit(f"not within {seconds:.0f} s")
        time.sleep(0.1)


def family(pid: int, session: str = "") -> Iterator[tuple[Path, list[str]]]:
    """/proc folder and the fields of `stat` of a process and its descendants of the same session: without the
    sandbox's servers, which have sessions of their own."""
    folder = Path(f"/proc/{pid}")
    try:
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        children = [c for task in (folder / "task").iterdir() for c in (task / "children").read_text().split()]
    except OSError:
        return
    if session in ("", fields[3]):
        yield folder, fields
        for child in children:
            yield from family(int(child), fields[3])


def tree_cpu(pid: int, *, own: bool = False) -> float:
    """CPU seconds of a process's family and of children that it has waited for; `own`: of this process alone."""
    first = 1 if own else None
    spent = [sum(map(int, fields[11 : 13 if own else 15])) for _, fields in list(family(pid))[:first]]
    return sum(spent) / TICKS


def named(pid: int) -> Iterator[tuple[int, str]]:
    """(pid, the words that say what it is) of each of a process's family."""
    for folder, _ in family(pid):
        yield int(folder.name), " ".join((folder / "cmdline").read_text().split("\0")[2:5])


def memory(pid: int) -> Iterator[tuple[str, float]]:
    """(what it is, resident MB) of each of a process's family."""
    page = os.sysconf("SC_PAGE_SIZE") / 1e6
    for (_, fields), (_, name) in zip(family(pid), named(pid), strict=False):
        yield name, int(fields[21]) * page


def load_500_tables(folder: Path) -> Figure:
    folder.mkdir()
    (folder / "endpoints.yaml").write_text(ENDPOINTS)
    for n in range(50):
        tables = "".join(f"  public.t{n}_{m}: {{id: keep, email: email, name: name}}\n" for m in range(10))
        (folder / f"set{n}.yaml").write_text(
            f"source: shop_db\nstart: 2026-03-01\nschedule: '02:15'\nscrub: {{key: {{env: K}}}}\ntables:\n{tables}"
            f"mirrors:\n  set{n}: {{to: ceph}}\ndeliveries:\n  acme/set{n}: {{from: public.t{n}_1}}\n"
        )
    code = "import time; import egress_assets.definitions; print(time.process_time())"
    began = time.monotonic()
    env = {**environment(folder), "EGRESS_CATALOG": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    return Figure("500 tables load", time.monotonic() - began, LOAD, 2 * LOAD, float(done.stdout))


if __name__ == "__main__":
    sys.exit(main())
