"""What messages are sent to in tests: a real HTTPS server that answers as it is told, and how servers show TLS."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


def serving(folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    return context


@dataclass
class Receiver:
    """A real HTTP server. `answers` are statuses to give, 204 after them; None: silence."""

    port: int
    got: list[tuple[Mapping[str, str], dict[str, Any]]] = field(default_factory=list)
    answers: list[int | None] = field(default_factory=list)
    silent: threading.Event = field(default_factory=threading.Event)


@contextmanager
def receivers(folder: Path) -> Iterator[Callable[..., Receiver]]:
    """Starts servers that show the certificate in `folder`; they end with the block."""
    running: list[tuple[ThreadingHTTPServer, Receiver]] = []

    def start(*, tls: bool = True, port: int = 0) -> Receiver:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = known.answers.pop(0) if known.answers else 204
                if status is None:
                    known.silent.wait()
                    return
                known.got.append((dict(self.headers), {"path": self.path, "status": status, **json.loads(body)}))
                self.send_response(status)
                self.send_header("Location", "https://127.0.0.1/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        http.daemon_threads = True
        if tls:
            http.socket = serving(folder).wrap_socket(http.socket, server_side=True)
        known = Receiver(http.server_address[1])
        threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True).start()
        running.append((http, known))
        return known

    try:
        yield start
    finally:
        for http, known in running:
            known.silent.set()
            http.shutdown()
            http.server_close()
