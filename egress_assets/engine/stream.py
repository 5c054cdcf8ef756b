"""Bytes on their way: compressed with the same output for the same input, and handed from one thread to another.

Levels are the measured optimum of a dump that the server's CSV formatting limits to about 100 MB/s a core: zstd 1
compresses 395 MB/s at ratio 4.0 (level 3: 130 MB/s, 3.9), igzip 1 460 MB/s at 3.6 (zlib 6: 47 MB/s, 3.8).
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, Generic, TypeVar

import zstandard
from isal import isal_zlib

from egress_assets.engine.errors import ChecksumMismatch

FORMATS = ("csv", "csv.gz", "csv.zst")
PARQUET = "parquet"
"""Of raw dumps only: never compressed or joined here."""
T = TypeVar("T")

_GZIP = 31  # window bits 15 + 16: a gzip header, with mtime 0 and no name, so that equal rows are equal objects
_IGZIP_LEVEL = 1


def compressed(chunks: Iterable[bytes], suffix: str, *, level: int = 1) -> Iterator[bytes]:
    """`chunks` as `csv`, `csv.gz` or `csv.zst`; `level` is zstd's. Memory: one chunk and the compressor's window."""
    if suffix.endswith(".zst"):
        return _through(chunks, zstandard.ZstdCompressor(level=level, write_checksum=True).compressobj())
    if suffix.endswith(".gz"):
        return _through(chunks, isal_zlib.compressobj(_IGZIP_LEVEL, isal_zlib.DEFLATED, _GZIP))
    return iter(chunks)


def decompressed(chunks: Iterable[bytes], suffix: str) -> Iterator[bytes]:
    """The inverse, also for several frames or members in a row. Raises ChecksumMismatch for bytes that end early."""
    if suffix.endswith(".zst"):
        return _inverse(chunks, lambda: zstandard.ZstdDecompressor().decompressobj())
    if suffix.endswith(".gz"):
        return _inverse(chunks, lambda: isal_zlib.decompressobj(_GZIP))
    return iter(chunks)


def _through(chunks: Iterable[bytes], compressor: Any) -> Iterator[bytes]:
    for chunk in chunks:
        if out := compressor.compress(chunk):
            yield out
    yield compressor.flush()


def _inverse(chunks: Iterable[bytes], fresh: Any) -> Iterator[bytes]:
    member = None
    for chunk in chunks:
        rest = chunk
        while rest:
            member = member or fresh()
            if out := member.decompress(rest):
                yield out
            rest = member.unused_data if member.eof else b""
            member = None if member.eof else member
    if member is not None:
        raise ChecksumMismatch("compressed bytes end in the middle of a frame", hint="Read the object again.")


class Abandoned(Exception):
    """The reader of a Handover is gone; its writer has nobody to write for."""


class Handover(Generic[T]):
    """Chunks from a writing thread to a reading one. An exception on either side ends both.

    Memory: `depth` chunks wait at most. Every wait is at most 0.5 s long, so that signals are seen.
    """

    _END = object()

    def __init__(self, depth: int = 8) -> None:
        self._waiting: queue.Queue[Any] = queue.Queue(depth)
        self._abandoned = threading.Event()

    def put(self, chunk: T) -> None:
        """Raises Abandoned when the reader has stopped."""
        self._give(chunk)

    def close(self) -> None:
        """No more chunks: the reader's iteration ends."""
        self._give(self._END)

    def fail(self, error: BaseException) -> None:
        """The reader's iteration raises `error`."""
        self._give(error)

    @property
    def is_abandoned(self) -> bool:
        """For a writer that waits for something else than room."""
        return self._abandoned.is_set()

    def abandon(self) -> None:
        """The reader stops, for whatever reason; the writer's next put raises."""
        self._abandoned.set()
        with suppress(queue.Empty):
            while True:
                self._waiting.get_nowait()  # so that a writer that waits for room wakes up now

    def __iter__(self) -> Iterator[T]:
        while True:
            try:
                item = self._waiting.get(timeout=0.5)
            except queue.Empty:
                continue
            if item is self._END:
                return
            if isinstance(item, BaseException):
                raise item
            yield item

    def _give(self, item: Any) -> None:
        while not self._abandoned.is_set():
            try:
                return self._waiting.put(item, timeout=0.5)
            except queue.Full:
                continue
        raise Abandoned
