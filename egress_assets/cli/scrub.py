"""`egress scrub`"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from egress_assets.cli._options import (
    accept_drift_option,
    again_option,
    dataset_argument,
    date_option,
    json_option,
    quiet_hours_option,
    relabel_option,
    tables_option,
)
from egress_assets.cli._run import run_stage
from egress_assets.cli._state import State

if TYPE_CHECKING:
    from egress_assets.engine.layout import Unit
    from egress_assets.engine.platform import Platform


@click.command("scrub")
@dataset_argument
@date_option
@tables_option
@again_option
@relabel_option
@quiet_hours_option
@accept_drift_option
@json_option
@click.pass_obj
def command(state: State, dataset: str, date: str | None, **options: Any) -> None:
    """Dump a dataset's tables through its masks; what fails the gate is never published."""
    from egress_assets.engine.scrub.run import run

    def call(platform: Any, day: str, on: Any) -> Any:
        return run(platform, dataset, day, on=on, **options)

    run_stage(state, lambda platform: _unit(platform, dataset), date, call)


def _unit(platform: Platform, dataset: str) -> Unit:
    from egress_assets.engine.catalog.units import require_dataset
    from egress_assets.engine.errors import CatalogError
    from egress_assets.engine.layout import scrub_unit

    model = require_dataset(platform.catalog, dataset)
    if model.scrub is None:
        raise CatalogError(f"{dataset} has no scrub", hint=f"Add `scrub: {{key: ...}}` to {dataset}.yaml.")
    return scrub_unit(dataset, model.scrub.audience)
