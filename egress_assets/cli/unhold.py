"""`egress unhold`"""

from __future__ import annotations

import click

from egress_assets.cli._holds import reason_option, tell
from egress_assets.cli._options import held_argument, json_option
from egress_assets.cli._state import State


@click.command("unhold")
@held_argument("[KIND] NAME", required=True)
@reason_option("Why it may go on; kept in the ledger.")
@json_option
@click.pass_obj
def command(state: State, words: tuple[str, ...], reason: str | None) -> None:
    """Lift a hold. What it stopped is not started: the next run of each date sends it.

    KIND is recipient or dataset, and needed only for a name that both have.
    """
    from egress_assets.engine import holds

    platform = state.platform()
    kind, name = holds.named(platform.catalog, words, held=platform.evidence.holds())
    tell(state, holds.lift(platform.evidence, kind, name, by=holds.operator(), reason=reason or ""))
