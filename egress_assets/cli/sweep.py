"""`egress sweep`"""

from __future__ import annotations

import click

from egress_assets.cli._options import json_option
from egress_assets.cli._output import emit, number
from egress_assets.cli._progress import progress
from egress_assets.cli._state import State


@click.command("sweep")
@click.option("--days", default=35, show_default=True, type=click.IntRange(1, 3660), help="How old attempts may be.")
@json_option
@click.pass_obj
def command(state: State, days: int) -> int:
    """Remove what dead runs left behind, and bring their receipts into the ledger.

    Safe at any time and beside any run. Every run does it for its own date; a daily schedule does it for all.
    """
    from dataclasses import asdict

    from egress_assets.engine.errors import StoreError
    from egress_assets.engine.housekeeping import keep_house

    with progress() as listener:
        kept = keep_house(state.platform(), days=days, on=listener)
    certified = f"; made {number(kept.certificates)} certificates that lacked" if kept.certificates else ""
    line = (
        f"looked at {number(kept.looked_at)} dates: removed {number(kept.attempts)} attempts, "
        f"{number(kept.objects)} objects, {number(kept.uploads)} uploads{certified}"
    )
    emit(state, asdict(kept), line, *(f"left: {failure}" for failure in kept.failed))
    return StoreError.exit_code if kept.failed else 0
