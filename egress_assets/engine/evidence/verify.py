"""Re-read what the evidence names and compare every digest: ok, expired, missing or corrupt, object by object."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from egress_assets.engine.errors import ChecksumMismatch, ObjectConflict, ObjectMissing
from egress_assets.engine.evidence import reader
from egress_assets.engine.evidence.records import ObjectRecord, TableRecord
from egress_assets.engine.stores import Store

Status = Literal["ok", "expired", "missing", "corrupt"]


@dataclass(frozen=True, slots=True)
class Verified:
    """One object of a table, re-read. `detail` says what was found instead, never a value."""

    table: str
    key: str
    status: Status
    bytes: int = 0
    detail: str = ""


def verified_chunks(data: Store, record: ObjectRecord) -> Iterator[bytes]:
    """Stream an object; the last chunk comes only when length and sha256 are as the manifest says.

    Memory: two chunks. Raises ObjectMissing, ObjectConflict, ChecksumMismatch, StoreUnavailable.
    """
    return reader.verified(record, data.get(record.key))


def status_of(data: Store, record: ObjectRecord) -> tuple[Status, str]:
    """Re-read one object whole. Raises StoreUnavailable, StoreDenied: a store that is down is no verdict."""
    try:
        for _ in verified_chunks(data, record):
            pass
    except ObjectMissing as error:
        return "missing", error.message
    except (ChecksumMismatch, ObjectConflict) as error:
        return "corrupt", error.message
    return "ok", ""


def rereads(data: Store, record: TableRecord) -> bool:
    """Whether every object of the table can be read back as the manifest says."""
    return all(status_of(data, obj)[0] == "ok" for obj in record.objects)
