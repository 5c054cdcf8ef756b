"""`egress sandbox`"""

from __future__ import annotations

from typing import Any

import click

from egress_assets.cli._options import json_option
from egress_assets.cli._output import Shown, emit
from egress_assets.cli._state import State


@click.group("sandbox")
def command() -> None:
    """Start, stop and look at the embedded servers."""


@command.command("start")
@json_option
@click.pass_obj
def start(state: State) -> None:
    """Start what does not run, with sample data."""
    lifecycle = _lifecycle()
    from egress_assets.sandbox import sample

    sample.load(lifecycle.start())
    _tell(state, lifecycle.status())


@command.command("stop")
@click.option("--delete", is_flag=True, help="Also delete its data and credentials.")
@json_option
@click.pass_obj
def stop(state: State, delete: bool) -> None:
    """Stop all of it; the data stays."""
    lifecycle = _lifecycle()
    (lifecycle.remove if delete else lifecycle.stop)()
    emit(state, {"stopped": True, "deleted": delete}, "sandbox deleted" if delete else "sandbox stopped")


@command.command("status")
@json_option
@click.pass_obj
def status(state: State) -> int:
    """Show health and endpoints, without secrets. Exit code 1 when a server does not answer."""
    return _tell(state, _lifecycle().status())


def _lifecycle() -> Any:
    from egress_assets.engine.errors import CatalogError

    try:
        from egress_assets.sandbox import lifecycle  # not in the production image
    except ImportError as error:
        hint = "Install the project with its dependency group `sandbox`."
        raise CatalogError(f"the sandbox is not installed here: {error}", hint=hint) from error
    return lifecycle


def _tell(state: State, found: Any) -> int:
    servers = [
        {"name": s.name, "endpoint": s.endpoint, "healthy": s.healthy, "pid": s.pid, "log": str(s.log)}
        for s in found.servers
    ]
    rows = [(s["name"], "ok" if s["healthy"] else "missing", s["endpoint"], s["pid"] or "") for s in servers]
    document = {"folder": str(found.folder), "healthy": found.healthy, "servers": servers}
    shown = Shown(("server", "state", "endpoint", "pid"), rows) if rows else "sandbox is not made yet"
    emit(state, document, shown, f"in {found.folder}")
    return 0 if found.healthy else 1
