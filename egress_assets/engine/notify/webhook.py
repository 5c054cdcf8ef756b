"""Messages by POST, as JSON: `text` is what chat systems show, the rest is for programs.

The URL often is the credential, so messages name its host alone. Redirects are not followed. Certificates are verified.

Source: RFC 9110 (15.5, 15.6: what of it may be tried again), draft-ietf-httpapi-idempotency-key-header.
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

from egress_assets.engine.errors import CatalogError, DeliveryRefused, DeliveryUnavailable
from egress_assets.engine.notify.reasons import reason
from egress_assets.engine.notify.words import Message

TIMEOUT = 5.0  # seconds without a byte
_AGAIN = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class Webhook:
    """A channel. `context` verifies against the system's authorities unless another one is given."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    context: ssl.SSLContext = field(default_factory=ssl.create_default_context, repr=False)

    def send(self, message: Message) -> None:
        """POST a message; 2xx is success. Raises DeliveryUnavailable, DeliveryRefused, CatalogError."""
        parts = self._parts()
        where = f"webhook at {parts.hostname}"
        try:
            status = self._post(parts, message)
        except OSError as error:  # first: what does not verify is a ValueError too
            raise self._unavailable(where, reason(error)) from None
        except (ValueError, http.client.InvalidURL):  # the text would quote what can't be put on the wire
            hint = "Check `notify.webhook`: headers and URL hold no line breaks, spaces or control characters."
            raise CatalogError(f"{where}: its URL or a header can't be sent", hint=hint) from None
        except http.client.HTTPException:
            raise self._unavailable(where, "what it answers is not HTTP") from None
        if status >= 500 or status in _AGAIN:
            raise DeliveryUnavailable(f"{where} answered {status}", hint="It is tried again by itself.")
        if not 200 <= status < 300:
            hint = "Check `notify.webhook`: its URL, and the token in its headers."
            raise DeliveryRefused(f"{where} answered {status}", hint=hint)

    def _unavailable(self, where: str, why: str) -> DeliveryUnavailable:
        hint = "Check `notify.webhook` and the way to it; it is tried again by itself."
        return DeliveryUnavailable(f"{where}: {why}", hint=hint)

    def _parts(self) -> SplitResult:
        try:
            parts = urlsplit(self.url)
            if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
                return parts
        except ValueError:  # a port or an address that is none
            pass
        hint = "Write https://host/path."
        raise CatalogError("`notify.webhook.url` is not the URL of a web server", hint=hint)

    def _post(self, parts: SplitResult, message: Message) -> int:
        host, port = parts.hostname or "", parts.port
        line = (
            http.client.HTTPSConnection(host, port, timeout=TIMEOUT, context=self.context)
            if parts.scheme == "https"
            else http.client.HTTPConnection(host, port, timeout=TIMEOUT)
        )
        own = {"Content-Type": "application/json", "Idempotency-Key": message.id, "User-Agent": "egress"}
        body = json.dumps({"text": f"{message.subject}\n\n{message.text}", **message.facts}).encode()
        try:
            path = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
            line.request("POST", path, body, own | dict(self.headers))
            return line.getresponse().status
        finally:
            line.close()
