"""Batches of rows as the bytes of one Parquet file, zstd, a row group at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.parquet as pq

ROW_GROUP = 8 * 2**20
"""Bytes of values in Arrow's form that a row group holds at least: 25,000 rows of 300 bytes, 100,000 of 80. A writer
holds a group twice, as it came and as it is written; of 16 MiB it takes 24 MB more."""


class _Sink:
    """A file to the writer: keeps what was written until it is taken."""

    closed = False

    def __init__(self) -> None:
        self._held: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._held.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing waits elsewhere."""

    def close(self) -> None:
        self.closed = True

    def take(self) -> list[bytes]:
        taken, self._held = self._held, []
        return taken


def encoded(batches: Iterable[pa.RecordBatch], schema: pa.Schema, *, level: int) -> Iterator[bytes]:
    """The file; without a row it has the schema alone. Memory: 2 x ROW_GROUP and the largest batch. Level: zstd's."""
    sink = _Sink()
    with pq.ParquetWriter(sink, schema, compression="zstd", compression_level=level) as writer:
        for group in _groups(batches):
            table = pa.Table.from_batches(group, schema)
            writer.write_table(table, row_group_size=max(1, table.num_rows))
            yield from sink.take()
    yield from sink.take()


def _groups(batches: Iterable[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
    held: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        held.append(batch)
        size += batch.nbytes
        if size >= ROW_GROUP:
            yield held
            held, size = [], 0
    if held:
        yield held
