"""What is read and what came of it: the records that leader, worker processes and the scrub stage exchange.

All of them cross a process border as JSON, so they hold plain values only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate, chain
from typing import Any, Protocol

from egress_assets.engine.checksum import Checksums

KEPT = 20
"""Offsets and shapes that are told of one detector's findings."""


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
    sizes: tuple[tuple[int, int], ...] = ()  # of each leaf: blocks of its heap, bytes with TOAST


@dataclass(frozen=True, slots=True)
class Cell:
    """The unit of hashing: one leaf or a fixed block range of it, and the COPY statement that reads it.

    The statement is in two pieces: the first is one object for all cells of a leaf, which may be tens of thousands.
    """

    name: str
    copy: str
    rest: str = ""
    reads: tuple[str, str] | None = None  # (schema, name) of what it reads
    expected_bytes: int = 0

    @property
    def sql(self) -> str:
        return self.copy + self.rest


class Reads(Protocol):
    """What a worker's transaction has to know of a task that reads a table."""

    @property
    def table(self) -> str: ...

    @property
    def session(self) -> Mapping[str, str]: ...

    @property
    def lock(self) -> tuple[tuple[str, str], ...]: ...


@dataclass(frozen=True, slots=True)
class StoredColumn:
    """A column as Parquet holds it (engine/dump/parquet/shape.py). `why` it is text, where it isn't in Postgres."""

    name: str
    kind: str
    type: str  # in Postgres, format_type's spelling
    precision: int = 0  # of a decimal
    scale: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True)
class PartTask:
    """One part of a table for one worker process: its cells are read in order into one object."""

    table: str
    cells: tuple[Cell, ...]
    key: str
    format: str  # csv | csv.gz | csv.zst | parquet
    session: Mapping[str, str] = field(default_factory=dict, repr=False)  # set_config(name, value) by bind parameter
    detectors: tuple[str, ...] = ()  # identifier detectors that scan the uncompressed bytes
    lock: tuple[tuple[str, str], ...] = ()  # (schema, name) to LOCK ... NOWAIT before reading
    expected_bytes: int = 0  # for progress and order only
    level: int = 1  # of zstd
    part: int = 0  # of the table, from 0
    escaped: bool = False  # rows have backslash escapes (engine/dialect.py), which detectors must read as what they are
    columns: tuple[StoredColumn, ...] = ()  # of parquet


@dataclass(frozen=True, slots=True)
class CellDone:
    """`sha256` is over the cell's uncompressed bytes; over its values for parquet (engine/dump/parquet/digest.py)."""

    name: str
    sha256: str
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class PartDone:
    """One object of a table as it lies in the store, complete."""

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
    part: int = 0


@dataclass(frozen=True, slots=True)
class TableDone:
    """One table as it lies in the store, complete: `parts` in their order."""

    table: str
    parts: tuple[PartDone, ...]
    checksums: Checksums | None = None  # once they were compared (engine/dump/deep.py)

    @property
    def cells(self) -> tuple[CellDone, ...]:
        return tuple(chain.from_iterable(part.cells for part in self.parts))

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts)

    @property
    def raw_bytes(self) -> int:
        return sum(part.raw_bytes for part in self.parts)

    @property
    def bytes(self) -> int:
        return sum(part.bytes for part in self.parts)

    @property
    def seconds(self) -> float:
        """Of all workers together."""
        return sum(part.seconds for part in self.parts)

    @property
    def findings(self) -> dict[str, Any]:
        """As a part's, in all parts. Offsets count from the table's first byte; as many are kept as a part keeps."""
        found: dict[str, Any] = {}
        begins = accumulate((part.raw_bytes for part in self.parts), initial=0)
        for part, begin in zip(self.parts, begins, strict=False):
            for detector, more in part.findings.items():
                found[detector] = _together(found.get(detector), more, begin)
        return found


def _together(found: Mapping[str, Any] | None, more: Mapping[str, Any], begin: int) -> dict[str, Any]:
    moved = {**more, "offsets": [begin + offset for offset in more["offsets"]]}
    if found is None:
        return moved
    shapes = dict.fromkeys([*found["shapes"], *more["shapes"]])
    return {
        "count": found["count"] + more["count"],
        "offsets": [*found["offsets"], *moved["offsets"]][:KEPT],
        "shapes": list(shapes)[:KEPT],
    }
