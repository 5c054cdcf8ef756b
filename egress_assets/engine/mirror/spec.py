"""A mirror of the catalog, resolved: what it copies from where to where, and on what basis. A `publish` is one too."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from egress_assets.engine.catalog.layouts import Layout, layout_of
from egress_assets.engine.catalog.models import Basis, DatasetModel, MirrorFrom, MirrorModel, Published
from egress_assets.engine.errors import CatalogError
from egress_assets.engine.evidence.records import digest
from egress_assets.engine.holds import Watch
from egress_assets.engine.layout import Unit, dump_unit, mirror_unit, scrub_unit
from egress_assets.engine.partition import Calendar
from egress_assets.engine.platform import Platform


@dataclass(frozen=True, slots=True)
class Mirror:
    """What all kinds have."""

    name: str
    dataset: str
    model: MirrorModel

    @property
    def unit(self) -> Unit:
        return mirror_unit(self.name)

    @property
    def to(self) -> str:
        return self.model.to

    @property
    def prefix(self) -> str:
        """What goes before every source key at the destination; empty, or ends with a slash."""
        return f"{self.model.prefix.rstrip('/')}/" if self.model.prefix.strip("/") else ""

    @property
    def basis(self) -> Basis | None:
        return self.model.release

    @property
    def spec_digest(self) -> str:
        """What the no-op compares besides parents. The release is not in it: who may have data changes no byte."""
        said: dict[str, Any] = self.model.model_dump(mode="json", by_alias=True, exclude={"release"})
        return digest({**said, "dataset": self.dataset})


@dataclass(frozen=True, slots=True)
class OwnMirror(Mirror):
    """Of what the pointer of `parent`, a dump or scrub of ours, names."""

    parent: Unit


@dataclass(frozen=True, slots=True)
class PartitionMirror(OwnMirror):
    """Copies the objects under their own keys."""


@dataclass(frozen=True, slots=True)
class PublishMirror(OwnMirror):
    """Writes tables under fixed names."""

    layout: Layout

    @property
    def spec_digest(self) -> str:
        """Of what decides names and bytes; the catalog's tables are told by the parent's entries."""
        unsaid = set() if self.layout.of_schema else {"schema_"}  # what was published before there was one stands
        said = self.layout.publish.model_dump(mode="json", exclude={"release", *unsaid})
        return digest({**said, "dataset": self.dataset, "parent": str(self.parent)})


@dataclass(frozen=True, slots=True)
class BucketMirror(Mirror):
    """Copies a foreign prefix in place; dated by the day of the run, since it shows the bucket as it is now."""

    source: MirrorFrom


AnyMirror = PartitionMirror | PublishMirror | BucketMirror


def watch_of(platform: Platform, mirror: AnyMirror) -> Watch:
    """What asks whether a hold stops this mirror. One to a trusted store is never stopped: nothing leaves by it."""
    leaves = platform.store(mirror.to).zone != "trusted"
    names = (("dataset", mirror.dataset),) if leaves else ()
    return Watch(platform.evidence, f"mirror {mirror.name}", names)


def calendar_of(platform: Platform, mirror: AnyMirror) -> Calendar:
    """How the mirror's dates are counted."""
    own = platform.catalog.calendar(mirror.dataset)
    return replace(own, label="run_day") if isinstance(mirror, BucketMirror) else own


@dataclass(slots=True)
class Totals:
    """What a run did; filled while it runs. `sent` counts also what a round that started over had sent."""

    objects: int = 0
    bytes: int = 0
    sent_objects: int = 0
    sent_bytes: int = 0
    gone_objects: int = 0  # listed at the source, and deleted there before they were read
    swept_uploads: int = 0
    removed_objects: int = 0  # of a publish: what the date does not have any more

    def restart(self) -> None:
        """Evidence calls the work again when its input moved: what it stands for is counted anew."""
        self.objects = self.bytes = self.gone_objects = 0

    def add(self, size: int, *, sent: bool) -> None:
        self.objects += 1
        self.bytes += size
        self.sent_objects += sent
        self.sent_bytes += size * sent


def find_mirror(platform: Platform, name: str) -> AnyMirror:
    """The mirror of this name, whichever dataset it is written under. Raises CatalogError."""
    found = {d: m.mirrors[name] for d, m in platform.catalog.datasets.items() if name in m.mirrors}
    if len(found) != 1:
        known = sorted(n for d in platform.catalog.datasets.values() for n in d.mirrors)
        problem = f"is defined by {', '.join(sorted(found))}" if found else "is not in the catalog"
        raise CatalogError(f"mirror {name} {problem}", hint=f"Mirrors have one name each. Known: {', '.join(known)}.")
    ((dataset, model),) = found.items()
    if isinstance(model.from_, MirrorFrom):
        return BucketMirror(name, dataset, model, model.from_)
    own = platform.catalog.dataset(dataset)
    parent = _parent(name, dataset, own, model.from_)
    if isinstance(model, Published):
        return PublishMirror(name, dataset, model, parent, layout_of(dataset, own, model))
    return PartitionMirror(name, dataset, model, parent)


def _parent(name: str, dataset: str, model: DatasetModel, wanted: str | None) -> Unit:
    if model.scrub and wanted in (None, "scrub"):
        return scrub_unit(dataset, model.scrub.audience)
    if model.dump is not None and wanted in (None, "dump"):
        return dump_unit(dataset)
    raise CatalogError(
        f"mirror {name} copies the {wanted or 'tables'} of {dataset}, which has none",
        hint="Add `scrub: {key: ...}` or `dump: {}` to the dataset, or `from: {store: ...}` with `select: bucket`.",
    )
