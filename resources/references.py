"""References of the catalog as resource fields: `{env: X}` as `env:X`, `{file: P}` as `file:P`, both read at use.

So neither run config nor the UI holds a secret: they show the variable's or file's name. Not dg.EnvVar: Dagster
resolves all of a run's before its first step, and says of a missing one that post processing failed, with a stack.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from egress_assets.engine.catalog.values import Ref
from egress_assets.engine.errors import CatalogError

ENV, FILE = "env:", "file:"
PATHS = frozenset({"ca"})
"""Fields that take a path: for these `{file: P}` is P itself, since libpq and ssl read it."""


def referred(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a catalog endpoint for a resource: references stay references, what isn't said is left out."""
    return {name: _referred(name, value) for name, value in fields.items() if value is not None}


def _referred(name: str, value: Any) -> Any:
    ref = _ref(value)
    if ref is None:
        return {k: _referred("", v) for k, v in value.items()} if isinstance(value, Mapping) else value
    if ref.env is not None:
        return f"{ENV}{ref.env}"
    return ref.file if name in PATHS else f"{FILE}{ref.file}"


def _ref(value: Any) -> Ref | None:
    """A reference, also in the fields of a transfer type, which the catalog keeps as plain mappings."""
    if isinstance(value, Mapping) and set(value) in ({"env"}, {"file"}):
        return Ref(**value)
    return value if isinstance(value, Ref) else None


def resolved(fields: Mapping[str, Any], *, of: str) -> dict[str, Any]:
    """The fields with variables and files read; mounted secrets end with a newline, which is no part of them.

    Raises CatalogError naming field and variable or file, never a value.
    """
    return {name: _resolved(value, f"{name} of {of}") for name, value in fields.items()}


def _resolved(value: Any, what: str) -> Any:
    if isinstance(value, Mapping):
        return {name: _resolved(each, f"{what}, {name}") for name, each in value.items()}
    if not isinstance(value, str):
        return value
    if value.startswith(ENV):
        return _variable(value.removeprefix(ENV), what)
    if not value.startswith(FILE):
        return value.rstrip("\r\n")
    path = Path(value.removeprefix(FILE))
    try:
        return path.read_text().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        hint = "Mount the secret there, or let the catalog name another file."
        raise CatalogError(f"{what} can't be read from {path}: {type(error).__name__}", hint=hint) from None


def _variable(name: str, what: str) -> str:
    value = os.environ.get(name, "").rstrip("\r\n")
    if value:
        return value
    state = "empty" if name in os.environ else "not set"
    hint = f"Set {name} where runs are started: in `.env` beside dagster.yaml, or in the environment of the run's pod."
    raise CatalogError(f"{what}: environment variable {name} is {state}", hint=hint)
