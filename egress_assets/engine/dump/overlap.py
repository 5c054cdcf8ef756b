"""Which row versions a date has read already: digests of the rows just below its watermark, sorted, as an object.

The server computes and sorts them (its work_mem, then its temporary files), so nothing of their number is held here:
an index is 16 bytes a row on its way to the store, and two sorted streams are compared one row at a time. A million
rows cost this process 3 s of processor time a date. Equal rows are counted, not collapsed: of three where there were
two, one is new.
"""

from __future__ import annotations

from binascii import hexlify, unhexlify
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from egress_assets.engine.dump.cells import Tid
from egress_assets.engine.dump.sqlstate import reworded
from egress_assets.engine.dump.tasks import Relation
from egress_assets.engine.errors import SourceError
from egress_assets.engine.evidence.reader import verified
from egress_assets.engine.evidence.records import ObjectRecord
from egress_assets.engine.stores import Store

VERSION = 1
"""Of how a row becomes a digest; another one is compared with nothing that was written before."""

WIDTH = 16
"""Bytes of a digest: 100 million rows against as many collide with a probability of 3e-23."""

MOST_ROWS = 2**28
"""Rows of an index, 4 GiB: a minute of reading before each date. More is a mistake in `overlap` sooner than a wish."""

MOST_LATE = 2_000_000
"""Late rows of a table and date, which are read by their places: 60 bytes each in this process until they are read."""

_CHUNK = 2**16 * WIDTH

Picked = Mapping[tuple[str, str], Sequence[Tid]]
"""Rows by leaf and place, in the order of the heap."""


@dataclass(frozen=True, slots=True)
class RowKey:
    """How a row's text becomes a digest: plain where the raw rows lie beside it, keyed where nobody may guess them."""

    digest: Callable[[sql.Composable], sql.Composable]
    key_id: str = ""
    session: Mapping[str, str] = field(default_factory=dict, repr=False)  # settings that `digest` reads


def plain_digest(text: sql.Composable) -> sql.Composable:
    return sql.SQL("sha256(convert_to({}, 'UTF8'))").format(text)


def write_index(
    connection: psycopg.Connection, query: sql.Composed, store: Store, key: str, *, table: str
) -> ObjectRecord | None:
    """Write the digests that `query` selects (see `digests`) to `key`; None and no object where there are none.

    Memory: `Store.upload`'s. Raises SourceError's kinds (more than MOST_ROWS), StoreError's kinds.
    """
    with reworded(f"table {table}"):
        chunks = _chunks(_lines(connection, query), table)
        first = next(chunks, None)
        if first is None:
            return None
        done = store.upload(key, _joined(first, chunks))
    return ObjectRecord(done.key, done.bytes, done.sha256, done.bytes // WIDTH, done.etag, raw_bytes=done.bytes)


def not_in_index(
    connection: psycopg.Connection, query: sql.Composed, index: Iterable[bytes], relation: Relation
) -> Picked:
    """The rows that `query` selects (see `digests`, with places) and that `index` does not have.

    `index` are chunks of the object. Memory: 60 bytes a row that is returned, MOST_LATE of them at the most.
    Raises SourceError's kinds, and what reading the index raises.
    """
    found: dict[tuple[str, str], list[Tid]] = {}
    with reworded(f"table {relation.table}"):
        known = map(hexlify, _entries(index))
        for number, line in enumerate(_without(_lines(connection, query), known)):
            if number == MOST_LATE:
                raise _too_many_late(relation.table)
            _, leaf, place = line.split(b"\t")
            block, _, row = place[1:-1].partition(b",")
            found.setdefault(relation.leaves[int(leaf)], []).append((int(block), int(row)))
        for _ in known:  # to the end: only there the object's sha256 is compared
            continue
    return {leaf: sorted(tids) for leaf, tids in sorted(found.items())}


def index_chunks(store: Store, record: ObjectRecord | None) -> Iterator[bytes]:
    """An index as it was written; none is an empty one. Raises ObjectMissing, ObjectConflict, ChecksumMismatch."""
    if record is not None:
        yield from verified(record, store.get(record.key))


def digests(
    relation: Relation, columns: Iterable[str], where: sql.Composable, key: RowKey, *, places: bool
) -> sql.Composed:
    """A sorted line a row of `where`: its digest in hex, and with `places` the leaf's number and the ctid."""
    row = sql.SQL("ROW({})::text").format(sql.SQL(", ").join(map(sql.Identifier, columns)))
    each = sql.SQL("SELECT substring({} from 1 for {}) AS d, {} AS leaf, ctid AS place FROM ONLY {} WHERE {}")
    leaves = sql.SQL(" UNION ALL ").join(
        each.format(key.digest(row), sql.Literal(WIDTH), sql.Literal(number), sql.Identifier(*leaf), where)
        for number, leaf in enumerate(relation.leaves)
    )
    shown, order = ("encode(d, 'hex'), leaf, place", "d, leaf, place") if places else ("encode(d, 'hex')", "d")
    return sql.SQL("COPY (SELECT {} FROM ({}) AS versions ORDER BY {}) TO STDOUT").format(
        sql.SQL(shown), leaves, sql.SQL(order)
    )


def _lines(connection: psycopg.Connection, query: sql.Composed) -> Iterator[bytes]:
    with connection.cursor() as cursor, cursor.copy(query) as copy:
        for line in copy:
            yield bytes(line).rstrip(b"\n")


def _chunks(lines: Iterable[bytes], table: str) -> Iterator[bytes]:
    held = bytearray()
    for number, line in enumerate(lines):
        if number == MOST_ROWS:
            raise SourceError(
                f"{table} has more than {MOST_ROWS:,} rows within the overlap of its watermark",
                hint="Make `overlap` shorter: what counts is how long a transaction may stay open.",
            )
        held += unhexlify(line)
        if len(held) >= _CHUNK:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)


def _joined(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _entries(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        held = rest + chunk
        whole = len(held) - len(held) % WIDTH
        yield from (held[at : at + WIDTH] for at in range(0, whole, WIDTH))
        rest = held[whole:]


def _without(lines: Iterable[bytes], known: Iterator[bytes]) -> Iterator[bytes]:
    """The lines whose digest is not among the known ones, which each stand for one line. Both are sorted."""
    next_known = next(known, None)
    for line in lines:
        digest = line[: 2 * WIDTH]
        while next_known is not None and next_known < digest:
            next_known = next(known, None)
        if next_known == digest:
            next_known = next(known, None)
        else:
            yield line


def _too_many_late(table: str) -> SourceError:
    return SourceError(
        f"more than {MOST_LATE:,} rows of {table} within the overlap have changed while their watermark did not",
        hint="Such a change has to set the watermark column too. To take everything once more, set the dataset's "
        "`start` to the date that shall begin anew with all rows.",
    )
