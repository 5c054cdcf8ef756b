"""`python -m egress_assets.launch DATE DATASET...`: each dataset's job for one date, in this process.

The run is recorded in the local Dagster instance, so it shows in the UI like any other. What happens is told as JSON
lines on stdout, for the caller to print: `log` while it runs, `asset` for each materialisation, `end` for each dataset.
`serve_ui` is what `make dev` does: it marks runs that a dead daemon left as started, and becomes `dagster dev`.
"""

import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher

from egress_assets.engine.evidence.here import began_at

ROOT = Path(__file__).resolve().parent.parent


def tell(event: str, **facts: Any) -> None:
    print(json.dumps({"event": event, **facts}, default=str), flush=True)


class Lines(logging.Handler):
    """The engine's log lines, as they come."""

    def emit(self, record: logging.LogRecord) -> None:
        tell("log", level=record.levelname, text=record.getMessage())


def run(dataset: str, date: str, instance: dg.DagsterInstance) -> bool:
    """One job run. True when every asset of the date is materialised."""
    from egress_assets.definitions import defs

    began = time.monotonic()
    job = defs.resolve_job_def(dataset)
    result = job.execute_in_process(partition_key=date, instance=instance, raise_on_error=False)
    for event in result.get_asset_materialization_events():
        found = event.step_materialization_data.materialization
        facts = {name: value.value for name, value in found.metadata.items() if _plain(value.value)}
        tell("asset", key="/".join(found.asset_key.path), facts=facts)
    for event in result.all_events:
        if event.is_step_failure:
            error = event.step_failure_data.error
            tell("failed", step=event.step_key, text=(error.message if error else "").strip())
    tell("end", dataset=dataset, success=result.success, seconds=round(time.monotonic() - began, 2))
    return result.success


def _plain(value: Any) -> bool:
    return isinstance(value, int | float | bool) or (isinstance(value, str) and "base64," not in value)


def fail_dead_runs(instance: dg.DagsterInstance) -> int:
    """Mark runs as failed whose process is gone from this machine; how many.

    Such a run would stay started for ever, and with it its date's place in the queue. A run outlives the daemon and
    the code server that started it, so their heartbeats say nothing about it: its own process is looked for. Runs that
    have not said where they run are left to run monitoring, and so are those of other launchers.
    """
    if not isinstance(instance.run_launcher, DefaultRunLauncher):
        return 0
    unfinished = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING])
    dead = 0
    for found in instance.get_runs(unfinished):
        if _is_gone(instance, found.run_id):
            ended = instance.get_run_by_id(found.run_id)  # it may have ended well since it was listed
            if ended is not None and not ended.is_finished:
                instance.report_run_failed(
                    ended, "the process that ran it is gone; its bytes are swept by the next run"
                )
                dead += 1
    return dead


def _is_gone(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether the process that reported itself for the run has ended. A pid that began later is somebody else's."""
    for record in instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT).records:
        event = record.event_log_entry.dagster_event
        said = event.engine_event_data.metadata.get("pid") if event else None
        if said is not None:
            began = began_at(int(str(said.value)))
            return began is None or began > record.event_log_entry.timestamp
    return False


def serve_ui(port: int) -> None:
    """The UI, the daemon and the code server until SIGINT or SIGTERM; then they are ended in order.

    In this process: another interpreter that imports Dagster for `fail_dead_runs` alone cost 2 s of CPU.
    """
    from dagster._cli.dev import dev_command

    use_repository()
    with dg.DagsterInstance.get() as instance:
        print(f"runs that nobody works on, marked as failed: {fail_dead_runs(instance)}", flush=True)
    warnings.filterwarnings("ignore", category=dg.SupersessionWarning)  # names a command that is not installed
    dev_command.main(["-h", "127.0.0.1", "-p", str(port)], standalone_mode=False)


def use_repository() -> None:
    """The relative paths of dagster.yaml are relative to the repository."""
    os.chdir(ROOT)
    os.environ.setdefault("DAGSTER_HOME", str(ROOT))


def main(arguments: Sequence[str]) -> int:
    use_repository()
    date, *datasets = arguments
    logging.getLogger("dagster").setLevel(logging.CRITICAL)
    engine = logging.getLogger("egress_assets")
    engine.setLevel(logging.INFO)
    engine.addHandler(Lines())
    with dg.DagsterInstance.get() as instance:
        done = [run(dataset, date, instance) for dataset in datasets]
    return 0 if all(done) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
