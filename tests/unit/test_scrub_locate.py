"""The column of a finding, from its offset alone."""

from __future__ import annotations

import csv
import io
import random

import pytest

from egress_assets.engine.scrub.locate import columns_at

ROWS = [
    ["1", "plain", "x"],
    ["2", 'quoted "here", and a comma', "y"],
    ["3", "two\nlines\n", ""],
    ["4", '"', '""\n,"'],
    ["", "", ""],
    ["6", "ünï,cödé\r\n", "z" * 300],
]


def written(rows: list[list[str]]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue().encode()


@pytest.mark.parametrize("size", [1, 2, 7, 50, 10_000])
def test_a_marked_field_is_found_wherever_chunks_end(size):
    rng = random.Random(size)
    rows = [list(rng.choice(ROWS)) for _ in range(60)]
    marks = sorted(rng.sample(range(60), 15))
    for n, row in enumerate(marks):
        rows[row][n % 3] = rows[row][n % 3] + "@mark"
    text = written(rows)
    offsets, at = [], -1
    while (at := text.find(b"@mark", at + 1)) >= 0:
        offsets.append(at)
    chunks = [text[start : start + size] for start in range(0, len(text), size)]
    assert list(columns_at(chunks, offsets)) == [n % 3 for n in range(15)]


def test_reading_stops_at_the_last_offset():
    def chunks():
        yield b"a,b@\n"
        raise AssertionError("read on")

    assert list(columns_at(chunks(), [3])) == [1]


def test_an_offset_beyond_the_end_has_no_column():
    assert list(columns_at([b"a,b\n"], [0, 2, 100])) == [0, 1]
