"""`egress list-transfers`"""

from __future__ import annotations

from typing import Any

import click

from egress_assets.cli._options import json_option
from egress_assets.cli._output import Shown, emit
from egress_assets.cli._state import State


@click.command("list-transfers")
@json_option
@click.pass_obj
def command(state: State) -> None:
    """List the transfer types of recipients and their fields."""
    from egress_assets.engine.transfers import registry

    types = [(name, _first_line(module.__doc__), _fields(module.Settings)) for name, module in registry().items()]
    document = {"transfer_types": [{"name": name, "help": text, "fields": fields} for name, text, fields in types]}
    rows: list[tuple[str, str, str]] = []
    for name, text, fields in types:
        rows.append((name, "", text))
        rows += [("", field, default) for field, default in fields.items()]
    emit(state, document, Shown(("type", "field", "meaning"), rows))


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]


def _fields(model: Any) -> dict[str, str]:
    return {
        name: "required" if field.is_required() else f"default {field.default!r}"
        for name, field in model.model_fields.items()
    }
