"""What is wrong with a catalog, a line a problem: `catalog/shop.yaml:12: tables.public.orders: what, valid choices`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

Path = tuple[str, ...]

_PLAIN = {
    "missing": "is required",
    "dict_type": "must be a mapping (`key: value` lines)",
    "model_type": "must be a mapping (`key: value` lines)",
    "list_type": "must be a list",
    "string_type": "must be text: put it in quotes, or write {env: NAME} or {file: PATH} where a reference is allowed",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "date_from_datetime_parsing": "must be a date, for example 2026-11-01",
    "date_type": "must be a date, for example 2026-11-01",
    "time_delta_parsing": "must be a duration, for example 36h",
}
_NAME_RULE = "is not a name: lower-case letters, digits and `_`, beginning with a letter"
_PATTERNS = {
    "^[a-z]": _NAME_RULE,
    "^[^.]+": "is not a table: write schema.table, for example public.orders",
    "^([01]": 'is not a time of day: write it quoted, as "02:15"',
}


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """`line` is 1-based; 0 when the file as a whole is meant. `path` is the dotted key, empty for the whole file."""

    file: str
    line: int
    path: str
    text: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.path}: {self.text}" if self.path else f"{place}: {self.text}"


def choices(word: str, valid: Collection[str]) -> str:
    """`valid: a, b, c (did you mean b?)`"""
    names = sorted(valid)
    near = get_close_matches(word, names, n=1)
    listed = f"valid: {', '.join(names)}" if names else "there are none"
    return f"{listed} (did you mean {near[0]}?)" if near else listed


def explain(error: Mapping[str, Any], model: type[BaseModel]) -> str:
    """One of pydantic's errors in the catalog's words.

    Values are shown only where a closed set or a name is expected: anything else may be a credential.
    """
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return f"unknown key; {choices(str(error['loc'][-1]), _keys(model, error['loc'][:-1]))}"
    if kind == "literal_error":
        valid = [each.strip("' ") for each in context["expected"].replace(" or ", ", ").split(",")]
        return f"{_shown(error['input'])} is not valid; {choices(str(error['input']), valid)}"
    if kind == "string_pattern_mismatch":
        return _pattern(error["input"], context["pattern"])
    if kind == "value_error":
        return str(context["error"])
    return _PLAIN.get(kind) or _sentence(error["msg"])


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, str | int | float | bool) else "this"


def _pattern(value: Any, pattern: str) -> str:
    known = next((text for start, text in _PATTERNS.items() if pattern.startswith(start)), "")
    return f"{_shown(value)} {known}" if known else f"does not match {pattern}"


def _sentence(message: str) -> str:
    text = message.removeprefix("Input should ").removeprefix("Value error, ")
    return f"must {text}" if text != message and message.startswith("Input") else text[:1].lower() + text[1:]


def _keys(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The keys that are allowed at a location."""
    annotation: Any = model
    for part in location:
        annotation = _step(annotation, str(part))
    return sorted({field.alias or name for each in _models(annotation) for name, field in each.model_fields.items()})


def _step(annotation: Any, part: str) -> Any:
    """The type below `part`; the type itself when `part` is a union's tag."""
    origin = get_origin(annotation)
    if origin in (dict, list):
        return get_args(annotation)[-1]
    if origin in (Union, UnionType, Annotated):
        arms = get_args(annotation)[:1] if origin is Annotated else get_args(annotation)
        below = [(arm, _step(arm, part)) for arm in arms]
        return next((found for arm, found in below if found is not arm), annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = {field.alias or name: field for name, field in annotation.model_fields.items()}
        return fields[part].annotation if part in fields else annotation
    return annotation


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for arm in get_args(annotation) for model in _models(arm)]
