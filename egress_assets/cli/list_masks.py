"""`egress list-masks`"""

from __future__ import annotations

import click

from egress_assets.cli._options import json_option
from egress_assets.cli._output import Shown, emit
from egress_assets.cli._state import State


@click.command("list-masks")
@json_option
@click.pass_obj
def command(state: State) -> None:
    """List the masks of a policy and their parameters."""
    from egress_assets.engine.masks import describe

    masks = list(describe())
    document = {"masks": [{"name": name, "help": text, "parameters": params} for name, text, params in masks]}
    rows: list[tuple[str, str, str]] = []
    for name, text, params in masks:
        rows.append((name, "", text))
        rows += [("", param, meaning) for param, meaning in params.items()]
    emit(state, document, Shown(("mask", "parameter", "meaning"), rows))
