"""A stored table as one file: parts joined, a header line before them, another compression. Nothing is kept whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from egress_assets.engine.errors import CatalogError
from egress_assets.engine.evidence.records import TableRecord
from egress_assets.engine.evidence.verify import verified_chunks
from egress_assets.engine.stores import Store
from egress_assets.engine.stream import PARQUET, compressed, decompressed


def formed(source: Store, record: TableRecord, suffix: str, *, header: bool) -> Iterator[bytes]:
    """The stored parts as one file of the wanted form, each part verified while it is read.

    Of one format, members and frames are joined as they are: only the header line is compressed.
    Raises CatalogError for parquet, which is delivered and mirrored part by part only; what reading raises.
    """
    if record.format == PARQUET:
        raise CatalogError(
            f"the table is stored as parquet, which can't be joined or written as {suffix}",
            hint="The catalog was changed after the date was dumped: materialise the dump of the date again.",
        )
    line = (header_line(record),) if header else ()
    parts = (verified_chunks(source, o) for o in record.objects)
    if record.format == suffix:
        yield from compressed(line, suffix) if line else ()
        for part in parts:
            yield from part
        return
    rows: Iterable[bytes] = chain.from_iterable(decompressed(part, record.format) for part in parts)
    yield from compressed(chain(line, rows), suffix)


def header_line(record: TableRecord) -> bytes:
    """Column names in the dialect of the table's rows."""
    return record.csv.header(column.name for column in record.columns)
