"""`egress mirror`"""

from __future__ import annotations

from typing import Any

import click

from egress_assets.cli._options import again_option, date_option, json_option, mirror_argument
from egress_assets.cli._run import run_stage
from egress_assets.cli._state import State


@click.command("mirror")
@mirror_argument
@date_option
@again_option
@json_option
@click.pass_obj
def command(state: State, name: str, date: str | None, again: bool) -> None:
    """Make another endpoint hold what a dump, a scrub or a foreign bucket holds; or publish under fixed names."""
    from egress_assets.engine.layout import mirror_unit
    from egress_assets.engine.mirror.run import run

    def call(platform: Any, day: str, on: Any) -> Any:
        return run(platform, name, day, again=again, on=on)

    run_stage(state, lambda _: mirror_unit(name), date, call)
