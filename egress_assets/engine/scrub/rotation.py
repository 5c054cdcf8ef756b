"""Which scrub key a dataset has, which dates stand under which key, and what another one would mean. Writes nothing.

Pseudonyms of one key, epoch and audience join; with another key or epoch none does. So a key is not exchanged, an epoch
is begun: what is made from then on is of the new key, and dates that stand stay under the old one until they are made
again, if the source still can.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from egress_assets.engine.catalog.models import Catalog, ScrubModel
from egress_assets.engine.catalog.units import units_of
from egress_assets.engine.catalog.values import Ref
from egress_assets.engine.errors import CatalogError, EgressError, KeyMissing
from egress_assets.engine.layout import scrub_unit
from egress_assets.engine.partition import now
from egress_assets.engine.platform import Platform
from egress_assets.engine.scrub.keys import SHORTEST, MasterKey
from egress_assets.engine.scrub.spec import scrub_of
from egress_assets.engine.stage import require_date

_READERS = 8  # evidence is small objects: the time is round trips
_QUARTER = re.compile(r"([0-9]{4})Q([1-4])")

Under = tuple[str, str]
"""Key id and epoch that a date was scrubbed with."""


@dataclass(frozen=True, slots=True)
class KeyUse:
    """A dataset's key now, and the dates of its scrub by the key and epoch that they stand under."""

    dataset: str
    audience: str
    epoch: str
    reference: str  # where the catalog says it is: `env NAME`, `file PATH`, `literal`
    key_id: str
    bytes: int
    dates: Mapping[Under, tuple[str, ...]] = field(default_factory=dict)

    @property
    def current(self) -> tuple[str, ...]:
        """Dates that stand under the key and epoch of the catalog."""
        return self.dates.get((self.key_id, self.epoch), ())

    @property
    def others(self) -> dict[Under, tuple[str, ...]]:
        """Dates that stand under another key or epoch: their pseudonyms don't join with the current ones."""
        return {under: dates for under, dates in self.dates.items() if under != (self.key_id, self.epoch)}


def key_use(platform: Platform, dataset: str) -> KeyUse:
    """Resolve the dataset's key and look at every date of its scrub. Memory: the dates.

    Raises CatalogError, KeyMissing (shorter than 32 bytes), ManifestInvalid, StoreError's kinds.
    """
    scrub = scrub_of(platform, dataset)
    key = MasterKey.parse(platform.provider.secret(scrub.key))
    dates = _dates(platform, dataset, scrub)
    return KeyUse(dataset, scrub.audience, scrub.epoch, _reference(scrub, platform.env), key.key_id, key.length, dates)


def _reference(scrub: ScrubModel, env: str) -> str:
    if not isinstance(scrub.key, Ref):
        return "literal"
    return "sandbox" if env == "sandbox" else f"env {scrub.key.env}" if scrub.key.env else f"file {scrub.key.file}"


def _dates(platform: Platform, dataset: str, scrub: ScrubModel) -> dict[Under, tuple[str, ...]]:
    evidence, unit = platform.evidence, scrub_unit(dataset, scrub.audience)

    def under(date: str) -> tuple[Under, str] | None:
        pointer = evidence.pointer(unit, date)
        if pointer is None:
            return None
        epoch = evidence.manifest(unit, date, pointer.by).draft.facts.get("epoch", "")
        return (pointer.key_id, str(epoch)), date

    found: dict[Under, list[str]] = {}
    with ThreadPoolExecutor(_READERS) as threads:
        for each in threads.map(under, (date for _, date in evidence.pointers(unit))):
            if each:
                found.setdefault(each[0], []).append(each[1])
    return {under: tuple(sorted(dates)) for under, dates in found.items()}


# ------------------------------------------------------------------------------------------------------------- rotation
@dataclass(frozen=True, slots=True)
class Rotation:
    """What another epoch with another key means."""

    use: KeyUse
    epoch: str
    place: str  # of the dataset's `scrub` in the catalog
    again: tuple[str, ...]  # dates that stand and that the source can still be asked for
    never: tuple[str, ...]  # dates that stay under the old key for good
    ways_out: tuple[str, ...]  # mirrors and deliveries that get the dates of `again` once more
    joined: tuple[str, ...]  # other datasets whose pseudonyms join with this one's today


def plan_rotation(platform: Platform, dataset: str, epoch: str = "") -> Rotation:
    """What `epoch` (default: the next one) with a new key would mean. Raises as `key_use`, and CatalogError."""
    use = key_use(platform, dataset)
    chosen = epoch or next_epoch(use.epoch, f"{now():%Y}Q{(now().month + 2) // 3}")
    if chosen == use.epoch:
        hint = "Give another --epoch: with a new key under the same name nobody could tell the two apart."
        raise CatalogError(f"{dataset} is in epoch {chosen} already", hint=hint)
    catalog, standing = platform.catalog, sorted(use.current)
    again = tuple(date for date in standing if _can_be_made(catalog, dataset, date))
    ways = tuple(unit.title for unit in units_of(catalog, dataset) if unit.stage in ("mirror", "delivery"))
    joined = tuple(sorted(_joined(platform, use)))
    never = tuple(date for date in standing if date not in again)
    return Rotation(use, chosen, catalog.place(f"{dataset}.scrub"), again, never, ways, joined)


def next_epoch(epoch: str, quarter: str) -> str:
    """The epoch after one that is written as `2026Q4` or as a number; `quarter` is today's. Raises CatalogError."""
    if found := _QUARTER.fullmatch(epoch):
        year, number = int(found[1]), int(found[2])
        following = f"{year + 1}Q1" if number == 4 else f"{year}Q{number + 1}"
        return max(following, quarter)
    if epoch.isascii() and epoch.isdigit():
        return str(int(epoch) + 1)
    raise CatalogError(f"nobody knows what comes after epoch {epoch!r}", hint="Say it: --epoch NAME.")


def _can_be_made(catalog: Catalog, dataset: str, date: str) -> bool:
    try:
        require_date(catalog.calendar(dataset), date, extract=catalog.dataset(dataset).extract, relabel=False)
    except EgressError:
        return False
    return True


def _joined(platform: Platform, use: KeyUse) -> Iterator[str]:
    """Datasets with the same key, epoch and audience. One whose key can't be had here is left out."""
    for name, model in platform.catalog.datasets.items():
        scrub = model.scrub
        if name == use.dataset or scrub is None or (scrub.audience, scrub.epoch) != (use.audience, use.epoch):
            continue
        try:
            key = MasterKey.parse(platform.provider.secret(scrub.key))
        except (CatalogError, KeyMissing):
            continue
        if key.key_id == use.key_id:
            yield name


def new_secret() -> str:
    """A new master secret: 32 random bytes in hexadecimal. Secret."""
    return secrets.token_hex(SHORTEST)
