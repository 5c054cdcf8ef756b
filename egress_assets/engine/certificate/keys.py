"""Keys of certificates: who signs, who is believed.

A signing key is an Ed25519 private key in PEM (PKCS8), or a key in AWS KMS (kms.py). Any number of public keys may be
trusted at a time, so a key is rotated by trusting the old one's public half for as long as its certificates count.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from egress_assets.engine.errors import CatalogError

PublicKey = Ed25519PublicKey | EllipticCurvePublicKey
"""Ed25519, or P-256 with SHA-256 where AWS KMS signs (kms.py says why)."""

_HINT = "Make one with `openssl genpkey -algorithm ed25519`, keep it in a secret store, name it in `certificates.key`."


class Signer(Protocol):
    """Who signs. `key_id` is what its signatures are labelled with."""

    key_id: str

    @property
    def public(self) -> PublicKey: ...

    def sign(self, message: bytes) -> bytes: ...


def fingerprint(key: PublicKey) -> str:
    """The first 16 hexadecimal digits of the sha256 of the key's DER (SubjectPublicKeyInfo)."""
    return sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()[:16]


def algorithm(key: PublicKey) -> str:
    """For people."""
    return "Ed25519" if isinstance(key, Ed25519PublicKey) else "ECDSA P-256, SHA-256"


def is_signed(key: PublicKey, signature: bytes, message: bytes) -> bool:
    """Whether the key's private half has signed exactly this message."""
    try:
        if isinstance(key, Ed25519PublicKey):
            key.verify(signature, message)
        else:
            key.verify(signature, message, ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


class LocalSigner:
    """An Ed25519 key in this process. Never in a repr, a pickle or a log."""

    __slots__ = ("_private", "key_id", "public")

    def __init__(self, private: Ed25519PrivateKey, key_id: str = "") -> None:
        self._private = private
        self.public: PublicKey = private.public_key()
        self.key_id = key_id or fingerprint(self.public)

    @staticmethod
    def parse(pem: str, key_id: str = "") -> LocalSigner:
        """From PEM, PKCS8, without a passphrase. Raises CatalogError, which quotes nothing of it."""
        try:
            private = load_pem_private_key(pem.encode(), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            why = "it has a passphrase" if isinstance(error, TypeError) else "it is not a private key in PEM"
            raise CatalogError(f"the signing key of certificates can't be read: {why}", hint=_HINT) from None
        if not isinstance(private, Ed25519PrivateKey):
            kind = type(private).__name__.removeprefix("_").removesuffix("PrivateKey")
            raise CatalogError(f"the signing key of certificates is {kind}, Ed25519 is supported", hint=_HINT)
        return LocalSigner(private, key_id)

    def sign(self, message: bytes) -> bytes:
        return self._private.sign(message)

    def __repr__(self) -> str:
        return f"LocalSigner(key_id={self.key_id!r})"

    def __reduce__(self) -> str:
        raise TypeError("a signing key is not pickled")


def load_public(pem: str, what: str) -> PublicKey:
    """A public key in PEM; `what` names it in errors. Raises CatalogError."""
    hint = "Give the PEM that `egress certificate --public-key` prints: Ed25519, or P-256 of a KMS key."
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise CatalogError(f"{what} is not a public key in PEM", hint=hint) from None
    if isinstance(key, EllipticCurvePublicKey) and not isinstance(key.curve, SECP256R1):
        raise CatalogError(f"{what} is of the curve {key.curve.name}, secp256r1 is supported", hint=hint)
    if not isinstance(key, Ed25519PublicKey | EllipticCurvePublicKey):
        raise CatalogError(f"{what} is neither an Ed25519 nor a P-256 key", hint=hint)
    return key


def public_pem(key: PublicKey) -> str:
    """The key for others."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def new_private_pem() -> str:
    """A new Ed25519 private key, PKCS8 without a passphrase."""
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
