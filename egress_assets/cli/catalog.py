"""`egress catalog`"""

from __future__ import annotations

import click

from egress_assets.cli._output import write


@click.group("catalog")
def command() -> None:
    """Describe the catalog's format."""


@command.command("schema")
@click.argument("kind", required=False, metavar="[KIND]", type=click.Choice(["dataset", "endpoints"]))
def schema(kind: str | None) -> None:
    """Print the JSON Schema of a catalog file, for editors.

    KIND is dataset or endpoints; default: one schema for both. In a catalog file's first line:
    # yaml-language-server: $schema=<where it was saved>
    """
    from egress_assets.engine.catalog.schema import text

    write(text(kind or ""))
