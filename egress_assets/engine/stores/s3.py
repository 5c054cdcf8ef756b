"""Any S3-compatible bucket: AWS, SeaweedFS, MinIO and others.

Keys are opaque and encoded exactly once: `.` and `..`, `//`, a newline are sent as they are. Where a store refuses a
key, that is an error which names it, never another key. The settings' prefix is a folder that callers don't see: it
goes before every key and off every listed one.

Source: Amazon S3 API reference; RFC 9110 (conditions, ranges).
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from hashlib import sha256
from xml.etree.ElementTree import Element

from egress_assets.engine.errors import StoreError
from egress_assets.engine.stores import Answer, Head, Listed, Pending, Uploaded
from egress_assets.engine.stores.answers import breakdown, error_code, is_transient, refusal
from egress_assets.engine.stores.bucket import create_bucket, probe_conditional_put, require_bucket
from egress_assets.engine.stores.client import Client, Request
from egress_assets.engine.stores.control import Configuration, Subject, configuration, configure
from egress_assets.engine.stores.copying import Copy, CopyLimits, copy_object
from egress_assets.engine.stores.dialect import Dialect, write_headers
from egress_assets.engine.stores.listing import list_keys, list_uploads
from egress_assets.engine.stores.multipart import abort_upload
from egress_assets.engine.stores.reading import object_head, object_whole, stream
from egress_assets.engine.stores.settings import StoreSettings
from egress_assets.engine.stores.tagging import tags_of
from egress_assets.engine.stores.uploading import put_whole, send
from egress_assets.engine.stores.wire import Stop

KIND = "s3"

_AWS = Dialect(
    kind=KIND,
    quotes_etag=True,
    checks_sha256=True,
    is_ordered=False,  # SeaweedFS is not; listing.py knows the servers that are
    asserts_copy_source=True,
    takes_location=True,
    encodes_uploads=False,  # AWS does: client.is_aws
    tags_parts=True,
)


class S3Store:
    """One bucket. See the Store protocol for what each method promises."""

    def __init__(self, settings: StoreSettings, dialect: Dialect, copy_limits: CopyLimits | None = None) -> None:
        self.name = settings.name
        self.kind = dialect.kind
        self.zone = settings.zone
        self.bucket = settings.bucket
        self._settings = settings
        self._copy_limits = copy_limits or CopyLimits()
        self._prefix = (
            settings.prefix if settings.prefix.endswith("/") or not settings.prefix else settings.prefix + "/"
        )
        self._client = Client(settings, dialect)
        self._is_bucket_seen = False

    def __repr__(self) -> str:
        return f"S3Store({self.kind} {self.name!r}, bucket {self.bucket!r})"

    def head(self, key: str) -> Head | None:
        head = object_head(self._client, self._full(key), shown=key)
        if head is None and not self._is_bucket_seen:
            require_bucket(self._client)
        self._is_bucket_seen = True
        return head

    def read(self, key: str) -> tuple[bytes, Head] | None:
        return object_whole(self._client, self._full(key), shown=key)

    def get(self, key: str, *, start: int = 0, etag: str | None = None) -> Iterator[bytes]:
        return stream(self._client, self._full(key), start, etag)

    def put(
        self,
        key: str,
        body: bytes,
        *,
        metadata: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Uploaded:
        digest = sha256(body).hexdigest()
        etag = put_whole(self._client, self._full(key), body, digest, write_headers(self._settings, metadata, headers))
        return Uploaded(key, len(body), digest, etag)

    def put_if(self, key: str, body: bytes, *, etag: str | None) -> Answer:
        client, digest = self._client, sha256(body).hexdigest()
        condition = {"if-none-match": "*"} if etag is None else {"if-match": client.dialect.condition(etag)}
        headers = {**write_headers(self._settings), **client.dialect.integrity(body, digest), **condition}
        request = Request("PUT", self._full(key), headers=headers, body=body, sha256=digest)
        try:
            response = client.once(request)
        except ssl.SSLCertVerificationError as error:
            raise breakdown(client.where(request), error) from error
        except OSError:
            return "ambiguous"
        code = error_code(response)
        if not code:
            return "ok"
        if response.status == 412 or (response.status == 404 and code == "NoSuchKey"):
            return "refused"
        if is_transient(response) or response.status == 409:
            return "ambiguous"
        raise refusal(client.where(request), response)

    def upload(
        self,
        key: str,
        chunks: Iterable[bytes],
        *,
        metadata: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        size: int | None = None,
    ) -> Uploaded:
        sent = send(self._client, self._full(key), chunks, write_headers(self._settings, metadata, headers), size)
        return Uploaded(key, sent.bytes, sent.sha256, sent.etag)

    def copy(self, source_key: str, key: str, *, source_bucket: str | None = None, etag: str | None = None) -> Uploaded:
        """As the protocol says; `source_key` is whole, without this store's prefix, when `source_bucket` is another."""
        source = source_key if source_bucket else self._full(source_key)
        return copy_object(
            self._client, Copy(source, self._full(key), key, source_bucket or "", etag), self._copy_limits
        )

    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[Listed]:
        after = self._prefix + start_after if start_after else ""
        hidden = len(self._prefix)
        for listed in list_keys(self._client, self._prefix + prefix, after):
            yield Listed(listed.key[hidden:], listed.bytes, listed.etag, listed.modified) if hidden else listed

    def delete(self, key: str) -> None:
        request = Request("DELETE", self._full(key), judge=frozenset({404}))
        response = self._client.send(request)
        if response.status == 404 and error_code(response) == "NoSuchBucket":
            raise refusal(self._client.where(request), response)

    def tags(self, key: str) -> Mapping[str, str]:
        """Object tags; written by the header `x-amz-tagging` of put and upload."""
        return tags_of(self._client, self._full(key))

    def uploads(self, prefix: str = "") -> Iterator[Pending]:
        for pending in list_uploads(self._client, self._prefix + prefix):
            yield replace(pending, key=pending.key[len(self._prefix) :])

    def abort(self, upload: Pending) -> None:
        abort_upload(self._client, self._full(upload.key), upload.upload_id, Stop())

    def ping(self) -> str:
        started = time.monotonic()
        query = (("list-type", "2"), ("max-keys", "1"), ("prefix", self._prefix))
        self._client.send(Request("GET", query=query))
        took = (time.monotonic() - started) * 1000
        return f"{self.kind} store {self.name!r}: bucket {self.bucket!r} answered in {took:.0f} ms"

    def ensure_bucket(self) -> bool:
        """Create the bucket when it is absent; whether this call created it."""
        return create_bucket(self._client)

    def probe_conditional_put(self, key: str) -> str:
        """Race real conditional PUTs at `key`; a line for people. Raises StoreError when they do not hold."""
        return probe_conditional_put(self, key)

    def configuration(self, subject: Subject) -> Configuration:
        """What the bucket says of itself. Raises StoreError, StoreUnavailable."""
        return configuration(self._client, subject)

    def configure(self, subject: Subject, document: Element, headers: Mapping[str, str]) -> None:
        """Set a whole configuration of the bucket. Raises StoreError, StoreUnavailable."""
        configure(self._client, subject, document, headers)

    def close(self) -> None:
        """Close idle connections; the store stays usable."""
        self._client.close()

    def _full(self, key: str) -> str:
        if not key:
            raise StoreError(f"an empty key was asked of store {self.name!r}", hint="A key has at least one byte.")
        return self._prefix + key


def open_store(settings: StoreSettings) -> S3Store:
    """A bucket of an S3 endpoint. Opens no connection yet."""
    return S3Store(settings, _AWS)
