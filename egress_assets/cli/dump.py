"""`egress dump`"""

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


@click.command("dump")
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
    """Dump a dataset's tables raw, in one snapshot, to its trusted store."""
    from egress_assets.engine.dump.run import run

    def call(platform: Any, day: str, on: Any) -> Any:
        return run(platform, dataset, day, on=on, **options)

    run_stage(state, lambda platform: _unit(platform, dataset), date, call)


def _unit(platform: Platform, dataset: str) -> Unit:
    from egress_assets.engine.catalog.units import require_dataset
    from egress_assets.engine.errors import CatalogError
    from egress_assets.engine.layout import dump_unit

    if require_dataset(platform.catalog, dataset).dump is None:
        raise CatalogError(f"{dataset} has no raw dump", hint=f"Add `dump: {{}}` to {dataset}.yaml, or scrub it.")
    return dump_unit(dataset)
