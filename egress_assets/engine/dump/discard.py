"""Bytes of an attempt that must not become true are removed at once, not left to the sweep."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from egress_assets.engine.errors import EgressError
from egress_assets.engine.platform import Platform
from egress_assets.engine.stores import Store

logger = logging.getLogger(__name__)


def discard(platform: Platform, stores: Iterable[str], keys: Iterable[str]) -> None:
    """Remove objects that nothing names, now; what a store refuses is left to the sweep, with a warning."""
    wanted = list(keys)
    for name in dict.fromkeys(stores):
        try:
            remove(platform.store(name), wanted)
        except EgressError as error:
            logger.warning("left for the sweep in %s: %d objects: %s", name, len(wanted), error)


def remove(store: Store, keys: Iterable[str]) -> None:
    for key in keys:
        store.delete(key)
