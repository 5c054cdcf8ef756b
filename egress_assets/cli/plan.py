"""`egress plan`"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import click

from egress_assets.cli._options import dataset_argument, date_of, date_option, json_option
from egress_assets.cli._output import Shown, emit
from egress_assets.cli._state import State

if TYPE_CHECKING:
    from egress_assets.engine.layout import Unit
    from egress_assets.engine.platform import Platform
    from egress_assets.engine.result import PlanLine


@click.command("plan")
@dataset_argument
@date_option
@json_option
@click.pass_obj
def command(state: State, dataset: str, date: str | None) -> None:
    """Show what a run of every stage of a dataset would do. Writes nothing.

    = nothing, + write, * replace, - remove, > send, < read, ! refuse
    """
    from egress_assets.engine.catalog.units import units_of

    platform = state.platform()
    day = date_of(platform.catalog, dataset, date)
    plans = {unit.title: _lines(platform, unit, day) for unit in units_of(platform.catalog, dataset)}
    document = {
        "dataset": dataset,
        "date": day,
        "units": {unit: [_said(line) for line in lines] for unit, lines in plans.items()},
    }
    shown = [
        Shown(("", "what", "detail"), [(line.sign, line.what, line.detail) for line in lines], title=f"{unit} {day}")
        for unit, lines in plans.items()
    ]
    emit(state, document, *shown)


def _said(line: PlanLine) -> dict[str, str]:
    return {"sign": line.sign, "what": line.what, "detail": line.detail}


def _lines(platform: Platform, unit: Unit, date: str) -> list[PlanLine]:
    """A stage that can't be planned says why, and the others are still shown."""
    from egress_assets.engine.errors import EgressError
    from egress_assets.engine.result import PlanLine

    names = unit.names[:1] if unit.stage == "scrub" else unit.names
    try:
        return importlib.import_module(f"egress_assets.engine.{unit.stage}.plan").plan(platform, *names, date)
    except EgressError as error:
        return [PlanLine("!", unit.title, f"{error.message}. {error.hint}")]
