"""The embedded HTTPS recipient: takes files from clients that show a certificate, and says what it has.

    POST /DA              header `filename`; answers a receipt {filename, bytes, sha256, identity, received_at}
    HEAD /DA/<filename>   200 with x-egress-identity, x-egress-sha256 and content-length, or 404

Optional headers of POST: `x-egress-sha256` (compared before the file becomes visible: 422), `Idempotency-Key` (again:
the same receipt, nothing stored; for another file: 409), `x-egress-not-after` (later: 410), `x-egress-identity`. With
`Expect: 100-continue` every refusal that needs no body comes before the body. A file is visible only when it is whole.

Memory: 64 KiB a connection. Runs as `python -m egress_assets.sandbox.receiver --config FILE`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import re
import signal
import ssl
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from egress_assets.sandbox.faults import Faults
from egress_assets.sandbox.inbox import Inbox, Offer, Receipt, Refusal, check_name
from egress_assets.sandbox.ports import HOST

logger = logging.getLogger(__name__)

PATH = "/DA"
CHUNK = 64 * 1024  # bytes
MAX_LINE = 4096  # bytes of a chunk size or trailer
IDLE_SECONDS = 60.0  # without a byte from the peer
DRAIN_SECONDS, DRAIN_BYTES = 2.0, 8 * 2**20  # of a body that was refused, so that the peer gets to read why


class Disconnected(Exception):
    """The peer went away, or fell silent, before the end of its body."""


class ReceiverServer(ThreadingHTTPServer):
    """One thread a connection. TLS 1.2 at least; no certificate of our authority, no request."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, home: Path, port: int) -> None:
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.minimum_version = ssl.TLSVersion.TLSv1_2
        self.tls.verify_mode = ssl.CERT_REQUIRED
        self.tls.load_cert_chain(home / "server.pem", home / "server.key")
        self.tls.load_verify_locations(home / "ca.pem")
        self.inbox = Inbox(home)
        self.faults = Faults(home / "faults.json")
        super().__init__((HOST, port), Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Handshake in the connection's own thread: a silent peer holds up nobody else."""
        request.settimeout(IDLE_SECONDS)
        try:
            with self.tls.wrap_socket(request, server_side=True) as secured:
                Handler(secured, client_address, self)
        except OSError as error:  # also ssl.SSLError
            # A mere connect and close is how the sandbox looks whether the port answers.
            level = logging.DEBUG if isinstance(error, ssl.SSLEOFError) else logging.INFO
            logger.log(level, "connection ended: %s", getattr(error, "reason", None) or type(error).__name__)

    def server_close(self) -> None:
        super().server_close()
        self.inbox.close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "egress-sandbox", ""
    timeout = IDLE_SECONDS
    _admitted: Offer | None = None  # by the handshake of Expect: the body comes only because we asked for it

    @property
    def _recipient(self) -> ReceiverServer:
        return cast(ReceiverServer, self.server)

    def handle_expect_100(self) -> bool:
        """Refuse, or repeat a receipt, while the peer still holds its body back."""
        if self.command != "POST":
            return super().handle_expect_100()
        try:
            offer, earlier = self._admit()
        except Refusal as refusal:
            self._refuse(refusal, unread=False)
            return False
        if earlier is not None and offer.sha256:
            self._answer(200, earlier, close=True)
            return False
        self._admitted = offer
        return super().handle_expect_100()

    def do_POST(self) -> None:
        try:
            self._store(self._admitted or self._admit()[0])
        except Refusal as refusal:
            self._refuse(refusal)
        except Disconnected:
            logger.info("connection ended early, or was cut on demand")
            self.close_connection = True
        finally:
            self._admitted = None

    def _store(self, offer: Offer) -> None:
        faults = self._recipient.faults
        try:
            receipt = self._recipient.inbox.receive(offer, self._faulty_body())
        except OSError as error:
            logger.exception("could not store")
            raise Refusal(507, f"could not be stored: {error.strerror}") from error
        time.sleep(faults.seconds("delay_after_store"))
        if faults.take("drop_after_store"):
            raise Disconnected
        self._answer(200, receipt)

    def _faulty_body(self) -> Iterator[bytes]:
        yield from self._body()
        time.sleep(self._recipient.faults.seconds("delay_before_store"))
        if self._recipient.faults.take("drop_before_store"):
            raise Disconnected

    def do_HEAD(self) -> None:
        folder, _, name = urlsplit(self.path).path.rpartition("/")
        try:
            receipt = self._recipient.inbox.find(check_name(unquote(name, errors="strict"))) if folder == PATH else None
        except (Refusal, UnicodeDecodeError):
            receipt = None
        self.send_response(404 if receipt is None else 200)
        if receipt is not None:
            self.send_header("x-egress-identity", receipt.identity)
            self.send_header("x-egress-sha256", receipt.sha256)
        self.send_header("Content-Length", "0" if receipt is None else str(receipt.bytes))
        self.end_headers()

    def _not_allowed(self) -> None:
        self._refuse(Refusal(405, "only POST and HEAD"))

    do_GET = do_PUT = do_DELETE = do_PATCH = _not_allowed  # noqa: N815 - http.server looks for these names

    def _admit(self) -> tuple[Offer, Receipt | None]:
        """What the headers offer, and what its key was answered before. Refuses what needs no body to be refused."""
        if urlsplit(self.path).path != PATH:
            raise Refusal(404, f"files go to {PATH}")
        if self._recipient.faults.take("answer_503"):
            raise Refusal(503, "asked to by the faults file")
        self._body_length()
        offer = self._offer()
        return offer, self._recipient.inbox.earlier(offer)

    def _offer(self) -> Offer:
        digest = self._header("x-egress-sha256").lower()
        if digest and not re.fullmatch("[0-9a-f]{64}", digest):
            raise Refusal(400, "x-egress-sha256 must be 64 hexadecimal digits")
        identity = self._header("x-egress-identity")
        if not re.fullmatch("[ -~]{0,256}", identity):
            raise Refusal(400, "x-egress-identity must be up to 256 printable ASCII characters")
        return Offer(
            filename=check_name(self._header("filename")),
            sha256=digest,
            key=self._header("idempotency-key"),
            identity=identity,
            not_after=parse_deadline(self._header("x-egress-not-after")),
        )

    def _header(self, name: str) -> str:
        """One header as UTF-8 (http.server reads latin-1). Given twice is refused: readers differ in which counts."""
        values = self.headers.get_all(name, [])
        if len(values) > 1:
            raise Refusal(400, f"header {name} is given {len(values)} times")
        try:
            return values[0].strip().encode("latin-1").decode() if values else ""
        except UnicodeError:
            raise Refusal(400, f"header {name} is not UTF-8") from None

    def _body_length(self) -> int | None:
        """Bytes of the body; None when it is chunked. Refuses bodies of which two readers could think differently."""
        coding, length = self._header("transfer-encoding").lower(), self._header("content-length")
        if coding and (coding != "chunked" or length):
            raise Refusal(400, "transfer-encoding must be chunked, and without content-length")
        if coding:
            return None
        if not length:
            raise Refusal(411, "neither content-length nor chunked")
        if not re.fullmatch("[0-9]{1,18}", length):
            raise Refusal(400, "content-length is not a number")
        return int(length)

    def _body(self) -> Iterator[bytes]:
        length = self._body_length()
        try:
            yield from self._chunked() if length is None else self._exactly(length)
        except OSError as error:
            raise Disconnected from error

    def _exactly(self, length: int) -> Iterator[bytes]:
        while length > 0:
            block = self.rfile.read1(min(CHUNK, length))
            if not block:
                raise Disconnected
            length -= len(block)
            yield block

    def _chunked(self) -> Iterator[bytes]:
        while (size := self._chunk_size()) > 0:
            yield from self._exactly(size)
            if self._line():
                raise Refusal(400, "a chunk is longer than it says")
        for _ in range(100):
            if not self._line():  # the end of the trailers, which nobody reads
                return
        raise Refusal(400, "too many trailers")

    def _chunk_size(self) -> int:
        digits = self._line().partition(b";")[0].strip()
        if not re.fullmatch(b"[0-9a-fA-F]{1,15}", digits):
            raise Refusal(400, "a chunk's size is not hexadecimal")
        return int(digits, 16)

    def _line(self) -> bytes:
        line = self.rfile.readline(MAX_LINE)
        if len(line) == MAX_LINE:
            raise Refusal(400, f"a line of the chunked body has {MAX_LINE} bytes or more")
        if not line.endswith(b"\n"):
            raise Disconnected
        return line.rstrip(b"\r\n")

    def _answer(self, status: int, content: Receipt | dict[str, str], *, close: bool = False) -> None:
        body = json.dumps(content if isinstance(content, dict) else asdict(content)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if close:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def _refuse(self, refusal: Refusal, *, unread: bool = True) -> None:
        logger.info("refused: %d %s", refusal.status, refusal.reason)
        self._answer(refusal.status, {"error": refusal.reason}, close=True)
        if unread:
            self._drain()

    def _drain(self) -> None:
        """Read some of what the peer still sends: closing on unread bytes resets the connection under our answer."""
        deadline, left = time.monotonic() + DRAIN_SECONDS, DRAIN_BYTES
        with contextlib.suppress(OSError):
            self.connection.settimeout(0.2)
            while left > 0 and time.monotonic() < deadline:
                block = self.rfile.read1(CHUNK)
                if not block:
                    return
                left -= len(block)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What http.server refuses by itself, in the form of our own refusals."""
        self._answer(code, {"error": message or "refused"}, close=True)

    def log_message(self, format: str, *args: Any) -> None:
        logger.debug(format, *args)


def parse_deadline(text: str) -> datetime | None:
    """ISO 8601 with offset or Z, or seconds since 1970; None when empty. Raises Refusal (400)."""
    if not text:
        return None
    try:
        if re.fullmatch(r"[0-9]{1,12}(\.[0-9]+)?", text):
            return datetime.fromtimestamp(float(text), UTC)
        deadline = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        deadline = None
    if deadline is None or deadline.tzinfo is None:
        raise Refusal(400, "x-egress-not-after must be ISO 8601 with an offset, or seconds since 1970")
    return deadline


def main() -> None:
    parser = argparse.ArgumentParser(description="HTTPS recipient of the sandbox")
    parser.add_argument("--config", type=Path, required=True, help='JSON: {"home": folder, "port": number}')
    config = json.loads(parser.parse_args().config.read_bytes())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with ReceiverServer(Path(config["home"]), config["port"]) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
