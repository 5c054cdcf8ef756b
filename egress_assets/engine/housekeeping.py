"""What nobody waits for: dead attempts and uploads are removed, receipts of runs that died get into the ledger, scrubs
whose run died before it could certify them get their certificate.

Every run sweeps its own unit and date when it starts; this is for the ones that are never started again. It may run at
any time, beside anything, twice at once: the sweep's tombstones and the ledger's conditional writes are the guard.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.catalog.units import dataset_of
from egress_assets.engine.errors import CatalogError, EgressError
from egress_assets.engine.layout import Unit
from egress_assets.engine.partition import now
from egress_assets.engine.platform import Platform
from egress_assets.engine.progress import Listener, Tick, silent

logger = logging.getLogger(__name__)

DAYS = 35
"""How old attempts are looked at: one is given up after a day, so a month of failed schedules is covered."""


@dataclass(slots=True)
class Kept:
    """What one round did. `failed` has a line a unit and date that could not be swept; the others were."""

    looked_at: int = 0
    attempts: int = 0
    objects: int = 0
    uploads: int = 0
    certificates: int = 0  # of scrubs whose run had died before it made theirs
    ledger_entry: int | None = None
    failed: list[str] = field(default_factory=list)


def keep_house(platform: Platform, *, days: int = DAYS, on: Listener = silent) -> Kept:
    """Sweep and certify every unit and date with an attempt of the last `days`, then close the ledger.

    Memory: see `evidence.sweep`. A store that fails is noted and the rest goes on. Raises OutcomeUnknown, StoreError
    when the evidence store itself fails.
    """
    kept = Kept()
    since = f"{now() - timedelta(days=days):%Y%m%d}"
    for unit, date in platform.evidence.noted(since=since):
        kept.looked_at += 1
        for store in stores_of(platform.catalog, unit):
            _sweep(platform, unit, date, store, kept)
        _certify(platform, unit, date, kept)
        on(Tick("sweep", "evidence", kept.looked_at, unit="dates"))
    kept.ledger_entry = platform.evidence.append_ledger()
    logger.info(
        "kept house: %d dates, %d attempts, %d objects, %d uploads removed",
        kept.looked_at, kept.attempts, kept.objects, kept.uploads,
    )  # fmt: skip
    return kept


def _sweep(platform: Platform, unit: Unit, date: str, store: str, kept: Kept) -> None:
    try:
        removed = platform.evidence.sweep(unit, date, platform.store(store))
    except EgressError as error:
        logger.warning("left unswept %s %s in %s: %s", unit.title, date, store, error)
        kept.failed.append(f"{unit.title} {date} in {store}: {error}")
        return
    kept.attempts += len(removed.attempts)
    kept.objects += removed.objects
    kept.uploads += removed.uploads


def _certify(platform: Platform, unit: Unit, date: str, kept: Kept) -> None:
    """The certificate that a run did not live to make."""
    from egress_assets.engine.certificate.standing import ensure, standing  # loads `cryptography`

    try:
        pointer = platform.evidence.pointer(unit, date) if unit.stage == "scrub" else None
        if pointer and not standing(platform, pointer):
            kept.certificates += ensure(platform, unit, date) is not None
    except EgressError as error:
        logger.warning("left uncertified %s %s: %s", unit.title, date, error)
        kept.failed.append(f"{unit.title} {date}: its certificate: {error}")


def stores_of(catalog: Catalog, unit: Unit) -> tuple[str, ...]:
    """Where attempts of a unit lay bytes, its quarantine included; none for mirrors, whose attempt is evidence only."""
    return tuple(dict.fromkeys(_stores(catalog, unit)))


def _stores(catalog: Catalog, unit: Unit) -> Iterator[str]:
    try:
        model = catalog.datasets[dataset_of(catalog, unit)]
    except CatalogError:
        return  # the unit has left the catalog: nothing says where its bytes are
    if unit.stage == "dump" and model.dump:
        yield model.dump.store or model.store
    elif unit.stage == "scrub" and model.scrub:
        yield model.scrub.store or model.store
        if model.scrub.quarantine:
            yield model.scrub.quarantine
    elif unit.stage == "delivery":
        yield model.store
