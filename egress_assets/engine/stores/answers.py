"""What S3 answers mean: error codes, the error tree, and the XML of small answers.

A message names the action, the key and the store, the status, the code and the request id. The server's own prose is
left out: it may echo headers, keys of signatures or a signed URL.
"""

from __future__ import annotations

import re
import ssl
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from html import unescape
from xml.etree import ElementTree as ET

from egress_assets.engine.errors import ObjectConflict, ObjectMissing, StoreDenied, StoreError, StoreUnavailable
from egress_assets.engine.stores.http import Response

TRANSIENT_STATUS = frozenset({429, 500, 502, 503, 504})
TRANSIENT_CODES = frozenset(
    {
        "RequestTimeout",
        "SlowDown",
        "InternalError",
        "OperationAborted",
        "ServiceUnavailable",
        "IncompleteBody",  # our body was cut on its way
        "BadDigest",  # it was damaged on its way: the checksum did its work
        "XAmzContentSHA256Mismatch",
    }
)
STALE_TOKEN_CODES = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"})
XML_LIMIT = 2**24  # bytes; a full listing page of 1,000 keys of 1,024 encoded bytes is 4 MiB

_FULL_HINT = "Make room at the store or raise its quota, then run again."
_HINTS = {
    "SignatureDoesNotMatch": "The secret key does not belong to the access key.",
    "InvalidAccessKeyId": "The store does not know this access key.",
    "RequestTimeTooSkewed": "Set this machine's clock: it is more than 15 minutes off.",
    "ExpiredToken": "The session token has expired; renew the credentials.",
    "NoSuchBucket": "Create the bucket, or correct its name in endpoints.yaml.",
    "AuthorizationHeaderMalformed": "The bucket is in another region: set `region` of the store.",
    "PermanentRedirect": "The bucket is in another region: set `region` of the store.",
    "InsufficientStorage": _FULL_HINT,
    "QuotaExceeded": _FULL_HINT,
    "KeyTooLongError": "Keys have at most 1,024 bytes, `prefix` included: rename the object at its source.",
    "EntityTooLarge": "Set `part_bytes` or pass the size, so that the object is written in parts.",
}
_UNFIT_HINT = "The store does not take this request; docs/providers.md tells which keys and settings which store takes."
_DENIED_HINT = "Grant the action on bucket and prefix; without s3:ListBucket S3 answers 403 also for absent objects."


def error_code(response: Response, *, is_data: bool = False) -> str:
    """The S3 code of a failed answer; empty for a good one.

    A 200 whose body is an `<Error>` is a failure (Complete and Copy answer so), unless the body is an object's own.
    """
    if response.status < 300:
        lies = not is_data and b"<Error>" in response.body[:300]
        return (_code_of(response.body) or "http_200") if lies else ""
    return _code_of(response.body) or f"http_{response.status}"


def _code_of(body: bytes) -> str:
    return field_of(body, "Code")[:80]


def field_of(body: bytes, name: str) -> str:
    """The last element `name` of an answer that echoes the key, without parsing it.

    Stores echo control characters of a key raw, which is no XML; `<` they do escape. Empty when there is none.
    """
    found = re.findall(rb"<%s>([^<]*)</%s>" % (name.encode(), name.encode()), body)
    return unescape(found[-1].decode("utf-8", "replace")) if found else ""


def is_transient(response: Response) -> bool:
    """Whether the same request may succeed later. A 200 that carries an error is one of them, whatever its code."""
    return response.status < 300 or response.status in TRANSIENT_STATUS or error_code(response) in TRANSIENT_CODES


def refusal(action: str, response: Response, *, tries: int = 1) -> StoreError:
    """The error for a final failed answer."""
    code = error_code(response)
    request_id = response.headers.get("x-amz-request-id", "none")
    message = f"{action}: answer {response.status} {code}, request id {request_id[:64]}"
    hint = _HINTS.get(code, "")
    if is_transient(response) or response.status == 507:
        return StoreUnavailable(f"{message}, after {tries} tries", hint=hint or "Try again later.")
    if response.status in (401, 403) or code in STALE_TOKEN_CODES:
        return StoreDenied(message, hint=hint or _DENIED_HINT)
    if response.status == 404 and code in ("NoSuchKey", "http_404"):
        return ObjectMissing(message, hint=hint)
    if response.status == 412:
        return ObjectConflict(message, hint="The object exists, or changed since it was read.")
    if response.status in (301, 307, 308):
        hint = _HINTS["PermanentRedirect"]
    return StoreError(message, hint=hint or _UNFIT_HINT)


def breakdown(action: str, error: OSError, *, tries: int = 1) -> StoreError:
    """The error for a request that got no answer."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return StoreDenied(
            f"{action}: certificate does not verify: {getattr(error, 'verify_message', error)}",
            hint="Set `ca` of the store to the CA's PEM file, and name the endpoint as its certificate does.",
        )
    if isinstance(error, ssl.SSLError):
        what = (error.reason or "closed").lower().replace("_", " ")
        return StoreUnavailable(
            f"{action}: TLS failed ({what}), after {tries} tries",
            hint="Does the endpoint speak TLS? `http` or `https`?",
        )
    what = error.strerror or str(error) or type(error).__name__
    return StoreUnavailable(f"{action}: no answer ({what}), after {tries} tries", hint="Is the endpoint up?")


def parse_xml(response: Response, action: str, root: str) -> ET.Element:
    """The answer's document. Raises StoreError when it is not a `root` element."""
    try:
        element = ET.fromstring(response.body.strip())  # noqa: S314  expat >= 2.4.1 bounds expansion, XML_LIMIT the body
    except ET.ParseError as error:
        raise StoreError(f"{action}: answer is no XML: {error}", hint="Is the endpoint an S3 server?") from None
    if local_name(element) != root:
        raise StoreError(f"{action}: answer is a {local_name(element)[:40]!r}, expected {root!r}")
    return element


def local_name(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def text_of(element: ET.Element, name: str) -> str:
    """Text of the first child with that local name, empty when there is none: some stores send no namespace."""
    for child in element:
        if local_name(child) == name:
            return child.text or ""
    return ""


def http_date(response: Response, name: str, action: str) -> datetime:
    """A date header in UTC. Raises StoreError when it is absent or unreadable: decisions rest on the store's clock."""
    try:
        return parsedate_to_datetime(response.headers[name]).astimezone(UTC)
    except (KeyError, ValueError):
        raise StoreError(f"{action}: answer has no readable {name!r} header") from None
