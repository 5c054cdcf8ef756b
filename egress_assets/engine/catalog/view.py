"""What the cross-checks look at: every model that could be read, and the documents for places and written names.

A file with a mistake is read without the part that is wrong, so that one run shows the mistakes of all files at once;
whether a name exists is therefore asked of the documents (`names`), never of the models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date

from egress_assets.engine.catalog.document import Document
from egress_assets.engine.catalog.models import DatasetModel, DeliveryModel, Endpoints, MirrorFrom, MirrorModel
from egress_assets.engine.catalog.problems import Problem
from egress_assets.engine.layout import Unit, dump_unit, scrub_unit

ENDPOINTS = "endpoints"


@dataclass(frozen=True, slots=True)
class View:
    """`documents` has the merged endpoints under `endpoints` and each dataset under its name."""

    endpoints: Endpoints
    datasets: Mapping[str, DatasetModel]
    documents: Mapping[str, Document]
    today: date

    def problem(self, document: str, *path: str, text: str) -> Problem:
        return self.documents[document].problem(path, text)

    def names(self, section: str) -> set[str]:
        """Sources, stores or recipients as written."""
        return self.documents[ENDPOINTS].names(section)

    def mirrors(self) -> Iterator[tuple[str, str, MirrorModel]]:
        """(dataset, mirror name, mirror) of the whole catalog."""
        for dataset, model in self.datasets.items():
            for name, mirror in model.mirrors.items():
                yield dataset, name, mirror

    def deliveries(self) -> Iterator[tuple[str, str, DeliveryModel]]:
        """(dataset, recipient/pipeline, delivery) of the whole catalog."""
        for dataset, model in self.datasets.items():
            for name, delivery in model.deliveries.items():
                yield dataset, name, delivery

    def says(self, document: str, *path: str) -> bool:
        """Whether a key is written, be it right or wrong."""
        return self.documents[document].says(path)

    def is_external(self, store: str) -> bool:
        """Also when nothing is said; not for what is no store, or has a zone that could not be read."""
        found = self.endpoints.stores.get(store)
        if found is None or found.zone != "external":
            return False
        return "zone" in found.model_fields_set or not self.says(ENDPOINTS, "stores", store, "zone")


def mirrored(model: DatasetModel, mirror: MirrorModel) -> str:
    """What a mirror copies: `scrub`, `dump`, `bucket`, or '' when the dataset has nothing of it."""
    if isinstance(mirror.from_, MirrorFrom):
        return "bucket"
    stage = mirror.from_ or ("scrub" if model.scrub else "dump")
    return stage if getattr(model, stage) is not None else ""


def mirrored_unit(dataset: str, model: DatasetModel, mirror: MirrorModel) -> Unit | None:
    """The unit whose objects a mirror copies; None for a foreign bucket, or when the stage is not there."""
    kind = mirrored(model, mirror)
    if kind == "scrub" and model.scrub:
        return scrub_unit(dataset, model.scrub.audience)
    return dump_unit(dataset) if kind == "dump" else None
