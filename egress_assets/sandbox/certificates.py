"""Certificates of the HTTPS recipient: one private authority, a server and a client certificate, made at start.

P-256 keys, valid a year, all made again together when less than a month is left: a set is never mixed. The extensions
satisfy Python 3.13's VERIFY_X509_STRICT, which refuses authorities without key usage or key identifiers.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from egress_assets.sandbox.files import write_atomically

VALID = timedelta(days=365)
RENEW_BEFORE = timedelta(days=30)
NAMES = ("server.pem", "server.key", "client.pem", "client.key", "ca.pem")
_SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
    key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
)  # fmt: skip
_SIGNS_HANDSHAKES = x509.KeyUsage(
    digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
    key_agreement=False, key_cert_sign=False, crl_sign=False, encipher_only=False, decipher_only=False,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Authority:
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


def ensure(folder: Path, *, now: datetime | None = None) -> bool:
    """Make the set in `folder` unless a whole one is there for another month; True when it was made (0.01 s)."""
    now = now or datetime.now(UTC)
    if all((folder / name).exists() for name in NAMES) and _expiry(folder) - now > RENEW_BEFORE:
        return False
    authority = make_authority(now)
    server, client = make_server(authority, now), make_client(authority, now)
    # The authority last: while it is missing or old, an interrupted set is made again.
    for name, content in zip(NAMES, (*server, *client, _pem(authority.certificate)), strict=True):
        write_atomically(folder / name, content)
    return True


def _expiry(folder: Path) -> datetime:
    files = ("ca.pem", "server.pem", "client.pem")
    loaded = (x509.load_pem_x509_certificate((folder / name).read_bytes()) for name in files)
    return min(certificate.not_valid_after_utc for certificate in loaded)


def make_authority(now: datetime) -> Authority:
    """A new private authority; its key is kept by the caller only, and never written."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("Egress sandbox authority")
    builder = _builder(name, name, key.public_key(), now)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_SIGNS_CERTIFICATES, critical=True)
    return Authority(key=key, certificate=builder.sign(key, hashes.SHA256()))


def make_server(authority: Authority, now: datetime) -> tuple[bytes, bytes]:
    """Certificate and key, PEM, for 127.0.0.1 and localhost."""
    hosts = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
    return _issue(authority, "localhost", now, [(x509.SubjectAlternativeName(hosts), False), _use("SERVER_AUTH")])


def make_client(authority: Authority, now: datetime, *, name: str = "egress") -> tuple[bytes, bytes]:
    """Certificate and key, PEM, for a client that `authority` vouches for."""
    return _issue(authority, name, now, [_use("CLIENT_AUTH")])


def _use(purpose: str) -> tuple[x509.ExtensionType, bool]:
    return x509.ExtendedKeyUsage([getattr(ExtendedKeyUsageOID, purpose)]), False


def _issue(
    authority: Authority, name: str, now: datetime, extensions: list[tuple[x509.ExtensionType, bool]]
) -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(_name(name), authority.certificate.subject, key.public_key(), now)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    basics: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_SIGNS_HANDSHAKES, True),
        (issuer, False),
    ]
    for extension, critical in basics + extensions:
        builder = builder.add_extension(extension, critical=critical)
    unencrypted = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, unencrypted)
    return _pem(builder.sign(authority.key, hashes.SHA256())), private


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, now: datetime
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public)
    builder = builder.serial_number(x509.random_serial_number())
    # An hour of slack for a clock that is set back.
    builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + VALID)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
