"""Compression that is the same every time, and the bounded hand-over between two threads."""

from __future__ import annotations

import gzip
import hashlib
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egress_assets.engine.errors import ChecksumMismatch
from egress_assets.engine.stream import FORMATS, Abandoned, Handover, compressed, decompressed

TEXT = b"".join(b"%d,some text %d\n" % (n, n % 7) for n in range(20_000))


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@pytest.mark.parametrize("suffix", FORMATS)
@given(data=st.binary(max_size=3000), size=st.integers(1, 500))
def test_what_is_compressed_comes_back_whole_in_any_pieces(suffix, data, size):
    stored = b"".join(compressed(pieces(data, size), suffix))
    assert b"".join(decompressed(pieces(stored, size), suffix)) == data


@pytest.mark.parametrize("suffix", FORMATS)
def test_equal_chunks_are_equal_objects(suffix):
    digests = {hashlib.sha256(b"".join(compressed(pieces(TEXT, 4096), suffix))).digest() for _ in range(3)}
    assert len(digests) == 1


def test_a_gzip_header_names_no_time_and_no_file():
    stored = b"".join(compressed([TEXT], "csv.gz"))
    assert stored[3] == 0  # no flags: neither name nor comment
    assert stored[4:8] == b"\0\0\0\0"
    assert gzip.decompress(stored) == TEXT


def test_a_zstd_frame_carries_a_checksum_that_is_checked():
    stored = bytearray(b"".join(compressed([b"payload" * 10], "csv.zst")))
    stored[-1] ^= 1
    with pytest.raises(Exception, match="checksum"):
        list(decompressed([bytes(stored)], "csv.zst"))


@pytest.mark.parametrize("suffix", ["csv.gz", "csv.zst"])
def test_parts_in_a_row_are_one_stream(suffix):
    both = b"".join([*compressed([b"one\n"], suffix), *compressed([b"two\n"], suffix)])
    assert b"".join(decompressed(pieces(both, 3), suffix)) == b"one\ntwo\n"


@pytest.mark.parametrize("suffix", ["csv.gz", "csv.zst"])
def test_bytes_that_end_early_are_an_error_and_not_a_short_table(suffix):
    stored = b"".join(compressed([TEXT], suffix))
    with pytest.raises(ChecksumMismatch, match="middle of a frame"):
        list(decompressed([stored[:-5]], suffix))


def test_a_higher_level_is_smaller():
    sizes = [sum(map(len, compressed([TEXT[:50_000]], "csv.zst", level=level))) for level in (1, 9)]
    assert sizes[1] < sizes[0]


# ------------------------------------------------------------------------------------------------------------ hand-over
def in_thread(work) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_chunks_arrive_in_order_and_the_writer_waits_for_the_reader():
    handover, ahead = Handover(depth=2), []

    def write() -> None:
        for n in range(10):
            handover.put(b"%d" % n)
            ahead.append(n)
        handover.close()

    thread = in_thread(write)
    read = []
    for chunk in handover:
        assert len(ahead) - len(read) <= 3  # two wait, one is in the writer's hand
        read.append(chunk)
    thread.join()
    assert read == [b"%d" % n for n in range(10)]


def test_the_writer_s_error_is_raised_by_the_reader():
    handover = Handover()
    handover.put(b"first")
    handover.fail(ValueError("lost"))
    chunks = iter(handover)
    assert next(chunks) == b"first"
    with pytest.raises(ValueError, match="lost"):
        next(chunks)


def test_a_writer_whose_reader_is_gone_is_told_even_while_it_waits():
    handover, told = Handover(depth=1), []

    def write() -> None:
        try:
            while True:
                handover.put(b"x")
        except Abandoned:
            told.append(True)

    thread = in_thread(write)
    handover.abandon()
    thread.join(5)
    assert told == [True]
