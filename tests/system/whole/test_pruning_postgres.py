"""Pruning Dagster's record where it is one table for all runs: a real Postgres, as deploy/dagster.yaml has it."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import psycopg

from egress_assets.sandbox import Sandbox

PROGRAM = """
import json, sys, threading
from datetime import UTC, datetime, timedelta
import dagster as dg
from egress_assets import pruning

DATES = dg.DailyPartitionsDefinition("2026-11-01", end_date="2026-11-20")
KEY, SOURCE = dg.AssetKey(["dump", "shop"]), dg.AssetKey(["source", "shop"])

@dg.multi_asset(specs=[dg.AssetSpec(KEY, partitions_def=DATES)], check_specs=[dg.AssetCheckSpec("gate", asset=KEY)])
def dump(context: dg.AssetExecutionContext):
    for number in range(20):
        context.log.info("dumped part %d", number)
    yield dg.MaterializeResult(
        asset_key=KEY, metadata={"rows": 7}, data_version=dg.DataVersion(f"v-{context.partition_key}")
    )
    yield dg.AssetCheckResult(asset_key=KEY, check_name="gate", passed=True)

@dg.multi_observable_source_asset(specs=[dg.AssetSpec(SOURCE)])
def observe():
    yield dg.ObserveResult(asset_key=SOURCE, data_version=dg.DataVersion("schema"))

defs = dg.Definitions(assets=[dump, observe], executor=dg.in_process_executor)

def run(instance, key, date=None):
    job = defs.resolve_implicit_global_asset_job_def()
    return job.execute_in_process(asset_selection=[key], partition_key=date, instance=instance).run_id

def rows(instance):
    return {run.run_id: len(instance.all_logs(run.run_id)) for run in instance.get_runs()}

def state(instance):
    found = instance.fetch_materializations(KEY, limit=99).records
    checks = instance.event_log_storage.get_latest_asset_check_execution_by_key([dg.AssetCheckKey(KEY, "gate")])
    versions = {r.partition_key: r.asset_materialization.tags["dagster/data_version"] for r in found}
    return {
        "green": sorted(instance.get_materialized_partitions(KEY)), "versions": versions,
        "plot": [r.asset_materialization.metadata["rows"].value for r in found],
        "checks": [c.status.value for c in checks.values()],
        "observed": instance.get_latest_data_version_record(SOURCE).run_id,
    }

with dg.DagsterInstance.from_config(sys.argv[1]) as instance:
    days = [f"2026-11-{day:02}" for day in range(1, 4)]
    old = [run(instance, KEY, day) for day in days] + [run(instance, SOURCE) for _ in range(3)]
    before, was = rows(instance), state(instance)
    pruning.ROWS = 7
    done = pruning.prune(instance, before=datetime.now(UTC) + timedelta(hours=1))
    after, now = rows(instance), state(instance)
    # while a run writes
    stop = threading.Event()
    failed = []
    def always():
        with dg.DagsterInstance.from_config(sys.argv[1]) as own:
            while not stop.is_set():
                try:
                    pruning.prune(own, before=datetime.now(UTC))
                except Exception as error:
                    failed.append(repr(error))
                    return
    thread = threading.Thread(target=always)
    thread.start()
    meanwhile = [run(instance, KEY, f"2026-11-{day:02}") for day in range(4, 6)]
    stop.set()
    thread.join()
    print(json.dumps({
        "old": old, "before": before, "after": after, "was": was, "now": now, "done": {
            name: getattr(done, name) for name in pruning.Pruned.__slots__
        }, "failed": failed, "green": sorted(instance.get_materialized_partitions(KEY)),
        "ended": [instance.get_run_by_id(each).status.value for each in meanwhile],
    }))
"""


def test_pruning_keeps_what_people_look_at_and_is_safe_beside_runs(servers: Sandbox, tmp_path: Path):
    at = servers.admin_dsn("dagster")
    with psycopg.connect(**servers.admin_dsn().settings, autocommit=True) as session:
        session.execute("CREATE DATABASE dagster")
    home = tmp_path / "home"
    home.mkdir()
    url = f"postgresql+psycopg2://{at.user}:{at.password}@{at.host}:{at.port}/dagster?sslmode=disable"
    (home / "dagster.yaml").write_text(
        f"telemetry: {{enabled: false}}\nstorage: {{postgres: {{postgres_url: '{url}'}}}}\n"
        f"compute_logs: {{module: dagster._core.storage.noop_compute_log_manager, class: NoOpComputeLogManager}}\n"
    )
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM))
    said = subprocess.run(
        [sys.executable, "-W", "ignore", program, home], capture_output=True, text=True, timeout=240, check=False
    )
    assert said.returncode == 0, said.stderr[-3000:]
    told = json.loads(said.stdout.splitlines()[-1])
    dumps, first_two, newest = told["old"][:3], told["old"][3:5], told["old"][5]
    assert told["now"] == told["was"]
    assert told["now"]["observed"] == newest
    assert told["now"]["green"] == ["2026-11-01", "2026-11-02", "2026-11-03"]
    assert set(told["after"]) == {*dumps, newest}
    assert told["done"]["deleted_runs"] == len(first_two)
    assert all(told["after"][run] <= 8 < 25 < told["before"][run] for run in dumps), told
    of_an_observation = told["before"][newest] - told["after"][newest]  # the deleted runs had as many
    of_dumps = sum(told["before"][run] - told["after"][run] for run in dumps)
    assert told["done"]["rows"] == of_dumps + 3 * of_an_observation
    assert not told["failed"]
    assert told["ended"] == ["SUCCESS", "SUCCESS"]
    assert told["green"][-2:] == ["2026-11-04", "2026-11-05"]
