"""`egress bucket-policy`"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from egress_assets.cli._options import json_option, stores_argument
from egress_assets.cli._output import Shown, emit
from egress_assets.cli._state import State

if TYPE_CHECKING:
    from egress_assets.engine.bucket_policy.report import Report
    from egress_assets.engine.platform import Platform


@click.command("bucket-policy")
@stores_argument
@click.option("--apply", "applies", is_flag=True, help="Make it so, at stores of `policy: apply`.")
@json_option
@click.pass_obj
def command(state: State, stores: tuple[str, ...], applies: bool) -> int:
    """Compare buckets with what the catalog says: expiry, unfinished uploads, encryption, public access.

    = nothing, + set, * replace, - remove, ! can't be as the catalog says
    """
    from egress_assets.engine.bucket_policy.run import require_store
    from egress_assets.engine.bucket_policy.wanted import written_stores
    from egress_assets.engine.errors import StoreError

    platform = state.platform()
    asked = [require_store(platform.catalog, name) for name in dict.fromkeys(stores)]
    found, failed = [], {}
    for name in asked or written_stores(platform.catalog):
        try:
            found.append(_one(platform, name, applies=applies, is_named=bool(asked)))
        except StoreError as error:  # one store that is away doesn't hide the others
            failed[name] = error
    document = {
        "stores": {report.store: report.to_json() for report in found},
        "failed": {name: {"code": e.code, "message": e.message, "hint": e.hint} for name, e in failed.items()},
    }
    lines = [f"! {name}: {error.message}. {error.hint}".rstrip() for name, error in failed.items()]
    emit(state, document, *map(_shown, found), *lines)
    return 0 if not failed and all(report.is_as_said for report in found) else StoreError.exit_code


def _one(platform: Platform, name: str, *, applies: bool, is_named: bool) -> Report:
    """Without names `--apply` is for the stores that take it; a store that is named and doesn't is an error."""
    from egress_assets.engine.bucket_policy.run import apply, look

    if applies and (is_named or platform.catalog.endpoints.stores[name].policy == "apply"):
        return apply(platform, name)
    return look(platform, name)


def _shown(report: Report) -> Shown:
    how = f"set {', '.join(report.changed)}" if report.changed else "apply" if report.applies else "report"
    rows = [(item.sign, item.what, item.state, item.detail) for item in report.items]
    return Shown(("", "what", "state", "detail"), rows, title=f"{report.store} (bucket {report.bucket}): {how}")
