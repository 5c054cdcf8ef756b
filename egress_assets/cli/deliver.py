"""`egress deliver`"""

from __future__ import annotations

from typing import Any

import click

from egress_assets.cli._options import date_option, delivery_argument, json_option
from egress_assets.cli._run import run_stage
from egress_assets.cli._state import State


@click.command("deliver")
@delivery_argument
@date_option
@json_option
@click.pass_obj
def command(state: State, delivery: str, date: str | None) -> None:
    """Send a recipient its files, once, with a receipt for each."""
    from egress_assets.engine.delivery.run import run
    from egress_assets.engine.layout import delivery_unit

    recipient, _, pipeline = delivery.partition("/")

    def call(platform: Any, day: str, on: Any) -> Any:
        return run(platform, recipient, pipeline, day, on=on)

    run_stage(state, lambda _: delivery_unit(recipient, pipeline), date, call)
