"""Masks: that they exist, that their parameters are theirs, and that a scrubbed table classifies its columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError

from egress_assets.engine import masks
from egress_assets.engine.catalog.models import ColumnRule
from egress_assets.engine.catalog.problems import Path, Problem, choices, explain
from egress_assets.engine.catalog.view import View
from egress_assets.engine.scrub.detectors import DETECTORS


def masks_exist(view: View) -> Iterator[Problem]:
    known = masks.registry()
    for dataset, model in view.datasets.items():
        for table, rules in model.tables.items():
            for column, rule in rules.columns.items():
                path = _written(view, dataset, ("tables", table, column))
                if rule.mask not in known:
                    text = f"{rule.mask!r} is not a mask; {choices(rule.mask, known)}"
                    yield view.problem(dataset, *path, "mask", text=text)
                else:
                    yield from _parameters(view, (dataset, *path), rule, known[rule.mask].Params)


def _parameters(view: View, path: Path, rule: ColumnRule, model: type[BaseModel]) -> Iterator[Problem]:
    known = {field.alias or key for key, field in model.model_fields.items()}
    for key in sorted(rule.params.keys() - known):
        text = f"unknown parameter of mask {rule.mask}; {choices(key, known | {'mask'})}"
        yield view.problem(*path, key, text=text)
    try:
        model.model_validate({k: v for k, v in rule.params.items() if k in known})
    except ValidationError as error:
        errors: list[Any] = error.errors()
        for each in errors:
            yield view.problem(*path, *map(str, each["loc"]), text=explain(each, model))


def _written(view: View, dataset: str, path: Path) -> Path:
    """The path as the file spells it: the long form has `columns` in between."""
    head, table, column = path
    long = (head, table, "columns", column)
    return long if long in view.documents[dataset].places else path


def detectors_exist(view: View) -> Iterator[Problem]:
    for dataset, model in view.datasets.items():
        for number, name in enumerate((model.scrub and model.scrub.detectors) or ()):
            if name not in DETECTORS:
                text = f"{name!r} is not a detector; {choices(name, DETECTORS)}"
                yield view.problem(dataset, "scrub", "detectors", str(number), text=text)


def tables_are_classified(view: View) -> Iterator[Problem]:
    for dataset, model in view.datasets.items():
        for table, rules in model.tables.items():
            written = view.documents[dataset].names("tables", table)
            if model.scrub and not rules.columns and not written:
                text = "no column has a mask: name every column with a mask or `keep`"
                yield view.problem(dataset, "tables", table, text=text)
            if not model.scrub and rules.columns and not view.says(dataset, "scrub"):
                text = "masks do nothing without `scrub: {key: ...}`"
                yield view.problem(dataset, "tables", table, "columns", text=text)
