"""What `hold` and `unhold` share: their option, and how a hold is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from egress_assets.cli._output import emit
from egress_assets.cli._state import State

if TYPE_CHECKING:
    from egress_assets.engine.evidence.proofs import Hold
    from egress_assets.engine.holds import Placed


def reason_option(text: str) -> Callable[..., Any]:
    return click.option("--reason", metavar="TEXT", help=text)


def said(hold: Hold) -> dict[str, str]:
    """A hold as JSON."""
    from egress_assets.engine.holds import since

    kind, _, name = hold.event.name.partition("/")
    return {"kind": kind, "name": name, "by": hold.event.by, "since": since(hold), "reason": hold.event.reason}


def tell(state: State, placed: Placed) -> None:
    """How a hold or its release ended, and the hold that it is about."""
    from egress_assets.engine.holds import told

    hold = placed.hold
    line = f"{placed.how}: {told(hold) if hold else f'{placed.kind} {placed.name}'}"
    emit(
        state, {"how": placed.how, "kind": placed.kind, "name": placed.name, "hold": said(hold) if hold else None}, line
    )
