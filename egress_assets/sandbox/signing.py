"""The sandbox's signing key of certificates: made once, kept as long as its folder, readable for its owner alone."""

from __future__ import annotations

from pathlib import Path

from egress_assets.sandbox.files import write_atomically
from egress_assets.sandbox.state import locked

NAME = "signing.pem"


def signing_key(folder: Path) -> str:
    """PEM of the private key in `folder`, made when it lacks. Safe to call from many processes at once."""
    path = folder / NAME
    if not path.exists():
        with locked(folder):
            if not path.exists():
                _make(path)
    return path.read_text()


def _make(path: Path) -> None:
    from egress_assets.engine.certificate.keys import new_private_pem  # loads `cryptography`

    write_atomically(path, new_private_pem().encode())
