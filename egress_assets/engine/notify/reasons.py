"""Why a connection failed, fit for people: nothing of addresses, files or what the other side wrote."""

from __future__ import annotations

import ssl


def reason(error: Exception) -> str:
    """In a few words, lower case."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate does not verify: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {(error.reason or 'closed').lower().replace('_', ' ')}"
    if isinstance(error, OSError):
        return (error.strerror or str(error) or type(error).__name__).lower()
    return type(error).__name__
