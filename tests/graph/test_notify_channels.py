"""The channels over real servers: SMTP with STARTTLS and authentication, HTTPS; what fails and what is told of it."""

import email
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from egress_assets.engine.errors import (
    CatalogError,
    DeliveryRefused,
    DeliveryUnavailable,
)
from egress_assets.engine.evidence.driver import microseconds
from egress_assets.engine.notify.incidents import Sight, State, Trouble, decide
from egress_assets.engine.notify.letters import SETTLE
from egress_assets.engine.notify.mail import Mail
from egress_assets.engine.notify.post import post
from egress_assets.engine.notify.webhook import Webhook
from egress_assets.engine.notify.words import Message, Place
from egress_assets.sandbox import certificates
from tests.graph.peers import Receiver, receivers, serving

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


@pytest.fixture
def receiver(folder: Path) -> Iterator[Callable[..., Receiver]]:
    with receivers(folder) as start:
        yield start


@pytest.fixture(scope="module")
def trusting(folder: Path) -> ssl.SSLContext:
    """Verifies names and chains, as the system's would, against the tests' own authority."""
    return ssl.create_default_context(cafile=str(folder / "ca.pem"))


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
