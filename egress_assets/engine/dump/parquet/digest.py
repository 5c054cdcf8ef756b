"""A cell's digest: of its values column by column, whatever batches they came in and whichever library holds them.

For each column in order: sha256 over one byte a row (1, or 0 for NULL), sha256 over the length of each value that is
not NULL (4 bytes, little-endian; values of variable length only), and sha256 over those values end to end: numbers as
Arrow lays them out, little-endian, decimals in 16 bytes, dates in days and times in microseconds from 1970, a byte a
bool, UTF-8. The cell's digest is sha256 over all of these, 96 bytes a column. Names and types are in the content's.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


class CellDigest:
    """Takes batches of arrays as they are stored. `bytes` and `rows` are what was taken so far."""

    def __init__(self, columns: int) -> None:
        self._columns = [_ColumnDigest() for _ in range(columns)]
        self.bytes = self.rows = 0

    def update(self, arrays: Sequence[pa.Array]) -> int:
        """Returns the bytes of the values."""
        size = sum(column.update(array) for column, array in zip(self._columns, arrays, strict=True))
        self.bytes += size
        self.rows += len(arrays[0])
        return size

    def hexdigest(self) -> str:
        return sha256(b"".join(column.digest() for column in self._columns)).hexdigest()


class _ColumnDigest:
    def __init__(self) -> None:
        self._valid, self._lengths, self._values = sha256(), sha256(), sha256()

    def update(self, array: pa.Array) -> int:
        array = array.storage if isinstance(array, pa.ExtensionArray) else array
        if array.null_count:
            self._valid.update(_fixed(array.is_valid().cast(pa.uint8()), 1))
            array = array.drop_null()
        else:
            self._valid.update(b"\x01" * len(array))
        if pa.types.is_boolean(array.type):
            array = array.cast(pa.uint8())
        values = self._variable(array) if _is_variable(array.type) else _fixed(array, array.type.bit_width // 8)
        self._values.update(values)
        return len(values)

    def _variable(self, array: pa.Array) -> memoryview:
        self._lengths.update(_fixed(pc.call_function("binary_length", [array]), 4))
        _, offsets, data = array.buffers()
        if data is None or not len(array):
            return memoryview(b"")
        ends = memoryview(offsets).cast("i")
        return memoryview(data)[ends[array.offset] : ends[array.offset + len(array)]]

    def digest(self) -> bytes:
        return self._valid.digest() + self._lengths.digest() + self._values.digest()


def _is_variable(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_binary(kind))


def _fixed(array: Any, width: int) -> memoryview:
    """The values of an array without NULLs; a buffer may begin before them and end after them."""
    data = array.buffers()[1]
    if data is None:
        return memoryview(b"")
    return memoryview(data)[array.offset * width : (array.offset + len(array)) * width]
