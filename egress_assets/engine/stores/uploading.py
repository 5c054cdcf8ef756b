"""Writing: one PUT for what fits in a part, parts in parallel for the rest; an object appears whole or not at all."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256

from egress_assets.engine.errors import StoreError
from egress_assets.engine.stores.client import Client, Request
from egress_assets.engine.stores.flight import Flight, whole_or_nothing
from egress_assets.engine.stores.multipart import Multipart
from egress_assets.engine.stores.reading import etag_of
from egress_assets.engine.stores.settings import StoreSettings
from egress_assets.engine.stores.wire import Stop

_MIB = 2**20
_STEPS = 10  # of an unknown length: the part size doubles after each tenth of max_parts, which reaches 8 TiB from 8 MiB


def part_size(settings: StoreSettings, number: int, size: int | None) -> int:
    """Bytes of part `number` (from 1): as set, larger where `size`, or an unknown length, would need too many parts."""
    if size is not None:
        needed = -(-size // settings.max_parts)
        return max(settings.part_bytes, -(-needed // _MIB) * _MIB)
    return settings.part_bytes << (number - 1) * _STEPS // settings.max_parts


def put_whole(client: Client, key: str, body: bytes | memoryview, digest: str, headers: Mapping[str, str]) -> str:
    """One unconditional PUT, retried; returns the ETag. `digest` is the body's hex sha256."""
    request = Request(
        "PUT", key, headers={**headers, **client.dialect.integrity(body, digest)}, body=body, sha256=digest
    )
    return etag_of(client.send(request))


@dataclass(frozen=True, slots=True)
class Sent:
    """What arrived at the store: bytes and hex sha256 as the producer gave them."""

    bytes: int
    sha256: str
    etag: str


def send(client: Client, key: str, chunks: Iterable[bytes], headers: Mapping[str, str], size: int | None) -> Sent:
    """Upload a stream. Memory: part size x (parts in flight + 1).

    Chunks are copied at once, so a producer may reuse its buffer. Raises what the producer raises, and StoreError.
    """
    blocks = _Blocks(client.settings, chunks, size)
    filled = blocks.filled()
    first = next(filled)
    if first.is_last:
        digest = blocks.digest.hexdigest()
        return Sent(blocks.bytes, digest, put_whole(client, key, first.view, digest, headers))
    multipart = Multipart(client, key, headers, checksums=True)
    with whole_or_nothing(multipart, client.settings.parts_in_flight) as flight:
        blocks.flight = flight
        for block in itertools.chain((first,), filled):
            flight.begin(functools.partial(_send_block, multipart, block, blocks.free))
        flight.land()
        digest = blocks.digest.hexdigest()
        return Sent(blocks.bytes, digest, multipart.complete(blocks.bytes, digest, flight.stop))


@dataclass(frozen=True, slots=True)
class _Block:
    number: int
    buffer: bytearray
    view: memoryview  # the filled part of `buffer`
    is_last: bool


def _send_block(multipart: Multipart, block: _Block, free: list[bytearray], stop: Stop) -> None:
    multipart.put(block.number, block.view, stop)
    free.append(block.buffer)


class _Blocks:
    """Cuts a stream into parts, in buffers that are used again: fresh pages for each part cost a fifth of the CPU."""

    def __init__(self, settings: StoreSettings, chunks: Iterable[bytes], size: int | None) -> None:
        self._settings = settings
        self._chunks = chunks
        self._size = size
        self.flight: Flight | None = None  # whose parts hold the buffers
        self.free: list[bytearray] = []
        self.digest = sha256()
        self.bytes = 0

    def filled(self) -> Iterator[_Block]:
        """Blocks in order. A full one is given out when more bytes come, so that the last is known to be the last."""
        number, filled = 1, 0
        buffer, limit = self._take(number)
        for chunk in self._chunks:
            view = memoryview(chunk).cast("B")
            self.digest.update(view)
            self.bytes += len(view)
            while view:
                if filled == limit:
                    yield _Block(number, buffer, memoryview(buffer), is_last=False)
                    number, filled = number + 1, 0
                    buffer, limit = self._take(number)
                count = min(limit - filled, len(view))
                _write(buffer, filled, view[:count])
                view, filled = view[count:], filled + count
        yield _Block(number, buffer, memoryview(buffer)[:filled], is_last=True)

    def _take(self, number: int) -> tuple[bytearray, int]:
        """A buffer for a part and the part's size, once fewer than `parts_in_flight` + 1 are in use."""
        if number > self._settings.max_parts:
            raise StoreError(
                f"stream needs more than {self._settings.max_parts} parts, {self.bytes} bytes were read",
                hint="Pass `size`, or set a larger part_bytes.",
            )
        if self.flight is not None:
            self.flight.wait_below(self._settings.parts_in_flight + 1)
        wanted = part_size(self._settings, number, self._size)
        buffer = self.free.pop() if self.free else bytearray()
        return (buffer if len(buffer) == wanted else bytearray()), wanted


def _write(buffer: bytearray, position: int, data: memoryview) -> None:
    """Into a used buffer in place; a new one grows, since clearing 8 MiB costs more than a small object's PUT."""
    if position == len(buffer):
        buffer += data
    else:
        memoryview(buffer)[position : position + len(data)] = data
