"""What is read and what came of it: the records that leader, worker processes and the scrub stage exchange.

All of them cross a process border as JSON, so they hold plain values only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class ColumnInfo:
    """A column as the snapshot's transaction sees it. `type` is format_type's spelling, `base` is pg_type.typname."""

    name: str
    type: str
    base: str
    nullable: bool
    generated: bool = False


@dataclass(frozen=True, slots=True)
class Relation:
    """A table of the catalog, found and locked. `leaves` are (schema, name) read with FROM ONLY, in a fixed order."""

    table: str  # schema.table as the catalog spells it
    schema: str
    name: str
    oid: int
    kind: str  # pg_class.relkind
    columns: tuple[ColumnInfo, ...]
    leaves: tuple[tuple[str, str], ...]
    estimated_rows: int = 0
    heap_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Cell:
    """The unit of hashing: one leaf (later: one fixed block range of it) and the COPY statement that reads it."""

    name: str
    sql: str


@dataclass(frozen=True, slots=True)
class TableTask:
    """One table for one worker process: cells are read in order into one object."""

    table: str
    cells: tuple[Cell, ...]
    key: str
    format: str  # csv | csv.gz | csv.zst
    session: Mapping[str, str] = field(default_factory=dict, repr=False)  # set_config(name, value) by bind parameter
    detectors: tuple[str, ...] = ()  # identifier detectors that scan the uncompressed bytes
    lock: tuple[tuple[str, str], ...] = ()  # (schema, name) to LOCK ... NOWAIT before reading
    expected_bytes: int = 0  # for progress and order only
    level: int = 1  # of zstd


@dataclass(frozen=True, slots=True)
class CellDone:
    """`sha256` is over the cell's uncompressed bytes."""

    name: str
    sha256: str
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class TableDone:
    """One table as it lies in the store, complete."""

    table: str
    key: str
    cells: tuple[CellDone, ...]
    rows: int
    raw_bytes: int
    bytes: int
    sha256: str
    etag: str
    findings: Mapping[str, Any] = field(default_factory=dict)  # detector -> {count, offsets, shapes}
    seconds: float = 0.0
