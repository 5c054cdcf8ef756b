"""A conditional write that can be told from everybody else's, whatever became of its answer.

Stores answer a lost race with 412, 409 or 500, and a won one with a reset connection; only what lies at the key
afterwards decides. Bodies hold a nonce, so a body is its writer's alone.
"""

from __future__ import annotations

import secrets
from typing import Literal

from egress_assets.engine.evidence.requests import Found, Get, Put, Verb, Wait

Verdict = Literal["mine", "other", "unknown"]

TRIES = 6
"""Six tries with the driver's pauses span 2 to 5 s: a racer at SeaweedFS waits up to 3.5 s for its refusal."""


def nonce() -> str:
    """Makes a body unique; 128 bits."""
    return secrets.token_hex(16)


def is_mine(there: Found | None, body: bytes) -> bool:
    return there is not None and there.body == body


def put_conditionally(key: str, body: bytes, seen: str | None) -> Verb[Verdict]:
    """Write `body` if the key's ETag still is `seen` (None: if the key is absent).

    mine: it took effect, perhaps only a late or repeated try of it. other: somebody else's body lies there.
    unknown: it could not be settled; neither success nor failure may be concluded.
    """
    for tries in range(TRIES):
        if (yield Put(key, body, seen)) == "ok":
            return "mine"
        there: Found | None = yield Get(key)
        if is_mine(there, body):
            return "mine"
        if (there.etag if there else None) != seen:
            return "other"
        yield Wait(tries)
    return "unknown"
