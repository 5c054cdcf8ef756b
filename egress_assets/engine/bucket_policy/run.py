"""Look at a bucket beside what the catalog says of it, and make it so where the catalog says `policy: apply`.

Idempotent: what is as said is not written. S3 takes a lifecycle only as a whole and knows no condition for it: a rule
that somebody else adds between our read and our write, some milliseconds, is lost; apply one bucket at a time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol
from xml.etree.ElementTree import Element

from egress_assets.engine.bucket_policy import access, lifecycle
from egress_assets.engine.bucket_policy.report import DRIFT, Item, Report
from egress_assets.engine.bucket_policy.wanted import Wanted, wanted, written_stores
from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.catalog.problems import choices
from egress_assets.engine.errors import CatalogError, StoreError
from egress_assets.engine.platform import Platform
from egress_assets.engine.stores.control import Configuration, Subject

logger = logging.getLogger(__name__)

SETTLING = 10.0  # seconds: AWS may answer with the old configuration for a moment after it took the new one
_PAUSE = 0.5
_NAMES: Mapping[Subject, str] = {
    "lifecycle": "lifecycle",
    "encryption": "encryption",
    "publicAccessBlock": "public access",
}


_ACTIONS: Mapping[Subject, str] = {
    "lifecycle": "LifecycleConfiguration",
    "encryption": "EncryptionConfiguration",
    "publicAccessBlock": "BucketPublicAccessBlock",
}
"""As AWS names the permissions, behind s3:Get and s3:Put."""


class Bucket(Protocol):
    """What is asked of a store here."""

    bucket: str

    def configuration(self, subject: Subject) -> Configuration: ...

    def configure(self, subject: Subject, document: Element, headers: Mapping[str, str]) -> None: ...


@dataclass(frozen=True, slots=True)
class _Part:
    subject: Subject
    items: tuple[Item, ...]
    target: Element | None  # None: nothing to write
    headers: Mapping[str, str]


def look(platform: Platform, store: str) -> Report:
    """What is there and what the catalog says: three reads. Raises CatalogError, StoreError, StoreUnavailable."""
    asked, bucket = _opened(platform, store)
    return _report(asked, bucket, list(_parts(asked, bucket)))


def apply(platform: Platform, store: str) -> Report:
    """Make the bucket as the catalog says, then look again.

    Raises CatalogError where the catalog doesn't say `policy: apply`, StoreUnavailable; a refusal of the server for
    one thing is an item of the report, and the other things are done.
    """
    asked, bucket = _opened(platform, store)
    if not asked.applies:
        hint = f"Write `policy: apply` at the store, or leave --apply out to see what differs: {store}."
        raise CatalogError(f"store {store} is not managed: the catalog says `policy: report`", hint=hint)
    parts = list(_parts(asked, bucket))
    refused: dict[Subject, str] = {part.subject: said for part in parts if (said := _set(bucket, part))}
    changed = tuple(_NAMES[part.subject] for part in parts if part.target is not None and part.subject not in refused)
    if changed:
        logger.info("set %s of bucket %s of store %s", ", ".join(changed), bucket.bucket, store)
        parts = _settled(asked, bucket, frozenset(refused))
    return _report(asked, bucket, parts, changed, refused)


def require_store(catalog: Catalog, name: str) -> str:
    """Raises CatalogError naming the stores that something writes to."""
    written = written_stores(catalog)
    if name not in written:
        hint = f"{choices(name, written).capitalize()}."
        raise CatalogError(f"{name!r} is not a store that the catalog writes to", hint=hint)
    return name


def _opened(platform: Platform, store: str) -> tuple[Wanted, Bucket]:
    settings = platform.provider.store(require_store(platform.catalog, store))
    asked = wanted(platform.catalog, store, prefix=settings.prefix, sse_kms_key=settings.sse_kms_key)
    return asked, platform.store(store)


def _parts(asked: Wanted, bucket: Bucket) -> Iterator[_Part]:
    rules = bucket.configuration("lifecycle")
    yield _part("lifecycle", rules, lambda: lifecycle.compared(rules.document, asked), lambda: _rules(rules, asked))
    crypt = bucket.configuration("encryption")
    item = access.encryption(crypt.document, asked, is_rgw=crypt.is_rgw)
    yield _part("encryption", crypt, lambda: iter([item]), lambda: access.encrypted(crypt.document, asked))
    block = bucket.configuration("publicAccessBlock")
    public = access.public_access(block.document, asked, is_rgw=block.is_rgw)
    yield _part("publicAccessBlock", block, lambda: iter([public]), lambda: access.blocked(block.document))


def _rules(found: Configuration, asked: Wanted) -> Element:
    return lifecycle.merged(found.document, asked)


def _part(
    subject: Subject, found: Configuration, compare: Callable[[], Iterator[Item]], target: Callable[[], Element]
) -> _Part:
    if found.state == "denied":
        detail = (
            f"the store does not let us look: grant s3:Get{_ACTIONS[subject]} on the bucket, to apply also s3:Put..."
        )
        return _Part(subject, (Item("!", _NAMES[subject], detail, "not permitted"),), None, {})
    if found.state == "not supported":
        detail = "the server has no such thing"
        return _Part(subject, (Item("!", _NAMES[subject], detail, "not supported"),), None, {})
    items = tuple(compare())
    is_due = any(item.sign in "+*-" for item in items)
    return _Part(subject, items, target() if is_due else None, found.headers)


def _set(bucket: Bucket, part: _Part) -> str:
    """What the server said against it; '' when it took it."""
    if part.target is None:
        return ""
    try:
        bucket.configure(part.subject, part.target, part.headers)
    except StoreError as error:
        if error.retryable:
            raise
        return error.message
    return ""


def _settled(asked: Wanted, bucket: Bucket, refused: frozenset[Subject]) -> list[_Part]:
    ends = time.monotonic() + SETTLING
    while True:
        parts = list(_parts(asked, bucket))
        if all(part.target is None or part.subject in refused for part in parts) or time.monotonic() > ends:
            return parts
        time.sleep(_PAUSE)


def _report(
    asked: Wanted,
    bucket: Bucket,
    parts: list[_Part],
    changed: tuple[str, ...] = (),
    refused: Mapping[Subject, str] | None = None,
) -> Report:
    told = {_NAMES[subject]: said for subject, said in (refused or {}).items()}
    items = [_refused(item, told.get(item.what, "")) for part in parts for item in part.items]
    return Report(asked.store, bucket.bucket, asked.applies, tuple(items), changed)


def _refused(item: Item, why: str) -> Item:
    if not why or item.state not in DRIFT:
        return item
    return Item("!", item.what, f"{item.detail}: {why}", "refused")
