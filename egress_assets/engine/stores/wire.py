"""One TCP or TLS connection whose waits end every half second, so that signals and stops get through.

CPython runs signal handlers in the main thread between bytecodes only: a signal that another thread receives does not
wake a main thread that waits in the kernel. A wait is therefore a loop of slices. A stall is counted in slices without
a byte; there is no limit over a whole body.
"""

from __future__ import annotations

import errno
import math
import os
import select
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

SLICE = 0.5  # seconds; bounds how late SIGTERM is noticed
_PIECE = 2**18  # bytes handed to one send: large enough that the calls cost nothing, small enough to notice a stop

T = TypeVar("T")


class Stopped(Exception):
    """The owner of this request has given it up."""


@dataclass(slots=True)
class Stop:
    """How the owner of requests in other threads gives them up."""

    retries: bool = False  # let what is on the wire end, begin nothing new
    now: bool = False  # end waits within a slice
    ends: float = math.inf  # end waits at this instant of time.monotonic()

    def check(self) -> None:
        if self.now or time.monotonic() > self.ends:
            raise Stopped("request was given up")


@dataclass(frozen=True, slots=True)
class Address:
    """Where to connect and how patiently. Times in seconds."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    connect_timeout: float
    read_timeout: float


class Wire:
    """A connected socket. Not shared between threads at the same time.

    Raises OSError (TimeoutError, ConnectionError, ssl.SSLError, socket.gaierror), and Stopped.
    """

    __slots__ = ("_patience", "_slice", "_socket", "used")

    def __init__(self, address: Address, stop: Stop) -> None:
        self._patience = address.read_timeout
        self._slice = min(SLICE, address.read_timeout)
        self.used = time.monotonic()
        plain = _connect(address, stop)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self._socket = plain if address.tls is None else _handshake(plain, address.tls, address, stop)
        except BaseException:
            plain.close()
            raise

    def send(self, data: bytes | bytearray | memoryview, stop: Stop) -> None:
        view = memoryview(data)
        while view:
            sent = self._patiently(self._send_some, view[:_PIECE], stop)
            view = view[sent:]

    def _send_some(self, view: memoryview) -> int:
        try:
            return self._socket.send(view)
        except TimeoutError:
            if self.is_stale():  # the other side answers and no longer reads
                raise BrokenPipeError(errno.EPIPE, "answered before the end of the body") from None
            raise

    def receive(self, size: int, stop: Stop) -> bytes:
        """At most `size` bytes, as they come; empty at the end of the stream."""
        return self._patiently(self._socket.recv, size, stop)

    def receive_into(self, view: memoryview, stop: Stop) -> int:
        return self._patiently(self._socket.recv_into, view, stop)

    def is_stale(self) -> bool:
        """An idle connection with something to read was closed by the other side, or is out of step."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        self._socket.close()

    def _patiently(self, operation: Callable[..., T], argument: object, stop: Stop) -> T:
        waited = 0.0
        while True:
            stop.check()
            try:
                return operation(argument)
            except TimeoutError:
                waited += self._slice
                if waited >= self._patience:
                    raise TimeoutError(errno.ETIMEDOUT, f"no byte moved for {waited:.1f} s") from None


def _connect(address: Address, stop: Stop) -> socket.socket:
    """Try the host's addresses in turn."""
    error: OSError | None = None
    for family, kind, protocol, _, target in socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM):
        sock = socket.socket(family, kind, protocol)
        try:
            _connect_one(sock, target, address.connect_timeout, stop)
        except OSError as caught:
            sock.close()
            error = caught
        except BaseException:
            sock.close()
            raise
        else:
            sock.settimeout(min(SLICE, address.read_timeout))
            return sock
    raise error or ConnectionError(f"{address.host} has no address")


def _connect_one(sock: socket.socket, target: object, timeout: float, stop: Stop) -> None:
    sock.setblocking(False)
    code = sock.connect_ex(target)  # type: ignore[arg-type]
    if code not in (0, errno.EINPROGRESS):
        raise OSError(code, "connect failed")
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    ends = time.monotonic() + timeout
    while code and not poll.poll(min(SLICE, timeout) * 1000):
        stop.check()
        if time.monotonic() >= ends:
            raise TimeoutError(errno.ETIMEDOUT, f"no connection within {timeout:g} s")
    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))


def _handshake(plain: socket.socket, tls: ssl.SSLContext, address: Address, stop: Stop) -> ssl.SSLSocket:
    secure = tls.wrap_socket(plain, server_hostname=address.host, do_handshake_on_connect=False)
    ends = time.monotonic() + address.connect_timeout
    while True:
        try:
            secure.do_handshake()
        except TimeoutError:
            stop.check()
            if time.monotonic() >= ends:
                secure.close()
                raise TimeoutError(errno.ETIMEDOUT, "no TLS handshake in time") from None
        except BaseException:
            secure.close()
            raise
        else:
            return secure
