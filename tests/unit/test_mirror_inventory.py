"""The list of a foreign bucket's objects: sharded by content, so that a small change is a small write."""

from __future__ import annotations

import logging

import pytest

from egress_assets.engine.errors import ChecksumMismatch
from egress_assets.engine.evidence.records import TableRecord
from egress_assets.engine.layout import mirror_unit
from egress_assets.engine.mirror import inventory
from egress_assets.engine.mirror.inventory import Copied, Writer, read, read_shard
from tests.platforms import MemoryStore

UNIT = mirror_unit("all")


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(inventory, "CUT", 8)
    monkeypatch.setattr(inventory, "_LONGEST", 32)


def line(n: int) -> Copied:
    return Copied(f"in/{n:06d} é\n", n, f"etag{n}", "", f"{n:06d} é\n", f"source{n}")


def written(store: MemoryStore, lines: list[Copied]) -> TableRecord:
    writer = Writer(store, UNIT)
    for each in lines:
        writer.add(each)
    return writer.finish()


LINES = [line(n) for n in range(150)]


def test_what_was_written_is_read_in_order():
    store = MemoryStore()
    record = written(store, LINES)
    assert list(read(store, record)) == LINES
    assert record.rows == 150
    assert len(record.objects) > 5
    assert sum(o.rows or 0 for o in record.objects) == 150


def test_no_shard_is_longer_than_its_bound():
    store = MemoryStore()
    record = written(store, [line(n) for n in range(400)])
    assert max(o.rows or 0 for o in record.objects) <= 32


def test_the_same_list_is_not_written_twice():
    store = MemoryStore()
    first = written(store, LINES)
    puts = store.times("put")
    again = written(store, LINES)
    assert store.times("put") == puts
    assert again == first


def test_one_more_object_rewrites_a_shard_or_two():
    store = MemoryStore()
    before = written(store, LINES)
    grown = sorted([*LINES, Copied("in/000075 aa", 1, "e", "", "000075 aa", "s")], key=lambda c: c.key)
    after = written(store, grown)
    assert len({o.key for o in after.objects} - {o.key for o in before.objects}) <= 2
    assert after.content_digest != before.content_digest


def test_the_content_is_of_source_versions_and_not_of_the_destinations_etags():
    one = written(MemoryStore(), LINES)
    moved = written(MemoryStore(), [Copied(c.key, c.bytes, "x", "f" * 64, c.source_key, c.source_etag) for c in LINES])
    assert moved.content_digest == one.content_digest
    assert {o.key for o in moved.objects} != {o.key for o in one.objects}


def test_a_damaged_shard_is_passed_over_with_a_warning_and_refused_where_it_counts(caplog):
    store = MemoryStore()
    record = written(store, LINES)
    gone, bad = record.objects[0], record.objects[1]
    store.delete(gone.key)
    store.put(bad.key, b"garbage")
    with caplog.at_level(logging.WARNING):
        rest = list(read(store, record))
    assert len(rest) == 150 - (gone.rows or 0) - (bad.rows or 0)
    assert len(caplog.records) == 2
    for shard in (gone, bad):
        with pytest.raises(ChecksumMismatch):
            read_shard(store, shard)


def test_there_is_nothing_in_no_inventory():
    assert list(read(MemoryStore(), None)) == []
