"""Listings: pages of ListObjectsV2 and ListMultipartUploads, checked, and in UTF-8 byte order.

A page that is not whole raises; it never ends a listing. Order: AWS, Ceph and MinIO list in byte order, which is
asserted while keys stream. SeaweedFS lists folder by folder (`b/x` before `b-x`): any other server's keys are sorted
first, in runs that spill to temporary files.

Python compares str by code point, which for valid unicode is the order of the UTF-8 bytes.
Source: Amazon S3 API reference; SeaweedFS 4.48 and Ceph 16.2.15 as measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from urllib.parse import unquote_plus
from xml.etree import ElementTree as ET

from egress_assets.engine.errors import StoreError
from egress_assets.engine.stores import Listed, Pending
from egress_assets.engine.stores.answers import parse_xml, text_of
from egress_assets.engine.stores.client import Client, Request
from egress_assets.engine.stores.http import Response
from egress_assets.engine.stores.sorting import sort_listing

_ORDERED_SERVERS = ("AmazonS3", "MinIO", "Ceph")


def list_keys(client: Client, prefix: str, start_after: str) -> Iterator[Listed]:
    """Keys as stored under `prefix`, after `start_after`, strictly increasing. Memory: a page, or one sorted run."""
    pages = _Pages(client, prefix)
    first = pages.fetch(start_after=start_after)
    if client.dialect.is_ordered or first.headers.get("server", "").startswith(_ORDERED_SERVERS):
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
        self.where = client.where(Request("LIST"))

    def fetch(self, *, start_after: str = "", token: str = "") -> Response:
        query = [("list-type", "2"), ("encoding-type", "url"), ("prefix", self._prefix)]
        if token:
            query.append(("continuation-token", token))
        elif start_after:
            query.append(("start-after", start_after))
        return self._client.send(Request("GET", query=tuple(query)))

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
        decode = decoder(page)
        for element in page.iter(f"{space}Contents"):
            entry = {child.tag: child.text or "" for child in element}
            try:
                name = decode(entry[key])
                listed = Listed(name, int(entry[size]), entry[etag].strip('"'), parse_time(entry[modified]))
            except (KeyError, ValueError) as error:
                raise StoreError(f"{self.where}: entry {entry.get(key)!r} can't be read: {error!r}") from None
            if not name.startswith(self._prefix):
                raise StoreError(f"{self.where}: key {name!r} is outside of the prefix {self._prefix!r}")
            yield listed


def list_uploads(client: Client, prefix: str) -> Iterator[Pending]:
    """Multipart uploads in progress whose key, as stored, starts with `prefix`."""
    where = client.where(Request("LIST uploads"))
    markers: tuple[tuple[str, str], ...] = ()
    while True:
        query = (("uploads", ""), ("encoding-type", "url"), ("prefix", prefix), *markers)
        page = parse_xml(client.send(Request("GET", query=query)), where, "ListMultipartUploadsResult")
        decode = decoder(page)
        for element in page:
            if element.tag.endswith("Upload"):
                key, started = decode(text_of(element, "Key")), parse_time(text_of(element, "Initiated"))
                if key.startswith(prefix):  # not every store filters
                    yield Pending(key, text_of(element, "UploadId"), started)
        if not is_truncated(page, where):
            return
        key, upload = decode(text_of(page, "NextKeyMarker")), text_of(page, "NextUploadIdMarker")
        following = (("key-marker", key), ("upload-id-marker", upload))
        if not key or following == markers:
            raise StoreError(f"{where}: page says there is more, without a way on")
        markers = following


def is_truncated(page: ET.Element, where: str) -> bool:
    """Raises StoreError unless the page says plainly whether it is the last one."""
    said = text_of(page, "IsTruncated")
    if said not in ("true", "false"):
        raise StoreError(f"{where}: page does not say whether it is the last (IsTruncated is {said!r})")
    return said == "true"


def decoder(page: ET.Element) -> Callable[[str], str]:
    """How keys of this page are read: url-encoded only when the page says so."""
    if text_of(page, "EncodingType") != "url":
        return str
    return lambda text: unquote_plus(text, errors="strict")


def parse_time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
