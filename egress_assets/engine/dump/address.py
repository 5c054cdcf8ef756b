"""Where a database is: libpq URL, libpq keywords or a JDBC URL as one dict of libpq keywords."""

from __future__ import annotations

import atexit
import functools
import os
import ssl
import tempfile
from pathlib import Path
from urllib.parse import parse_qsl

import psycopg
from psycopg.conninfo import conninfo_to_dict

from egress_assets.engine.errors import CatalogError

STRICTNESS = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_JDBC_KEPT = frozenset({"user", "password", "sslmode", "sslrootcert", "sslcert", "options"})
_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


def parse_dsn(text: str, name: str) -> dict[str, str]:
    """A libpq URL or keywords. Raises CatalogError without a word of the text, which holds the password."""
    try:
        found = conninfo_to_dict(text)
    except psycopg.ProgrammingError:
        hint = "Write postgresql://user:password@host:5432/database, or host=... dbname=... user=..."
        raise CatalogError(f"the dsn of source {name} is neither a libpq URL nor keywords", hint=hint) from None
    return {key: str(value) for key, value in found.items() if value is not None}


def parse_jdbc(text: str, name: str) -> dict[str, str]:
    """A URL of the PostgreSQL JDBC driver. Settings of the driver itself (fetch size and the like) are left out.

    `ssl=true` means verify-full there. Source: the driver's documentation, "Connecting to the Database".
    """
    if not text.startswith("jdbc:postgresql:"):
        hint = "Write jdbc:postgresql://host:5432/database."
        raise CatalogError(f"the jdbc URL of source {name} does not start with jdbc:postgresql:", hint=hint)
    url = text.removeprefix("jdbc:")
    if not url.startswith("postgresql://"):  # jdbc:postgresql:database, at the default host
        url = "postgresql:///" + url.removeprefix("postgresql:").lstrip("/")
    place, _, query = url.partition("?")
    asked = dict(parse_qsl(query, keep_blank_values=True))
    if asked.pop("ssl", "false") == "true":
        asked.setdefault("sslmode", "verify-full")
    found = parse_dsn(place, name)
    return found | {key: value for key, value in asked.items() if key in _JDBC_KEPT}


def stricter(first: str, second: str) -> str:
    """The stricter of two sslmodes: neither a DSN nor the catalog can weaken what the other asks for."""
    return max(first, second, key=STRICTNESS.index)


def ca_file(ca: str) -> str:
    """A path for libpq: `ca` is a path, the PEM text itself, or empty for the system's own bundle."""
    if "-----BEGIN" in ca:
        return _written(ca)
    return ca or _system_bundle()


@functools.cache
def _written(pem: str) -> str:
    handle, path = tempfile.mkstemp(prefix="egress-ca-", suffix=".pem")
    with os.fdopen(handle, "w") as file:
        file.write(pem)
    atexit.register(Path(path).unlink, missing_ok=True)
    return path


def _system_bundle() -> str:
    # libpq's `sslrootcert=system` asks the OpenSSL inside psycopg's wheel, whose built-in folder exists on few systems.
    known = (os.environ.get("SSL_CERT_FILE", ""), ssl.get_default_verify_paths().cafile or "", *_BUNDLES)
    return next((path for path in known if path and Path(path).is_file()), "system")
