"""Read as much of a document as is right: what a mistake spoils is left out, so that the rest can still be checked."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from egress_assets.engine.catalog.document import Document
from egress_assets.engine.catalog.problems import Path, Problem, explain

_Model = TypeVar("_Model", bound=BaseModel)
_LOOKS = 20  # each takes at least one level off; a document has fewer


def salvage(model: type[_Model], document: Document) -> tuple[_Model | None, list[Problem]]:
    """The model of what is right, or None when nothing is; and every problem of the document's own shape.

    A required key that is missing spoils what it is missing in. Only the first look tells problems: later ones would
    tell what comes of leaving things out.
    """
    data, problems = deepcopy(document.data), list[Problem]()
    for look in range(_LOOKS):
        try:
            return model.model_validate(data), problems
        except ValidationError as error:
            found: list[Any] = error.errors()
        places = [_paths(data, each) for each in found]
        if look == 0:
            problems = [document.problem(p, explain(e, model)) for (p, _), e in zip(places, found, strict=True)]
        for _, spoiled in places:
            if not spoiled:
                return None, problems
            _remove(data, spoiled)
    return None, problems


def _paths(data: Any, error: dict[str, Any]) -> tuple[Path, Path]:
    """(the path to show, the path to leave out) of an error, in the document's own keys.

    pydantic's location also has tags of unions and the long form's keys, which nobody wrote.
    """
    written: list[str] = []
    for part in map(str, error["loc"]):
        if isinstance(data, dict) and part in data:
            data = data[part]
        elif isinstance(data, list) and part.isdigit() and int(part) < len(data):
            data = data[int(part)]
        else:
            continue
        written.append(part)
    path = tuple(written)
    return ((*path, str(error["loc"][-1])) if error["type"] == "missing" else path), path


def _remove(data: Any, path: Path) -> None:
    """Take a key out; items of lists become None, so that their neighbours keep their numbers."""
    for part in path[:-1]:
        data = data.get(part) if isinstance(data, dict) else data[int(part)] if isinstance(data, list) else None
    if isinstance(data, dict):
        data.pop(path[-1], None)
    elif isinstance(data, list):
        data[int(path[-1])] = None
