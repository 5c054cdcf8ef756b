"""Names that must be defined elsewhere: stores, sources, kinds of stores, transfer types and their fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from egress_assets.engine import stores
from egress_assets.engine.catalog.models import DatasetModel, MirrorFrom, RecipientModel
from egress_assets.engine.catalog.problems import Path, Problem, choices, explain
from egress_assets.engine.catalog.view import ENDPOINTS, View


def stores_exist(view: View) -> Iterator[Problem]:
    valid = view.names("stores")
    uses = [(ENDPOINTS, ("evidence", "store"), view.endpoints.evidence.store)]
    uses += [(dataset, *use) for dataset, model in view.datasets.items() for use in _stores(model)]
    for document, path, store in uses:
        if store not in valid:
            yield view.problem(document, *path, text=f"{store!r} is not a store; {choices(store, valid)}")


def _stores(model: DatasetModel) -> Iterator[tuple[Path, str]]:
    yield ("store",), model.store
    if model.dump and model.dump.store:
        yield ("dump", "store"), model.dump.store
    if model.scrub and model.scrub.store:
        yield ("scrub", "store"), model.scrub.store
    if model.scrub and model.scrub.quarantine:
        yield ("scrub", "quarantine"), model.scrub.quarantine
    for name, mirror in model.mirrors.items():
        yield ("mirrors", name, "to"), mirror.to
        if isinstance(mirror.from_, MirrorFrom):
            yield ("mirrors", name, "from", "store"), mirror.from_.store
    for number, watch in enumerate(model.watch):
        yield ("watch", str(number), "store"), watch.store


def sources_exist(view: View) -> Iterator[Problem]:
    valid = view.names("sources")
    for dataset, model in view.datasets.items():
        if model.source and model.source not in valid:
            text = f"{model.source!r} is not a source; {choices(model.source, valid)}"
            yield view.problem(dataset, "source", text=text)


def kinds_exist(view: View) -> Iterator[Problem]:
    valid = stores.kinds()
    for name, store in view.endpoints.stores.items():
        if store.kind not in valid:
            text = f"{store.kind!r} is not a kind of store; {choices(store.kind, valid)}"
            yield view.problem(ENDPOINTS, "stores", name, "kind", text=text)


def transfer_types_exist(view: View) -> Iterator[Problem]:
    from egress_assets.engine import transfers  # its types stand on the Platform's, which stand on this package

    known = transfers.registry()
    for name, recipient in view.endpoints.recipients.items():
        kind = recipient.transfer_type
        if kind not in known:
            text = f"{kind!r} is not a transfer type; {choices(kind, known)}"
            yield view.problem(ENDPOINTS, "recipients", name, "transfer_type", text=text)
        else:
            yield from _settings(view, name, recipient, known[kind].Settings)


def _settings(view: View, name: str, recipient: RecipientModel, model: type[BaseModel]) -> Iterator[Problem]:
    """The transfer type's own fields. What a reference stands for can't be known here: only that the field exists."""
    fields = recipient.settings()
    references = {key for key, value in fields.items() if is_reference(value)}
    known = {field.alias or key for key, field in model.model_fields.items()}
    own = RecipientModel.model_fields
    said = {k: _stood_for(v) for k, v in fields.items() if k in known and k not in references}
    try:
        model.model_validate(said)
        errors: list[Any] = []
    except ValidationError as error:
        errors = [e for e in error.errors() if e["loc"] and e["loc"][0] not in references and e["loc"][0] not in own]
        if not references and not errors:  # only whole-model checks failed, and they saw every value
            errors = list(error.errors())
    for key in sorted(fields.keys() - known):
        text = f"unknown key of transfer type {recipient.transfer_type}; {choices(key, known | own.keys())}"
        yield view.problem(ENDPOINTS, "recipients", name, key, text=text)
    for error in errors:
        path = ("recipients", name, *map(str, error["loc"]))
        yield view.problem(ENDPOINTS, *path, text=explain(error, model))


def _stood_for(value: Any) -> Any:
    """A value with a word in place of every reference within."""
    if is_reference(value):
        return "reference"
    return {k: _stood_for(v) for k, v in value.items()} if isinstance(value, Mapping) else value


def is_reference(value: Any) -> bool:
    """`{env: NAME}` or `{file: PATH}`."""
    return isinstance(value, Mapping) and len(value) == 1 and next(iter(value)) in ("env", "file")
