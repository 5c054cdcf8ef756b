"""Where this process is: `EGRESS_ENV` selects endpoints, resources and what may be reached."""

from __future__ import annotations

import os

from egress_assets.engine.errors import CatalogError

ENVIRONMENTS = ("sandbox", "dev", "prod")


def environment() -> str:
    """`EGRESS_ENV`, `sandbox` when unset. Raises CatalogError for a word that is none of the three."""
    said = os.environ.get("EGRESS_ENV") or "sandbox"
    if said not in ENVIRONMENTS:
        raise CatalogError(f"EGRESS_ENV is {said!r}", hint=f"Valid: {', '.join(ENVIRONMENTS)}.")
    return said
