"""DSSE envelopes: a payload with its type, and signatures over both.

What is signed is the pre-authentication encoding (PAE), so no byte of the payload is parsed before its signature is
checked, and a payload of one type can't be passed off as one of another. Key ids are hints: every signature is tried
with every key, and nothing is decided by a name. Source: DSSE protocol v1.0.2 and its envelope specification.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from egress_assets.engine.errors import CertificateInvalid
from egress_assets.engine.evidence.records import canonical

if TYPE_CHECKING:
    from egress_assets.engine.certificate.keys import PublicKey, Signer

IN_TOTO = "application/vnd.in-toto+json"


def pae(payload_type: str, payload: bytes) -> bytes:
    """`DSSEv1 <bytes of the type> <type> <bytes of the payload> <payload>`, numbers in ASCII decimal."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


@dataclass(frozen=True, slots=True)
class Signature:
    key_id: str  # as its signer calls the key
    value: bytes


@dataclass(frozen=True, slots=True)
class Envelope:
    """An envelope as it was read; `payload` is believed only after `verified_by`."""

    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...]

    def verified_by(self, keys: Iterable[PublicKey]) -> tuple[Signature, PublicKey] | None:
        """The first signature that one of the keys has made, and that key; None when there is none."""
        from egress_assets.engine.certificate.keys import is_signed  # loads `cryptography`; who only shows needs none

        signed, known = pae(self.payload_type, self.payload), tuple(keys)
        pairs = ((signature, key) for signature in self.signatures for key in known)
        return next((pair for pair in pairs if is_signed(pair[1], pair[0].value, signed)), None)


def seal(payload: bytes, signer: Signer, *, payload_type: str = IN_TOTO) -> bytes:
    """The envelope of a payload with one signature, as canonical JSON. Raises what the signer raises."""
    signature = signer.sign(pae(payload_type, payload))
    return canonical(
        {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": payload_type,
            "signatures": [{"keyid": signer.key_id, "sig": base64.b64encode(signature).decode()}],
        }
    )


def parse(body: bytes) -> Envelope:
    """Standard and URL-safe base64 alike, as the specification asks of a reader. Raises CertificateInvalid."""
    try:
        said = json.loads(body)
        signatures = tuple(Signature(str(each.get("keyid", "")), _bytes(each["sig"])) for each in said["signatures"])
        envelope = Envelope(said["payloadType"], _bytes(said["payload"]), signatures)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CertificateInvalid(
            f"not a DSSE envelope: {type(error).__name__}",
            hint="Give the file as `egress certificate` wrote it: JSON with payload, payloadType and signatures.",
        ) from None
    if not isinstance(envelope.payload_type, str) or not signatures:
        raise CertificateInvalid("not a DSSE envelope: it has no payload type or no signature")
    return envelope


def _bytes(text: Any) -> bytes:
    if not isinstance(text, str):
        raise TypeError(type(text).__name__)
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except binascii.Error as error:
        raise ValueError("base64") from error
