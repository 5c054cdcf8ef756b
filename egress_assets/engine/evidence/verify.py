"""Re-read what the evidence names and compare every digest: ok, expired, missing or corrupt, object by object."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from egress_assets.engine.checksum import ALGORITHM, Checksum
from egress_assets.engine.errors import ChecksumMismatch, ObjectConflict, ObjectMissing
from egress_assets.engine.evidence import reader
from egress_assets.engine.evidence.records import ObjectRecord, Pointer, TableRecord
from egress_assets.engine.layout import Unit
from egress_assets.engine.progress import Listener, Tick, silent
from egress_assets.engine.stored_rows import rows_checksum
from egress_assets.engine.stores import Store

if TYPE_CHECKING:
    from egress_assets.engine.evidence.driver import Evidence

ROUNDS = 5
"""How often a table is begun again because a run replaced it while it was read."""

Status = Literal["ok", "expired", "missing", "corrupt"]


@dataclass(frozen=True, slots=True)
class Verified:
    """One object of a table, re-read, or the rows of all of them. `detail` says what was found instead, no value."""

    table: str
    key: str
    status: Status
    bytes: int = 0
    detail: str = ""
    what: Literal["object", "rows"] = "object"


def verified_chunks(data: Store, record: ObjectRecord) -> Iterator[bytes]:
    """Stream an object; the last chunk comes only when length and sha256 are as the manifest says.

    Memory: two chunks. Raises ObjectMissing, ObjectConflict, ChecksumMismatch, StoreUnavailable.
    """
    return reader.verified(record, data.get(record.key))


def _to_the_end(chunks: Iterable[bytes]) -> None:
    for _ in chunks:
        pass


def status_of(
    data: Store, record: ObjectRecord, read: Callable[[Iterable[bytes]], None] = _to_the_end
) -> tuple[Status, str]:
    """Re-read one object whole. Raises StoreUnavailable, StoreDenied: a store that is down is no verdict."""
    try:
        read(verified_chunks(data, record))
    except ObjectMissing as error:
        return "missing", error.message
    except (ChecksumMismatch, ObjectConflict) as error:
        return "corrupt", error.message
    return "ok", ""


def rereads(data: Store, record: TableRecord) -> bool:
    """Whether every object of the table can be read back as the manifest says."""
    return all(status_of(data, obj)[0] == "ok" for obj in record.stored)


def verify(
    evidence: Evidence,
    unit: Unit,
    date: str,
    data: Store,
    *,
    expire_days: int | None = None,
    deep: bool = False,
    listener: Listener = silent,
) -> Iterator[Verified]:
    """Re-read every object of every entry of the pointer, table by table, lazily.

    `deep`: also compare the rows' checksum of tables that have one in evidence, one more result for each of them.

    An entry that a run replaces meanwhile is read again from its new attempt, so nothing swept is reported. Memory:
    the manifests and two chunks. Raises ObjectMissing (no pointer), ManifestInvalid, StoreUnavailable.
    """
    pointer = evidence.pointer(unit, date)
    if pointer is None:
        raise ObjectMissing(f"{unit.title} has no data of {date}", hint="Materialise that date first.")
    for table in pointer.entries:
        for result, done, total in _verify_table(evidence, pointer, table, data, deep=deep):
            if result.what == "rows":
                yield result
                continue
            if result.status == "missing" and _expired(evidence, pointer, table, expire_days):
                yield replace(result, status="expired")
            else:
                yield result
            listener(Tick("verify", table, done, total, finished=done == total))


def _verify_table(
    evidence: Evidence, pointer: Pointer, table: str, data: Store, *, deep: bool
) -> Iterator[tuple[Verified, int, int]]:
    """Each object's result with the bytes done and to do."""
    for left in reversed(range(ROUNDS)):
        _, record = evidence.tables(pointer, frozenset({table}))[table]
        done, whole = 0, sum(obj.bytes for obj in record.stored)
        rows = _Rows(record) if deep and comparable(record) else None
        for obj in record.stored:
            read = rows.read if rows and obj in record.objects else _to_the_end
            status, detail = status_of(data, obj, read)
            now = evidence.pointer(pointer.unit, pointer.date) if status != "ok" and left else None
            if now and table in now.entries and now.entries[table].attempt != pointer.entries[table].attempt:
                pointer = now
                break
            done += obj.bytes
            yield Verified(table, obj.key, status, obj.bytes, detail), done, whole
        else:
            if rows:
                yield rows.compared(table), done, done
            return


def comparable(record: TableRecord) -> bool:
    """Whether evidence has a checksum of the table's rows that this program can compute."""
    return record.checksums is not None and record.checksums.algorithm == ALGORITHM


class _Rows:
    """Sums up the rows of a table's objects while they are read."""

    def __init__(self, record: TableRecord) -> None:
        self._record, self._found = record, Checksum()

    def read(self, chunks: Iterable[bytes]) -> None:
        record = self._record
        self._found += rows_checksum(chunks, record.format, record.csv, len(record.columns))

    def compared(self, table: str) -> Verified:
        noted = self._record.checksums.source if self._record.checksums else Checksum()
        if self._found == noted:
            return Verified(table, table, "ok", what="rows")
        detail = f"the checksum of its rows is {self._found}, its manifest says {noted}"
        return Verified(table, table, "corrupt", detail=detail, what="rows")


def _expired(evidence: Evidence, pointer: Pointer, table: str, expire_days: int | None) -> bool:
    return evidence.expiry_is_due(pointer.unit, pointer.date, pointer.entries[table].attempt, expire_days)
