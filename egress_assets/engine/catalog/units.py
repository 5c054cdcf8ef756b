"""The units of a catalog: what each dataset is made of, in the order in which it becomes true."""

from __future__ import annotations

from egress_assets.engine.catalog.models import Catalog, DatasetModel
from egress_assets.engine.catalog.problems import choices
from egress_assets.engine.errors import CatalogError
from egress_assets.engine.layout import Unit, delivery_unit, dump_unit, mirror_unit, scrub_unit


def require_dataset(catalog: Catalog, name: str) -> DatasetModel:
    """Raises CatalogError naming the datasets there are."""
    if name not in catalog.datasets:
        raise CatalogError(f"{name!r} is not a dataset", hint=f"{choices(name, catalog.datasets).capitalize()}.")
    return catalog.datasets[name]


def units_of(catalog: Catalog, dataset: str) -> tuple[Unit, ...]:
    """Dump, scrub, mirrors, deliveries of a dataset. Raises CatalogError."""
    model = require_dataset(catalog, dataset)
    units = [dump_unit(dataset)] if model.dump else []
    units += [scrub_unit(dataset, model.scrub.audience)] if model.scrub else []
    units += [mirror_unit(name) for name in model.mirrors]
    units += [delivery_unit(*name.split("/", 1)) for name in model.deliveries]
    return tuple(units)


def dataset_of(catalog: Catalog, unit: Unit) -> str:
    """The dataset that a unit belongs to. Raises CatalogError naming the units there are."""
    known = {each: dataset for dataset in catalog.datasets for each in units_of(catalog, dataset)}
    if unit not in known:
        hint = f"{choices(unit.title, [each.title for each in known]).capitalize()}."
        raise CatalogError(f"{unit.title!r} is not a unit of the catalog", hint=hint)
    return known[unit]
