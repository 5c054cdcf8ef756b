"""From what the driver gives to what is stored: exact, or refused with the column's name and never with the value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from egress_assets.engine.dump.tasks import StoredColumn
from egress_assets.engine.errors import SourceError

_PLAIN = {
    "bool": pa.bool_(), "int16": pa.int16(), "int32": pa.int32(), "int64": pa.int64(), "oid": pa.int64(),
    "float32": pa.float32(), "float64": pa.float64(), "string": pa.string(), "text": pa.string(), "output": pa.string(),
    "binary": pa.binary(), "json": pa.json_(), "uuid": pa.uuid(), "date32": pa.date32(), "time64": pa.time64("us"),
    "timestamp": pa.timestamp("us"), "timestamptz": pa.timestamp("us", "UTC"),
}  # fmt: skip
_DAY = 86_400_000_000  # microseconds
_FIRST, _LAST = -719_162, 2_932_896  # days from 1970 of 0001-01-01 and 9999-12-31: what Python, pandas and SQL know
_LIMITS = {
    "date32": (pa.int32(), _FIRST, _LAST),
    "timestamp": (pa.int64(), _FIRST * _DAY, (_LAST + 1) * _DAY - 1),
    "timestamptz": (pa.int64(), _FIRST * _DAY, (_LAST + 1) * _DAY - 1),
    "time64": (pa.int64(), 0, _DAY - 1),
}
"""What is stored of them. The driver adds the 30 years between the epochs to Postgres's infinities and to what Arrow
can't hold without a look; the sums wrap around and lie far outside as well. Postgres has a time 24:00:00."""
_BEYOND = {
    "date32": "infinity, or a year outside 1 to 9999",
    "timestamp": "infinity, or a year outside 1 to 9999",
    "timestamptz": "infinity, or a year outside 1 to 9999",
    "time64": "24:00:00",
    "decimal": "NaN",
}


def schema_of(columns: Sequence[StoredColumn]) -> pa.Schema:
    """The file's. Every column may be NULL: views have no NOT NULL, and a schema should not change by a constraint."""
    return pa.schema(
        [pa.field(column.name, type_of(column), metadata={"postgres_type": column.type}) for column in columns]
    )


def type_of(column: StoredColumn) -> pa.DataType:
    if column.kind == "decimal":
        return pa.decimal128(column.precision, column.scale)
    return _PLAIN[column.kind]


class Values:
    """The conversion of one table's columns. Text needs no look: the server sends valid UTF-8, or refuses (22021)."""

    def __init__(self, table: str, columns: Sequence[StoredColumn]) -> None:
        self.schema = schema_of(columns)
        self._table, self._columns = table, columns

    def stored(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Raises SourceError for a value that the column's type in Arrow has not."""
        arrays = [self._stored(column, batch.column(i)) for i, column in enumerate(self._columns)]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _stored(self, column: StoredColumn, array: Any) -> pa.Array:
        storage = array.storage if isinstance(array, pa.ExtensionArray) else array
        if column.kind == "decimal" and pa.types.is_string(storage.type):
            return self._decimals(column, storage)
        wanted = type_of(column)
        if storage.type != getattr(wanted, "storage_type", wanted):
            raise SourceError(
                f"table {self._table}: column {column.name} of type {column.type} came as {storage.type}, expected "
                f"is {wanted}",
                hint="Dump the dataset as `csv.zst`, and tell the makers of Egress.",
            )
        self._require(column, storage)
        return storage if storage.type == wanted else pa.ExtensionArray.from_storage(wanted, storage)

    def _decimals(self, column: StoredColumn, texts: pa.Array) -> pa.Array:
        try:
            return texts.cast(type_of(column))
        except pa.ArrowInvalid:  # its text quotes the value
            raise self._refused(column) from None

    def _require(self, column: StoredColumn, storage: pa.Array) -> None:
        if column.kind in _LIMITS:
            numbers, least, most = _LIMITS[column.kind]
            found = pc.call_function("min_max", [storage.view(numbers)]).as_py()
            if found["min"] is not None and not least <= found["min"] <= found["max"] <= most:
                raise self._refused(column)

    def _refused(self, column: StoredColumn) -> SourceError:
        return SourceError(
            f"table {self._table}: column {column.name} of type {column.type} holds {_BEYOND[column.kind]}, which "
            "Parquet's type has not",
            hint="Set `infinity: text` under `dump:`: such columns are text then. Or leave the column out by `select`.",
        )
