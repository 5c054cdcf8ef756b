"""The units of a catalog: what each dataset is made of, in the order in which it becomes true."""

from __future__ import annotations

from collections.abc import Iterable

from egress_assets.engine.catalog.models import Catalog, DatasetModel
from egress_assets.engine.catalog.problems import choices
from egress_assets.engine.catalog.view import mirrored_unit
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


def parent_of(catalog: Catalog, dataset: str, unit: Unit) -> tuple[Unit | None, str]:
    """(what a unit is made from, the table of it or '' for all); None for what reads a source or a foreign bucket."""
    model = require_dataset(catalog, dataset)
    if unit.stage == "mirror":
        return mirrored_unit(dataset, model, model.mirrors[unit.names[0]]), ""
    if unit.stage != "delivery":
        return None, ""
    said = model.deliveries["/".join(unit.names)].from_
    stage, _, rest = said.partition("/")
    if stage == "mirror" and rest:
        return mirror_unit(rest), ""
    if stage == "dump" and rest:
        return dump_unit(dataset), rest
    return (scrub_unit(dataset, model.scrub.audience) if model.scrub else dump_unit(dataset)), said


def below(catalog: Catalog, dataset: str, units: Iterable[Unit]) -> tuple[Unit, ...]:
    """These units and all of the dataset that are made from them, in the order in which they become true."""
    found = set(units)
    for unit in units_of(catalog, dataset):
        if parent_of(catalog, dataset, unit)[0] in found:
            found.add(unit)
    return tuple(unit for unit in units_of(catalog, dataset) if unit in found)
