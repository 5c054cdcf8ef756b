"""The catalog as JSON Schema (2020-12): for editors that complete and underline while a data owner types.

Made from the models, the masks and the transfer types, so a new file there is in it by itself. It knows one file at a
time; what holds between files is found by `load_catalog`.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from egress_assets.engine import masks
from egress_assets.engine.catalog.models import DatasetModel, Endpoints, RecipientModel
from egress_assets.engine.catalog.values import Ref

_REF = {"$ref": "#/$defs/Ref"}


def catalog_schema() -> dict[str, Any]:
    """Either kind of file: endpoints.yaml or a dataset."""
    _, top = models_json_schema([(Endpoints, "validation"), (DatasetModel, "validation"), (Ref, "validation")])
    definitions: dict[str, Any] = top["$defs"]
    definitions["ColumnRule"] = _column()
    definitions["TableModel"] = _table(definitions["TableModel"])
    definitions["RecipientModel"] = _recipient(definitions["RecipientModel"])
    duration = {"type": "string", "pattern": r"^\d+\s*[smhd]$", "default": "36h"}
    definitions["DatasetModel"]["properties"]["grace"] = duration
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Egress catalog",
        "anyOf": [{"$ref": "#/$defs/DatasetModel"}, {"$ref": "#/$defs/Endpoints"}],
        "$defs": definitions,
    }


def _column() -> dict[str, Any]:
    """A mask's name, or `{mask: name, ...}` with that mask's own parameters."""
    known = masks.registry()
    short = {"enum": sorted(known), "description": "; ".join(f"{name}: {mask.help}" for name, mask in known.items())}
    long = [_object(mask.Params, {"mask": {"const": name}}, ["mask"]) for name, mask in known.items()]
    # `null` without quotes is a mask here, and null to every other reader of YAML
    return {"title": "ColumnRule", "anyOf": [short, {"type": "null"}, *long]}


def _table(long: dict[str, Any]) -> dict[str, Any]:
    columns = {"type": "object", "additionalProperties": {"$ref": "#/$defs/ColumnRule"}}
    return {"title": "TableModel", "anyOf": [columns, {"type": "null"}, long | {"title": "Long form"}]}


def _recipient(model: dict[str, Any]) -> dict[str, Any]:
    """The fields of every recipient and those of its transfer type, each of which may be a reference."""
    from egress_assets.engine import transfers  # its types stand on the Platform's, which stand on this package

    kinds: list[dict[str, Any]] = []
    for name, module in transfers.registry().items():
        own = _object(module.Settings, {}, [])
        own["properties"] = {field: {"anyOf": [schema, _REF]} for field, schema in own["properties"].items()}
        own["properties"] |= deepcopy(model["properties"]) | {"transfer_type": {"const": name}}
        own["required"] = ["transfer_type", *own["required"]]
        kinds.append(own)
    return {"title": "RecipientModel", "description": RecipientModel.__doc__, "anyOf": kinds}


def _object(model: type[BaseModel], first: dict[str, Any], required: list[str]) -> dict[str, Any]:
    """A model's fields as a closed object; its models within are written in place of a reference."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})
    properties = {name: _inlined(each, definitions) for name, each in schema.get("properties", {}).items()}
    needed = [*required, *schema.get("required", [])]
    return {"type": "object", "properties": first | properties, "required": needed, "additionalProperties": False}


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_inlined(each, definitions) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return {key: _inlined(value, definitions) for key, value in schema.items()}
