"""The checksum of the rows that stored objects hold: decompressed, parsed, in any order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import zstandard
from isal.igzip_lib import IsalError

from egress_assets.engine.canonical import canonical_rows
from egress_assets.engine.checksum import Checksum, added, checksum
from egress_assets.engine.dialect import Dialect
from egress_assets.engine.errors import ChecksumMismatch
from egress_assets.engine.stream import decompressed

_STORED = 4096
"""Bytes that are decompressed at a time. Of rows that repeat themselves they become 4 MiB (gzip), 128 MiB (zstd)."""


def rows_checksum(chunks: Iterable[bytes], suffix: str, dialect: Dialect, columns: int) -> Checksum:
    """Of one object's rows; `chunks` are its bytes as stored, `suffix` its format.

    Memory: engine/canonical.py with chunks as said above; 10 MB for rows as they are usually. Raises ChecksumMismatch
    for bytes that don't decompress, and what `chunks` raises.
    """
    blocks = canonical_rows(decompressed(_pieces(chunks), suffix), dialect, columns)
    try:
        return added(checksum(rows) for rows in blocks)
    except (zstandard.ZstdError, IsalError) as error:  # pyright: ignore[reportGeneralTypeIssues] - isal's stub
        raise ChecksumMismatch("the object does not decompress", hint="Materialise the date again.") from error


def _pieces(chunks: Iterable[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        for start in range(0, len(chunk), _STORED):
            yield chunk[start : start + _STORED]
