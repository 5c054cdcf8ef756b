"""What 1,000 assets of 1,000 dates cost the Dagster side: `python benchmarks/catalog_size.py`.

Writes a catalog of 40 datasets (22 scrubbed tables, a source, a mirror and a delivery each: 25 assets), seeds 5 % of
its partitions as materialised into an instance of its own (SQLite), starts `make dev` over it and measures:
definitions, what the asset graph's and an asset's partitions page ask the server for, every sensor's ticks, memory.
No run starts. Takes about ten minutes. Exits 1 when the CPU seconds of something are beyond use.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shell import ENDPOINTS, ROOT, TICK, Figure, Shell, environment, make_instance, memory, named, tree_cpu, ui

if TYPE_CHECKING:
    from egress_assets.engine.layout import Unit

TABLES = 22  # of a dataset; with its source, mirror and delivery 25 assets
SEEDED = 0.05
CONTENT = "c" * 64  # every digest: days of equal content, each by an attempt of its own
SCREEN = 100  # assets that the graph asks about at a time
GRAPH = """{workspaceLocationEntryOrError(name: "egress") {... on WorkspaceLocationEntry {locationOrLoadError {
  ... on RepositoryLocation {repositories {assetNodes {assetKey {path} groupName kinds owners {__typename} description
  dependencyKeys {path} isPartitioned tags {key value}}}}}}}}"""
LIVE = """query($k: [AssetKeyInput!]!) {
  assetNodes(assetKeys: $k, loadMaterializations: true) {id staleStatus partitionStats {
    numMaterialized numMaterializing numPartitions numFailed} assetMaterializations(limit: 1) {timestamp runId}}
  assetsLatestInfo(assetKeys: $k) {id unstartedRunIds inProgressRunIds latestRun {id}}}"""
PARTITIONS = """query($k: AssetKeyInput!) {assetNodeOrError(assetKey: $k) {... on AssetNode {
  partitionKeysByDimension {name partitionKeys} assetPartitionStatuses {
  ... on TimePartitionStatuses {ranges {status startKey endKey}}}}}}"""
PLOTS = """query($k: AssetKeyInput!) {assetOrError(assetKey: $k) {... on Asset {
  assetMaterializations(limit: 120) {partition timestamp
  metadataEntries {label ... on IntMetadataEntry {intValue}}}}}}"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", type=int, default=40)
    parser.add_argument("--dates", type=int, default=1000)
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="egress-n-", dir="/var/tmp"))
    home.chmod(0o711)
    os.environ |= {"EGRESS_CATALOG": str(home / "catalog")}
    try:
        figures = list(measured(home, options.datasets, options.dates))
    finally:
        stop = [sys.executable, "-m", "egress_assets.cli", "sandbox", "stop", "--delete"]
        subprocess.run(stop, env=environment(home), check=True, stdout=subprocess.DEVNULL)
        shutil.rmtree(home, ignore_errors=True)
    return 1 if any((figure.cpu or figure.seconds) > figure.limit for figure in figures) else 0


def told(figure: Figure) -> Figure:
    print(figure.told(), flush=True)
    return figure


def measured(home: Path, datasets: int, dates: int) -> Iterator[Figure]:
    print(Figure.heading(), flush=True)
    first = datetime.now(UTC).date() - timedelta(days=dates)
    assets = write_catalog(home / "catalog", datasets, first.isoformat())
    yield told(definitions(home, assets))
    newest = datetime.now(UTC).date() - timedelta(days=1)
    days = [(newest - timedelta(days=n)).isoformat() for n in reversed(range(int(dates * SEEDED)))]
    began = time.monotonic()
    seeded, sealed = seed(home, days), seal(home, days)
    text = f"seeded {seeded} materialisations and {sealed} objects of evidence in {time.monotonic() - began:.0f} s"
    print(text, flush=True)
    with ui(home) as (shell, seconds, cpu):
        yield told(Figure("make dev to a loaded UI", seconds, 12, 60, cpu))
        for figure in pages(shell):
            yield told(figure)
        for name, megabytes in sorted(memory(shell.pid)):
            print(f"memory of {name}: {megabytes:.0f} MB", flush=True)
    for figure in ticks(home):
        yield told(figure)


def write_catalog(folder: Path, datasets: int, start: str) -> int:
    """How many assets it has."""
    folder.mkdir()
    (folder / "endpoints.yaml").write_text(ENDPOINTS)
    for n in range(datasets):
        columns = "{id: keep, email: email, name: name, total: keep, placed_at: keep}"
        tables = "".join(f"  public.t{n}_{m}: {columns}\n" for m in range(TABLES))
        (folder / f"set{n}.yaml").write_text(
            f"source: shop_db\nstart: {start}\nschedule: '02:15'\nowner: team:t{n}\nscrub: {{key: {{env: K}}}}\n"
            f"tables:\n{tables}mirrors:\n  set{n}: {{to: ceph}}\ndeliveries:\n  acme/set{n}: {{from: public.t{n}_1}}\n"
        )
    return datasets * (TABLES + 3)


def definitions(home: Path, assets: int) -> Figure:
    code = "import time; import egress_assets.definitions; print(time.process_time())"
    began = time.monotonic()
    env = environment(home)
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    return Figure(f"definitions of {assets} assets", time.monotonic() - began, 5, 30, float(done.stdout))


# -------------------------------------------------------------------------------------------------------- materialised
def seed(home: Path, days: list[str]) -> int:
    """Every asset on these days. The oldest and the newest by Dagster's API, those between as their copies:
    50,000 events by the API are ten minutes of CPU."""
    make_instance(home / "dagster", max_runs=0)  # what the sensors ask for stays in the queue
    report(home, days[0])
    (index,) = (home / "dagster").rglob("index.db")
    with sqlite3.connect(index) as database:
        for day in days[1:-1]:
            copy(database, days[0], day)
    report(home, days[-1])
    with sqlite3.connect(index) as database:
        (count,) = database.execute("SELECT count(*) FROM event_logs").fetchone()
    return count


def report(home: Path, day: str) -> None:
    """A materialisation of every partitioned asset, as the evidence sensor reports one."""
    code = f"""
import dagster as dg
from egress_assets.definitions import defs
tags = {{"dagster/data_version": {CONTENT!r}, "egress/attempt": {attempt(day)!r}}}
with dg.DagsterInstance.get() as instance:
    for spec in defs.resolve_all_asset_specs():
        if spec.partitions_def:
            instance.report_runless_asset_event(dg.AssetMaterialization(spec.key, partition={day!r}, tags=tags,
                metadata={{"rows": 1000, "bytes": 20000, "objects": 1, "seconds": 1.5}}))
"""
    subprocess.run([sys.executable, "-c", code], env=environment(home), cwd=ROOT, check=True)


def attempt(day: str) -> str:
    return f"{day.replace('-', '')}T020000000-00000000"


def copy(database: sqlite3.Connection, day: str, other: str) -> None:
    """The events of a day as those of another one."""
    (last,) = database.execute("SELECT max(id) FROM event_logs").fetchone()
    same = {"day": day, "other": other, "a": attempt(day), "b": attempt(other), "last": last}
    database.execute(
        "INSERT INTO event_logs (run_id, event, dagster_event_type, timestamp, step_key, asset_key, partition)"
        " SELECT run_id, replace(replace(event, :day, :other), :a, :b), dagster_event_type, timestamp, step_key,"
        " asset_key, :other FROM event_logs WHERE partition = :day",
        same,
    )
    database.execute(
        "INSERT INTO asset_event_tags (event_id, asset_key, key, value, event_timestamp)"
        " SELECT new.id, tag.asset_key, tag.key, replace(tag.value, :a, :b), tag.event_timestamp"
        " FROM event_logs new JOIN event_logs old ON old.asset_key = new.asset_key AND old.partition = :day"
        " JOIN asset_event_tags tag ON tag.event_id = old.id WHERE new.id > :last",
        same,
    )


def seal(home: Path, days: list[str]) -> int:
    """The same truth in the sandbox's evidence: manifest and pointer of each unit and day, receipts of deliveries."""
    os.environ |= {name: value for name, value in environment(home).items() if name.startswith("EGRESS_")}
    from egress_assets.engine.catalog.units import units_of
    from egress_assets.engine.endpoints import open_platform

    platform = open_platform()
    store = platform.evidence.store
    records = [
        record
        for dataset in platform.catalog.datasets
        for unit in units_of(platform.catalog, dataset)
        for day in days
        for record in evidence_of(unit, day, tuple(platform.catalog.dataset(dataset).tables))
    ]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda record: store.put(*record), records))
    return len(records)


def evidence_of(unit: Unit, day: str, tables: tuple[str, ...]) -> list[tuple[str, bytes]]:
    from egress_assets.engine.evidence.proofs import Receipt
    from egress_assets.engine.evidence.records import Draft, Entry, Manifest, Pointer, Position, TableRecord, canonical
    from egress_assets.engine.evidence.records import digest as digest_of
    from egress_assets.engine.layout import manifest_key, pointer_key, receipt_key

    me, position = attempt(day), Position("as_of", 1)
    names = tables if unit.stage == "scrub" else ("objects",)
    content = dict.fromkeys(names, TableRecord((), CONTENT, rows=1000))
    draft = Draft(content, position, "s", f"{day}T02:00:00Z", "lake", basis={"kind": "scrubbed"})
    body = canonical(Manifest(unit, day, me, "n", 0, "", draft).to_json())
    entries = dict.fromkeys(names, Entry(me, digest_of(body), CONTENT, position, "s"))
    pointer = Pointer(unit, day, 1, entries, me, "", "n")
    made = [(manifest_key(unit, day, me), body), (pointer_key(unit, day), canonical(pointer.to_json()))]
    if unit.stage == "delivery":
        recipient, pipeline = unit.names
        source = {"unit": str(unit), "attempt": me, "manifest_digest": digest_of(body)}
        sent = Receipt(f"{pipeline}-{day}", me, "sent", recipient, pipeline, (day, 1), day, CONTENT, 7, 0, 1, source)
        made.append((receipt_key(day, sent.identity), canonical(sent.to_json())))
    return made


# --------------------------------------------------------------------------------------------------------------- pages
def pages(shell: Shell) -> Iterator[Figure]:
    """What the UI asks for, each twice: Dagster keeps which partitions are there when it has counted them once."""
    said, figure = timed(shell, "asset graph: every asset and its parents", GRAPH)
    (repository,) = said["workspaceLocationEntryOrError"]["locationOrLoadError"]["repositories"]
    yield figure
    keys = [{"path": node["assetKey"]["path"]} for node in repository["assetNodes"] if node["isPartitioned"]]
    screen, key = keys[:SCREEN], keys[-1]
    for turn in ("first", "again"):
        said, figure = timed(shell, f"asset graph: states of {len(screen)} assets, {turn}", LIVE, k=screen)
        seeded = {node["partitionStats"]["numMaterialized"] for node in said["assetNodes"]}
        yield figure
        said, figure = timed(shell, f"an asset's partitions page, {turn}", PARTITIONS, k=key)
        if seeded == {0} or not said["assetNodeOrError"]["assetPartitionStatuses"]["ranges"]:
            raise SystemExit("the UI shows none of the seeded partitions")
        yield figure
        yield timed(shell, f"an asset's plots over its partitions, {turn}", PLOTS, k=key)[1]


def timed(shell: Shell, what: str, query: str, **variables: Any) -> tuple[Any, Figure]:
    """The answer, and how long it took with the CPU seconds of webserver and code server."""
    began, cpu = time.monotonic(), serving(shell)
    said = shell.ask(query, **variables)
    return said, Figure(what, time.monotonic() - began, 3, 30, serving(shell) - cpu)


def serving(shell: Shell) -> float:
    return sum(tree_cpu(pid, own=True) for pid, name in named(shell.pid) if "webserver" in name or "api grpc" in name)


# --------------------------------------------------------------------------------------------------------------- ticks
def ticks(home: Path) -> Iterator[Figure]:
    """Each sensor in a process of its own, tick after tick until nothing is new. Runs that it asks for don't start."""
    for name, count in (("automation", 3), ("evidence", 10), ("reconcile", 10)):
        command = [sys.executable, "-c", TICKS, name, str(count)]
        done = subprocess.run(command, env=environment(home), cwd=ROOT, stdout=subprocess.PIPE, check=True)
        spent = json.loads(done.stdout)
        for turn, (seconds, cpu) in (("longest", max(spent)), ("nothing new", spent[-1])):
            yield Figure(f"tick of sensor {name}, {turn}", seconds, TICK, 30, cpu)


TICKS = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
import dagster as dg
from egress_assets.definitions import defs
name, cursor, spent = sys.argv[1], None, []
with dg.DagsterInstance.get() as instance:
    for _ in range(int(sys.argv[2])):
        began, cpu, events = time.monotonic(), time.process_time(), ()
        if name == "automation":
            cursor = dg.evaluate_automation_conditions(defs, instance, cursor=cursor).cursor
        else:
            sensor = defs.resolve_sensor_def(name)
            given = {key: defs.resources[key] for key in sensor.required_resource_keys}
            with dg.build_sensor_context(instance, cursor, definitions=defs, resources=given) as context:
                tick = sensor.evaluate_tick(context)
            cursor, events = tick.cursor or cursor, tick.asset_events
        spent.append((time.monotonic() - began, time.process_time() - cpu))
        for event in events:
            instance.report_runless_asset_event(event)
print(json.dumps(spent))
"""


if __name__ == "__main__":
    sys.exit(main())
