"""The first rows of a scrubbed table, for people to look at. Of anything that is not scrubbed it reads no byte.

The head of the first object that has rows is enough; nothing is verified but the ETag, since the digest is of the whole
object.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice

import zstandard
from isal import isal_zlib
from isal.igzip_lib import IsalError

from egress_assets.engine.dialect import ESCAPES, PLAIN, Dialect
from egress_assets.engine.errors import ChecksumMismatch, ManifestInvalid, ReleaseRefused
from egress_assets.engine.evidence.records import Column, Manifest
from egress_assets.engine.stores import Store

STORED = 256 * 1024  # bytes that are asked of the store
RAW = 1024 * 1024  # bytes that they may become: a frame can hold a thousand times its size
_GZIP = 31  # window bits 15 + 16
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)

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
    return Sample(record.columns, list(islice(parsed(raw, record.csv), rows)), record.rows)


def parsed(raw: bytes, dialect: Dialect = PLAIN) -> Iterator[Row]:
    """Rows as COPY writes them, up to the last that is whole. Bytes that are no UTF-8 become U+FFFD."""
    field, row, at = _field(dialect), Row(), 0
    while found := field.match(raw, at):
        value = _unescaped(found[1], dialect) if dialect.is_escaped else _unquoted(found[1], found[2], dialect)
        row.append(None if value is None else value.decode("utf-8", "replace"))
        at = found.end()
        if found[3] == b"\n":
            yield row
            row = []


@cache
def _field(dialect: Dialect) -> re.Pattern[bytes]:
    """A field with what ends it: quoted (1) or plain (2), escaped (1). What the bytes do not end does not match."""
    d, q = (re.escape(sign).encode() for sign in (dialect.delimiter, dialect.quote))
    if dialect.is_escaped:
        return re.compile(rb"((?:[^\\\n%s]++|\\.)*+)()([%s\n])" % (d, d), re.DOTALL)
    return re.compile(rb"(?:%s([^%s]*+(?:%s%s[^%s]*+)*+)%s|([^%s%s\n]*+))([%s\n])" % (q, q, q, q, q, q, q, d, d))


def _unquoted(quoted: bytes | None, plain: bytes, dialect: Dialect) -> bytes | None:
    """NULL is never quoted; a text that looks like it always is."""
    if quoted is None:
        return None if plain == dialect.null.encode() else plain
    quote = dialect.quote.encode()
    return quoted.replace(quote * 2, quote)


def _unescaped(text: bytes, dialect: Dialect) -> bytes | None:
    """NULL is looked for before escapes are read: a backslash in a value is always doubled."""
    if text == dialect.null.encode():
        return None
    return _ESCAPE.sub(lambda found: ESCAPES.get(found[1].decode("latin-1"), "").encode() or found[1], text)


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
