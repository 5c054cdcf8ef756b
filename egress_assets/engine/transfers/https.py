"""One HTTPS request with a long body: waits for leave to send it, and stops when the answer comes first.

A refusal costs nothing this way: with `Expect: 100-continue` no byte of the body leaves before the server has seen the
head, and an early final answer ends the body. Clients without both send all of it: 512 MiB into a 413 cost requests,
httpx and urllib3 1.6 to 4.9 s, and this 0 bytes.

Source: RFC 9110 (10.1.1, Expect; 15, status codes), RFC 9112 (7.1, chunked; 9.5, early answers).
"""

from __future__ import annotations

import logging
import os
import select
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from urllib.parse import urlsplit

from egress_assets.engine.errors import CatalogError
from egress_assets.engine.stores.http import Response
from egress_assets.engine.stores.wire import Address, Stop, Wire

logger = logging.getLogger(__name__)

_ANSWER_LIMIT = 2**16  # bytes of an answer's body that are read; a receipt is below 1 KiB
_PIECE = 2**18  # bytes between two looks at the receiving side


class _Answered(Exception):  # not an OSError: it is no failure of the connection
    """A final answer has begun while the body was still being sent."""


@dataclass(frozen=True, slots=True)
class Body:
    """`size` None sends it chunked."""

    chunks: Iterable[bytes]
    size: int | None


@dataclass(frozen=True, slots=True)
class Answer:
    """`complete`: the last byte of the body had left when the answer (or the end of the connection) came."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    complete: bool


class Unanswered(Exception):
    """The exchange ended without an answer. `complete` as in Answer; the message is fit for people."""

    def __init__(self, error: OSError, *, complete: bool) -> None:
        super().__init__(_reason(error))
        self.complete = complete
        self.retryable = not isinstance(error, ssl.SSLCertVerificationError)  # another name or CA stays another one


def tls_context(*, ca: str, cert: str, key: str, password: str = "") -> ssl.SSLContext:
    """Verify the server's name and chain, TLS 1.2 or newer, and show our certificate.

    Each argument is PEM text or the path of a PEM file; text never touches a disk. Empty `ca`: the system's roots.
    Raises CatalogError when they can't be read or don't belong together.
    """
    try:
        context = (
            ssl.create_default_context(cafile=ca or None) if not _is_pem(ca) else ssl.create_default_context(cadata=ca)
        )
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if cert:
            with _PemFile(cert) as cert_path, _PemFile(key or cert) as key_path:
                # without a callback OpenSSL would ask for a password on the terminal
                context.load_cert_chain(cert_path, key_path, lambda: password)
    except (OSError, ssl.SSLError) as error:
        told = error.reason if isinstance(error, ssl.SSLError) else error.strerror
        raise CatalogError(
            f"`ca`, `cert` or `key` can't be used: {(told or 'no PEM').lower().replace('_', ' ')}",
            hint="Give PEM files (or their text) that belong together; an encrypted key needs `key_password`.",
        ) from None
    return context


def _is_pem(text: str) -> bool:
    return "-----BEGIN " in text


class _PemFile:
    """A path at which OpenSSL reads PEM text that must not lie on a disk."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._descriptor = -1

    def __enter__(self) -> str:
        if not _is_pem(self._text):
            return self._text
        self._descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
        os.write(self._descriptor, self._text.encode())
        return f"/proc/self/fd/{self._descriptor}"

    def __exit__(self, *_: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)


class _Line(Wire):
    """A connection that looks at what arrives while it sends."""

    __slots__ = ("_inbox",)

    def __init__(self, address: Address) -> None:
        super().__init__(address, Stop())
        self._inbox = b""

    def be_patient(self, seconds: float) -> None:
        """How long to wait for the next byte from now on."""
        self._patience = seconds

    def send_watching(self, data: bytes) -> None:
        """Raises _Answered as soon as a final answer is there, also when the other side no longer reads."""
        view, quiet = memoryview(data), 0.0
        while view:
            self._look()
            try:
                sent = self._socket.send(view[:_PIECE])
            except TimeoutError:
                quiet += self._slice
                if quiet >= self._patience:
                    raise
            except OSError:
                self._look()  # a refusal that arrived says more than the broken pipe
                raise
            else:
                view, quiet = view[sent:], 0.0

    def await_leave(self, seconds: float) -> None:
        """Wait for 100 Continue. A server that says nothing within `seconds` gets the body anyway (RFC 9110)."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        ends = time.monotonic() + seconds
        while not self._look() and (left := ends - time.monotonic()) > 0:
            poll.poll(left * 1000)

    def receive(self, size: int, stop: Stop) -> bytes:
        if self._inbox:
            data, self._inbox = self._inbox[:size], self._inbox[size:]
            return data
        return super().receive(size, stop)

    def _look(self) -> bool:
        """Take in what has arrived, without waiting; True when an interim answer (1xx) was there.

        Raises _Answered for the head of a final answer, ConnectionResetError when the other side is gone.
        """
        gone = self.is_stale() and self._take_in()
        interim = False
        while self._inbox[9:10] == b"1" and b"\r\n\r\n" in self._inbox:
            self._inbox = self._inbox.partition(b"\r\n\r\n")[2]
            interim = True
        if self._inbox[9:10] not in (b"", b"1"):
            raise _Answered
        if gone:
            raise ConnectionResetError("the recipient closed the connection")
        return interim

    def _take_in(self) -> bool:
        """Read until nothing is left; True at the end of the stream. A TLS ticket is readable, but holds no data."""
        before = self._socket.gettimeout()
        self._socket.settimeout(0)
        try:
            while data := self._socket.recv(_PIECE):
                self._inbox += data
        except (ssl.SSLWantReadError, BlockingIOError):
            return False
        finally:
            self._socket.settimeout(before)
        return True


@dataclass(frozen=True, slots=True)
class Client:
    """Requests to one server, a connection each. Seconds: `idle` is without a byte, `answer` after the last one."""

    url: str
    context: ssl.SSLContext = field(repr=False)
    connect_timeout: float = 20.0
    idle_timeout: float = 60.0
    answer_timeout: float = 3600.0
    leave_timeout: float = 1.0  # how long a server that does not know Expect delays a body; curl waits as long

    def request(self, method: str, path: str, headers: Mapping[str, str], body: Body | None = None) -> Answer:
        """Send one request to `path` (already encoded). Raises Unanswered, and what `body.chunks` raises."""
        chunks = iter(body.chunks) if body else iter(())
        first = next(chunks, b"")  # what fails before the first byte fails before a connection
        try:
            line = _Line(self._address())
        except OSError as error:
            raise Unanswered(error, complete=False) from None
        try:
            return self._exchange(line, method, self._head(method, path, headers, body), _pieces(first, chunks, body))
        finally:
            line.close()

    def _exchange(self, line: _Line, method: str, head: bytes, pieces: Iterator[bytes] | None) -> Answer:
        complete = False
        try:
            try:
                line.send(head, Stop())
                if pieces is not None:
                    line.await_leave(self.leave_timeout)
                    for piece in pieces:
                        line.send_watching(piece)
                complete = True
            except _Answered:
                logger.debug("answered before the body was sent")
            line.be_patient(self.answer_timeout)
            response = Response(line, None, Stop())
        except OSError as error:
            raise Unanswered(error, complete=complete) from None
        return Answer(response.status, response.headers, _short_body(response, method), complete)

    def _address(self) -> Address:
        parts = urlsplit(self.url)
        return Address(parts.hostname or "", parts.port or 443, self.context, self.connect_timeout, self.idle_timeout)

    def _head(self, method: str, path: str, headers: Mapping[str, str], body: Body | None) -> bytes:
        lines = {"host": urlsplit(self.url).netloc.rpartition("@")[2], "connection": "close", **headers}
        if body is not None:
            lines |= {"transfer-encoding": "chunked"} if body.size is None else {"content-length": str(body.size)}
            if body.size != 0:
                lines["expect"] = "100-continue"
        text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return f"{method} {path} HTTP/1.1\r\n{text}\r\n".encode()


def _pieces(first: bytes, rest: Iterator[bytes], body: Body | None) -> Iterator[bytes] | None:
    """What goes over the wire after the head; None where nothing does."""
    if body is None or body.size == 0:
        return None
    chunks = chain((first,), rest)
    return (c for c in chunks if c) if body.size is not None else _chunked(chunks)


def _chunked(chunks: Iterable[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        if chunk:  # an empty one would end the body
            yield b"%x\r\n%b\r\n" % (len(chunk), chunk)
    yield b"0\r\n\r\n"


def _short_body(response: Response, method: str) -> bytes:
    """The start of an answer's body. A status whose body breaks off still is a status."""
    body = b""
    try:
        response.frame(method)
        for piece in response.chunks():
            body += piece
            if len(body) >= _ANSWER_LIMIT:
                break
    except OSError:
        logger.debug("the answer's body broke off after %d bytes", len(body))
    finally:
        response.close()
    return body[:_ANSWER_LIMIT]


def _reason(error: OSError) -> str:
    """What went wrong, without what OpenSSL and the system add of addresses and files."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate does not verify: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {(error.reason or 'closed').lower().replace('_', ' ')}"
    return (error.strerror or str(error) or type(error).__name__).lower()
