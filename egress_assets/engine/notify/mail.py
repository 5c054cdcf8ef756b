"""Messages by e-mail: one connection a message, encrypted and verified unless the catalog says `tls: none`.

Headers are built by the standard library's policy, which refuses line breaks and encodes what is not ASCII. What a
server answers is not repeated: its code is, beside what it was asked.

Source: RFC 5322 (3.6.4, Message-ID, In-Reply-To, References), RFC 8314 (TLS), RFC 3207 (STARTTLS).
"""

from __future__ import annotations

import smtplib
import ssl
from dataclasses import dataclass, field
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import localtime

from egress_assets.engine.errors import CatalogError, DeliveryRefused, DeliveryUnavailable
from egress_assets.engine.notify.reasons import reason
from egress_assets.engine.notify.words import Message

TIMEOUT = 5.0  # seconds without a byte


@dataclass(frozen=True, slots=True)
class Mail:
    """A channel. `context` verifies against the system's authorities unless another one is given."""

    host: str
    port: int
    tls: str  # starttls, tls, none
    sender: str
    to: tuple[str, ...]
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    context: ssl.SSLContext = field(default_factory=ssl.create_default_context, repr=False)

    def send(self, message: Message) -> None:
        """Hand a message to the server. Raises DeliveryUnavailable, DeliveryRefused, CatalogError."""
        mail = letter(message, self.sender, self.to)
        step = "connect"
        try:
            with self._connect() as server:
                if self.tls == "starttls":
                    step = "STARTTLS"
                    server.starttls(context=self.context)
                if self.user:
                    step = "AUTH"
                    server.login(self.user, self.password)
                step = "the message"
                server.send_message(mail)
        except smtplib.SMTPException as error:
            raise self._refused(error, step) from None
        except (OSError, ValueError) as error:  # ValueError: a host or credential that can't be put on the wire
            raise DeliveryUnavailable(
                f"mail server {self.host}:{self.port}: {reason(error)} at {step}",
                hint="Check `notify.mail`: host, port, `tls`, and that the server's certificate is for its name.",
            ) from None

    def _connect(self) -> smtplib.SMTP:
        if self.tls == "tls":
            return smtplib.SMTP_SSL(self.host, self.port, timeout=TIMEOUT, context=self.context)
        return smtplib.SMTP(self.host, self.port, timeout=TIMEOUT)

    def _refused(self, error: smtplib.SMTPException, step: str) -> DeliveryUnavailable | DeliveryRefused:
        where = f"mail server {self.host}:{self.port}"
        codes = _codes(error)
        if not codes or any(400 <= code < 500 for code in codes):
            told = f"answered {codes[0]}" if codes else type(error).__name__
            return DeliveryUnavailable(f"{where}: {told} at {step}", hint="It is tried again by itself.")
        hint = "Check `notify.mail`: user, password, `from` and `to`; the server's log has its reason."
        return DeliveryRefused(f"{where} answered {codes[0]} to {step}", hint=hint)


def letter(message: Message, sender: str, to: tuple[str, ...]) -> EmailMessage:
    """The message as RFC 5322 has it. Raises CatalogError for addresses that are none."""
    mail = EmailMessage(policy=SMTP)
    try:
        mail["From"] = Address("Egress", addr_spec=sender)
        mail["To"] = [Address(addr_spec=each) for each in to]
    except (ValueError, IndexError):  # IndexError: how the standard library refuses some of them
        hint = "Write `from` and each of `to` as name@domain."
        raise CatalogError("an address of `notify.mail` is not one that mail can have", hint=hint) from None
    domain = sender.rpartition("@")[2]
    mail["Subject"] = message.subject
    mail["Date"] = localtime()
    mail["Message-ID"] = f"<egress-{message.id}@{domain}>"
    if message.thread:
        mail["In-Reply-To"] = mail["References"] = f"<egress-{message.thread}@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: absence notes are not sent back
    mail.set_content(message.text)
    return mail


def _codes(error: smtplib.SMTPException) -> list[int]:
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return [code for code, _ in error.recipients.values()]
    return [error.smtp_code] if isinstance(error, smtplib.SMTPResponseException) else []
