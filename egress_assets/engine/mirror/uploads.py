"""Uploads that killed runs of a mirror left open at its destination.

An upload is taken for ours only when its key is one that this mirror writes, and it is aborted only when no other run
of the mirror can be alive: others may write to the same bucket.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from egress_assets.engine.evidence import here
from egress_assets.engine.evidence.records import Note
from egress_assets.engine.evidence.sweep import STALE
from egress_assets.engine.layout import NOTES, Unit, manifest_key, parse_note_key
from egress_assets.engine.mirror.outlet import Outlet
from egress_assets.engine.platform import Platform
from egress_assets.engine.stores import Pending

logger = logging.getLogger(__name__)
_STALE = timedelta(microseconds=STALE)


def sweep_uploads(
    platform: Platform, unit: Unit, me: str, outlet: Outlet, prefix: str, *, is_ours: Callable[[str], bool]
) -> int:
    """Abort what is left of dead runs under `prefix`; returns how many. `is_ours` says whether we write that key.

    Raises StoreError as listing and aborting do.
    """
    left = [pending for pending in outlet.uploads(prefix) if is_ours(pending.key)]
    if not left:
        return 0
    alone = not any(_others(platform, unit, me))
    aborted = 0
    for pending in left:
        if alone or _age(pending) > _STALE:
            outlet.abort(pending)
            aborted += 1
    if aborted:
        logger.info("aborted %d unfinished uploads of earlier runs of %s", aborted, unit.title)
    return aborted


def _others(platform: Platform, unit: Unit, me: str) -> Iterator[str]:
    """Attempts of the mirror, of any date, that may still be running."""
    store = platform.evidence.store
    newest = datetime.now(UTC)
    for listed in store.list(f"{NOTES}{unit}/"):
        _, date, attempt = parse_note_key(listed.key)
        if attempt == me or newest - listed.modified > _STALE:
            continue
        found = store.read(listed.key)
        if found is None or here.is_gone(Note.parse(found[0])):
            continue
        if store.head(manifest_key(unit, date, attempt)) is None:
            yield attempt


def _age(pending: Pending) -> timedelta:
    return datetime.now(UTC) - pending.initiated
