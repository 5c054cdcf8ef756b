"""`egress catalog`"""

from __future__ import annotations

import json

import click

from egress_assets.cli._output import write


@click.group("catalog")
def command() -> None:
    """Describe the catalog's format."""


@command.command("schema")
def schema() -> None:
    """Print the catalog's JSON Schema, for editors.

    In a catalog file: # yaml-language-server: $schema=<where it was saved>
    """
    from egress_assets.engine.catalog.schema import catalog_schema

    write(json.dumps(catalog_schema(), indent=1, ensure_ascii=False))
