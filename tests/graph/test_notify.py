"""The sensor over real parts: evidence, Dagster's runs, an HTTPS server; restarts, a lost cursor, a channel down."""

import json
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.sensor_definition import SensorExecutionData
from dagster._core.scheduler.instigation import TickStatus
from dagster._core.storage.tags import WILL_RETRY_TAG
from dagster._daemon.sensor import _handle_run_reactions

from egress_assets import running
from egress_assets.engine.catalog.operate import NotifyModel
from egress_assets.engine.errors import (
    GateFailed,
    SourceUnavailable,
)
from egress_assets.engine.evidence.failures import clear_failure, record_failure
from egress_assets.engine.layout import dump_unit, scrub_unit
from egress_assets.engine.platform import Platform
from egress_assets.failures import failure
from egress_assets.sandbox import certificates
from egress_assets.schedules import WORK
from sensors import failures as failures_sensor
from sensors.failures import sensors
from tests.graph.peers import Receiver, receivers
from tests.platforms import platform

DAY = "2026-11-19"
OPERATED = {"webhook": {"url": {"env": "HOOK"}}, "ui": "https://egress.example"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("certificates")
    certificates.ensure(made)
    return made


@pytest.fixture
def receiver(folder: Path) -> Iterator[Callable[..., Receiver]]:
    with receivers(folder) as start:
        yield start


@dg.op
def fails_by_itself() -> None:
    raise ValueError("duplicate key (email)=(ann@x.example)")


@dg.op
def fails_with_a_code() -> None:
    raise failure(SourceUnavailable("shop_db does not answer", hint="Wait."))


@dg.op
def works() -> None: ...


def job(name: str, op: Any) -> dg.JobDefinition:
    @dg.job(name=name, executor_def=dg.in_process_executor)
    def made() -> None:
        op()

    return made


@dataclass
class Ops:
    """The sensor of a platform over stores in memory, ticked by hand; the cursor is what the daemon would keep."""

    platform: Platform
    instance: dg.DagsterInstance
    receiver: Receiver
    set_clock: Callable[[datetime], None]
    cursor: str | None = None
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def tick(self, minutes: float = 1) -> SensorExecutionData:
        """As after a restart of daemon and code server: a new sensor that knows its cursor alone."""
        self.at += timedelta(minutes=minutes)
        self.set_clock(self.at)
        (made,) = sensors(self.platform.catalog)
        said = made.evaluate_tick(
            dg.build_sensor_context(self.instance, self.cursor, resources={"store_evidence": "unused"})
        )
        self.cursor = said.cursor
        return said

    def ticks(self, count: int = 3) -> list[str]:
        """What the webhook got in these ticks."""
        before = len(self.receiver.got)
        for _ in range(count):
            self.tick()
        return [f"{body['event']} {body['incident']['code']}" for _, body in self.receiver.got[before:]]

    def run(self, name: str, op: Any, **tags: str) -> str:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            done = job(name, op).execute_in_process(instance=self.instance, raise_on_error=False, tags=tags)
        return done.run_id


@pytest.fixture
def ops(receiver: Any, folder: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> Ops:
    """In prod, without schedules, so that nothing is late."""
    made = platform(env="prod", mirrors={})
    endpoints = made.catalog.endpoints.model_copy(update={"notify": NotifyModel.model_validate(OPERATED)})
    made.catalog = made.catalog.model_copy(update={"endpoints": endpoints})
    known = receiver()
    monkeypatch.setenv("EGRESS_ENV", "prod")
    monkeypatch.setenv("HOOK", f"https://127.0.0.1:{known.port}/hook/s3cret\n")
    monkeypatch.setattr(running, "platform", lambda *_: made)
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "ca.pem"))  # the system's bundle, as OpenSSL finds it
    return Ops(made, instance, known, lambda at: monkeypatch.setattr(failures_sensor, "now", lambda: at))


def test_a_failure_that_the_cli_left_is_one_message_and_one_when_it_is_over(ops: Ops):
    """S0-9: told once through failures, retries and restarts."""
    unit = dump_unit("shop")
    assert ops.ticks() == []
    record_failure(ops.platform.evidence, unit, DAY, SourceUnavailable("shop_db does not answer", hint="Wait."))
    assert ops.ticks() == ["open source_unavailable"]
    for _ in range(3):
        record_failure(ops.platform.evidence, unit, DAY, SourceUnavailable("still not", hint="Wait."))
        assert ops.ticks() == []
    clear_failure(ops.platform.evidence, unit, DAY)
    assert ops.ticks() == ["over source_unavailable"]
    body = ops.receiver.got[-1][1]
    assert body["incident"]["times"] == 4
    assert body["incident"]["units"] == {"dump/shop": {DAY: "good"}}


def test_a_lost_cursor_is_one_message_with_the_key_that_it_had(ops: Ops):
    for number, unit in enumerate((dump_unit("shop"), scrub_unit("shop", "shared"))):
        record_failure(ops.platform.evidence, unit, DAY, GateFailed(f"check {number}"))
    assert ops.ticks() == ["open gate_failed"]
    assert len(ops.receiver.got[0][1]["more"]) == 1
    ops.cursor = None
    assert ops.ticks() == ["open gate_failed"]
    first, second = (headers["Idempotency-Key"] for headers, _ in ops.receiver.got)
    assert first == second


def test_a_webhook_that_is_down_fails_the_tick_with_its_reason_and_is_told_when_it_is_back(ops: Ops):
    record_failure(ops.platform.evidence, dump_unit("shop"), DAY, GateFailed("check"))
    ops.tick()
    ops.receiver.answers = [500]
    said = ops.tick()
    (reaction,) = said.dagster_run_reactions
    assert reaction.error is not None
    assert reaction.error.message == "NotTold: webhook: webhook at 127.0.0.1 answered 500\n"
    assert said.cursor == ops.cursor != ""
    assert said.skip_message is None
    again = ops.tick()
    assert not again.dagster_run_reactions
    assert again.skip_message == "1 open incidents, 1 messages sent"
    assert [body["status"] for _, body in ops.receiver.got] == [500, 204]
    assert "s3cret" not in str(ops.cursor)
    assert ops.ticks() == []


def test_the_daemon_keeps_the_cursor_of_a_tick_that_failed(ops: Ops):
    """The one part of Dagster that this stands on and that nothing documents."""
    record_failure(ops.platform.evidence, dump_unit("shop"), DAY, GateFailed("check"))
    ops.tick()
    ops.receiver.answers = [500]
    said = ops.tick()
    kept: dict[str, Any] = {}

    class Context:
        logger = logging.getLogger("test")

        def update_state(self, status: Any, **given: Any) -> None:
            kept.update(given, status=status)

        def set_should_update_cursor_on_failure(self, wanted: bool) -> None:
            kept["keeps"] = wanted

    _handle_run_reactions(said.dagster_run_reactions, ops.instance, Context(), said.cursor, None)  # type: ignore[arg-type]
    assert (kept["status"], kept["keeps"], kept["cursor"]) == (TickStatus.FAILURE, True, said.cursor)
    assert "answered 500" in kept["error"].message


def test_a_run_that_died_before_the_engine_could_say_anything_is_told_without_its_text(ops: Ops):
    run_id = ops.run("housekeeping", fails_by_itself)
    assert ops.ticks() == ["open run_failed"]
    body = json.dumps(ops.receiver.got[-1][1])
    assert "ann@x" not in body
    assert f"https://egress.example/runs/{run_id}" in body
    assert "run of housekeeping" in body
    assert ops.run("housekeeping", fails_by_itself)
    assert ops.ticks() == []
    ops.run("housekeeping", works)
    assert ops.ticks() == ["over run_failed"]


def test_a_failure_that_names_its_code_is_told_by_it_and_a_retry_under_way_is_waited_for(ops: Ops):
    ops.run("shop", fails_with_a_code, **{WORK: f"shop:{DAY}", WILL_RETRY_TAG: "true"})
    assert ops.ticks() == []
    ops.run("shop", fails_with_a_code, **{WORK: f"shop:{DAY}"})
    assert ops.ticks() == ["open source_unavailable"]
    incident = ops.receiver.got[-1][1]["incident"]
    assert (incident["cause"], incident["message"], incident["hint"]) == (
        "source shop_db", "shop_db does not answer", "Wait."
    )  # fmt: skip
    ops.run("shop", works, **{WORK: "shop:2026-11-20"})
    assert ops.ticks() == ["over source_unavailable"]


def test_a_failed_run_that_evidence_knows_is_the_link_of_its_message(ops: Ops):
    run_id = ops.run("shop", fails_with_a_code, **{WORK: f"shop:{DAY}"})
    record_failure(ops.platform.evidence, dump_unit("shop"), DAY, SourceUnavailable("shop_db does not answer"))
    assert ops.ticks() == ["open source_unavailable"]
    incident = ops.receiver.got[-1][1]["incident"]
    assert incident["run"] == f"https://egress.example/runs/{run_id}"
    assert list(incident["units"]) == ["dump/shop"]


def test_nobody_to_tell_is_no_sensor_and_the_sandbox_tells_a_folder(
    ops: Ops, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    catalog, silent = ops.platform.catalog, platform().catalog
    assert not list(sensors(silent))
    monkeypatch.setenv("EGRESS_ENV", "sandbox")
    monkeypatch.setenv("EGRESS_SANDBOX_DIR", str(tmp_path))
    assert [each.name for each in sensors(silent)] == ["incidents"]
    assert catalog.endpoints.notify
    record_failure(ops.platform.evidence, dump_unit("shop"), DAY, GateFailed("check"))
    assert ops.ticks() == []
    (written,) = (tmp_path / "notifications").iterdir()
    assert b"Subject: [egress sandbox] dump/shop 2026-11-19: gate_failed" in written.read_bytes()
