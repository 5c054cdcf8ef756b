"""How single values look in the schema, and what the models check over several keys of one object.

pydantic writes "this or nothing" and "text or a reference" as `anyOf`. Editors answer a mistake under `anyOf` with the
complaints of all its arms; here each is one schema, chosen by the type of what is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]

_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_REF = {"$ref": "#/$defs/Ref"}
_PRIMITIVE = ("string", "integer", "number", "boolean", "array")


def _one_of(*keys: str) -> Schema:
    return {"oneOf": [{"required": [key]} for key in keys]}


def _any_of(*keys: str) -> Schema:
    return {"anyOf": [{"required": [key]} for key in keys]}


_AUTHORISED = ["recipients", "purpose", "legal_basis", "approved_by", "until"]
_IS_SCRUBBED = {"required": ["scrub"], "properties": {"scrub": {"type": "object"}}}
_BUCKET = {"required": ["from"], "properties": {"from": {"type": "object"}}}


def _tables(form: str) -> Schema:
    return {"properties": {"tables": {"additionalProperties": {"$ref": f"#/$defs/{form}"}}}}


RULES: Mapping[str, Schema] = {
    "Ref": {
        "properties": {"env": {"type": "string"}, "file": {"type": "string"}},
        "minProperties": 1,
        "maxProperties": 1,
    },
    "SourceModel": _one_of("dsn", "jdbc", "host"),
    "Limits": _any_of("rows", "bytes"),
    "Drift": {"minProperties": 1},
    "Throttle": _any_of("rows_per_second", "bytes_per_second"),
    "NotifyModel": _any_of("mail", "webhook"),
    "SigningKey": _one_of("env", "file", "kms"),
    "TriggerModel": _one_of("token", "open"),
    "Basis": {
        "if": {"required": ["basis"], "properties": {"basis": {"const": "authorised"}}},
        "then": {"required": _AUTHORISED, "properties": {"recipients": {"minItems": 1}}},
    },
    "CsvModel": {
        "if": {"required": ["dialect"], "properties": {"dialect": {"const": "datapipeline"}}},
        "then": {"properties": {"quote": False, "null": {"pattern": r"^\\[A-Z]$"}}},
    },
    "MirrorModel": {
        "if": _BUCKET,
        "then": {"required": ["select"], "properties": {"select": {"const": "bucket"}}},
        "else": {"properties": {"select": {"const": "partition"}}},
    },
    "DatasetModel": {
        "dependentRequired": {"tables": ["source"], "source": ["tables"]},
        "if": _IS_SCRUBBED,
        "then": _tables("TableModel"),
        "else": _tables("RawTable"),
    },
}
"""By definition: what holds between its keys. The models say the same, in validators that pydantic can't describe."""


def closed(properties: Schema, required: list[str]) -> Schema:
    """An object with these keys and no others."""
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def plain(schema: Any) -> Any:
    """What pydantic makes, without what only its generator needs, and without `anyOf` where a type tells enough."""
    if isinstance(schema, list):
        return [plain(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    out = {key: plain(value) for key, value in schema.items() if not _is_noise(key, value)}
    if "patternProperties" in out:
        out["additionalProperties"] = False
    if out.get("format") == "date":
        out["pattern"] = _DATE  # a format is only a remark to most validators
    arms = out.pop("anyOf", None) or out.pop("oneOf", None)
    return _chosen(arms) | out if arms else out


def _is_noise(key: str, value: Any) -> bool:
    """Titles that repeat the key, and a default of nothing."""
    return (key == "title" and isinstance(value, str)) or (key == "default" and value is None)


def _chosen(arms: list[Schema]) -> Schema:
    """One schema for several, each of another type."""
    without = [arm for arm in arms if arm != {"type": "null"}]
    one = without[0] if len(without) == 1 else _of_two(without)
    if len(without) == len(arms):
        return one
    if isinstance(one.get("type"), str | list) and "enum" not in one:
        types = one["type"] if isinstance(one["type"], list) else [one["type"]]
        return one | {"type": [*types, "null"]}
    return {"if": {"type": "null"}, "then": True, "else": one}


def _of_two(arms: list[Schema]) -> Schema:
    """Text or a mapping; or primitives whose keywords don't meet."""
    mapping = next((arm for arm in arms if "$ref" in arm), None)
    if mapping is not None:
        (other,) = (arm for arm in arms if arm is not mapping)
        return {"if": {"type": "object"}, "then": mapping, "else": other}
    if not all(arm.get("type") in _PRIMITIVE for arm in arms):
        return {"anyOf": arms}
    merged: Schema = {}
    for arm in arms:
        merged |= arm
    return merged | {"type": [arm["type"] for arm in arms]}


def referable(schema: Schema) -> Schema:
    """The same, with `{env: NAME}` or `{file: PATH}` in the place of any text in it."""
    out = dict(schema)
    if isinstance(inner := out.get("additionalProperties"), dict):
        out["additionalProperties"] = referable(inner)
    if "properties" in out:
        out["properties"] = {name: referable(each) for name, each in out["properties"].items()}
    reference = {"type": "object", "maxProperties": 1, **_any_of("env", "file")}
    return {"if": reference, "then": _REF, "else": out}
