"""The catalog as JSON Schema (2020-12): for editors that complete and underline while a data owner types.

Made from the models, the masks and the transfer types, so a new file there is in it by itself. It knows one file at a
time; what holds between files is found by `load_catalog`. Alternatives are `if` and `then` by what is written, never
`anyOf` over whole objects: an editor then underlines the one wrong key of the mask or recipient that was meant.
"""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import models_json_schema

from egress_assets.engine import masks
from egress_assets.engine.catalog.models import DatasetModel, Endpoints
from egress_assets.engine.catalog.schema_forms import RULES, closed, plain, referable
from egress_assets.engine.catalog.values import Overlap
from egress_assets.engine.scrub.detectors import DETECTORS

Schema = dict[str, Any]

KINDS = ("dataset", "endpoints")
DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TABLES = "^[^.]+\\..+$"


def catalog_schema(kind: str = "") -> Schema:
    """Of a dataset's file, of `endpoints`, or (empty) of either, told apart by their keys."""
    definitions = _definitions()
    if kind:
        top = {"title": f"Egress {kind}", "$ref": _ref("DatasetModel" if kind == "dataset" else "Endpoints")["$ref"]}
    else:
        own = [{"required": [key]} for key in ("evidence", "stores", "sources", "recipients")]
        top = {"title": "Egress catalog", "if": {"anyOf": own}, "then": _ref("Endpoints"), "else": _ref("DatasetModel")}
    return {"$schema": DIALECT, **top, "$defs": {name: definitions[name] for name in sorted(_used(top, definitions))}}


def file_name(kind: str) -> str:
    """What the schema of a kind of file is published as, in docs/schema."""
    return f"{kind}.schema.json"


def text(kind: str = "") -> str:
    """The schema as it is published and printed, without the last newline."""
    return json.dumps(catalog_schema(kind), indent=1, ensure_ascii=False)


def _definitions() -> dict[str, Schema]:
    _, top = models_json_schema([(Endpoints, "validation"), (DatasetModel, "validation")])
    found: dict[str, Schema] = {name: plain(each) for name, each in top["$defs"].items()}
    long = found["TableModel"]
    found |= {"ColumnRule": _column(), "Mask": _mask(), "TableModel": _table(long)}
    found |= {
        "RawTable": _raw_table(long["properties"]["drift"]),
        "RecipientModel": _recipient(found["RecipientModel"]),
    }
    dataset = found["DatasetModel"]["properties"]
    dataset["grace"] = {"type": "string", "pattern": r"^\d+\s*[smhd]$", "default": "36h"}
    dataset["tables"] |= {"patternProperties": {_TABLES: True}}  # which form they have depends on `scrub`: RULES
    found["ScrubModel"]["properties"]["detectors"]["items"] = {"enum": list(DETECTORS)}
    found["StoreModel"]["properties"]["kind"]["enum"] = _store_kinds()
    for name, rule in RULES.items():
        found[name] |= deepcopy(rule)
    return found


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _column() -> Schema:
    """A mask's name, or `{mask: name, ...}`. Unquoted, `null` is a mask here, and null to every other YAML reader."""
    known = masks.registry()
    text = "; ".join(f"{name}: {mask.help}" for name, mask in known.items())
    return {"if": {"type": "object"}, "then": _ref("Mask"), "else": {"enum": [*known, None], "description": text}}


def _mask() -> Schema:
    """By its name, that mask's own parameters."""
    known = masks.registry()
    cases = [
        _case("mask", _spelled(name), _object(mask.Params, {"mask": True}, ["mask"])) for name, mask in known.items()
    ]
    return _by_name("mask", [*known, None], cases)


def _spelled(name: str) -> list[str | None]:
    return [name, None] if name == "null" else [name]


def _table(long: Schema) -> Schema:
    """Of a scrubbed dataset: columns with their masks, or the long form, which has `columns` as a mapping of them."""
    written = {"type": "object", "not": {"required": ["mask"]}}
    short = {"type": "object", "minProperties": 1, "additionalProperties": _ref("ColumnRule")}
    return {
        "if": {"type": "object", "required": ["columns"], "properties": {"columns": written}},
        "then": long,
        "else": short,
    }


def _raw_table(drift: Schema) -> Schema:
    """Of a dataset without `scrub`: there is nothing to say of masks."""
    said = {
        "window": {"type": "string"},
        "watermark": {"type": "string"},
        "overlap": plain(TypeAdapter(Overlap).json_schema()),
        "late": {"enum": ["count", "ignore"]},
        "where": {"type": "string", "minLength": 1},
        "select": {"type": "array", "items": {"type": "string"}, "minItems": 1, "uniqueItems": True},
        "drift": drift,
    }
    return {"type": ["object", "null"], "properties": said, "additionalProperties": False}


def _recipient(model: Schema) -> Schema:
    """The fields of every recipient and those of its transfer type, each of which may be a reference."""
    from egress_assets.engine import transfers  # its types stand on the Platform's, which stand on this package

    cases: list[Schema] = []
    for name, module in transfers.registry().items():
        own = _object(module.Settings, {}, [])
        own["properties"] = {field: referable(each) for field, each in own["properties"].items()}
        own["properties"] |= deepcopy(model["properties"])
        cases.append(_case("transfer_type", [name], own))
    return _by_name("transfer_type", [*transfers.registry()], cases) | {"description": model["description"]}


def _by_name(key: str, names: list[str | None], cases: list[Schema]) -> Schema:
    return {"type": "object", "required": [key], "properties": {key: {"enum": names}}, "allOf": cases}


def _case(key: str, names: list[Any], then: Schema) -> Schema:
    return {"if": {"required": [key], "properties": {key: {"enum": names}}}, "then": then}


def _store_kinds() -> list[str]:
    from egress_assets.engine.stores import kinds

    return sorted(kinds())


def _object(model: type[BaseModel], first: Schema, required: list[str]) -> Schema:
    """A model's fields as a closed object; its models within are written in place of a reference."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})
    fields = {name: plain(_inlined(each, definitions)) for name, each in schema.get("properties", {}).items()}
    return closed(first | fields, [*required, *schema.get("required", [])])


def _inlined(schema: Any, definitions: Schema) -> Any:
    if isinstance(schema, list):
        return [_inlined(each, definitions) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return {key: _inlined(value, definitions) for key, value in schema.items()}


def _used(schema: Any, definitions: dict[str, Schema]) -> set[str]:
    """Names of the definitions that a schema stands on."""
    found: set[str] = set()
    waiting = [schema]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict) and isinstance(ref := each.get("$ref"), str):
            name = ref.rpartition("/")[2]
            waiting += [] if name in found else [definitions[name]]
            found.add(name)
        waiting += each.values() if isinstance(each, dict) else each if isinstance(each, list) else []
    return found
