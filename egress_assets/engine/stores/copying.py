"""Server-side copies at one endpoint: one request up to 5 GiB, parts above; of what was seen, or an error."""

from __future__ import annotations

import base64
import functools
from dataclasses import dataclass
from urllib.parse import urlencode

from egress_assets.engine.errors import ObjectConflict, ObjectMissing, StoreError
from egress_assets.engine.stores import Head, Uploaded
from egress_assets.engine.stores.answers import parse_xml, text_of
from egress_assets.engine.stores.client import Client, Request
from egress_assets.engine.stores.dialect import write_headers
from egress_assets.engine.stores.flight import whole_or_nothing
from egress_assets.engine.stores.multipart import Multipart
from egress_assets.engine.stores.reading import object_head
from egress_assets.engine.stores.sigv4 import encode_key
from egress_assets.engine.stores.tagging import HEADER, tags_of


@dataclass(frozen=True, slots=True)
class CopyLimits:
    """Sizes in bytes. S3 copies at most 5 GiB in one request."""

    whole: int = 5 * 2**30
    part: int = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Copy:
    """What goes where; keys as stored."""

    source: str
    target: str
    shown: str  # the target's key as the caller wrote it
    source_bucket: str  # empty: this bucket
    etag: str | None  # the source's, as the caller saw it


def copy_object(client: Client, copy: Copy, limits: CopyLimits) -> Uploaded:
    """Copy what has the source's present ETag, which must be the caller's when one was given.

    Metadata and tags go with it; encryption, ACL and class are this store's. `sha256` is what the store computed, and
    empty where it computes none (RGW, copies in parts). Raises ObjectMissing, ObjectConflict.
    """
    head = _source(client, copy)
    if copy.etag is not None and head.etag != copy.etag:
        raise _changed(client, copy, copy.etag, head.etag)
    if head.bytes <= limits.whole:
        etag, digest = _copy_whole(client, copy, head)
    else:
        etag, digest = _copy_parts(client, copy, head, limits.part), ""
    if not client.dialect.asserts_copy_source:
        _assert_unchanged(client, copy, head)
    return Uploaded(copy.shown, head.bytes, digest, etag)


def _source(client: Client, copy: Copy) -> Head:
    head = object_head(client, copy.source, shown=copy.source, bucket=copy.source_bucket)
    if head is None:
        where = client.where(Request("HEAD", copy.source, bucket=copy.source_bucket))
        raise ObjectMissing(f"{where}: source of a copy is absent")
    return head


def _changed(client: Client, copy: Copy, expected: str, found: str) -> ObjectConflict:
    where = client.where(Request("COPY", copy.source, bucket=copy.source_bucket))
    return ObjectConflict(f"{where}: ETag is {found}, expected {expected}", hint="The source changed: start over.")


def _source_headers(client: Client, copy: Copy, head: Head) -> dict[str, str]:
    try:
        source = encode_key(copy.source)
    except UnicodeEncodeError:
        raise StoreError(f"key {copy.source!r} is not unicode", hint="Keys are valid UTF-8.") from None
    return {
        "x-amz-copy-source": f"/{copy.source_bucket or client.settings.bucket}/{source}",
        "x-amz-copy-source-if-match": client.dialect.condition(head.etag),
    }


def _copy_whole(client: Client, copy: Copy, head: Head) -> tuple[str, str]:
    """ETag and hex sha256 (empty when the store did not say)."""
    algorithm = {"x-amz-checksum-algorithm": "SHA256"} if client.dialect.checks_sha256 else {}
    headers = {**write_headers(client.settings), **_source_headers(client, copy, head), **algorithm}
    request = Request("PUT", copy.target, headers=headers)
    answer = parse_xml(client.send(request), client.where(request), "CopyObjectResult")
    checksum = text_of(answer, "ChecksumSHA256")
    return text_of(answer, "ETag").strip('"'), base64.b64decode(checksum).hex() if checksum else ""


def _copy_parts(client: Client, copy: Copy, head: Head, part: int) -> str:
    tags = urlencode(tags_of(client, copy.source, bucket=copy.source_bucket))
    extra = {HEADER: tags} if tags else {}
    headers = write_headers(client.settings, head.metadata, {**head.headers, **extra})
    source = _source_headers(client, copy, head)
    size = max(part, -(-head.bytes // client.settings.max_parts))
    multipart = Multipart(client, copy.target, headers, checksums=False)
    with whole_or_nothing(multipart, client.settings.parts_in_flight) as flight:
        for number, start in enumerate(range(0, head.bytes, size), 1):
            span = f"bytes={start}-{min(start + size, head.bytes) - 1}"
            flight.wait_below(client.settings.parts_in_flight)
            flight.begin(functools.partial(multipart.copy, number, {**source, "x-amz-copy-source-range": span}))
        flight.land()
        return multipart.complete(head.bytes, "", flight.stop)


def _assert_unchanged(client: Client, copy: Copy, head: Head) -> None:
    """Where the store ignores the condition: a source that changed meanwhile makes the copy nobody's content."""
    after = _source(client, copy)
    if (after.etag, after.modified) != (head.etag, head.modified):
        client.send(Request("DELETE", copy.target, judge=frozenset({404})))
        raise _changed(client, copy, head.etag, after.etag)
