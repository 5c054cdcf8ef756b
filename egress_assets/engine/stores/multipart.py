"""The verbs of one multipart upload, and how an uncertain Complete is settled."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import md5, sha256
from xml.etree import ElementTree as ET

from egress_assets.engine.errors import StoreError, StoreUnavailable
from egress_assets.engine.stores.answers import (
    breakdown,
    error_code,
    field_of,
    is_transient,
    parse_xml,
    refusal,
    text_of,
)
from egress_assets.engine.stores.client import TRIES, Client, Request
from egress_assets.engine.stores.dialect import base64_of
from egress_assets.engine.stores.reading import etag_of, object_head, stream
from egress_assets.engine.stores.tagging import HEADER, put_tags
from egress_assets.engine.stores.wire import Stop

_ABORT_TRIES = 10


@dataclass(frozen=True, slots=True)
class _Part:
    etag: str
    checksum: str  # base64 sha256, empty where the store takes none


class Multipart:
    """One upload at the store, from Create to Complete or Abort."""

    def __init__(self, client: Client, key: str, headers: Mapping[str, str], *, checksums: bool) -> None:
        """Create the upload. `checksums`: each part will carry its sha256, which S3 wants to know beforehand."""
        self._client = client
        self._key = key
        self._checksums = checksums and client.dialect.checks_sha256
        algorithm = {"x-amz-checksum-algorithm": "SHA256"} if self._checksums else {}
        given = {**headers, **algorithm}
        self._tags = "" if client.dialect.tags_parts else given.pop(HEADER, "")
        request = Request("POST", key, query=(("uploads", ""),), headers=given)
        self._id = field_of(client.send(request).body, "UploadId")
        if not self._id:
            raise StoreError(f"{client.where(request)}: answer has no upload id")
        self._parts: dict[int, _Part] = {}
        self._lock = threading.Lock()

    def __str__(self) -> str:
        return f"upload {self._id} of {self._key!r}"

    def put(self, number: int, body: memoryview, stop: Stop) -> None:
        """Send one part. Hashes it: S3 signs each part's digest."""
        digest = sha256(body).hexdigest()
        query = (("partNumber", str(number)), ("uploadId", self._id))
        headers = self._client.dialect.integrity(body, digest)
        response = self._client.send(
            Request("PUT", self._key, query=query, headers=headers, body=body, sha256=digest), stop=stop
        )
        self._note(number, _Part(etag_of(response), base64_of(digest) if self._checksums else ""))

    def copy(self, number: int, headers: Mapping[str, str], stop: Stop) -> None:
        """Have the store copy one part; `headers` name source, range and condition."""
        query = (("partNumber", str(number)), ("uploadId", self._id))
        request = Request("PUT", self._key, query=query, headers=headers)
        answer = parse_xml(self._client.send(request, stop=stop), self._client.where(request), "CopyPartResult")
        self._note(number, _Part(text_of(answer, "ETag").strip('"'), ""))

    def _note(self, number: int, part: _Part) -> None:
        if not part.etag:
            raise StoreError(f"part {number} of {self}: answer has no ETag")
        with self._lock:
            self._parts[number] = part

    def complete(self, size: int, digest: str, stop: Stop) -> str:
        """Publish the object, with its tags, and return its ETag. `digest` is its hex sha256, empty when unknown."""
        etag = self._publish(size, digest, stop)
        if self._tags:
            put_tags(self._client, self._key, self._tags)
        return etag

    def _publish(self, size: int, digest: str, stop: Stop) -> str:
        """Complete, until the outcome is known.

        An answer that is lost, 404, 5xx or a 200 with an error is settled by looking: the object that is there counts
        when it has our size and our ETag, or, where ETags are no digests (KMS), our bytes.
        Raises StoreUnavailable when it is not there after all tries.
        """
        body = self._document()
        headers = {"content-type": "application/xml"}
        query = (("uploadId", self._id),)
        request = Request("POST", self._key, query, headers, body, sha256(body).hexdigest())
        started, done = time.monotonic(), 0
        while True:
            done += 1
            answer = self._try_complete(request, stop, done)
            if isinstance(answer, str):
                return answer
            etag = self._look(size, digest)
            if etag:
                return etag
            is_gone = not isinstance(answer, StoreUnavailable)
            if is_gone or done == TRIES or not self._client.pause(done, started, stop):
                raise answer

    def _try_complete(self, request: Request, stop: Stop, done: int) -> str | StoreError:
        """The ETag, or the failure that leaves the outcome open. Raises a definite no."""
        where = self._client.where(request)
        try:
            response = self._client.once(request, stop=stop)
        except ssl.SSLCertVerificationError as error:
            raise breakdown(where, error) from error
        except OSError as error:
            return breakdown(where, error, tries=done)
        if error_code(response):
            failure = refusal(where, response, tries=done)
            if not is_transient(response) and response.status != 404:
                raise failure
            return failure
        etag = field_of(response.body, "ETag").strip('"')
        return etag or StoreUnavailable(f"{where}: answer has no ETag")

    def _document(self) -> bytes:
        root = ET.Element("CompleteMultipartUpload", xmlns="http://s3.amazonaws.com/doc/2006-03-01/")
        for number, part in sorted(self._parts.items()):
            element = ET.SubElement(root, "Part")
            ET.SubElement(element, "PartNumber").text = str(number)
            ET.SubElement(element, "ETag").text = f'"{part.etag}"'
            if part.checksum:
                ET.SubElement(element, "ChecksumSHA256").text = part.checksum
        return ET.tostring(root)

    def _look(self, size: int, digest: str) -> str:
        """The ETag of our object, when that is what lies at the key."""
        head = object_head(self._client, self._key, shown=self._key)
        if head is None or head.bytes != size:
            return ""
        if head.etag == self._expected_etag():
            return head.etag
        if not digest:
            return ""
        found = sha256()
        for piece in stream(self._client, self._key, 0, head.etag):
            found.update(piece)
        return head.etag if found.hexdigest() == digest else ""

    def _expected_etag(self) -> str:
        """MD5 over the parts' MD5s, as all known stores form it outside KMS."""
        parts = [part.etag for _, part in sorted(self._parts.items())]
        try:
            joined = b"".join(bytes.fromhex(etag) for etag in parts)
        except ValueError:
            return ""
        return f"{md5(joined, usedforsecurity=False).hexdigest()}-{len(parts)}"

    def abort(self, stop: Stop) -> None:
        """Raises StoreError when the store still knows the upload."""
        abort_upload(self._client, self._key, self._id, stop)


def abort_upload(client: Client, key: str, upload_id: str, stop: Stop) -> None:
    """Abort until ListParts says 404: a part that was on its way may outlive the first Abort."""
    query, judge = (("uploadId", upload_id),), frozenset({404})
    started, done = time.monotonic(), 0
    while done < _ABORT_TRIES:
        done += 1
        client.send(Request("DELETE", key, query=query, judge=judge), stop=stop)
        if client.send(Request("GET", key, query=query, judge=judge), stop=stop).status == 404:
            return
        if not client.pause(done, started, stop):
            break
    raise StoreUnavailable(
        f"upload {upload_id} of {key!r} is still there after {done} aborts", hint="The sweep will try again."
    )
