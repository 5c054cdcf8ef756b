"""A living daemon and code server through a reload, a power failure and a killed daemon: each date once, by itself.

The reconcile sensor's clock runs sixty times as fast here, and it ticks every five seconds: what it waits minutes and
an hour for is the same, only sooner.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from egress_assets.engine.layout import dump_unit, mirror_unit
from tests.live import Live, live, until

HASTY = """
from egress_assets.engine import partition
from sensors import evidence, reconcile
BEGAN = partition.now()
evidence.INTERVAL = reconcile.INTERVAL = 5
reconcile.now = lambda: BEGAN + 60 * (partition.now() - BEGAN)
from egress_assets.definitions import defs
"""
WORKSPACE = "load_from: [{python_module: {module_name: hasty, location_name: egress, working_directory: HOME}}]"
SERVE = """
import sys
from pathlib import Path
from egress_assets import launch
launch.ROOT = Path(sys.argv[1])
launch.serve_ui(int(sys.argv[2]))
"""
UNITS = (dump_unit("events"), mirror_unit("events"))
MIRROR = "mirror/events"


@pytest.fixture(scope="module")
def daemon() -> Iterator[Live]:
    with live(days=4) as made:
        (made.home / "catalog" / "shop.yaml").unlink()
        endpoints = made.home / "catalog" / "endpoints.yaml"
        endpoints.write_text(endpoints.read_text().replace("workers: 2", "workers: 2, lock_timeout: 600"))
        (made.home / "hasty.py").write_text(HASTY)
        (made.home / "workspace.yaml").write_text(WORKSPACE.replace("HOME", str(made.home)))
        begin(made)
        yield made


def begin(daemon: Live) -> None:
    daemon.begin(sys.executable, "-c", SERVE, str(daemon.home), str(daemon.port))


@contextmanager
def locked(daemon: Live) -> Iterator[None]:
    """Runs come as far as the source's lock while this lasts."""
    with daemon.session("events") as session, session.transaction():
        session.execute("LOCK TABLE clicks IN ACCESS EXCLUSIVE MODE")
        yield


def at_the_lock(daemon: Live, runs: int) -> None:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = 'events'"
    with daemon.session("events") as session:
        until(lambda: session.execute(waiting).fetchone() >= (runs,), "runs are in the middle of their work", 180)


def runs_of(daemon: Live, date: str, *statuses: str) -> list[str]:
    found = daemon.runs(tags=[{"key": "dagster/partition", "value": date}], statuses=list(statuses) or None)
    return [run["runId"] for run in found]


def generations(daemon: Live, date: str) -> set[int]:
    pointers = [daemon.platform.evidence.pointer(unit, date) for unit in UNITS]
    return {pointer.generation for pointer in pointers if pointer is not None}


def ticks(daemon: Live, sensor: str) -> int:
    """How often it has ticked."""
    selector = {"repositoryLocationName": "egress", "repositoryName": "__repository__", "sensorName": sensor}
    found = daemon.graphql(TICKS, s=selector)["sensorOrError"]["sensorState"]["ticks"]
    return len([tick for tick in found if tick["status"] in ("SKIPPED", "SUCCESS")])


TICKS = """query($s: SensorSelector!) {sensorOrError(sensorSelector: $s) {... on Sensor {
  sensorState {ticks(limit: 1000) {status}}}}}"""
RELOAD = 'mutation {reloadRepositoryLocation(repositoryLocationName: "egress") {__typename}}'


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_date_ends_once_whatever_is_killed_or_reloaded(daemon: Live):
    first, *others = daemon.dates
    with locked(daemon):
        run = daemon.launch("events", first)
        at_the_lock(daemon, 1)
        daemon.graphql(RELOAD)  # the location, in mid-run
    assert daemon.ended(run) == "SUCCESS"

    with locked(daemon):
        at_the_lock(daemon, 2)  # the dates after the first are asked for by themselves, two at a time
        dead = {date: runs_of(daemon, date, "STARTED") for date in others}
        daemon.kill()  # a power failure
        begin(daemon)
        found = {run: daemon.run(run)["status"] for runs in dead.values() for run in runs}
        assert len(found) == 2
        assert set(found.values()) == {"FAILURE"}, "runs that nobody works on are still called started"
        at_the_lock(daemon, 1)  # the third, from the queue
        os.kill(daemon.pids("dagster._daemon")[0], signal.SIGKILL)
        assert daemon.process is not None
        daemon.process.wait(120)  # `dagster dev` gives up without its daemon; the run goes on
    begin(daemon)
    until(lambda: set(daemon.materialised(MIRROR)) == set(daemon.dates), "every date is there", 420, every=1)
    daemon.quiet()
    assert {date: len(runs) for date, runs in daemon.materialised(MIRROR).items()} == dict.fromkeys(daemon.dates, 1)
    assert {date: len(runs_of(daemon, date, "SUCCESS")) for date in daemon.dates} == dict.fromkeys(daemon.dates, 1)
    assert {date: generations(daemon, date) for date in daemon.dates} == {date: {1} for date in daemon.dates}
    assert daemon.command("verify").returncode == 0


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_late_dump_by_hand_is_followed_by_one_run(daemon: Live):
    date = daemon.dates[0]
    until(lambda: date in daemon.materialised(MIRROR), "the date is there", 300)
    before = set(runs_of(daemon, date))
    with daemon.session("events") as session:
        session.execute("INSERT INTO clicks SELECT 1, min(at) + interval '1 s', 1, 'buy', 1, 1 FROM clicks"
                        " WHERE at >= %s::timestamptz", (f"{date}T12:00:00Z",))  # fmt: skip
    late = daemon.command("dump", "events", "--date", date, "--again")
    assert late.returncode == 0, late.stderr
    until(lambda: generations(daemon, date) == {2}, "the mirror follows", 300, every=1)
    seen = {name: ticks(daemon, name) for name in ("automation", "reconcile", "evidence")}
    until(lambda: all(ticks(daemon, name) >= seen[name] + 2 for name in seen), "all have looked again", 300, every=1)
    daemon.quiet()
    assert len(set(runs_of(daemon, date)) - before) == 1
    assert len(daemon.materialised(MIRROR)[date]) == 2
    assert daemon.command("verify").returncode == 0
