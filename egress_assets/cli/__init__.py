"""`egress`: the engine without Dagster. What a person, a CronJob or a pipeline of somebody else runs.

Every module here that does not begin with `_` is a verb: it defines `command`. Verbs import what they need when they
run, so `egress --help` and completion stay fast and a verb that needs no database loads no driver.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

import click

from egress_assets.cli._ending import ended
from egress_assets.cli._state import State
from egress_assets.cli._streams import make_safe

_ORDER = (
    "demo",
    "check",
    "plan",
    "dump",
    "scrub",
    "mirror",
    "deliver",
    "verify",
    "certificate",
    "status",
    "explain",
    "hold",
    "unhold",
    "add",
    "import",
    "key",
    "sweep",
    "bucket-policy",
)  # as one meets them


class Verbs(click.Group):
    """Finds verbs as files, and loads the one that is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        found = _modules().keys()
        return [name for name in _ORDER if name in found] + sorted(found - set(_ORDER))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if (module := _modules().get(cmd_name)) is None:
            return None
        return importlib.import_module(f"{__name__}.{module}").command


def _modules() -> dict[str, str]:
    """Module by verb; a verb that is a word of Python has a module with `_` at its end."""
    names = [info.name for info in pkgutil.iter_modules(__path__) if info.name[0] != "_"]
    return {name.rstrip("_").replace("_", "-"): name for name in names}


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--catalog", type=click.Path(path_type=Path), help="The catalog's folder. Default: EGRESS_CATALOG.")
@click.option("-v", "--verbose", is_flag=True, help="Log what the engine does, to stderr.")
@click.pass_obj
def egress(state: State, catalog: Path | None, verbose: bool) -> None:
    """Move data out safely: dump, scrub, mirror and deliver Postgres tables, each step proven.

    EGRESS_ENV says where: sandbox (the default: embedded servers), dev or prod. Exit codes: docs/cli.md.
    """
    state.catalog_folder = catalog
    state.log(verbose=verbose)


def main() -> None:
    """The entry point; exits with the code of how it ended."""
    make_safe()
    state = State()
    raise SystemExit(ended(state, lambda: egress.main(obj=state, prog_name="egress", standalone_mode=False)))
