"""Files of other systems: JSON or YAML, bounded, and never quoted in a message, since they hold secrets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from egress_assets.engine.catalog.document import LARGEST_FILE, read_document
from egress_assets.engine.errors import CatalogError


@dataclass(frozen=True, slots=True)
class Left:
    """Something that was not taken over. Names only, never a value of the file."""

    where: str  # pipeline.json: CopyActivity.onFail
    why: str


def read(path: Path) -> Mapping[str, Any]:
    """The file's one mapping. Raises CatalogError naming the file and, where it is known, the line."""
    hint = "Give definitions as `aws datapipeline get-pipeline-definition` prints them, or Secrets as YAML or JSON."
    try:
        with path.open("rb") as stream:
            start = stream.read(LARGEST_FILE + 1)
    except OSError as error:
        raise CatalogError(f"{path} can't be read: {error.strerror}", hint=hint) from None
    data = _json(start) if start.lstrip()[:1] == b"{" and len(start) <= LARGEST_FILE else None
    if data is None:
        document = read_document(path, str(path))
        if document.problems:
            first = document.problems[0]
            raise CatalogError(f"{path}:{first.line} is neither JSON nor YAML that can be read", hint=hint)
        data = document.data
    if not isinstance(data, Mapping):
        raise CatalogError(f"{path} is a {type(data).__name__}, expected a mapping", hint=hint)
    return data


def _json(text: bytes) -> Any:
    try:
        return json.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError):  # also UnicodeDecodeError; the YAML reader then says where
        return None


def texts(value: Any) -> list[str]:
    """A text or a list of texts as a list; anything else is none."""
    return [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, str)]


def mappings(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []
