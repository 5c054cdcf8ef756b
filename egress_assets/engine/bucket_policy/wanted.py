"""What the catalog wants of a bucket: rules below the prefixes that Egress writes, never for a bucket as a whole.

Evidence never expires, so its store has no rules. Nothing here asks a server.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256

from egress_assets.engine.catalog.layouts import layout_of
from egress_assets.engine.catalog.models import Catalog, DatasetModel, Published
from egress_assets.engine.catalog.view import mirrored
from egress_assets.engine.layout import escape

_LONGEST = 160  # characters of a prefix in a rule's id; S3 takes 255 of an id


@dataclass(frozen=True, slots=True)
class Rule:
    """A lifecycle rule of ours. `days` is None where bytes are kept; unfinished uploads always end."""

    id: str
    prefix: str  # whole, the store's own before it
    days: int | None
    abort_days: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one store's bucket should be like. Rules whose id begins with `owner` are ours, all others are kept."""

    store: str
    owner: str
    prefix: str  # the store's own, '' or with a slash at its end
    rules: tuple[Rule, ...]
    sse: str  # '' takes any default encryption
    sse_kms_key: str
    block_public: bool
    is_evidence: bool
    applies: bool


def wanted(catalog: Catalog, store: str, *, prefix: str, sse_kms_key: str) -> Wanted:
    """`prefix` and `sse_kms_key` as the store is opened with: the sandbox has its own, the catalog a reference."""
    model = catalog.endpoints.stores[store]
    own = _folder(prefix)
    owner = f"egress/{store}/{sha256(own.encode()).hexdigest()[:8]}/"
    is_evidence = store == catalog.endpoints.evidence.store
    found = {} if is_evidence else dict(_areas(catalog, store)) | {f"{stage}/": stage for stage in model.expire_days}
    rules = tuple(
        Rule(owner + _named(area), own + area, model.expire_days.get(stage), model.abort_days)
        for area, stage in sorted(found.items())
    )
    applies = model.policy == "apply"
    return Wanted(store, owner, own, rules, model.sse, sse_kms_key, model.block_public, is_evidence, applies)


def written_stores(catalog: Catalog) -> tuple[str, ...]:
    """Every store that something writes to, the evidence included, by name."""
    written = {catalog.endpoints.evidence.store}
    for model in catalog.datasets.values():
        written |= {store for store, _ in _stages(model)} | {mirror.to for mirror in model.mirrors.values()}
    return tuple(sorted(written))


def _stages(model: DatasetModel) -> Iterator[tuple[str, str]]:
    """(store, stage) that a dataset writes itself."""
    if model.dump:
        yield model.dump.store or model.store, "dump"
    if model.scrub:
        yield model.scrub.store or model.store, "scrub"
        yield model.scrub.quarantine or model.scrub.store or model.store, "scrub"
    if model.deliveries:
        yield model.store, "delivery"


def _areas(catalog: Catalog, store: str) -> Iterator[tuple[str, str]]:
    """(prefix below the store's own, stage) of all that is written; the stage is '' where keys don't begin with one."""
    for dataset, model in catalog.datasets.items():
        yield from ((f"{stage}/", stage) for name, stage in _stages(model) if name == store)
        for mirror in model.mirrors.values():
            if mirror.to == store and isinstance(mirror, Published):
                yield layout_of(dataset, model, mirror).head, ""
            elif mirror.to == store:
                stage = mirrored(model, mirror).replace("bucket", "")
                yield _folder(mirror.prefix) + (f"{stage}/" if stage else ""), stage


def _folder(prefix: str) -> str:
    return f"{prefix.rstrip('/')}/" if prefix else ""


def _named(area: str) -> str:
    """The end of a rule's id: readable where it can be, the same for the same prefix."""
    name = "/".join(escape(part) for part in area.rstrip("/").split("/")) or "-all"  # no escaped name has a hyphen
    if len(name) <= _LONGEST:
        return name
    return f"{name[:_LONGEST]}-{sha256(area.encode()).hexdigest()[:16]}"
