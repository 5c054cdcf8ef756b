"""The first rows of a scrubbed table, for people to look at. Of anything that is not scrubbed it reads no byte.

The head of the first object that has rows is enough; nothing is verified but the ETag, since the digest is of the whole
object.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import zstandard
from isal import isal_zlib
from isal.igzip_lib import IsalError

from egress_assets.engine.errors import ChecksumMismatch, ManifestInvalid, ReleaseRefused
from egress_assets.engine.evidence.records import Column, Manifest
from egress_assets.engine.stores import Store

STORED = 256 * 1024  # bytes that are asked of the store
RAW = 1024 * 1024  # bytes that they may become: a frame can hold a thousand times its size
_GZIP = 31  # window bits 15 + 16
# COPY writes NULL as nothing and the empty text as "". A field that does not end within the bytes does not match.
_FIELD = re.compile(rb'(?:"([^"]*+(?:""[^"]*+)*+)"|([^",\n]*+))([,\n])')

Row = list[str | None]


@dataclass(frozen=True, slots=True)
class Sample:
    """`rows` are whole rows in the table's order, NULL as None; fewer than asked for where a row is longer than RAW."""

    columns: tuple[Column, ...]
    rows: list[Row]
    of: int | None  # rows of the table


def sample(store: Store, manifest: Manifest, table: str, *, rows: int) -> Sample:
    """At most `rows` first rows of `table`.

    Memory: STORED + 2 x RAW. Raises ReleaseRefused for whatever is not a gated scrub, ManifestInvalid, and as
    `Store.get` does; ChecksumMismatch for bytes that don't decompress.
    """
    record = manifest.draft.tables.get(table)
    if record is None:
        raise ManifestInvalid(f"the manifest of {manifest.unit.title} {manifest.date} does not hold {table}")
    if manifest.unit.stage != "scrub" or not record.checks or not all(check.passed for check in record.checks):
        raise ReleaseRefused(f"{manifest.unit.title} has not passed a gate, so its rows are not shown")
    raw = b""
    first = next((o for o in record.objects if o.rows != 0), None)
    if first:
        raw = _raw(_head(store.get(first.key, etag=first.etag or None)), record.format)
    return Sample(record.columns, list(islice(parsed(raw), rows)), record.rows)


def parsed(raw: bytes) -> Iterator[Row]:
    """Rows of CSV as COPY writes it, up to the last that is whole. Bytes that are no UTF-8 become U+FFFD."""
    row: Row = []
    at = 0
    while found := _FIELD.match(raw, at):
        quoted, plain, end = found.groups()
        text = plain if quoted is None else quoted.replace(b'""', b'"')
        row.append(text.decode("utf-8", "replace") if text or quoted is not None else None)
        at = found.end()
        if end == b"\n":
            yield row
            row = []


def _head(chunks: Iterator[bytes]) -> bytes:
    """The rest is never asked for: dropping the iterator closes the answer."""
    out = bytearray()
    for chunk in chunks:
        out += chunk
        if len(out) >= STORED:
            break
    return bytes(out[:STORED])


def _raw(stored: bytes, suffix: str) -> bytes:
    """What the head of an object says, cut at RAW; its last frame may end early."""
    try:
        if suffix.endswith(".zst"):
            return zstandard.ZstdDecompressor().stream_reader(io.BytesIO(stored), read_across_frames=True).read(RAW)
        return _gunzipped(stored) if suffix.endswith(".gz") else stored[:RAW]
    except (zstandard.ZstdError, IsalError) as error:  # pyright: ignore[reportGeneralTypeIssues] - isal's stub
        raise ChecksumMismatch("the head of the object does not decompress", hint="Run `egress verify`.") from error


def _gunzipped(stored: bytes) -> bytes:
    out = bytearray()
    while stored and len(out) < RAW:
        member = isal_zlib.decompressobj(_GZIP)
        out += member.decompress(stored, RAW - len(out))
        if not member.eof:
            break
        stored = member.unused_data
    return bytes(out)
