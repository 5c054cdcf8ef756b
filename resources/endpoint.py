"""A resource with the fields of one of the engine's settings models.

The model itself can't be a base class: its validators would see a reference before it is resolved. So the fields are
taken over, and the engine's model validates the values.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import dagster as dg
from pydantic import BaseModel, Field, ValidationError, create_model

from egress_assets.engine.errors import CatalogError
from resources.references import resolved

_PLAIN: Mapping[Any, Any] = {Path: str, Path | None: str | None}
"""What Dagster's configuration has no type for; the engine's model makes it of the text."""

Model = TypeVar("Model", bound=BaseModel)


class Endpoint(dg.ConfigurableResource):
    """One source, store or recipient. Strings may be `env:NAME` or `file:PATH`; secrets are in no repr."""

    def fields_of(self, model: type[BaseModel], title: str) -> Mapping[str, Any]:
        """The model's fields with references read. Raises CatalogError naming field and variable or file."""
        return resolved({name: getattr(self, name) for name in model.model_fields}, of=title)

    def settings_of(self, model: type[Model], title: str) -> Model:
        """The engine's settings. Raises CatalogError that names fields, never values."""
        fields = self.fields_of(model, title)
        try:
            return model.model_validate(dict(fields))
        except ValidationError as error:
            wrong = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False)]
            hint = "Correct it in catalog/endpoints.yaml, or in the variable or file that it names."
            raise CatalogError(f"{title} has unusable settings", hint=hint, problems=tuple(wrong)) from None


def with_fields(base: type[Endpoint], model: type[BaseModel], name: str, **more: str) -> type[Any]:
    """`base` with the fields of `model`: its types, defaults and reprs without validators and constraints.

    `more` are further fields with their defaults.
    """
    fields: dict[str, Any] = {key: (str, default) for key, default in more.items()}
    for key, info in model.model_fields.items():
        default = ... if info.is_required() else info.get_default(call_default_factory=True)
        secret: Any = None if info.repr else {"dagster__is_secret": True}  # the UI then hides a literal value too
        fields[key] = (
            _PLAIN.get(info.annotation, info.annotation),
            Field(default=default, repr=info.repr, json_schema_extra=secret),
        )
    return create_model(name, __base__=base, __module__=base.__module__, __doc__=base.__doc__, **fields)
