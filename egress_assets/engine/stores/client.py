"""Signed requests to one bucket: retries, clock skew and expired tokens are settled in here.

What comes back is a good answer or one whose status the caller said it would judge (`judge`); all else is an error of
the tree. Each try is signed anew. `once` is for what must not be repeated: a conditional write, a Complete.
"""

from __future__ import annotations

import logging
import random
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

from egress_assets.engine.errors import CatalogError, StoreError
from egress_assets.engine.stores.answers import (
    STALE_TOKEN_CODES,
    XML_LIMIT,
    breakdown,
    error_code,
    http_date,
    is_transient,
    refusal,
)
from egress_assets.engine.stores.credentials import Provider, provider_for
from egress_assets.engine.stores.dialect import Dialect
from egress_assets.engine.stores.http import Pool, Response
from egress_assets.engine.stores.settings import StoreSettings
from egress_assets.engine.stores.sigv4 import EMPTY_SHA256, Unsigned, encode_key, encode_query, sign
from egress_assets.engine.stores.wire import SLICE, Address, Stop

logger = logging.getLogger(__name__)

TRIES = 4
_BACKOFF = 0.1  # seconds before the second try at most; doubles, up to _BACKOFF_LIMIT
_BACKOFF_LIMIT = 5.0
_SKEW_ALLOWED = 840.0  # seconds; S3 refuses at 900
_NEVER = Stop()
_SUBJECTS = {
    "partNumber": "part",
    "uploads": "uploads",
    "uploadId": "upload",
    "tagging": "tags",
    "list-type": "LIST",
    "lifecycle": "lifecycle",
    "encryption": "default encryption",
    "publicAccessBlock": "public access block",
}
_OF_BUCKETS = frozenset({"lifecycle", "default encryption", "public access block"})
_CONTROLS = {"\r", "\n", "\0"}


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of the store, before addressing and signing."""

    method: str
    key: str | None = None  # as stored, the settings' prefix included; None asks about the bucket
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)  # lower-case names
    body: bytes | bytearray | memoryview = b""
    sha256: str = EMPTY_SHA256
    judge: frozenset[int] = frozenset()  # failed statuses that are answers to the caller, not errors
    bucket: str = ""  # another bucket at the same endpoint

    @property
    def is_object(self) -> bool:
        """Whether the body of a good answer is an object's content."""
        return self.method == "GET" and self.key is not None and not self.query

    @property
    def action(self) -> str:
        """What people read: `GET 'a/b'`, `PUT part of 'a/b'`, `LIST`."""
        asked = {name for name, _ in self.query}
        what = next((words for name, words in _SUBJECTS.items() if name in asked), "")
        if self.key is None:
            return f"{self.method} {what}" if what in _OF_BUCKETS else what or f"{self.method} bucket"
        return f"{self.method} {what + ' of ' if what else ''}{self.key!r}"


class Client:
    """One bucket at one endpoint. Safe to use from many threads; opens no connection before the first request."""

    def __init__(self, settings: StoreSettings, dialect: Dialect) -> None:
        self.settings = settings
        self.dialect = dialect
        self._credentials: Provider = provider_for(settings)
        endpoint = _endpoint(settings)
        self._netloc = endpoint.netloc.rpartition("@")[2]
        self._base = endpoint.path.rstrip("/")
        self._virtual = _is_virtual(settings)
        host = endpoint.hostname or ""
        self.is_aws = not settings.endpoint or host.endswith((".amazonaws.com", ".amazonaws.com.cn"))
        tls = _tls(settings) if endpoint.scheme == "https" else None
        self._port = endpoint.port or (443 if tls else 80)
        self._timeouts = (tls, settings.connect_timeout, settings.read_timeout)
        self._pools: dict[str, Pool] = {}
        self._skew = 0.0  # seconds to add to our clock to get the store's

    def send(self, request: Request, *, stop: Stop = _NEVER, tries: int = TRIES) -> Response:
        """The answer with its body (at most 16 MiB, GET of an object excepted)."""
        return self._settle(request, stop, tries, live=False)

    def open(self, request: Request, *, stop: Stop = _NEVER, tries: int = TRIES) -> Response:
        """The answer with its body still to be streamed when its status is good."""
        return self._settle(request, stop, tries, live=True)

    def once(self, request: Request, *, stop: Stop = _NEVER, live: bool = False) -> Response:
        """One try, whatever its status. A refusal for our clock or token had no effect, so it is cured and repeated.

        Raises OSError (nothing is known about the outcome) and Stopped.
        """
        response = self._exchange(request, stop, live=live)
        if response.status >= 400 and self._cure(error_code(response), response):
            response = self._exchange(request, stop, live=live)
        return response

    def close(self) -> None:
        """Close idle connections; the client stays usable."""
        for pool in self._pools.values():
            pool.close()

    def where(self, request: Request) -> str:
        """The request as people read it; keys by repr, without the store's prefix being hidden."""
        return f"{request.action} in bucket {request.bucket or self.settings.bucket!r} of {self._netloc}"

    def pause(self, failures: int, started: float, stop: Stop = _NEVER) -> bool:
        """Sleep with full jitter before another try; False when the deadline or the owner forbids one."""
        pause = random.uniform(0, min(_BACKOFF_LIMIT, _BACKOFF * 2**failures))  # noqa: S311  spreads load, hides nothing
        if stop.retries or time.monotonic() - started + pause > self.settings.retry_deadline:
            return False
        ends = time.monotonic() + pause
        while (left := ends - time.monotonic()) > 0:
            stop.check()
            time.sleep(min(SLICE, left))
        return True

    def _settle(self, request: Request, stop: Stop, tries: int, *, live: bool) -> Response:
        started = time.monotonic()
        for done in range(1, tries + 1):
            try:
                response = self.once(request, stop=stop, live=live)
            except ssl.SSLCertVerificationError as error:
                raise breakdown(self.where(request), error) from error
            except OSError as error:
                failure = breakdown(self.where(request), error, tries=done)
            else:
                if not error_code(response, is_data=request.is_object) or response.status in request.judge:
                    return response
                failure = refusal(self.where(request), response, tries=done)
                if not is_transient(response):
                    raise failure
            if done == tries or not self.pause(done, started, stop):
                raise failure
            logger.debug("trying again: %s", failure.message)
        raise AssertionError("unreachable: the last try returns or raises")

    def _exchange(self, request: Request, stop: Stop, *, live: bool) -> Response:
        host, path, query = self._place(request)
        unsigned = Unsigned(request.method, path, query, {"host": host, **request.headers}, request.sha256)
        headers = sign(unsigned, self._credentials.current(), self.settings.region, time.time() + self._skew)
        target = f"{path}?{query}" if query else path
        lines = [f"{request.method} {target} HTTP/1.1", *[f"{name}: {value}" for name, value in headers.items()]]
        if len(request.body) or request.method in ("PUT", "POST"):
            lines.append(f"content-length: {len(request.body)}")
        lines.append("accept-encoding: identity\r\nuser-agent: egress\r\n\r\n")
        head = "\r\n".join(lines).encode("utf-8", "surrogateescape")
        response = self._pool(host).exchange(request.method, head, request.body, stop)
        if live and response.status < 300:
            return response
        return response.load(2**40 if request.is_object and response.status < 300 else XML_LIMIT)

    def _place(self, request: Request) -> tuple[str, str, str]:
        """Host, path and query, encoded."""
        bucket = request.bucket or self.settings.bucket
        try:
            key, query = encode_key(request.key or ""), encode_query(request.query)
        except UnicodeEncodeError as error:
            raise StoreError(f"key {error.object!r} is not unicode", hint="Keys are valid UTF-8.") from None
        for name, value in request.headers.items():
            if not _CONTROLS.isdisjoint(value) or not _CONTROLS.isdisjoint(name):
                raise StoreError(f"{self.where(request)}: header {name!r} has a line break")
        if self._virtual:
            return f"{bucket}.{self._netloc}", f"{self._base}/{key}", query
        tail = "" if request.key is None else f"/{key}"
        return self._netloc, f"{self._base}/{bucket}{tail}", query

    def _pool(self, host: str) -> Pool:
        pool = self._pools.get(host)
        if pool is None:
            name = urlsplit(f"//{host}").hostname or host
            pool = self._pools.setdefault(host, Pool(Address(name, self._port, *self._timeouts)))
        return pool

    def _cure(self, code: str, response: Response) -> bool:
        """Whether the refusal's cause is removed and the request may be repeated."""
        if code == "RequestTimeTooSkewed" or (code == "http_403" and self._is_skewed(response)):
            self._skew = http_date(response, "date", "clock").timestamp() - time.time()
            logger.warning("clock differs from the store's by %.0f s: signing with the store's time", self._skew)
            return True
        return code in STALE_TOKEN_CODES and self._credentials.renew()

    def _is_skewed(self, response: Response) -> bool:
        """The answer to a HEAD has no body to say so."""
        ours = time.time() + self._skew
        return (
            "date" in response.headers and abs(http_date(response, "date", "clock").timestamp() - ours) > _SKEW_ALLOWED
        )


def _endpoint(settings: StoreSettings) -> SplitResult:
    """The endpoint's parts. The message holds no URL: it may have been written with a password in it."""
    try:
        endpoint = urlsplit(settings.endpoint or _aws_endpoint(settings.region))
        if endpoint.scheme in ("http", "https") and endpoint.hostname and endpoint.port != 0:
            return endpoint
    except ValueError:  # a port that is no number below 65,536, a bracket left open
        pass
    raise CatalogError(
        f"endpoint of store {settings.name!r} is no http or https URL",
        hint="Write it as https://host or https://host:port.",
    )


def _aws_endpoint(region: str) -> str:
    return f"https://s3.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}"


def _is_virtual(settings: StoreSettings) -> bool:
    """auto: virtual at AWS, except for a name with dots, which AWS's wildcard certificate does not cover."""
    if settings.addressing == "auto":
        return not settings.endpoint and "." not in settings.bucket
    return settings.addressing == "virtual"


def _tls(settings: StoreSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.ca or None)
    except (OSError, ssl.SSLError) as error:
        raise CatalogError(
            f"ca {settings.ca!r} of store {settings.name!r} can't be read: {error.strerror or error}",
            hint="Set `ca` to a PEM file with the certificates of the CA.",
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
