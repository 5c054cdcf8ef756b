"""A small HTTP/1.1 server for verbs that serve: strict in what it reads, bounded in everything, one log line a request.

For private networks behind a proxy that speaks TLS. A client that sends slowly, too much or nonsense gets an answer and
loses its connection; it never holds up another one. Bodies and header values are never logged.
Memory: at most CONNECTIONS x (HEAD_BYTES + BODY_BYTES), 5 MB. Source: RFC 9112, RFC 9110.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from egress_assets.engine.errors import EgressError

logger = logging.getLogger(__name__)

HEAD_BYTES, BODY_BYTES = 16 * 2**10, 64 * 2**10
CONNECTIONS = 64  # at once, each with a thread of its own while it is answered: one more is told to come again
READ_SECONDS = 10.0  # for a whole request, however slowly its bytes come; also the longest pause between two
GRACE_SECONDS = 3.0  # for requests at work when the end is asked for; the process ends within 5
RETRY_SECONDS = 10

_REQUEST_LINE = re.compile(rb"([A-Z]{1,20}) (?:https?://[^/ ]*)?(/[\x21-\x7e]*) HTTP/1\.([01])")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\0\r\n]*?)[ \t]*")
_ONCE = frozenset({"authorization", "content-length", "host", "transfer-encoding"})  # two of them mean two readings


@dataclass(frozen=True, slots=True)
class Request:
    """`path` is without its query; header names are in lower case, values as sent."""

    method: str
    path: str
    headers: Mapping[str, bytes] = field(repr=False)
    body: bytes = field(repr=False)
    keep: bool = True  # the connection may carry another one


@dataclass(frozen=True, slots=True)
class Answer:
    """A status and a JSON document."""

    status: int
    document: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


class Refused(Exception):
    """What came is no request that can be answered otherwise; the connection closes."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.answer = refusal(status, message)


def refusal(status: int, message: str, hint: str = "", **headers: str) -> Answer:
    """An error as the command itself writes them with --json. `Retry_After=` is the header `Retry-After`."""
    code = HTTPStatus(status).name.lower()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, {"error": {"code": code, "message": message, "hint": hint}}, named)


def unavailable(message: str, hint: str = "") -> Answer:
    """503 that says when to come again."""
    return refusal(503, message, hint, Retry_After=str(RETRY_SECONDS))


def serve(bind: str, port: int, handle: Callable[[Request], Answer]) -> int:
    """Answer requests until SIGTERM, SIGINT or SIGHUP; 128 + its number. `handle` is called in threads.

    Port 0 takes a free one; which one is logged. Raises EgressError when it can't listen there.
    """
    return asyncio.run(_Server(handle).run(bind, port))


class _Server:
    def __init__(self, handle: Callable[[Request], Answer]) -> None:
        self._handle = handle
        self._pool = ThreadPoolExecutor(CONNECTIONS, "request")
        self._open = self._working = 0

    async def run(self, bind: str, port: int) -> int:
        loop = asyncio.get_running_loop()
        stop: asyncio.Future[int] = loop.create_future()
        try:
            server = await asyncio.start_server(self._connected, bind, port, limit=HEAD_BYTES, backlog=128)
        except OSError as error:
            hint = "Choose another --port or --bind, or end what listens there."
            text = os.strerror(error.errno) if error.errno and error.errno > 0 else "no such address"
            raise EgressError(f"can't listen on {bind} port {port}: {text}", hint=hint) from error
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, lambda n=number: stop.done() or stop.set_result(n))
        logger.info("listening on %s port %d", bind, server.sockets[0].getsockname()[1])
        number = await stop
        server.close()
        await self._finish(128 + number)
        return 128 + number

    async def _finish(self, code: int) -> None:
        """Let what is at work come to its answer. A thread that waits for somebody else is not waited for."""
        ends = time.monotonic() + GRACE_SECONDS
        while self._working and time.monotonic() < ends:
            await asyncio.sleep(0.05)
        logger.info("ends, %d requests at work are left", self._working)
        if self._working:
            sys.stderr.flush()
            os._exit(code)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open > CONNECTIONS:
                await self._refuse(reader, writer, unavailable(f"{CONNECTIONS} connections are open"))
            else:
                await self._converse(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # it went away, or does not read its answer
        finally:
            self._open -= 1
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        keep = True
        while keep and (first := await asyncio.wait_for(reader.read(1), READ_SECONDS)):
            try:
                request = await asyncio.wait_for(_read(first, reader, writer), READ_SECONDS)
            except TimeoutError:
                text = f"the request is not there after {READ_SECONDS:.0f} s"
                await self._refuse(reader, writer, refusal(408, text))
                break
            except Refused as error:
                await self._refuse(reader, writer, error.answer)
                break
            keep = request.keep
            await self._answer(writer, request)

    async def _answer(self, writer: asyncio.StreamWriter, request: Request) -> None:
        began = time.monotonic()
        self._working += 1
        try:
            loop = asyncio.get_running_loop()
            answer = await loop.run_in_executor(self._pool, self._handle, request)
        except Exception as error:  # noqa: BLE001 - a mistake of ours ends one request; its text may hold a value
            logger.error("unexpected %s in %s %s", type(error).__name__, request.method, request.path)  # noqa: TRY400
            answer = refusal(500, "unexpected error", "The log of the server has its kind.")
        finally:
            self._working -= 1
        writer.write(_written(answer, keep=request.keep, with_body=request.method != "HEAD"))
        seconds = time.monotonic() - began
        _log(writer, f"{request.method} {request.path[:200]}", answer, f" in {seconds:.3f} s")
        await asyncio.wait_for(writer.drain(), READ_SECONDS)

    async def _refuse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer) -> None:
        """Answer, and let the client read it: closing over unread bytes resets the connection."""
        writer.write(_written(answer, keep=False))
        _log(writer, "refused", answer, f": {answer.document['error']['message']}")
        with contextlib.suppress(OSError):
            writer.write_eof()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(_drained(reader), 1.0)


async def _drained(reader: asyncio.StreamReader) -> None:
    while await reader.read(2**14):
        pass


async def _read(first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request:
    """The request that begins with this byte. Raises Refused, IncompleteReadError."""
    try:
        head = first + await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        raise Refused(431, f"the head of the request is above {HEAD_BYTES} bytes") from None
    line, *fields = head.strip(b"\r\n").split(b"\r\n")
    if (found := _REQUEST_LINE.fullmatch(line)) is None:
        raise Refused(400, "the first line is no request of HTTP/1.1")
    headers = _headers(fields)
    length = _length(headers)
    if headers.get("expect", b"").lower() == b"100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    closes = b"close" in headers.get("connection", b"").lower() or found[3] == b"0"
    path = found[2].decode().partition("?")[0].partition("#")[0]
    return Request(found[1].decode(), path, headers, await reader.readexactly(length), keep=not closes)


def _headers(fields: list[bytes]) -> dict[str, bytes]:
    headers: dict[str, bytes] = {}
    for line in fields:
        if (found := _FIELD.fullmatch(line)) is None:
            raise Refused(400, "a header can't be read")
        name = found[1].decode().lower()
        if name in headers and name in _ONCE:
            raise Refused(400, f"header {name} is there twice")
        headers[name] = found[2]
    return headers


def _length(headers: Mapping[str, bytes]) -> int:
    if "transfer-encoding" in headers:
        raise Refused(411, "a body needs a Content-Length")
    said = headers.get("content-length", b"0")
    if not re.fullmatch(rb"[0-9]{1,18}", said):
        raise Refused(400, "Content-Length is no number of bytes")
    if int(said) > BODY_BYTES:
        raise Refused(413, f"the body has {int(said)} bytes, {BODY_BYTES} are allowed")
    return int(said)


def _written(answer: Answer, *, keep: bool, with_body: bool = True) -> bytes:
    body = json.dumps(answer.document).encode() + b"\n"
    fields = {
        "Content-Type": "application/json", "Content-Length": str(len(body)), "Cache-Control": "no-store",
        "Connection": "keep-alive" if keep else "close", **answer.headers,
    }  # fmt: skip
    head = f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return head.encode("latin-1") + b"\r\n" + (body if with_body else b"")


def _log(writer: asyncio.StreamWriter, what: str, answer: Answer, more: str) -> None:
    peer = writer.get_extra_info("peername") or ("gone",)
    run = f" run {answer.document['run_id']}" if "run_id" in answer.document else ""
    logger.info("%s %s -> %d%s%s", peer[0], what, answer.status, run, more)
