"""Ceph RGW: the same client, with what RGW wants to hear (measured on 16.2.15).

RGW compares If-Match without quotes, accepts wrong x-amz-checksum headers without a word (so every body carries
Content-MD5), ignores conditions on copies and on Complete, and answers 500 or 409 in conditional races (ambiguous).
"""

from __future__ import annotations

from egress_assets.engine.stores.dialect import Dialect
from egress_assets.engine.stores.s3 import S3Store
from egress_assets.engine.stores.settings import StoreSettings

KIND = "ceph"

_RGW = Dialect(
    kind=KIND,
    quotes_etag=False,
    checks_sha256=False,
    is_ordered=True,
    asserts_copy_source=False,
    takes_location=False,
    encodes_uploads=True,  # without saying so in the answer
    tags_parts=False,
)


def open_store(settings: StoreSettings) -> S3Store:
    """A bucket of a Ceph RGW. Opens no connection yet."""
    return S3Store(settings, _RGW)
