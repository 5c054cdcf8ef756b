"""Which columns hold what a detector found, so that the error can say what to mask. Values are never kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from egress_assets.engine.dialect import PLAIN, Dialect
from egress_assets.engine.dump.tasks import PartDone
from egress_assets.engine.stores import Store
from egress_assets.engine.stream import decompressed


def columns_found(
    store: Store, done: PartDone, suffix: str, names: Sequence[str], *, dialect: Dialect = PLAIN
) -> dict[str, tuple[str, ...]]:
    """Detector -> names of the columns of its first findings, in the table's order.

    Streams the part up to the last offset that was kept. Memory: one chunk and one row. Raises as `Store.get` does.
    """
    wanted = sorted({offset for found in done.findings.values() for offset in found["offsets"]})
    chunks = decompressed(store.get(done.key), suffix)
    where = dict(zip(wanted, columns_at(chunks, wanted, dialect), strict=False))
    return {
        detector: tuple(names[i] for i in sorted({where[o] for o in found["offsets"] if o in where}) if i < len(names))
        for detector, found in done.findings.items()
    }


def columns_at(chunks: Iterable[bytes], offsets: Sequence[int], dialect: Dialect = PLAIN) -> Iterator[int]:
    """The column (from 0) that each byte offset lies in; `offsets` ascend. Bytes are rows as COPY writes them.

    A row's start is a newline outside quotes, and outside is where an even number of quotes came before; a doubled
    quote inside a field counts twice and so changes nothing. Escaped rows have no newline but at their end.
    """
    delimiter, quote = dialect.delimiter.encode(), dialect.quote.encode()
    pending, base, held = list(offsets), 0, b""
    for chunk in chunks:
        held += chunk
        while pending and pending[0] < base + len(held):
            yield _column(held[: pending.pop(0) - base], delimiter, quote)
        if not pending:
            return
        cut = _last_row(held, quote)
        base, held = base + cut, held[cut:]


def _last_row(rows: bytes, quote: bytes) -> int:
    """Where the last row begins in bytes that begin with a row."""
    if not quote:
        return rows.rfind(b"\n") + 1
    parts, at = rows.split(quote), len(rows)
    for place in range(len(parts) - 1, -1, -1):
        at -= len(parts[place])
        if place % 2 == 0 and (newline := parts[place].rfind(b"\n")) >= 0:
            return at + newline + 1
        at -= 1
    return 0


def _column(rows: bytes, delimiter: bytes, quote: bytes) -> int:
    row = rows[_last_row(rows, quote) :]
    if not quote:
        return row.replace(b"\\\\", b"").replace(b"\\" + delimiter, b"").count(delimiter)
    return sum(part.count(delimiter) for part in row.split(quote)[::2])
