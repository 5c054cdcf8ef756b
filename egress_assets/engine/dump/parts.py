"""How a table's cells are put into parts: one part is one object, read by one worker.

Parts only divide the work. They depend on the sizes that the leader sees and on the catalog's `part_size`, never on how
many workers there are; the content's digest is over cells, so other parts are not other content.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from egress_assets.engine.dump.cells import cell_locks
from egress_assets.engine.dump.tasks import Cell, PartTask, Relation

PART_SIZE = 256 * 2**20
"""Bytes of a table, with TOAST, that a part holds at the most, more or less; 16 of them are read before a large table
ends, so a worker that comes last to an end is a sixteenth of the table behind at the worst."""

SMALLEST = 32 * 2**20
"""Bytes below which a table isn't divided further. About 0.4 s of a worker; a part costs it 10 ms."""

_PARTS_A_TABLE = 16


def parts_of(cells: Sequence[Cell], part_size: int = PART_SIZE) -> list[tuple[Cell, ...]]:
    """`cells` in order, divided where a part has its size; at least one part, the last is at least half of one."""
    whole = sum(cell.expected_bytes for cell in cells)
    target = min(part_size, max(SMALLEST, whole // _PARTS_A_TABLE))
    parts: list[list[Cell]] = [[]]
    size = 0
    for cell in cells:
        if size >= target:
            parts.append([])
            size = 0
        parts[-1].append(cell)
        size += cell.expected_bytes
    if len(parts) > 1 and size < target / 2:
        last = parts.pop()
        parts[-1] += last
    return [tuple(part) for part in parts]


def part_tasks(
    relation: Relation, cells: Sequence[Cell], key: Callable[[int], str], *, part_size: int = PART_SIZE, **given: Any
) -> list[PartTask]:
    """The tasks that read `relation`; `key` names the object of a part. `given` are PartTask's other fields."""
    parts = parts_of(cells, part_size)
    # What has no leaves in ranges is one cell of unknown size: the relation's own.
    known = len(parts) > 1 or any(cell.expected_bytes for cell in cells)
    return [
        PartTask(
            table=relation.table,
            cells=part,
            key=key(number),
            part=number,
            lock=cell_locks(relation, part),
            expected_bytes=sum(cell.expected_bytes for cell in part) if known else relation.heap_bytes,
            **given,
        )
        for number, part in enumerate(parts)
    ]
