"""Signing by AWS KMS: the private key never leaves it.

Supported are keys of the spec ECC_NIST_P256 (ECDSA_SHA_256 over a digest). KMS has Ed25519 keys too, but signs at most
4,096 bytes with them, which a certificate of a few tables exceeds; what it offers for longer messages, Ed25519ph, is
another algorithm that common verifiers, Python's `cryptography` among them, don't know. So those are refused.
Source: AWS KMS API reference, Sign (Message, MessageType) and GetPublicKey.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from egress_assets.engine.certificate.keys import PublicKey, fingerprint, is_signed
from egress_assets.engine.errors import CatalogError, StoreDenied, StoreError, StoreUnavailable

SPEC, USAGE = "ECC_NIST_P256", "SIGN_VERIFY"
_ALGORITHM = "ECDSA_SHA_256"
_BUSY = frozenset({"ThrottlingException", "KMSInternalException", "DependencyTimeoutException"})
_DENIED = frozenset({"AccessDeniedException", "UnrecognizedClientException", "ExpiredTokenException"})


class KmsSigner:
    """One KMS key, by the ARN of it or of its alias. Needs kms:GetPublicKey and kms:Sign."""

    __slots__ = ("_arn", "_client", "key_id", "public")

    def __init__(self, arn: str, key_id: str = "") -> None:
        """Asks KMS for the public key. Raises CatalogError for one that can't sign certificates, StoreError's kinds."""
        import boto3  # 0.2 s that only those who sign there pay
        from botocore.config import Config

        self._arn = arn
        config = Config(connect_timeout=5, read_timeout=10, retries={"mode": "standard", "max_attempts": 4})
        self._client = boto3.client("kms", region_name=arn.split(":")[3], config=config)
        self.public: PublicKey = self._public()
        self.key_id = key_id or fingerprint(self.public)

    def sign(self, message: bytes) -> bytes:
        """DER of the ECDSA signature, checked before it is given out. Raises StoreError's kinds."""
        digest = sha256(message).digest()
        asked = {"Message": digest, "MessageType": "DIGEST", "SigningAlgorithm": _ALGORITHM}
        signature: bytes = self._ask("sign", **asked)["Signature"]
        if not is_signed(self.public, signature, message):
            raise StoreError(f"KMS key {self._arn} gave a signature that its own public key does not verify")
        return signature

    def _public(self) -> PublicKey:
        """Judged by the key itself: not every server that speaks for KMS says its spec."""
        found = self._ask("get_public_key")
        key, usage = load_der_public_key(found["PublicKey"]), found.get("KeyUsage", "")
        if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1) and usage == USAGE:
            return key
        kind = key.curve.name if isinstance(key, EllipticCurvePublicKey) else type(key).__name__.removeprefix("_")
        raise CatalogError(
            f"KMS key {self._arn} is {found.get('KeySpec') or kind} for {usage}, {SPEC} for {USAGE} is supported",
            hint="Ed25519 keys of KMS sign 4,096 bytes at most, less than a certificate has; make a P-256 key.",
        )

    def _ask(self, operation: str, **said: Any) -> dict[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

        what = f"KMS key {self._arn}"
        hint = "The process needs kms:Sign and kms:GetPublicKey on this key, and AWS credentials for its account."
        try:
            return getattr(self._client, operation)(KeyId=self._arn, **said)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code in _DENIED:
                raise StoreDenied(f"{what}: {operation} is refused ({code})", hint=hint) from None
            if code in _BUSY:
                raise StoreUnavailable(f"{what} does not answer now ({code})", hint="Run again later.") from None
            raise CatalogError(f"{what}: {operation} failed ({code})", hint=hint) from None
        except NoCredentialsError:
            raise StoreDenied(f"{what}: there are no AWS credentials", hint=hint) from None
        except BotoCoreError as error:
            raise StoreUnavailable(
                f"{what} can't be reached: {type(error).__name__}", hint="Run again later."
            ) from None

    def __repr__(self) -> str:
        return f"KmsSigner({self._arn!r})"
