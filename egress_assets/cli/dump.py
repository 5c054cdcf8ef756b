"""`egress dump`"""

from __future__ import annotations

from typing import Any

import click

from egress_assets.cli._options import (
    again_option,
    dataset_argument,
    date_option,
    json_option,
    relabel_option,
    tables_option,
)
from egress_assets.cli._run import run_stage
from egress_assets.cli._state import State


@click.command("dump")
@dataset_argument
@date_option
@tables_option
@again_option
@relabel_option
@json_option
@click.pass_obj
def command(state: State, dataset: str, date: str | None, **options: Any) -> None:
    """Dump a dataset's tables raw, in one snapshot, to its trusted store."""
    from egress_assets.engine.dump.run import run
    from egress_assets.engine.layout import dump_unit

    def call(platform: Any, day: str, on: Any) -> Any:
        return run(platform, dataset, day, on=on, **options)

    run_stage(state, lambda _: dump_unit(dataset), date, call)
