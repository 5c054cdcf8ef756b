"""Why a date of a dataset is not one consistent whole, told to people; engine/release.py decides by itself."""

from __future__ import annotations

from egress_assets.engine.evidence.records import Pointer

_NAMED = 10  # tables in a list


def apart(pointer: Pointer, tables: frozenset[str]) -> tuple[str, ...]:
    """What keeps the date from being sealed as a dataset of `tables`, a sentence each; empty when nothing does."""
    entries = pointer.entries
    said = [f"{named(gone)} left the catalog"] if (gone := sorted(set(entries) - tables)) else []
    if lacking := sorted(tables - set(entries)):
        said.append(f"{named(lacking)} not made yet")
    snapshots: dict[str, list[str]] = {}
    for table in sorted(tables & set(entries), key=lambda table: entries[table].position.at):
        snapshots.setdefault(entries[table].snapshot, []).append(table)
    if len(snapshots) > 1:
        groups = "; ".join(named(sorted(group)) for group in snapshots.values())
        said.append(f"{len(snapshots)} snapshots, the oldest first: {groups}")
    return tuple(said)


def named(tables: list[str]) -> str:
    """`a, b and 3 more`."""
    more = f" and {len(tables) - _NAMED} more" if len(tables) > _NAMED else ""
    return ", ".join(tables[:_NAMED]) + more
