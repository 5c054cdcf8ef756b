"""The first rows of a scrubbed table: whole rows, few bytes, and only of what has passed its gate."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
import zstandard
from isal import isal_zlib

from egress_assets.engine.errors import ChecksumMismatch, ManifestInvalid, ObjectConflict, ObjectMissing, ReleaseRefused
from egress_assets.engine.evidence.records import Manifest
from egress_assets.engine.platform import Platform
from egress_assets.engine.scrub import sample as module
from egress_assets.engine.scrub.sample import parsed, sample
from egress_assets.engine.stream import FORMATS, compressed
from tests.platforms import DATE, DUMP, SCRUB, A, B, Made, materialise, memory, platform


def sealed(p: Platform, made: Made | None = None, unit=SCRUB) -> Manifest:
    outcome = materialise(p, unit, made)
    return p.evidence.manifest(unit, DATE, outcome.attempt)


def rows(body: bytes) -> list[list[str | None]]:
    return list(parsed(body))


@pytest.mark.parametrize("suffix", FORMATS)
def test_rows_come_in_their_order_and_no_more_than_asked_for(suffix: str):
    p = platform()
    manifest = sealed(p, Made({A: b"".join(b"%d,n\n" % n for n in range(500))}, format=suffix))
    found = sample(p.store("lake"), manifest, A, rows=3)
    assert found.rows == [["0", "n"], ["1", "n"], ["2", "n"]]
    assert found.of == 500
    assert [c.name for c in found.columns] == ["id", "name, or what"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'1,,""\n', [["1", None, ""]]),
        (b'"a,b","c""d","e\nf"\n2,3,4\n', [["a,b", 'c"d', "e\nf"], ["2", "3", "4"]]),
        (b"\n\n", [[None], [None]]),
        ("Ü|<b>|😀\n".encode(), [["Ü|<b>|😀"]]),
        (b"\xff\xfe,1\n", [["��", "1"]]),
        (b"1,2\n3,", [["1", "2"]]),
        (b'1,2\n"3', [["1", "2"]]),
        (b'"' + b'""' * 50_000, []),
        (b"", []),
    ],
)
def test_csv_is_read_as_copy_writes_it(body: bytes, expected: list[list[str | None]]):
    assert rows(body) == expected


def test_only_the_head_of_an_object_is_read():
    p = platform()
    lines = b"".join(b"%d,%s\n" % (n, os.urandom(512).hex().encode()) for n in range(2000))
    manifest = sealed(p, Made({A: lines}, format="csv"))
    lake, taken = memory(p, "lake"), []
    lake.chunk = 64 * 1024
    lake.before = lambda method, key: taken.append(key) if method == "get" else None
    assert len(sample(lake, manifest, A, rows=10).rows) == 10
    assert len(taken) * lake.chunk <= module.STORED + lake.chunk


@pytest.mark.parametrize("suffix", ["csv.zst", "csv.gz"])
def test_the_head_of_a_compressed_object_is_enough(suffix: str):
    lines = b"".join(b"%d,%s\n" % (n, os.urandom(64).hex().encode()) for n in range(6_000))
    stored = b"".join(compressed([lines[:300_000], lines[300_000:]], suffix))
    assert len(stored) > module.STORED
    raw = module._raw(module._head(iter([stored[:100], stored[100:]])), suffix)
    assert lines.startswith(raw)
    assert len(rows(raw)) > 1000


@pytest.mark.parametrize("suffix", ["csv.zst", "csv.gz"])
def test_a_bomb_is_cut_while_it_unfolds(suffix: str):
    body = b"x" * 16 * 2**20
    if suffix == "csv.zst":
        stored = zstandard.ZstdCompressor().compress(body)
    else:
        packer = isal_zlib.compressobj(1, isal_zlib.DEFLATED, 31)
        stored = packer.compress(body) + packer.flush()
    assert len(stored) <= module.STORED
    assert len(module._raw(stored, suffix)) == module.RAW


def test_several_members_are_read_through():
    stored = b"".join(b"".join(compressed([b"%d\n" % n], "csv.gz")) for n in range(5))
    assert module._raw(stored, "csv.gz") == b"0\n1\n2\n3\n4\n"


def test_a_row_that_is_longer_than_what_is_read_is_no_row():
    p = platform()
    manifest = sealed(p, Made({A: b"1," + b"x" * 2 * module.RAW + b"\n"}, format="csv.zst"))
    found = sample(p.store("lake"), manifest, A, rows=10)
    assert (found.rows, found.of) == ([], 1)


@pytest.mark.parametrize("suffix", ["csv.zst", "csv.gz"])
def test_bytes_that_do_not_decompress_are_named_as_that(suffix: str):
    with pytest.raises(ChecksumMismatch, match="does not decompress"):
        module._raw(b"no frame at all, not even a header" * 10, suffix)


def test_a_raw_dump_is_refused_before_a_byte_is_read():
    p = platform()
    manifest = sealed(p, unit=DUMP)
    with pytest.raises(ReleaseRefused, match="has not passed a gate"):
        sample(p.store("lake"), manifest, A, rows=10)
    assert memory(p, "lake").times("get") == 0


@pytest.mark.parametrize("passed", [False, None])
def test_a_scrub_without_a_passed_gate_is_refused(passed: bool | None):
    p = platform()
    manifest = sealed(p, Made(passed=passed) if passed is None else None)
    if passed is False:
        tables = manifest.draft.tables
        failed = replace(tables[A], checks=tuple(replace(c, passed=False) for c in tables[A].checks))
        manifest = replace(manifest, draft=replace(manifest.draft, tables={**tables, A: failed}))
    with pytest.raises(ReleaseRefused, match="has not passed a gate"):
        sample(p.store("lake"), manifest, A, rows=10)


def test_a_table_that_the_manifest_does_not_hold_is_said():
    p = platform()
    with pytest.raises(ManifestInvalid, match=r"does not hold public\.orders"):
        sample(p.store("lake"), sealed(p, Made({A: b"1,a\n"})), B, rows=10)


def test_other_bytes_under_the_same_name_are_not_shown():
    p = platform()
    manifest = sealed(p)
    key = manifest.draft.tables[A].objects[0].key
    p.store("lake").put(key, b"1,raw@example.org\n")
    with pytest.raises(ObjectConflict):
        sample(p.store("lake"), manifest, A, rows=10)
    p.store("lake").delete(key)
    with pytest.raises(ObjectMissing):
        sample(p.store("lake"), manifest, A, rows=10)
