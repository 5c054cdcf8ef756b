"""Which objects a bucket mirror stands for: sorted shards in the evidence store, referenced by the mirror's manifest.

A foreign bucket may hold millions of objects, a manifest must not. A shard ends at a key whose digest says so, not at
a count, so one more object changes one shard; shards are named by their content, so unchanged ones are neither
written again nor stored twice. A line is `[key, bytes, etag, sha256, source_key, source_etag]`; sha256 is empty for an
object that was there, equal, before the mirror's first run and was never read.

Memory: one shard, at most 4,096 lines of some 250 bytes.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from hashlib import sha256
from typing import NamedTuple
from zlib import crc32

import zstandard

from egress_assets.engine.errors import ChecksumMismatch
from egress_assets.engine.evidence.records import ObjectRecord, TableRecord
from egress_assets.engine.layout import Unit, inventory_key
from egress_assets.engine.release import INVENTORY
from egress_assets.engine.stores import Store

logger = logging.getLogger(__name__)

CUT = 1024  # lines a shard on average: about 30 kB stored, 400 shards for 400,000 objects
_LONGEST = 4 * CUT
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Copied(NamedTuple):
    """One object at the destination, and the version of the source that it is."""

    key: str
    bytes: int
    etag: str
    sha256: str
    source_key: str
    source_etag: str


class Writer:
    """Takes objects in key order; `finish` says what the manifest refers to."""

    def __init__(self, store: Store, unit: Unit) -> None:
        self._store = store
        self._unit = unit
        self._lines: list[bytes] = []
        self._shards: list[ObjectRecord] = []
        self._content = sha256()
        self.objects = 0
        self.bytes = 0

    def add(self, copied: Copied) -> None:
        self._lines.append(_encode(copied).encode("utf-8", "surrogatepass"))
        self._content.update(_encode((copied.key, copied.bytes, copied.source_etag)).encode("utf-8", "surrogatepass"))
        self.objects += 1
        self.bytes += copied.bytes
        if crc32(copied.key.encode("utf-8", "surrogatepass")) % CUT == 0 or len(self._lines) >= _LONGEST:
            self._flush()

    def finish(self) -> TableRecord:
        """All shards as a record; its content_digest is over keys, lengths and source versions, not over shards."""
        self._flush()
        return TableRecord(tuple(self._shards), self._content.hexdigest(), format=INVENTORY, rows=self.objects)

    def _flush(self) -> None:
        if not self._lines:
            return
        raw = b"\n".join(self._lines) + b"\n"
        body = zstandard.ZstdCompressor(level=3).compress(raw)
        digest = sha256(body).hexdigest()
        key = inventory_key(self._unit, digest)
        there = self._store.head(key)
        etag = there.etag if there else self._store.put(key, body).etag
        self._shards.append(ObjectRecord(key, len(body), digest, len(self._lines), etag, raw_bytes=len(raw)))
        self._lines = []


def read(store: Store, record: TableRecord | None) -> Iterator[Copied]:
    """All objects in key order. A shard that is gone or damaged is passed over: what it said is found out anew."""
    for shard in record.objects if record else ():
        try:
            yield from read_shard(store, shard)
        except ChecksumMismatch as error:
            logger.warning("inventory passed over: %s", error)


def find(store: Store, record: TableRecord, key: str) -> Copied | None:
    """The line of one key, by halves: log2(shards) + 1 reads. Raises ChecksumMismatch."""
    first, last, wanted = 0, len(record.objects) - 1, _as_bytes(key)
    while first <= last:
        middle = (first + last) // 2
        lines = {copied.key: copied for copied in read_shard(store, record.objects[middle])}
        if key in lines:
            return lines[key]
        if wanted < min(map(_as_bytes, lines)):
            last = middle - 1
        else:
            first = middle + 1
    return None


def _as_bytes(key: str) -> bytes:
    """The order in which stores list."""
    return key.encode("utf-8", "surrogatepass")


def read_shard(store: Store, shard: ObjectRecord) -> Iterator[Copied]:
    """One shard, verified as a whole before its first line. Raises ChecksumMismatch, also when it is gone."""
    found = store.read(shard.key)
    if found is None or sha256(found[0]).hexdigest() != shard.sha256:
        raise ChecksumMismatch(
            f"inventory shard {shard.key} is {'changed' if found else 'gone'}", hint="Run the mirror again: it heals."
        )
    raw = zstandard.ZstdDecompressor().decompress(found[0], max_output_size=shard.raw_bytes or 0)
    return (Copied._make(json.loads(line)) for line in raw.split(b"\n") if line)
