"""A delivery of the catalog, resolved: whose table or objects go to whom, under which names."""

from __future__ import annotations

import re
from dataclasses import dataclass

from egress_assets.engine.catalog.models import DeliveryModel, RecipientModel
from egress_assets.engine.errors import CatalogError, DeliveryRefused, ReleaseRefused
from egress_assets.engine.evidence.records import digest
from egress_assets.engine.holds import Watch
from egress_assets.engine.layout import Unit, delivery_unit, dump_unit, scrub_unit, table_segment
from egress_assets.engine.mirror.spec import OwnMirror, find_mirror
from egress_assets.engine.partition import parse_date
from egress_assets.engine.platform import Platform
from egress_assets.engine.stream import PARQUET


@dataclass(frozen=True, slots=True)
class Spec:
    """One delivery. `table` is empty where the objects of a mirror are delivered as they are."""

    recipient: str
    pipeline: str
    dataset: str
    model: DeliveryModel
    to: RecipientModel
    parent: Unit
    table: str
    holds: tuple[tuple[str, str], ...]  # besides the recipient's: of every dataset that its rows or objects are of

    @property
    def unit(self) -> Unit:
        return delivery_unit(self.recipient, self.pipeline)

    @property
    def title(self) -> str:
        return f"{self.recipient}/{self.pipeline}"

    @property
    def spec_digest(self) -> str:
        """What decides the delivered bytes besides the parent's."""
        return digest({"from": self.model.from_, "format": self.model.format, "header": self.model.header})

    def watch(self, platform: Platform) -> Watch:
        """What asks whether a hold stops this delivery."""
        return Watch(platform.evidence, f"delivery {self.title}", (("recipient", self.recipient), *self.holds))

    def destination(self, date: str, name: str = "") -> str:
        """Where a file goes: the prefix with the date in it, then `name`, or `<schema>.<table>.<format>`."""
        prefix = self.model.destination_prefix.format(date=parse_date(date)).lstrip("/")
        return prefix + (name or f"{table_segment(self.table)}.{self.model.format}")

    def part_name(self, number: int, count: int) -> str:
        """Of one of a parquet table's files: how many there are is in the name, so no two sets can be mixed up."""
        part = f".part-{number:05}-of-{count:05}" if count > 1 else ""
        return f"{table_segment(self.table)}{part}.{PARQUET}"

    def gives(self, name: str) -> bool:
        """Whether a table's file may have this name."""
        part = r"(\.part-\d{5,}-of-\d{5,})?" if self.model.format == PARQUET else ""
        pattern = f"{re.escape(table_segment(self.table))}{part}\\.{re.escape(self.model.format)}"
        return bool(self.table) and re.fullmatch(pattern, name) is not None


def find_delivery(platform: Platform, recipient: str, pipeline: str) -> Spec:
    """The delivery of this name, whichever dataset it is written under.

    Raises CatalogError; ReleaseRefused for a raw table without `authorised`, or a scrub of another audience.
    """
    name = f"{recipient}/{pipeline}"
    found = {d: m.deliveries[name] for d, m in platform.catalog.datasets.items() if name in m.deliveries}
    to = platform.catalog.endpoints.recipients.get(recipient)
    if len(found) != 1 or to is None:
        problem = f"is defined by {', '.join(sorted(found))}" if len(found) > 1 else "is not in the catalog"
        known = sorted(n for d in platform.catalog.datasets.values() for n in d.deliveries)
        raise CatalogError(f"delivery {name} {problem}", hint=f"Known: {', '.join(known) or 'none'}.")
    ((dataset, model),) = found.items()
    parent, table = _parent(platform, dataset, model, to, name)
    origins = {dataset, find_mirror(platform, parent.names[0]).dataset} if parent.stage == "mirror" else {dataset}
    holds = tuple(("dataset", each) for each in sorted(origins))
    return Spec(recipient, pipeline, dataset, model, to, parent, table, holds)


def require_environment(platform: Platform, spec: Spec) -> None:
    """A recipient of production gets nothing from anywhere else; in the sandbox it is the embedded one already."""
    if spec.to.env == "prod" and platform.env not in ("prod", "sandbox"):
        raise DeliveryRefused(
            f"recipient {spec.recipient} is of production, this is {platform.env}",
            hint="Set EGRESS_ENV=prod where production runs; elsewhere give the recipient an entry of its own.",
        )


def _parent(platform: Platform, dataset: str, model: DeliveryModel, to: RecipientModel, name: str) -> tuple[Unit, str]:
    """(unit, table) of what is delivered, after a look at who may have it."""
    stage, slash, rest = model.from_.partition("/")
    if slash and stage == "mirror":
        mirror = find_mirror(platform, rest)
        unit, origin, table = mirror.unit, mirror.parent if isinstance(mirror, OwnMirror) else None, ""
    elif slash and stage == "dump":
        unit = origin = dump_unit(dataset)
        table = rest
    else:
        scrub = platform.catalog.dataset(dataset).scrub
        unit = origin = scrub_unit(dataset, scrub.audience) if scrub else dump_unit(dataset)
        table = model.from_
    _require_right(origin, model, to, name)
    return unit, table


def _require_right(origin: Unit | None, model: DeliveryModel, to: RecipientModel, name: str) -> None:
    """`origin` is the dump or scrub that the bytes are of; None: foreign objects, whose Release needs a basis."""
    if origin is None:
        return
    if origin.stage == "dump" and (model.release is None or model.release.basis != "authorised"):
        raise ReleaseRefused(
            f"delivery {name} sends raw rows of {origin.names[0]} without an authorisation",
            hint="Deliver the scrubbed table, or state `release: {basis: authorised, ...}` with all its fields.",
        )
    if origin.stage == "scrub" and origin.names[-1] != to.audience:
        raise ReleaseRefused(
            f"delivery {name} is scrubbed for audience {origin.names[-1]}, its recipient belongs to {to.audience}",
            hint="Scrub the dataset for that audience, or correct the recipient's `audience`.",
        )
