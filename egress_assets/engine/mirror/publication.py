"""What a `publish` writes of a date: each object's name, the stored parts that it is made of, and how it is formed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from egress_assets.engine.errors import CatalogError
from egress_assets.engine.evidence.records import ObjectRecord, TableRecord, canonical, digest
from egress_assets.engine.evidence.verify import verified_chunks
from egress_assets.engine.joining import formed, header_line
from egress_assets.engine.mirror.outlet import Copy
from egress_assets.engine.mirror.spec import PublishMirror
from egress_assets.engine.platform import Platform
from egress_assets.engine.release import Content, ReleasedObject, Truth
from egress_assets.engine.stores import Head

MADE_OF, WRITER = "egress-made-of", "egress-unit"
"""Metadata of a published object: what decides its bytes, and whose it is."""

FLAG = "flag"
"""In an object's `source`: it is the flag, and has no rows."""

SCHEMA = "schema"
"""In an object's `source`: it describes a table. Such objects are the record's sidecars, so nobody delivers them."""

Known = Mapping[str, ObjectRecord]
"""What the evidence says lies at the destination, by key; the flag among it."""

_TYPES = {"csv": "text/csv", "csv.gz": "application/gzip", "csv.zst": "application/zstd"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """One object under its fixed name. `record` is the table's, with the parts of this object alone."""

    key: str
    content: Content
    record: TableRecord
    format: str
    header: bool

    @property
    def made_of(self) -> str:
        """Equal for equal bytes, as far as one compressor goes: parts, header, format."""
        line = sha256(header_line(self.record)).hexdigest() if self.header else ""
        return digest([self.format, self.record.format, line, [o.sha256 for o in self.record.objects]])

    @property
    def told(self) -> str:
        """What it is made of, in a plan."""
        return f"{len(self.record.objects)} parts"

    @property
    def rows(self) -> int | None:
        rows = [o.rows for o in self.record.objects]
        return None if None in rows else sum(row for row in rows if row is not None)

    @property
    def is_as_stored(self) -> bool:
        return self.format == self.record.format and not self.header

    @property
    def raw_bytes(self) -> int | None:
        raw = [o.raw_bytes for o in self.record.objects]
        return None if None in raw or self.header else sum(each for each in raw if each is not None)

    def copy(self, writer: str) -> Copy:
        """What goes with the bytes through the Outlet, which compares every part with the Release."""
        table, store = self.content.table, self.content.store
        items = (ReleasedObject(table, store, o.key, o.bytes, o.sha256, o.rows, o.etag) for o in self.record.objects)
        headers = {"content-type": self.media_type} if self.media_type else {}
        return Copy(tuple(items), self.key, {MADE_OF: self.made_of, WRITER: writer}, headers)

    @property
    def media_type(self) -> str:
        return _TYPES.get(self.format, "")

    def chunks(self, platform: Platform) -> Iterator[bytes]:
        """The object's bytes; each part is verified while it is read, and a wrong one ends them before its end."""
        return formed(platform.store(self.content.store), self.record, self.format, header=self.header)

    def as_written(self, size: int, sha: str, etag: str) -> ObjectRecord:
        parts = [o.key for o in self.record.objects]
        source = {"store": self.content.store, "table": self.content.table, "keys": parts, "made_of": self.made_of}
        return ObjectRecord(self.key, size, sha, self.rows, etag, source, self.raw_bytes)


@dataclass(frozen=True, slots=True)
class WantedSchema(Wanted):
    """What describes a table: `record` has its sidecar alone, `format` and `header` are of what it tells of.

    Memory: the sidecar, some KB; 1,600 columns with the longest comments are 2 MB.
    """

    @property
    def made_of(self) -> str:
        return digest([SCHEMA, self.format, self.header, self.record.objects[0].sha256])

    @property
    def told(self) -> str:
        return f"the schema of {self.content.table}"

    @property
    def is_as_stored(self) -> bool:
        return False

    @property
    def media_type(self) -> str:
        return "application/json"

    def chunks(self, platform: Platform) -> Iterator[bytes]:
        from egress_assets.engine.sidecar import as_published  # loads `psycopg`

        stored = b"".join(verified_chunks(platform.store(self.content.store), self.record.objects[0]))
        yield as_published(stored, self.format, header=self.header)

    def as_written(self, size: int, sha: str, etag: str) -> ObjectRecord:
        record = Wanted.as_written(self, size, sha, etag)
        return replace(record, source={**record.source, SCHEMA: True})


def wanted_of(mirror: PublishMirror, truth: Truth, date: str) -> list[Wanted]:
    """All objects of a date, in the order of their keys; of tables that the catalog has. Raises CatalogError."""
    tables = (truth.contents[table] for table in mirror.layout.tables if table in truth.contents)
    return sorted((each for content in tables for each in _objects(mirror, content, date)), key=lambda w: w.key)


def _objects(mirror: PublishMirror, content: Content, date: str) -> Iterator[Wanted]:
    layout, record = mirror.layout, content.record
    form = layout.publish.format or record.format
    parts = [record.objects] if layout.is_joined else [(o,) for o in record.objects] or [()]
    for number, objects in enumerate(parts):
        key = layout.key(content.table, date, number)
        yield Wanted(key, content, replace(record, objects=objects), form, layout.publish.header)
    if key := layout.schema(content.table, date):
        described = replace(record, objects=_sidecar(mirror, content, date))
        yield WantedSchema(key, content, described, form, layout.publish.header)


def _sidecar(mirror: PublishMirror, content: Content, date: str) -> tuple[ObjectRecord]:
    """Without it the flag would stand for less than the catalog promises."""
    for sidecar in content.record.sidecars:
        return (sidecar,)
    raise CatalogError(
        f"{content.table} of {mirror.parent.title} {date} has no schema beside its parts for {mirror.name}",
        hint="The date was made before there was one. Made again it gets one when its rows differ; else it can be "
        "published without `schema` only.",
    )


def is_there(wanted: Wanted, known: ObjectRecord | None, there: Head | None) -> bool:
    """Whether what an earlier run noted under this name still lies there and is what is wanted now."""
    if known is None or there is None or known.source.get("made_of") != wanted.made_of:
        return False
    return (there.bytes, there.metadata.get(MADE_OF)) == (known.bytes, wanted.made_of)


def flag_body(mirror: PublishMirror, date: str, records: list[ObjectRecord]) -> bytes:
    """What the flag holds: the objects that it stands for. The same for the same objects; nothing of ours inside."""
    objects = [
        {
            "table": o.source["table"], "key": o.key, "bytes": o.bytes, "sha256": o.sha256, "rows": o.rows,
            **({"kind": SCHEMA} if SCHEMA in o.source else {}),
        }
        for o in records
    ]  # fmt: skip
    said: Mapping[str, Any] = {"format": 1, "kind": "publish", "dataset": mirror.dataset, "date": date}
    return canonical({**said, "objects": objects})
