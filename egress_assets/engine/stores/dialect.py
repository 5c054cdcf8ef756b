"""Where S3 servers differ: data, not subclasses. Measured on the servers of docs/providers.md."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from egress_assets.engine.errors import StoreError
from egress_assets.engine.stores.settings import StoreSettings

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2


@dataclass(frozen=True, slots=True)
class Dialect:
    """What one kind of store wants to hear."""

    kind: str
    quotes_etag: bool  # in If-Match: RGW answers 412 to the quotes that RFC 9110 demands
    checks_sha256: bool  # x-amz-checksum-sha256; RGW accepts a wrong one, so it gets Content-MD5
    is_ordered: bool  # listings are known to come in UTF-8 byte order
    asserts_copy_source: bool  # x-amz-copy-source-if-match has an effect
    takes_location: bool  # CreateBucket names the region
    encodes_uploads: bool  # ListMultipartUploads honours encoding-type; SeaweedFS says so and does not
    tags_parts: bool  # Create takes tags; with RGW the object then answers tag questions with nothing

    def condition(self, etag: str) -> str:
        """The value of If-Match and of x-amz-copy-source-if-match."""
        return f'"{etag}"' if self.quotes_etag else etag

    def integrity(self, body: bytes | bytearray | memoryview, sha256: str) -> dict[str, str]:
        """Headers by which the store proves what it received; MD5 costs 1.4 CPU s a GiB."""
        if self.checks_sha256:
            return {"x-amz-checksum-sha256": base64_of(sha256)}
        digest = hashlib.md5(body, usedforsecurity=False).digest()
        return {"content-md5": base64.b64encode(digest).decode()}


def base64_of(sha256: str) -> str:
    """A hex digest as S3's checksum headers write it."""
    return base64.b64encode(bytes.fromhex(sha256)).decode()


def write_headers(
    settings: StoreSettings, metadata: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Headers that make an object what the settings and the caller say: encryption, ACL, class, metadata.

    Object tags travel as the header `x-amz-tagging`. Raises StoreError for a name that HTTP can't carry.
    """
    own = {
        "x-amz-server-side-encryption": settings.sse,
        "x-amz-server-side-encryption-aws-kms-key-id": settings.sse_kms_key,
        "x-amz-acl": settings.acl,
        "x-amz-storage-class": settings.storage_class,
    }
    result = {name: value for name, value in own.items() if value}
    result |= {name.lower(): value for name, value in (headers or {}).items()}
    result |= {f"x-amz-meta-{name.lower()}": value for name, value in (metadata or {}).items()}
    for name in result:
        if not _TOKEN.fullmatch(name):
            raise StoreError(f"header name {name!r} can't be sent", hint="Use letters, digits and hyphens.")
    return result
