"""HTTP/1.1 over kept-alive connections: only what an S3 client needs, at a tenth of http.client's cost.

A connection goes back to the pool only when its answer was read to the end; whatever ends otherwise is closed. Nothing
is retried in here: a broken connection is an OSError, and the layer above decides.

Source: RFC 9112 (framing), RFC 9110 (bodies of HEAD, 1xx, 204, 304).
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Iterator

from egress_assets.engine.stores.wire import Address, Stop, Wire

_HEAD_LIMIT = 2**16  # bytes; S3 allows 8 KiB of headers, a head beyond this is no S3 answer
_JOIN_LIMIT = 2**16  # bytes; smaller bodies leave in one packet with the head
_CHUNK = 2**18  # bytes of a streamed chunk
_IDLE_LIMIT = 30.0  # seconds; NAT gateways drop silent connections after 60 and more


class BrokenAnswer(ConnectionError):
    """The answer ended early or is not HTTP."""


class Response:
    """One answer. `headers` has lower-case names; `body` is filled by `load`.

    Whoever gets a Response ends it: `load`, `chunks` to the end, or `close`.
    """

    __slots__ = ("_buffer", "_framing", "_is_open", "_left", "_pool", "_stop", "_wire", "body", "headers", "status")

    def __init__(self, wire: Wire, pool: Pool | None, stop: Stop) -> None:
        self._wire = wire
        self._is_open = True
        self._pool = pool
        self._stop = stop
        self._buffer = b""
        self.body = b""
        self.status, self.headers = self._read_head()
        self._left = 0
        self._framing = ""

    def frame(self, method: str) -> None:
        """Find out where the body ends (RFC 9112, 6.3)."""
        if method == "HEAD" or self.status in (204, 304):
            self._framing = "length"
        elif self.headers.get("transfer-encoding", "").lower() == "chunked":
            self._framing = "chunked"
        elif "content-length" in self.headers:
            self._framing = "length"
            self._left = _number(self.headers["content-length"], 10)
        else:
            self._framing = "close"
        if self._framing == "length" and not self._left:
            self._finish()

    def load(self, limit: int = 2**40) -> Response:
        """Read the body whole. Memory: the body; more than `limit` bytes is a BrokenAnswer."""
        pieces, size = [], 0
        for piece in self.chunks():
            size += len(piece)
            if size > limit:
                self.close()
                raise BrokenAnswer(f"answer is longer than {limit} bytes")
            pieces.append(piece)
        self.body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return self

    def chunks(self) -> Iterator[bytes]:
        """The body in pieces of at most 256 KiB; a body that ends early raises BrokenAnswer."""
        try:
            if not self._is_open:
                return
            if self._framing == "chunked":
                yield from self._chunked()
            elif self._framing == "length":
                yield from self._counted()
            else:
                yield from self._until_close()
            self._finish()
        finally:
            self.close()

    def close(self) -> None:
        """Drop the connection unless the answer was read to its end."""
        if self._is_open:
            self._is_open = False
            self._wire.close()

    def _finish(self) -> None:
        self._is_open = False
        closing = self._framing == "close" or self.headers.get("connection", "").lower() == "close"
        if self._pool is None or closing or self._buffer:
            self._wire.close()
        else:
            self._pool.give_back(self._wire)

    def _more(self, size: int = _CHUNK) -> bytes:
        data = self._wire.receive(size, self._stop)
        if not data:
            raise BrokenAnswer("connection ended inside an answer")
        return data

    def _read_head(self) -> tuple[int, dict[str, str]]:
        while True:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > _HEAD_LIMIT:
                    raise BrokenAnswer("head of the answer is too long")
                self._buffer += self._more(_HEAD_LIMIT)
                continue
            status, headers = _parse_head(self._buffer[:end])
            self._buffer = self._buffer[end + 4 :]
            if status >= 200:
                return status, headers

    def _counted(self) -> Iterator[bytes]:
        while self._left:
            if self._buffer:
                data, self._buffer = self._buffer[: self._left], self._buffer[self._left :]
            else:
                data = self._fill(min(self._left, _CHUNK))
            self._left -= len(data)
            yield data

    def _fill(self, size: int) -> bytes:
        """Exactly `size` bytes: what a consumer does for a chunk should not happen for each packet."""
        data = self._more(size)
        if len(data) == size:
            return data
        whole = bytearray(size)
        whole[: len(data)] = data
        view, filled = memoryview(whole), len(data)
        while filled < size:
            count = self._wire.receive_into(view[filled:], self._stop)
            if not count:
                raise BrokenAnswer(f"connection ended with {self._left - filled} bytes of the body missing")
            filled += count
        return bytes(view)

    def _chunked(self) -> Iterator[bytes]:
        while size := _number(self._line().partition(b";")[0].decode("latin-1"), 16):
            while size:
                if not self._buffer:
                    self._buffer = self._more()
                data, self._buffer = self._buffer[:size], self._buffer[size:]
                size -= len(data)
                yield data
            if self._line():
                raise BrokenAnswer("chunk of the answer is longer than it says")
        while self._line():
            pass

    def _line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            if len(self._buffer) > _HEAD_LIMIT:
                raise BrokenAnswer("line of the answer is too long")
            self._buffer += self._more()
        line, self._buffer = self._buffer[:end], self._buffer[end + 2 :]
        return line

    def _until_close(self) -> Iterator[bytes]:
        data, self._buffer = self._buffer, b""
        while True:
            if data:
                yield data
            data = self._wire.receive(_CHUNK, self._stop)
            if not data:
                return


class Pool:
    """Kept-alive connections to one address, shared by threads: as many as were ever in use at once."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._idle: list[tuple[int, Wire]] = []  # (process, wire): a forked child must not use its parent's sockets
        self._finalizer = weakref.finalize(self, _close_all, self._idle)

    def exchange(self, method: str, head: bytes, body: bytes | bytearray | memoryview, stop: Stop) -> Response:
        """Send a request and read the head of its answer. Raises OSError and Stopped."""
        wire = self._take(stop)
        try:
            response = Response(wire, self._send(wire, head, body, stop), stop)
            response.frame(method)
        except BaseException:
            wire.close()
            raise
        return response

    def _send(self, wire: Wire, head: bytes, body: bytes | bytearray | memoryview, stop: Stop) -> Pool | None:
        """None when the answer came before the body was sent: the connection is out of step after it."""
        try:
            if len(body) <= _JOIN_LIMIT:
                wire.send(head + body, stop)
            else:
                wire.send(head, stop)
                wire.send(body, stop)
        except (BrokenPipeError, ConnectionResetError):
            if not wire.is_stale():
                raise
            return None  # a refusal may lie in the receive buffer and says more than the broken pipe
        return self

    def give_back(self, wire: Wire) -> None:
        wire.used = time.monotonic()
        self._idle.append((os.getpid(), wire))

    def close(self) -> None:
        """Close what is idle; the pool stays usable."""
        _close_all(self._idle)

    def _take(self, stop: Stop) -> Wire:
        while self._idle:
            try:
                process, wire = self._idle.pop()
            except IndexError:  # another thread took it
                break
            fresh = process == os.getpid() and time.monotonic() - wire.used < _IDLE_LIMIT
            if fresh and not wire.is_stale():
                return wire
            wire.close()
        return Wire(self._address, stop)


def _close_all(idle: list[tuple[int, Wire]]) -> None:
    while idle:
        idle.pop()[1].close()


def _number(text: str, base: int) -> int:
    try:
        value = int(text.strip(), base)
    except ValueError:
        value = -1
    if value < 0:
        raise BrokenAnswer(f"length {text[:20]!r} of the answer is no number")
    return value


def _parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("utf-8", "surrogateescape").split("\r\n")
    version, _, rest = first.partition(" ")
    if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
        raise BrokenAnswer("answer is not HTTP/1.1")
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        name, value = name.lower(), value.strip()
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    if version == "HTTP/1.0":
        headers.setdefault("connection", "close")
    return int(rest[:3]), headers
