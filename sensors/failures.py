"""Tells people of what went wrong, one message an incident: by e-mail and webhook as the catalog's `notify` says.

Evidence is asked first, since the CLI, a CronJob and Dagster leave the same records there. Dagster is asked for what
ended before the engine could note anything: a killed worker, a job that did not load, an observation. What is told to
whom is decided in engine/notify; the cursor is its state.

A tick during which somebody could not be told fails, with the reason, and keeps its cursor: the others were told.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
from dagster._core.definitions.run_request import DagsterRunReaction
from dagster._core.storage.tags import PARTITION_NAME_TAG, RUN_FAILURE_REASON_TAG, WILL_RETRY_TAG
from dagster_shared.error import SerializableErrorInfo

from egress_assets import running
from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.environment import environment
from egress_assets.engine.errors import DeliveryBusy, Held, SourceQuiet, Superseded
from egress_assets.engine.evidence.memory import Memory
from egress_assets.engine.layout import unescape
from egress_assets.engine.notify.channels import channels
from egress_assets.engine.notify.incidents import RUN, State, decide
from egress_assets.engine.notify.look import RECENT, Looker, Run, Runs
from egress_assets.engine.notify.post import Posted, post
from egress_assets.engine.notify.words import Place
from egress_assets.engine.partition import now
from egress_assets.schedules import WORK

INTERVAL = 60  # seconds between ticks
MOST = 100  # failed runs of the last day that are looked at, the newest first; 5 ms each, once
_NO_FAILURES = frozenset(error.code for error in (Superseded, DeliveryBusy, Held, SourceQuiet))
Key = tuple[str, str, str]
"""What a run was about: its name for people, dataset and date ('' where there is none)."""


def sensors(catalog: Catalog) -> Iterator[dg.SensorDefinition]:
    """The sensor `incidents`, where there is somebody to tell."""
    if channels(catalog, environment()):
        yield sensor(catalog)


def sensor(catalog: Catalog) -> dg.SensorDefinition:
    """Looks once a minute; sends for at most 8 s of it."""
    env, store = environment(), f"store_{catalog.endpoints.evidence.store}"
    openers, memory, whys = channels(catalog, env), Memory(), Whys()
    ui = catalog.endpoints.notify.ui if catalog.endpoints.notify else ""
    place = Place(env, ZoneInfo(catalog.endpoints.timezone), ui)

    @dg.sensor(
        name="incidents",
        minimum_interval_seconds=INTERVAL,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={store},
        description=f"Tells people what went wrong and when it is over: {', '.join(openers)}.",
    )
    def incidents(context: dg.SensorEvaluationContext) -> Iterator[dg.SkipReason | DagsterRunReaction]:
        at, state = now(), State.parse(context.cursor)
        looker = Looker(catalog, running.platform(context.resources, catalog).evidence, memory)
        back = max(RECENT, at - _moment(state.looked)) if state.looked else RECENT
        sight = looker.sight(state.slots(), runs(context.instance, whys), at, back=back)
        posted = post(decide(state, sight, at), openers, place, at)
        for line in posted.sent:
            context.log.info("told by %s", line)
        context.update_cursor(posted.state.dump())
        yield _ended(posted)

    return incidents


def _ended(posted: Posted) -> dg.SkipReason | DagsterRunReaction:
    """A reaction with an error is the one way to fail a tick and keep its cursor; no run stands behind it."""
    if posted.errors:
        said = "; ".join(f"{name}: {error}" for name, error in posted.errors.items())
        error = SerializableErrorInfo(f"NotTold: {said}\n", [], "NotTold")
        return DagsterRunReaction(dagster_run=dg.DagsterRun(job_name="incidents"), error=error)
    wrong = [one for one in posted.state.incidents.values() if not one.over]
    told = f", {len(posted.sent)} messages sent" if posted.sent else ""
    return dg.SkipReason(f"{len(wrong)} open incidents{told}")


def _moment(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds / 1e6, UTC)


class Whys:
    """Why runs failed, by run id; events are read once a run. Memory: `MOST` short texts."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, str, str]] = {}

    def of(self, instance: dg.DagsterInstance, run: dg.DagsterRun) -> tuple[str, str, str]:
        """(code, message, hint). Texts of errors that nobody foresaw are not told: they may quote data."""
        if run.run_id not in self._known:
            while len(self._known) >= MOST:
                del self._known[next(iter(self._known))]
            self._known[run.run_id] = _why(instance, run)
        return self._known[run.run_id]


def _why(instance: dg.DagsterInstance, run: dg.DagsterRun) -> tuple[str, str, str]:
    for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        said = entry.get_dagster_event().step_failure_data.user_failure_data
        if said and "code" in said.metadata:
            metadata = {name: value.value for name, value in said.metadata.items()}
            return str(metadata["code"]), said.description or "", str(metadata.get("hint", ""))
    reason = run.tags.get(RUN_FAILURE_REASON_TAG, "unknown").lower().replace("_", " ")
    hint = "Its page in the UI has what Dagster knows; earlier results stand, and starting it again is safe."
    return RUN, f"the run ended before it could say why: {reason}", hint


def runs(instance: dg.DagsterInstance, whys: Whys) -> Runs:
    """What failed of late and was not made good since, and what was. Runs that Dagster will retry wait for that."""
    since = datetime.now(UTC) - RECENT
    failed = _records(instance, dg.DagsterRunStatus.FAILURE, since, MOST)
    if not failed:
        return Runs()
    done = _newest(_records(instance, dg.DagsterRunStatus.SUCCESS, since, 10 * MOST))
    found, made = [], set()
    for (name, dataset, date), record in _newest(failed).items():
        if any(key[0] == name and key[2] >= date and _end(good) > _end(record) for key, good in done.items()):
            made.add((name, date))
        elif record.dagster_run.tags.get(WILL_RETRY_TAG) != "true":
            code, message, hint = whys.of(instance, record.dagster_run)
            if code not in _NO_FAILURES:
                began = record.create_timestamp.replace(tzinfo=UTC)
                run_id = record.dagster_run.run_id
                found.append(Run(run_id, name, dataset, date, code, message, hint, began, _end(record)))
    return Runs(found, frozenset(made))


def _records(
    instance: dg.DagsterInstance, status: dg.DagsterRunStatus, since: datetime, limit: int
) -> list[dg.RunRecord]:
    wanted = dg.RunsFilter(statuses=[status], updated_after=since)
    return list(instance.get_run_records(wanted, limit=limit, order_by="update_timestamp"))


def _newest(records: list[dg.RunRecord]) -> Mapping[Key, dg.RunRecord]:
    found: dict[Key, Any] = {}
    for record in records:
        key = key_of(record.dagster_run)
        if key not in found or _end(record) > _end(found[key]):
            found[key] = record
    return found


def _end(record: dg.RunRecord) -> datetime:
    return record.update_timestamp.replace(tzinfo=UTC)


def key_of(run: dg.DagsterRun) -> Key:
    """By the tag that says what a run works on, else its job, else its first asset."""
    dataset, _, date = run.tags.get(WORK, "").rpartition(":")
    if dataset:
        return f"run of {dataset}", dataset, date
    date = run.tags.get(PARTITION_NAME_TAG, "")
    if not run.job_name.startswith("__") or not run.asset_selection:
        return f"run of {run.job_name}", run.job_name, date
    path = min(tuple(key.path) for key in run.asset_selection)
    return "/".join(unescape(part) for part in path), unescape(path[1]) if path[0] == "source" else "", date
