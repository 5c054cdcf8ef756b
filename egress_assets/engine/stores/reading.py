"""Reading: what a store says of an object, and its bytes, resumed where a connection breaks."""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Iterator

from egress_assets.engine.errors import ObjectConflict, StoreError, StoreUnavailable
from egress_assets.engine.stores import Head
from egress_assets.engine.stores.answers import breakdown, error_code, http_date, refusal
from egress_assets.engine.stores.client import TRIES, Client, Request
from egress_assets.engine.stores.http import Response

logger = logging.getLogger(__name__)

_KEPT = (
    "content-type",
    "cache-control",
    "content-encoding",
    "content-disposition",
    "content-language",
    "expires",
    "x-amz-website-redirect-location",
)


def etag_of(response: Response) -> str:
    """The ETag without quotes; empty when the store sent none."""
    return response.headers.get("etag", "").strip('"')


def head_of(response: Response, key: str, action: str) -> Head:
    """Read an answer to HEAD or to a whole GET. Raises StoreError when a header that decisions rest on is absent."""
    headers = response.headers
    length = headers.get("content-length", "")
    if not length.isdigit():
        raise StoreError(f"{action}: answer has no content-length")
    return Head(
        key=key,
        bytes=int(length),
        etag=etag_of(response),
        modified=http_date(response, "last-modified", action),
        date=http_date(response, "date", action),
        version=headers.get("x-amz-version-id", ""),
        metadata={name[11:]: value for name, value in headers.items() if name.startswith("x-amz-meta-")},
        headers={name: headers[name] for name in _KEPT if name in headers},
    )


def stream(client: Client, key: str, start: int, etag: str | None) -> Iterator[bytes]:
    """Bytes of an object from `start`, in pieces of at most 256 KiB.

    A connection that breaks is resumed with Range and If-Match; only tries without a byte count against the limit.
    Raises ObjectMissing, ObjectConflict (it changed), StoreUnavailable; StoreError for a start beyond the end.
    """
    reader = _Reader(client, key, start, etag)
    failures, started = 0, time.monotonic()
    while not reader.is_done():
        before = reader.position
        try:
            yield from reader.pieces()
        except OSError as error:
            reader.check_resumable(error)
            if reader.position > before:
                failures, started = 0, time.monotonic()
            failures += 1
            if failures >= TRIES or not client.pause(failures, started):
                raise breakdown(client.where(Request("GET", key)), error, tries=failures) from error
            logger.debug("resuming %r at byte %d", key, reader.position)


class _Reader:
    """Position in one object over several answers."""

    def __init__(self, client: Client, key: str, start: int, etag: str | None) -> None:
        self._client = client
        self._key = key
        self._etag = etag or ""
        self._total = -1
        self.position = start
        self._where = client.where(Request("GET", key))

    def is_done(self) -> bool:
        return self.position == self._total

    def check_resumable(self, error: OSError) -> None:
        if isinstance(error, ssl.SSLCertVerificationError):
            raise breakdown(self._where, error)
        if not self._etag:
            raise StoreUnavailable(f"{self._where}: broke off, and the store gave no ETag to resume by") from error

    def pieces(self) -> Iterator[bytes]:
        """One answer's worth. Raises OSError when it breaks off."""
        response = self._open()
        if response is None:
            return
        try:
            skip = self._place(response)
            for piece in response.chunks():
                if skip:
                    skip, piece = max(0, skip - len(piece)), piece[skip:]
                if piece:
                    self.position += len(piece)
                    yield piece
        finally:
            response.close()
        if self._total < 0:  # chunked framing: complete by its own end
            self._total = self.position
        if self.position != self._total:
            raise ConnectionError(f"answer ended at byte {self.position} of {self._total}")

    def _open(self) -> Response | None:
        headers = {"range": f"bytes={self.position}-"} if self.position else {}
        if self._etag:
            headers["if-match"] = self._client.dialect.condition(self._etag)
        request = Request("GET", self._key, headers=headers, judge=frozenset({416}))
        response = self._client.open(request)
        if response.status != 416:
            return response
        head = object_head(self._client, self._key, shown=self._key)
        if head is None or head.bytes != self.position or head.etag != (self._etag or head.etag):
            raise refusal(self._where, response)
        self._total = self.position  # exactly the end was asked for: nothing is left
        return None

    def _place(self, response: Response) -> int:
        """Bytes to skip, where a store answers with more than the range. Checks that it is still the same object."""
        etag = etag_of(response)
        if self._etag and etag and etag != self._etag:
            raise ObjectConflict(f"{self._where}: ETag is {etag}, expected {self._etag}", hint="Start over.")
        self._etag = self._etag or etag
        if response.status != 206:
            length = response.headers.get("content-length", "")
            self._total = int(length) if length.isdigit() else -1
            return self.position
        span, _, total = response.headers.get("content-range", "").removeprefix("bytes ").partition("/")
        if not total.isdigit() or span.partition("-")[0] != str(self.position):
            raise StoreError(f"{self._where}: range from byte {self.position} was answered by another")
        self._total = int(total)
        return 0


def object_head(client: Client, key: str, *, shown: str, bucket: str = "") -> Head | None:
    """HEAD; None when it answers 404, which may also mean that the bucket is absent."""
    request = Request("HEAD", key, judge=frozenset({404}), bucket=bucket)
    response = client.send(request)
    return None if response.status == 404 else head_of(response, shown, client.where(request))


def object_whole(client: Client, key: str, *, shown: str) -> tuple[bytes, Head] | None:
    """GET whole; None when the object is absent, an error when the bucket is."""
    request = Request("GET", key, judge=frozenset({404}))
    response = client.send(request)
    if response.status == 404:
        if error_code(response) != "NoSuchKey":
            raise refusal(client.where(request), response)
        return None
    response.headers.setdefault("content-length", str(len(response.body)))
    return response.body, head_of(response, shown, client.where(request))
