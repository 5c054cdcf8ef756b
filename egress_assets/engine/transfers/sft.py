"""Files over HTTPS with a client certificate: one streamed POST a file, the name in the header `filename`.

What is sent besides: `Idempotency-Key` and `x-egress-identity` (which delivery this is), `x-egress-sha256`,
`x-egress-not-after` (a recipient that knows it refuses a request that was delayed past its claim). Success is exactly
200; redirects are never followed. An answer that leaves open whether the file was stored is ambiguous, and so is a
connection that ends after the last byte: the recipient is then asked or sent the same key again, as it `knows`.

A recipient has one flat folder: slashes of a destination become `path_separator` in the file name.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import quote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from egress_assets.engine.errors import DeliveryRefused, DeliveryUnavailable
from egress_assets.engine.transfers import Knows, Parcel, Sent
from egress_assets.engine.transfers.https import Answer, Body, Client, Unanswered, tls_context

_LATER = frozenset({408, 410, 425, 429})  # nothing was taken, and another request may be; 410: past its deadline
_RECEIPT = ("filename", "bytes", "sha256", "identity", "received_at")  # what of an answer goes into our receipt
_NAME_BYTES = 255  # NAME_MAX of every file system in use


class Settings(BaseModel):
    """An HTTPS recipient. `ca`, `cert` and `key` are PEM text or paths of PEM files. Times in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    url: str
    ca: str = ""  # empty: the system's roots
    cert: str = ""
    key: str = Field(default="", repr=False)
    key_password: str = Field(default="", repr=False)
    apikey: str = Field(default="", repr=False)
    headers: dict[str, str] = Field(default={}, repr=False)
    framing: Literal["length", "chunked"] = "length"
    knows: Knows = "write-only"  # idempotent: keeps one copy an Idempotency-Key; head: HEAD tells x-egress-identity
    path_separator: str = Field(default="~", min_length=1, max_length=4, pattern=r"^[^/.\s]+$")
    connect_timeout: float = Field(default=20.0, gt=0)
    idle_timeout: float = Field(default=60.0, gt=0)  # without a byte taken
    answer_timeout: float = Field(default=600.0, gt=0)  # after the last byte

    @field_validator("url")
    @classmethod
    def _https(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme != "https" or not parts.hostname or parts.username or parts.query or parts.fragment:
            raise ValueError("must be https://host[:port]/path without user, query or fragment")
        return value.rstrip("/")

    @field_validator("headers")
    @classmethod
    def _plain(cls, value: dict[str, str]) -> dict[str, str]:
        if any(not re.fullmatch(r"[A-Za-z0-9-]+", name) or not text.isprintable() for name, text in value.items()):
            raise ValueError("header names are letters, digits and hyphens; values are printable")
        return value


def open_transfer(settings: Settings) -> SftTransfer:
    """Reads certificates, opens no connection. Raises CatalogError when they can't be used."""
    return SftTransfer(settings)


class SftTransfer:
    """A recipient that takes POSTs. A connection a request; memory: a chunk."""

    def __init__(self, settings: Settings) -> None:
        self.knows: Knows = settings.knows
        self._settings = settings
        context = tls_context(ca=settings.ca, cert=settings.cert, key=settings.key, password=settings.key_password)
        self._client = Client(
            settings.url, context, settings.connect_timeout, settings.idle_timeout, settings.answer_timeout
        )
        self._path = quote(urlsplit(settings.url).path) or "/"

    def admit(self, destination: str) -> None:
        self._filename(destination)

    def send(self, parcel: Parcel, chunks: Iterable[bytes], *, identity: str, not_after: datetime) -> Sent:
        headers = self._headers(parcel, identity, not_after)
        size = parcel.bytes if self._settings.framing == "length" else None
        try:
            answer = self._client.request("POST", self._path, headers, Body(chunks, size))
        except Unanswered as ended:
            return Sent(
                "ambiguous" if ended.complete else "refused", {"reason": str(ended), "retryable": ended.retryable}
            )
        sent = _judged(answer, parcel, identity)
        if sent.answer == "ok" and "sha256" not in sent.facts and self.knows == "head":
            stored = self.ask(parcel.destination)  # a 200 without a receipt: read back what it can tell
            return sent if stored == identity else Sent("ambiguous", sent.facts)
        return sent

    def ask(self, destination: str) -> str | None:
        """HEAD of the file: the recipient's `x-egress-identity`."""
        path = f"{self._path.rstrip('/')}/{quote(self._filename(destination), safe='')}"
        answer = self._asked("HEAD", path)
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise DeliveryUnavailable(
                f"{self._settings.url} answered {answer.status} when asked for {destination}",
                hint="Whether the file is there stays unknown until the recipient answers.",
            )
        return answer.headers.get("x-egress-identity") or None

    def ping(self) -> str:
        """A HEAD of the URL: any answer proves the way, the certificates of both sides and the name."""
        answer = self._asked("HEAD", self._path)
        return f"{self._settings.url} answers (HTTP {answer.status})"

    def _asked(self, method: str, path: str) -> Answer:
        try:
            return self._client.request(method, path, self._own_headers())
        except Unanswered as ended:
            raise DeliveryUnavailable(
                f"{self._settings.url} can't be asked: {ended}", hint="Check the network, `ca`, `cert` and `key`."
            ) from None

    def _own_headers(self) -> dict[str, str]:
        headers = dict(self._settings.headers)
        if self._settings.apikey:
            headers["apikey"] = self._settings.apikey
        return headers

    def _headers(self, parcel: Parcel, identity: str, not_after: datetime) -> dict[str, str]:
        return self._own_headers() | {
            "content-type": "application/octet-stream",
            "filename": self._filename(parcel.destination),
            "idempotency-key": identity,
            "x-egress-identity": identity,
            "x-egress-sha256": parcel.sha256,
            "x-egress-not-after": not_after.astimezone(UTC).isoformat(timespec="seconds"),
        }

    def _filename(self, destination: str) -> str:
        """One flat, safe name. Raises DeliveryRefused for what would collide, hide, or end the header."""
        separator = self._settings.path_separator
        name = destination.replace("/", separator)
        too_long = len(name.encode("utf-8", "surrogatepass")) > _NAME_BYTES
        if separator in destination or not name.isprintable() or name[:1] in ("", ".", " ") or too_long:
            raise DeliveryRefused(
                f"{destination!r} can't be a file name at {self._settings.url}",
                hint=f"Names are printable, up to {_NAME_BYTES} bytes, start without a dot and hold no {separator!r}.",
            )
        return name


def _judged(answer: Answer, parcel: Parcel, identity: str) -> Sent:
    """Only 200 is success; a definite no needs a status that can't follow storing, or bytes that never all left."""
    facts = _facts(answer)
    if answer.status == 200:
        stored = facts.get("sha256", parcel.sha256) == parcel.sha256 and facts.get("identity", identity) == identity
        known_before = facts.get("identity") == identity  # an early 200 repeats the receipt of the same key
        return Sent("ok" if stored and (answer.complete or known_before) else "ambiguous", facts)
    if answer.status in _LATER or answer.status >= 500:
        facts["retryable"] = True
    definite = 400 <= answer.status < 500 or not answer.complete
    return Sent("refused" if definite else "ambiguous", facts)


def _facts(answer: Answer) -> dict[str, Any]:
    """The status, a digest of the body as it came, and the fields of a receipt that we know. Never a body as text."""
    facts: dict[str, Any] = {"status": answer.status}
    if answer.body:
        facts["answer_sha256"] = hashlib.sha256(answer.body).hexdigest()
    try:
        said = json.loads(answer.body)
    except ValueError:
        return facts
    if isinstance(said, Mapping):
        facts |= {n: said[n] for n in _RECEIPT if isinstance(said.get(n), (str, int))}
    return facts
