"""The sensor and its channels over real parts: evidence, Dagster's runs, an SMTP and an HTTPS server, restarts."""

import email
import json
import logging
import socket
import ssl
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword
from dagster._core.definitions.sensor_definition import SensorExecutionData
from dagster._core.scheduler.instigation import TickStatus
from dagster._core.storage.tags import WILL_RETRY_TAG
from dagster._daemon.sensor import _handle_run_reactions

from egress_assets import running
from egress_assets.engine.catalog.operate import NotifyModel
from egress_assets.engine.errors import (
    CatalogError,
    DeliveryRefused,
    DeliveryUnavailable,
    GateFailed,
    SourceUnavailable,
)
from egress_assets.engine.evidence.driver import microseconds
from egress_assets.engine.evidence.failures import clear_failure, record_failure
from egress_assets.engine.layout import dump_unit, scrub_unit
from egress_assets.engine.notify.incidents import Sight, State, Trouble, decide
from egress_assets.engine.notify.letters import SETTLE
from egress_assets.engine.notify.mail import Mail
from egress_assets.engine.notify.post import post
from egress_assets.engine.notify.webhook import Webhook
from egress_assets.engine.notify.words import Message, Place
from egress_assets.engine.platform import Platform
from egress_assets.failures import failure
from egress_assets.sandbox import certificates
from egress_assets.schedules import WORK
from sensors import failures as failures_sensor
from sensors.failures import sensors
from tests.platforms import platform

PASSWORD = "corr3ct-horse"
MESSAGE = Message(
    "0a1b2c",
    "",
    "[egress prod] dump/shop: gate_failed für öäü 漢字",
    "What  ünï\n.\nlast line\n",
    {"incident": {"id": "i"}},
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("certificates")
    certificates.ensure(made)
    return made


@pytest.fixture(scope="module")
def trusting(folder: Path) -> ssl.SSLContext:
    """Verifies names and chains, as the system's would, against the tests' own authority."""
    return ssl.create_default_context(cafile=str(folder / "ca.pem"))


def serving(folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    return context


# ---------------------------------------------------------------------------------------------------------------- mail
@dataclass
class Post:
    """A real SMTP server. `answers` are said instead of taking a message, one each."""

    got: list[EmailMessage] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    port: int = 0

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        if self.answers:
            return self.answers.pop(0)
        found = email.message_from_bytes(envelope.content, policy=default)
        assert isinstance(found, EmailMessage)
        self.got.append(found)
        return "250 taken"


def _is_ours(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
    known = isinstance(data, LoginPassword) and (data.login, data.password) == (b"egress", PASSWORD.encode())
    return AuthResult(success=known, handled=known)


@pytest.fixture
def server(folder: Path) -> Iterator[Callable[..., Post]]:
    running: list[Controller] = []

    def start(*, implicit: bool = False, port: int = 0) -> Post:
        handler, port = Post(), port or _free()
        asking: dict[str, Any] = {"authenticator": _is_ours, "auth_required": True, "require_starttls": True}
        tls = {"ssl_context": serving(folder)} if implicit else {"tls_context": serving(folder), **asking}
        controller = Controller(handler, hostname="127.0.0.1", port=port, **tls)
        controller.start()
        running.append(controller)
        handler.port = controller.port
        return handler

    yield start
    for each in running:
        each.stop()


def _free() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def mail(trusting: ssl.SSLContext) -> Mail:
    return Mail(
        "127.0.0.1", 0, "starttls", "egress@shop.example", ("ops@shop.example", "dba@shop.example"), "egress", PASSWORD,
        trusting,
    )  # fmt: skip


@pytest.mark.parametrize("implicit", [False, True])
def test_mail_is_encrypted_verified_authenticated_and_readable(server: Any, mail: Mail, implicit: bool):
    post_office = server(implicit=implicit)
    own = replace(mail, port=post_office.port, **({"tls": "tls", "user": ""} if implicit else {}))
    own.send(MESSAGE)
    own.send(replace(MESSAGE, id="ffff", thread=MESSAGE.id))
    first, second = post_office.got
    assert first["subject"] == MESSAGE.subject
    assert first["to"] == "ops@shop.example, dba@shop.example"
    assert first["from"] == "Egress <egress@shop.example>"
    assert first["message-id"] == "<egress-0a1b2c@shop.example>"
    assert first.get_content().replace("\r\n", "\n") == MESSAGE.text
    assert second["in-reply-to"] == second["references"] == first["message-id"]
    assert first["in-reply-to"] is None
    assert PASSWORD not in repr(own)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"password": "wrong-secret"}, "answered 535 to AUTH"),
        ({"context": ssl.create_default_context()}, "its certificate does not verify"),
        ({"host": "localhost.localdomain.invalid"}, "at connect"),
        ({"user": "ünï"}, "mail server"),
    ],
)
def test_mail_that_can_not_be_sent_says_why_without_a_secret(server: Any, mail: Mail, changed: Any, words: str):
    own = replace(mail, port=server().port, **changed)
    with pytest.raises((DeliveryUnavailable, DeliveryRefused), match=words) as raised:
        own.send(MESSAGE)
    for secret in (PASSWORD, "wrong-secret"):
        assert secret not in f"{raised.value} {raised.value.hint}"
    assert raised.value.__cause__ is None


@pytest.mark.parametrize(
    ("answer", "error"), [("451 try later", DeliveryUnavailable), ("552 too much for x@y", DeliveryRefused)]
)
def test_what_a_mail_server_answers_is_told_by_its_code(server: Any, mail: Mail, answer: str, error: Any):
    post_office = server()
    post_office.answers = [answer]
    with pytest.raises(error, match=f"answered {answer[:3]}") as raised:
        replace(mail, port=post_office.port).send(MESSAGE)
    assert "x@y" not in str(raised.value)


@pytest.mark.parametrize("address", ["a@b\r\nBcc: c@d", "no-at", "a b@c", "", "a@b, c@d", "\u202ea@b"])
def test_an_address_that_mail_can_not_have_is_refused_before_a_connection(mail: Mail, address: str):
    for changed in ({"to": (address,)}, {"sender": address}):
        with pytest.raises(CatalogError, match="an address of `notify"):
            replace(mail, **changed).send(MESSAGE)


def test_a_line_break_can_not_get_into_a_header(server: Any, mail: Mail):
    with pytest.raises(ValueError, match="linefeed"):
        replace(mail, port=server().port).send(replace(MESSAGE, subject="a\r\nBcc: b@c.example"))


# ------------------------------------------------------------------------------------------------------------- webhook
@dataclass
class Receiver:
    """A real HTTP server. `answers` are statuses to give, 204 after them; None: silence."""

    port: int
    got: list[tuple[Mapping[str, str], dict[str, Any]]] = field(default_factory=list)
    answers: list[int | None] = field(default_factory=list)
    silent: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def receiver(folder: Path) -> Iterator[Callable[..., Receiver]]:
    running: list[tuple[ThreadingHTTPServer, Receiver]] = []

    def start(*, tls: bool = True, port: int = 0) -> Receiver:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = known.answers.pop(0) if known.answers else 204
                if status is None:
                    known.silent.wait()
                    return
                known.got.append((dict(self.headers), {"path": self.path, "status": status, **json.loads(body)}))
                self.send_response(status)
                self.send_header("Location", "https://127.0.0.1/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        http.daemon_threads = True
        if tls:
            http.socket = serving(folder).wrap_socket(http.socket, server_side=True)
        known = Receiver(http.server_address[1])
        threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True).start()
        running.append((http, known))
        return known

    yield start
    for http, known in running:
        known.silent.set()
        http.shutdown()
        http.server_close()


def test_a_webhook_gets_json_with_text_facts_and_an_idempotency_key(receiver: Any, trusting: ssl.SSLContext):
    known = receiver()
    hook = Webhook(f"https://127.0.0.1:{known.port}/hook/s3cret?a=1", {"Authorization": "Bearer t0ken"}, trusting)
    hook.send(MESSAGE)
    ((headers, body),) = known.got
    assert headers["Idempotency-Key"] == MESSAGE.id
    assert headers["Authorization"] == "Bearer t0ken"
    assert headers["Content-Type"] == "application/json"
    assert body["path"] == "/hook/s3cret?a=1"
    assert body["incident"] == {"id": "i"}
    assert MESSAGE.subject in body["text"]
    assert not {"s3cret", "t0ken"} & set(repr(hook).replace("/", " ").split())


@pytest.mark.parametrize(
    ("status", "error"),
    [(500, DeliveryUnavailable), (503, DeliveryUnavailable), (429, DeliveryUnavailable), (302, DeliveryRefused),
     (404, DeliveryRefused)],
)  # fmt: skip
def test_an_answer_that_is_no_success_names_host_and_status_alone(
    receiver: Any, trusting: ssl.SSLContext, status: int, error: Any
):
    known = receiver()
    known.answers = [status]
    with pytest.raises(error, match=f"webhook at 127.0.0.1 answered {status}") as raised:
        Webhook(f"https://127.0.0.1:{known.port}/hook/s3cret", {}, trusting).send(MESSAGE)
    assert "s3cret" not in str(raised.value)
    assert len(known.got) == 1


@pytest.mark.parametrize(
    ("url", "headers", "words"),
    [
        ("https://127.0.0.1:{port}/x y", {}, "can't be sent"),
        ("https://127.0.0.1:{port}/", {"X-Token": "s3cret\r\nX: y"}, "can't be sent"),
        ("https://127.0.0.1:{port}/", {"X-Token": "s3cret\u2028"}, "can't be sent"),
        ("ftp://127.0.0.1/s3cret", {}, "not the URL"),
        ("https://127.0.0.1:99999/s3cret", {}, "not the URL"),
        ("s3cret", {}, "not the URL"),
    ],
)
def test_a_webhook_that_can_not_be_asked_says_so_without_its_secrets(
    receiver: Any, trusting: ssl.SSLContext, url: str, headers: dict[str, str], words: str
):
    with pytest.raises(CatalogError, match=words) as raised:
        Webhook(url.format(port=receiver().port), headers, trusting).send(MESSAGE)
    assert "s3cret" not in f"{raised.value}{raised.value.hint}"


def test_a_webhook_s_certificate_is_verified(receiver: Any):
    known = receiver()
    with pytest.raises(DeliveryUnavailable, match="does not verify"):
        Webhook(f"https://127.0.0.1:{known.port}/").send(MESSAGE)
    assert not known.got


# ------------------------------------------------------------------------------------------------------- both together
NIGHT = datetime(2026, 11, 20, 2, 15, tzinfo=UTC)
PLACE = Place("prod", ZoneInfo("UTC"))


def wrong(*troubles: str) -> State:
    """A state of incidents that are due to be told."""
    made = tuple(
        Trouble("shop", f"dump/{name}", "2026-11-19", "gate_failed", name, f"m {name}", "", microseconds(NIGHT))
        for name in troubles
    )
    return decide(State(looked=1), Sight(made), NIGHT - timedelta(microseconds=SETTLE))


def test_a_channel_that_says_nothing_costs_its_time_and_the_other_is_told(
    receiver: Any, server: Any, mail: Mail, trusting: ssl.SSLContext
):
    known, post_office = receiver(tls=False), server()
    known.answers = [None]
    own, hook = replace(mail, port=post_office.port), Webhook(f"http://127.0.0.1:{known.port}/", {}, trusting)
    posted = post(wrong("shop"), {"webhook": lambda: hook, "mail": lambda: own}, PLACE, NIGHT, budget=1.5)
    assert posted.errors == {"webhook": "no answer within 1.5 s"}
    assert [line.partition(":")[0] for line in posted.sent] == ["mail"]
    assert len(post_office.got) == 1
    again = post(posted.state, {"webhook": lambda: hook, "mail": lambda: own}, PLACE, NIGHT + timedelta(minutes=1))
    assert not again.errors
    assert (len(known.got), len(post_office.got)) == (1, 1)


def test_a_message_that_is_refused_does_not_hold_up_the_next(receiver: Any, trusting: ssl.SSLContext):
    known = receiver()
    known.answers = [413]
    hook = Webhook(f"https://127.0.0.1:{known.port}/", {}, trusting)
    posted = post(wrong("a", "b"), {"webhook": lambda: hook}, PLACE, NIGHT)
    assert [body["status"] for _, body in known.got] == [413, 204]
    assert posted.errors == {"webhook": "webhook at 127.0.0.1 answered 413"}
    known.got.clear()
    posted = post(posted.state, {"webhook": lambda: hook}, PLACE, NIGHT + timedelta(minutes=1))
    assert len(known.got) == 1
    assert not posted.errors


def test_a_secret_that_is_not_there_is_an_error_of_its_channel(receiver: Any, trusting: ssl.SSLContext):
    known = receiver()
    hook = Webhook(f"https://127.0.0.1:{known.port}/", {}, trusting)

    def missing() -> Mail:
        raise CatalogError("endpoints.yaml:9: environment variable SMTP_PASSWORD is not set")

    posted = post(wrong("a"), {"mail": missing, "webhook": lambda: hook}, PLACE, NIGHT)
    assert posted.errors == {"mail": "endpoints.yaml:9: environment variable SMTP_PASSWORD is not set"}
    assert len(known.got) == 1


# ----------------------------------------------------------------------------------------------------------- the sensor
DAY = "2026-11-19"
OPERATED = {"webhook": {"url": {"env": "HOOK"}}, "ui": "https://egress.example"}


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
