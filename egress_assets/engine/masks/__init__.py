"""Masks: column functions of the scrub stage. A new mask is one file here that defines `MASK` (see seam.py).

The registry finds it; the catalog's schema, `egress list-masks`, the docs test and the conformance suite follow.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from egress_assets.engine.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from egress_assets.engine.masks.seam import Mask, MaskParams

_PARTS = frozenset({"seam"})  # modules of this package that masks share


@cache
def registry() -> Mapping[str, Mask]:
    """Every mask by name, sorted."""
    modules = (f"{__name__}.{info.name}" for info in pkgutil.iter_modules(__path__) if info.name not in _PARTS)
    masks = [importlib.import_module(module).MASK for module in modules]
    return MappingProxyType({mask.name: mask for mask in sorted(masks, key=lambda m: m.name)})


def find(name: str) -> Mask:
    """Raises CatalogError naming the valid masks."""
    masks = registry()
    if name not in masks:
        raise CatalogError(f"mask {name!r} is unknown", hint=f"Valid masks: {', '.join(masks)}.")
    return masks[name]


def parse_params(mask: Mask, params: Mapping[str, Any]) -> MaskParams:
    """Raises CatalogError with a line a wrong parameter; values are not repeated."""
    try:
        return mask.Params.model_validate(dict(params))
    except ValidationError as error:
        problems = tuple(_problem(mask, e["loc"], e["msg"]) for e in error.errors())
        names = ", ".join(mask.Params.model_fields) or "none"
        hint = f"Parameters of {mask.name}: {names}. See `egress list-masks`."
        raise CatalogError("; ".join(problems), hint=hint, problems=problems) from None


def _problem(mask: Mask, loc: tuple[int | str, ...], message: str) -> str:
    return f"{mask.name}.{'.'.join(map(str, loc))}: {message}" if loc else f"{mask.name}: {message}"


def describe() -> Iterator[tuple[str, str, dict[str, str]]]:
    """(name, help, {parameter: description}) of every mask, for people."""
    for mask in registry().values():
        yield mask.name, mask.help, {n: _describe(f) for n, f in mask.Params.model_fields.items()}


def _describe(field: Any) -> str:
    default = "required" if field.is_required() else f"default {field.default!r}"
    return f"{field.description} ({default})"
