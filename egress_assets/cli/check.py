"""`egress check`"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from egress_assets.cli._options import json_option
from egress_assets.cli._output import Shown, emit
from egress_assets.cli._state import State

if TYPE_CHECKING:
    from egress_assets.engine.catalog.models import Catalog


@click.command("check")
@click.option("--live", is_flag=True, help="Also ask every endpoint: reachable, permitted, as the catalog says.")
@json_option
@click.pass_obj
def command(state: State, live: bool) -> int:
    """Validate the catalog: every mistake in one run, with file, line and the valid choices."""
    from egress_assets.engine.errors import CatalogError

    platform = state.platform() if live else None
    catalog = platform.catalog if platform else state.load_catalog()
    if catalog.lapsed:
        raise CatalogError("authorisations have lapsed", hint="They are refused when used.", problems=catalog.lapsed)
    document: dict[str, Any] = {"ok": True, **_counts(catalog)}
    said = "catalog is right: " + ", ".join(f"{n} {what}" for what, n in _counts(catalog).items())
    if platform is None:
        emit(state, document, said)
        return 0
    from egress_assets.engine.live import findings

    found = list(findings(platform))
    problems = [each for each in found if each.state == "problem"]
    document |= {
        "ok": not problems,
        "findings": [
            {"what": f.what, "asked": f.asked, "state": f.state, "detail": f.detail, "hint": f.hint} for f in found
        ],
    }
    rows = [(f.what, f.asked, f.state, f.detail) for f in found]
    hints = [f"HINT: {f.what}: {f.hint}" for f in problems if f.hint]
    emit(state, document, said, Shown(("endpoint", "asked", "state", "detail"), rows), *hints)
    return CatalogError.exit_code if problems else 0


def _counts(catalog: Catalog) -> dict[str, int]:
    models = catalog.datasets.values()
    return {
        "datasets": len(catalog.datasets),
        "tables": sum(len(model.tables) for model in models),
        "mirrors": sum(len(model.mirrors) for model in models),
        "deliveries": sum(len(model.deliveries) for model in models),
    }
