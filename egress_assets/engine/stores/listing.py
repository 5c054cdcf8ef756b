"""Listings: pages of ListObjectsV2 and ListMultipartUploads, checked, and in UTF-8 byte order.

A page that is not whole raises; it never ends a listing. Order: AWS, Ceph and MinIO list in byte order, which is
asserted while keys stream. SeaweedFS lists folder by folder (`b/x` before `b-x`): any other server's keys are sorted
first, in runs that spill to temporary files.

Python compares str by code point, which for valid unicode is the order of the UTF-8 bytes.
Source: Amazon S3 API reference; SeaweedFS 4.48 and Ceph 16.2.15 as measured.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from urllib.parse import unquote_plus
from xml.etree import ElementTree as ET

from egress_assets.engine.errors import StoreError
from egress_assets.engine.stores import Listed, Pending
from egress_assets.engine.stores.answers import local_name, parse_xml, text_of
from egress_assets.engine.stores.client import Client, Request
from egress_assets.engine.stores.http import Response
from egress_assets.engine.stores.sorting import sort_listing

_ORDERED_SERVERS = ("AmazonS3", "MinIO", "Ceph")
_SEAWEED = "SeaweedFS"  # also where it stands in for a Ceph
# What is not needed, and where RGW writes control characters raw, which no XML parser takes.
_ECHO = re.compile(rb"<Prefix>[^<]*</Prefix>")
_MARKERS = re.compile(rb"<(Prefix|KeyMarker|NextKeyMarker)>[^<]*</\1>")


def list_keys(client: Client, prefix: str, start_after: str) -> Iterator[Listed]:
    """Keys as stored under `prefix`, after `start_after`, strictly increasing. Memory: a page, or one sorted run."""
    pages = _Pages(client, prefix)
    first = pages.fetch(start_after=start_after)
    server = first.headers.get("server", "")
    if server.startswith(_ORDERED_SERVERS) or (client.dialect.is_ordered and not server.startswith(_SEAWEED)):
        yield from _increasing(pages.listed(first), pages.where)
        return
    if start_after:  # it means another set where the order is another
        first = pages.fetch()
    keys = (listed for listed in pages.listed(first) if listed.key > start_after)
    yield from _increasing(sort_listing(keys, pages.where), pages.where)


def _increasing(keys: Iterator[Listed], where: str) -> Iterator[Listed]:
    last = ""
    for listed in keys:
        if listed.key <= last:
            raise StoreError(
                f"{where}: key {listed.key!r} came after {last!r}", hint="The store lists out of order, or twice."
            )
        last = listed.key
        yield listed


class _Pages:
    """ListObjectsV2, page by page."""

    def __init__(self, client: Client, prefix: str) -> None:
        self._client = client
        self._prefix = prefix
        self.where = client.where(Request("GET", query=(("list-type", "2"),)))

    def fetch(self, *, start_after: str = "", token: str = "") -> Response:
        query = [("list-type", "2"), ("encoding-type", "url"), ("prefix", self._prefix)]
        if token:
            query.append(("continuation-token", token))
        elif start_after:
            query.append(("start-after", start_after))
        response = self._client.send(Request("GET", query=tuple(query)))
        response.body = _ECHO.sub(b"", response.body, count=1)
        return response

    def listed(self, response: Response) -> Iterator[Listed]:
        token = ""
        while True:
            page = parse_xml(response, self.where, "ListBucketResult")
            yield from self._entries(page)
            following = text_of(page, "NextContinuationToken")
            if not is_truncated(page, self.where):
                return
            if not following or following == token:
                raise StoreError(f"{self.where}: page says there is more, without a way on")
            token = following
            response = self.fetch(token=token)

    def _entries(self, page: ET.Element) -> Iterator[Listed]:
        space = page.tag[: page.tag.find("}") + 1]
        key, size, etag, modified = (f"{space}{name}" for name in ("Key", "Size", "ETag", "LastModified"))
        decode = _decoder(page)
        for element in page.iter(f"{space}Contents"):
            found = element.findtext
            try:
                name = decode(found(key, ""))
                listed = Listed(name, int(found(size, "")), found(etag, "").strip('"'), parse_time(found(modified, "")))
            except ValueError as error:
                raise StoreError(f"{self.where}: entry {found(key)!r} can't be read: {error}") from None
            if not name.startswith(self._prefix):
                raise StoreError(f"{self.where}: key {name!r} is outside of the prefix {self._prefix!r}")
            yield listed


def list_uploads(client: Client, prefix: str) -> Iterator[Pending]:
    """Multipart uploads in progress whose key, as stored, starts with `prefix`."""
    may_encode = client.dialect.encodes_uploads or client.is_aws
    encoding = (("encoding-type", "url"),) if may_encode else ()
    markers: tuple[tuple[str, str], ...] = ()
    while True:
        request = Request("GET", query=(("uploads", ""), *encoding, ("prefix", prefix), *markers))
        where = client.where(request)
        response = client.send(request)
        response.body = _MARKERS.sub(b"", response.body)
        page = parse_xml(response, where, "ListMultipartUploadsResult")
        is_encoded = may_encode and not response.headers.get("server", "").startswith(_SEAWEED)
        found = [_pending(element, is_encoded) for element in page if local_name(element) == "Upload"]
        yield from (pending for pending in found if pending.key.startswith(prefix))  # not every store filters
        if not is_truncated(page, where):
            return
        last = found[-1] if found else None
        following = (("key-marker", last.key), ("upload-id-marker", last.upload_id)) if last else ()
        if following in ((), markers):
            raise StoreError(f"{where}: page says there is more, without a way on")
        markers = following


def _pending(element: ET.Element, is_encoded: bool) -> Pending:
    key = text_of(element, "Key")
    started = parse_time(text_of(element, "Initiated"))
    return Pending(unquote_plus(key, errors="strict") if is_encoded else key, text_of(element, "UploadId"), started)


def is_truncated(page: ET.Element, where: str) -> bool:
    """Raises StoreError unless the page says plainly whether it is the last one."""
    said = text_of(page, "IsTruncated")
    if said not in ("true", "false"):
        raise StoreError(f"{where}: page does not say whether it is the last (IsTruncated is {said!r})")
    return said == "true"


def _decoder(page: ET.Element) -> Callable[[str], str]:
    """How keys of this page are read: url-encoded only when the page says so."""
    if text_of(page, "EncodingType") != "url":
        return str
    return lambda text: unquote_plus(text, errors="strict")


def parse_time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
