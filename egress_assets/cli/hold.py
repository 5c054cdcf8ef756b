"""`egress hold`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from egress_assets.cli._holds import reason_option, said, tell
from egress_assets.cli._options import held_argument, json_option
from egress_assets.cli._output import Shown, emit
from egress_assets.cli._state import State

if TYPE_CHECKING:
    from egress_assets.engine.platform import Platform


@click.command("hold")
@held_argument("[[KIND] NAME]")
@reason_option("Why, for everybody who meets the hold; kept in the ledger.")
@json_option
@click.pass_obj
def command(state: State, words: tuple[str, ...], reason: str | None) -> None:
    """Stop what goes to a recipient, or what leaves of a dataset, at once; without a name: list the holds.

    KIND is recipient or dataset, and needed only for a name that both have. A dataset's hold also stops its mirrors to
    stores of zone external. EGRESS_OPERATOR says who holds; default: user@host.
    """
    from egress_assets.engine import holds

    platform = state.platform()
    if not words:
        if reason is not None:
            raise click.UsageError("--reason without a name: say what is to be held")
        _list(state, platform)
        return
    if reason is None:
        raise click.UsageError("a hold needs --reason TEXT")
    kind, name = holds.named(platform.catalog, words)
    tell(state, holds.put(platform.evidence, kind, name, by=holds.operator(), reason=reason))


def _list(state: State, platform: Platform) -> None:
    found = [said(hold) for hold in platform.evidence.holds()]
    columns = ("kind", "name", "by", "since", "reason")
    table = Shown(columns, [[each[column] for column in columns] for each in found])
    emit(state, {"holds": found}, table if found else "nothing is held")
