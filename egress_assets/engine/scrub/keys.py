"""The scrub key: where it comes from, what is derived from it, what of it may be shown.

The master never leaves this process. Postgres gets HMAC pads of sub-keys, one a domain, by bind parameter into session
settings; statements name the setting only, so pg_stat_activity and slow-query logs hold no key. A sub-key covers epoch,
audience and domain: a new epoch or another audience gives pseudonyms that can't be joined with the old ones.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from psycopg import sql

from egress_assets.engine.dump.overlap import RowKey
from egress_assets.engine.errors import KeyMissing

SHORTEST = 32
"""Bytes of a master key: as many as the digest has."""

BLOCK = 64
"""SHA-256's block size in bytes: HMAC's pads have this length."""

SEPARATOR = "\x1f"

_ROW_VERSIONS = "_row_versions"
"""Epoch and domain of no mask: a mask's domain begins with a letter."""


class MasterKey:
    """The secret of one catalog reference. Never in a repr, a pickle or a log."""

    __slots__ = ("_secret", "key_id")

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self.key_id = hmac.digest(secret, b"egress key id", "sha256").hex()[:16]

    @staticmethod
    def parse(text: str) -> MasterKey:
        """From hex, base64 (also url-safe) or raw text; surrounding white space is ignored.

        What reads as hex is hex, so that 32 hex characters are not mistaken for 32 random bytes; then base64 of at
        least 32 bytes, then the text's own bytes. Raises KeyMissing when fewer than 32 bytes are left.
        """
        stripped = text.strip()
        secret = _from_hex(stripped) or _from_base64(stripped) or stripped.encode()
        if not secret:
            raise KeyMissing("the scrub key is empty", hint=_HINT)
        if len(secret) < SHORTEST:
            raise KeyMissing(f"the scrub key has {len(secret)} bytes, {SHORTEST} random ones are the least", hint=_HINT)
        return MasterKey(secret)

    @property
    def length(self) -> int:
        """Bytes of the secret."""
        return len(self._secret)

    def audience(self, audience: str, epoch: str) -> AudienceKeys:
        return AudienceKeys(self, audience, epoch)

    def derive(self, audience: str, epoch: str, domain: str) -> bytes:
        """HKDF-SHA256 over the three names, each with its length, so that no two lists of names read alike."""
        parts = [b"egress scrub 1", epoch.encode(), audience.encode(), domain.encode()]
        info = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(self._secret)

    def __repr__(self) -> str:
        return f"MasterKey(key_id={self.key_id!r})"

    def __reduce__(self) -> str:
        raise TypeError("a scrub key is not pickled: workers get derived pads only")


_HINT = "Make one with `openssl rand -hex 32`, keep it in a secret store, and name it in the catalog's `scrub.key`."


def _from_hex(text: str) -> bytes | None:
    return bytes.fromhex(text) if len(text) % 2 == 0 and re.fullmatch(r"[0-9a-fA-F]+", text) else None


def _from_base64(text: str) -> bytes | None:
    try:
        decoded = base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        return None
    return decoded if len(decoded) >= SHORTEST else None


@dataclass(frozen=True, slots=True)
class AudienceKeys:
    """Sub-keys of one audience and epoch (`Keys` of the masks' seam), derived once a domain."""

    master: MasterKey
    audience: str
    epoch: str
    _pads: dict[str, tuple[bytes, bytes]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def key_id(self) -> str:
        return self.master.key_id

    def digest(self, domain: str, value: str) -> bytes:
        inner, outer = self._pad(domain)
        return sha256(outer + sha256(inner + f"{domain}{SEPARATOR}{value}".encode()).digest()).digest()

    def expression(self, domain: str, text: sql.Composable) -> sql.Composable:
        """HMAC-SHA256 from built-ins. The pads are read by InitPlans, once a statement: +4 % instead of +30 % a row."""
        message = sql.SQL("convert_to({} || {}, 'UTF8')").format(sql.Literal(domain + SEPARATOR), text)
        inner, outer = (
            sql.SQL("(SELECT decode(current_setting({}), 'hex'))").format(sql.Literal(name))
            for name in _settings(domain)
        )
        return sql.SQL("sha256({} || sha256({} || {}))").format(outer, inner, message)

    def session(self, domains: Iterable[str]) -> Mapping[str, str]:
        """Settings for set_config by bind parameter: what `expression` reads. Secret: derived pads in hex."""
        return {
            name: pad.hex()
            for domain in sorted(set(domains))
            for name, pad in zip(_settings(domain), self._pad(domain), strict=True)
        }

    def row_key(self) -> RowKey:
        """For digests of raw rows that an incremental scrub leaves for its next date: the same in every epoch."""
        own = AudienceKeys(self.master, self.audience, _ROW_VERSIONS)
        return RowKey(partial(own.expression, _ROW_VERSIONS), self.key_id, own.session([_ROW_VERSIONS]))

    def _pad(self, domain: str) -> tuple[bytes, bytes]:
        if domain not in self._pads:
            block = self.master.derive(self.audience, self.epoch, domain).ljust(BLOCK, b"\0")
            self._pads[domain] = (bytes(b ^ 0x36 for b in block), bytes(b ^ 0x5C for b in block))
        return self._pads[domain]


def _settings(domain: str) -> tuple[str, str]:
    return f"egress.i_{domain}", f"egress.o_{domain}"
