"""What was asked for: an object's key, an s3:// address, a delivered file's name, an attempt, or a unit and a date.

Keys of ours say by themselves what they are. A delivered name is found by its destination's claim, an object of a
foreign bucket's mirror in the mirror's inventory, an attempt by its own clock: nothing is found by listing the world.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from egress_assets.engine.catalog.problems import choices
from egress_assets.engine.catalog.units import units_of
from egress_assets.engine.delivery.spec import Spec, find_delivery
from egress_assets.engine.errors import CatalogError, EgressError, ObjectMissing
from egress_assets.engine.evidence.deliver import Claim
from egress_assets.engine.evidence.proofs import Receipt
from egress_assets.engine.layout import (
    NOTES,
    RECEIPTS,
    STAGES,
    Unit,
    claim_key,
    is_attempt,
    note_key,
    parse_note_key,
    receipt_key,
    unescape,
)
from egress_assets.engine.mirror import inventory
from egress_assets.engine.mirror.inventory import Copied
from egress_assets.engine.mirror.spec import AnyMirror, BucketMirror, PartitionMirror, PublishMirror, find_mirror
from egress_assets.engine.partition import now, parse_date
from egress_assets.engine.platform import Platform
from egress_assets.engine.release import OBJECTS
from egress_assets.engine.stores import Store

NAMES = {"dump": 1, "scrub": 2, "mirror": 1, "delivery": 2, "archive": 1, "archive_scrub": 2, "load": 2}
"""How many names follow the stage in a unit."""

_DAYS = 35  # dates back in which a file's bare name is looked for
_NEAR = 2  # days around an attempt's own clock that are tried before anything is listed
_DATED = re.compile(
    rf"(?:^|/)(?P<unit>(?:{'|'.join(STAGES)})(?:/[^/]+){{1,2}})/date=(?P<date>\d{{4}}-\d{{2}}-\d{{2}})(?P<tail>[./].*)$"
)


@dataclass(frozen=True, slots=True)
class Target:
    """What to tell of. Without an attempt it is the pointer's truth of the date; without a table all tables.

    `key` is an object of it, in the manifest's spelling. `copied` is an inventory's line, `receipt` a delivered file's.
    """

    unit: Unit
    date: str
    attempt: str = ""
    table: str = ""
    key: str = ""
    copied: Copied | None = None
    receipt: Receipt | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """A key and, where it was said, the store (by its name in the catalog) that holds it."""

    key: str
    store: str = ""


def find(platform: Platform, words: Sequence[str]) -> Target:
    """What the words stand for. Raises CatalogError (no unit or date), ObjectMissing (nobody knows it)."""
    if len(words) == 2:
        return Target(_unit(platform, words[0]), parse_date(words[1]).isoformat())
    (word,) = words
    places = _places(platform, word)
    for place in places:
        if target := _of_ours(platform, place):
            return target
    if is_attempt(word):
        return _of_attempt(platform, word)
    target = (
        _of_receipt(platform, word)
        or _published(platform, places)
        or _delivered(platform, places[0].key)
        or _mirrored(platform, places)
    )
    if target is None:
        hint = (
            "An object is a key, s3://<store or bucket>/<key>, a delivered file's name, an attempt's id, "
            "or a unit and a date: scrub/shop/shared 2026-11-19."
        )
        raise ObjectMissing(f"no evidence knows {word!r}", hint=hint)
    return target


def _unit(platform: Platform, title: str) -> Unit:
    stage, *names = title.split("/")
    if NAMES.get(stage) != len(names):
        known = [unit.title for dataset in platform.catalog.datasets for unit in units_of(platform.catalog, dataset)]
        raise CatalogError(f"{title!r} is not a unit", hint=f"{choices(title, known).capitalize()}.")
    return Unit(stage, tuple(names))


# -------------------------------------------------------------------------------------------------------- keys of ours
def _places(platform: Platform, word: str) -> list[Place]:
    """The word as keys of stores: an s3:// address may name a store of the catalog, or a bucket that several share."""
    address = re.fullmatch(r"s3://([^/]+)/(.*)", word, re.DOTALL)
    if not address:
        return [Place(word.lstrip("/"))]
    name, key = address.groups()
    if name in platform.catalog.endpoints.stores:
        return [Place(key, name)]
    found: list[Place] = []
    for store in platform.catalog.endpoints.stores:
        settings = platform.provider.store(store)
        folder = f"{settings.prefix.rstrip('/')}/" if settings.prefix else ""
        if settings.bucket == name and key.startswith(folder):
            found.append(Place(key.removeprefix(folder), store))
    return found or [Place(key)]


def _of_ours(platform: Platform, place: Place) -> Target | None:
    """A key that says unit and date by itself, be it of a stage, of a mirror's copy, or of the evidence."""
    found = _DATED.search(place.key)
    if not found:
        return None
    stage, *names = found["unit"].split("/")
    if len(names) != NAMES[stage]:
        return None
    unit, date, tail = Unit(stage, tuple(map(unescape, names))), found["date"], found["tail"].lstrip("./")
    head = place.key[: found.start("unit")]
    attempt, _, rest = tail.removeprefix("a=").partition("/")
    target = Target(unit, parse_date(date).isoformat(), attempt if is_attempt(attempt) else "")
    mirror = _copying(platform, unit, Place(head, place.store))
    if mirror is not None:
        return Target(mirror.unit, target.date, "", OBJECTS, place.key if target.attempt else "")
    if "/" in rest and target.attempt:
        schema, _, name = rest.partition("/")[0].partition(".")
        return Target(unit, target.date, target.attempt, f"{unescape(schema)}.{unescape(name)}", place.key)
    return target


def _copying(platform: Platform, unit: Unit, head: Place) -> PartitionMirror | None:
    """The mirror whose copies of the unit lie under that prefix of that store; None for the unit's own objects."""
    for mirror in _mirrors(platform):
        if not isinstance(mirror, PartitionMirror) or mirror.parent != unit or mirror.prefix != head.key:
            continue
        if head.store == mirror.to or (not head.store and head.key):
            return mirror
    return None


def _mirrors(platform: Platform) -> Iterator[AnyMirror]:
    for model in platform.catalog.datasets.values():
        for name in model.mirrors:
            yield find_mirror(platform, name)


# ------------------------------------------------------------------------------------------------------------- attempts
def _of_attempt(platform: Platform, attempt: str) -> Target:
    """By its note: the days about its own clock are asked first, then each unit's notes are listed. Keys only."""
    began = parse_date(f"{attempt[:4]}-{attempt[4:6]}-{attempt[6:8]}")
    days = [(began - timedelta(days=back)).isoformat() for back in (1, 0, *range(2, _NEAR + 1), -1)]
    units = [unit for dataset in platform.catalog.datasets for unit in units_of(platform.catalog, dataset)]
    store = platform.evidence.store
    for unit in units:
        for day in days:
            if store.head(note_key(unit, day, attempt)):
                return Target(unit, day, attempt)
    for unit in units:
        for listed in store.list(f"{NOTES}{unit}/date="):
            if listed.key.endswith(f"/{attempt}"):
                return Target(*parse_note_key(listed.key))
    raise ObjectMissing(
        f"no unit of the catalog has an attempt {attempt}", hint="Ask with its key, or its unit and date."
    )


# ------------------------------------------------------------------------------------------------------ delivered files
def _of_receipt(platform: Platform, word: str) -> Target | None:
    """A receipt's own key in the evidence."""
    if not re.fullmatch(rf"{RECEIPTS}\d{{4}}-\d{{2}}-\d{{2}}/[0-9a-f]+", word):
        return None
    return _told_by(platform, platform.evidence.store, word)


def _delivered(platform: Platform, name: str) -> Target | None:
    """A destination as we or the recipient spell it, or the bare name of a file of the last weeks, the newest."""
    store = platform.evidence.store
    for recipient in platform.catalog.endpoints.recipients:
        for destination in _spellings(platform, recipient, name):
            if target := _claimed(platform, store, recipient, destination):
                return target
    return next(_named_alike(platform, store, name), None)


def _spellings(platform: Platform, recipient: str, name: str) -> tuple[str, ...]:
    """An SFT recipient has flat names, in which `/` is another character."""
    model = platform.catalog.endpoints.recipients[recipient]
    if model.transfer_type != "sft":
        return (name,)
    separator = model.settings().get("path_separator", "~")
    return (name, name.replace(separator, "/")) if separator in name else (name,)


def _named_alike(platform: Platform, store: Store, name: str) -> Iterator[Target]:
    last = now().date()
    for back in range(_DAYS):
        day = (last - timedelta(days=back)).isoformat()
        for spec in _deliveries(platform):
            if spec.gives(name) and (target := _claimed(platform, store, spec.recipient, spec.destination(day, name))):
                yield target


def _deliveries(platform: Platform) -> Iterator[Spec]:
    for model in platform.catalog.datasets.values():
        for name in model.deliveries:
            try:
                yield find_delivery(platform, *name.split("/", 1))
            except EgressError:  # one that may not run is not what was asked for
                continue


def _claimed(platform: Platform, store: Store, recipient: str, destination: str) -> Target | None:
    """By the claim of the destination, which names the last receipt there."""
    there = store.read(claim_key(recipient, destination))
    if there is None:
        return None
    claim = Claim.parse(there[0])
    return _told_by(platform, store, receipt_key(claim.order[0], claim.identity))


def _told_by(platform: Platform, store: Store, key: str) -> Target | None:
    there = store.read(key)
    if there is None:
        return None
    receipt = Receipt.parse(there[0])
    unit, attempt = Unit.parse(receipt.source["unit"]), receipt.source["attempt"]
    table = _delivered_table(platform, receipt) if unit.stage in ("dump", "scrub") else OBJECTS
    return Target(unit, receipt.date, attempt, table, receipt=receipt)


def _delivered_table(platform: Platform, receipt: Receipt) -> str:
    """Stored objects that were sent as they are: the receipt's sha256 says which table's."""
    unit, attempt = Unit.parse(receipt.source["unit"]), receipt.source["attempt"]
    manifest = platform.evidence.manifest(unit, receipt.date, attempt, receipt.source.get("manifest_digest", ""))
    tables = manifest.draft.tables.items()
    return next((table for table, record in tables if any(o.sha256 == receipt.sha256 for o in record.objects)), "")


# -------------------------------------------------------------------------------------------------------- fixed names
def _published(platform: Platform, places: list[Place]) -> Target | None:
    """A name that a `publish` gave: its template tells the date, the manifest whether it was written."""
    publishes = (mirror for mirror in _mirrors(platform) if isinstance(mirror, PublishMirror))
    for mirror in publishes:
        for place in places:
            date = mirror.layout.date_of(place.key) if place.store in ("", mirror.to) else ""
            pointer = platform.evidence.pointer(mirror.unit, date) if date else None
            record = platform.evidence.tables(pointer)[OBJECTS][1] if pointer else None
            if record and any(o.key == place.key for o in record.mirrored):
                return Target(mirror.unit, date, "", OBJECTS, place.key)
    return None


# ------------------------------------------------------------------------------------------------------ foreign objects
def _mirrored(platform: Platform, places: list[Place]) -> Target | None:
    """An object of a foreign bucket, at its source or as a copy, in the newest inventory that has it."""
    for mirror in _mirrors(platform):
        if not isinstance(mirror, BucketMirror):
            continue
        for place in places:
            for key in _keys_there(mirror, place):
                if target := _inventoried(platform, mirror, key):
                    return target
    return None


def _keys_there(mirror: BucketMirror, place: Place) -> Iterator[str]:
    """The keys that it may have at the destination."""
    if place.store in ("", mirror.to) and place.key.startswith(mirror.prefix + mirror.source.prefix):
        yield place.key
    if place.store in ("", mirror.source.store) and place.key.startswith(mirror.source.prefix):
        yield mirror.prefix + place.key


def _inventoried(platform: Platform, mirror: BucketMirror, key: str) -> Target | None:
    dates = [date for _, date in platform.evidence.pointers(mirror.unit)]
    pointer = platform.evidence.pointer(mirror.unit, dates[-1]) if dates else None
    if pointer is None:
        return None
    manifest, record = platform.evidence.tables(pointer)[OBJECTS]
    copied = inventory.find(platform.evidence.store, record, key)
    return copied and Target(mirror.unit, pointer.date, manifest.attempt, OBJECTS, key, copied)
