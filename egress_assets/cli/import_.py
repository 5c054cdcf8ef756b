"""`egress import`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from egress_assets.cli._options import json_option
from egress_assets.cli._output import Shown, emit
from egress_assets.cli._state import State

if TYPE_CHECKING:
    from egress_assets.engine.importing.data_pipeline import Imported


@click.group("import")
def command() -> None:
    """Make a catalog of what another system was configured with."""


@command.command("data-pipeline")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), default=Path("imported"), show_default=True,
              help="The folder of the new catalog; nothing in it is overwritten.")  # fmt: skip
@click.option(
    "--internal", metavar="REASON", default="", help="Why raw dumps may be mirrored, for the mirror's release."
)
@click.option("--dry-run", is_flag=True, help="Print the files; write nothing.")
@json_option
@click.pass_obj
def data_pipeline(state: State, files: tuple[Path, ...], out: Path, internal: str, dry_run: bool) -> None:
    """Take over AWS Data Pipeline definitions that copy tables to S3, and the Secrets of their mirror.

    FILES are what `aws datapipeline get-pipeline-definition` prints, files of parameter values, and Kubernetes Secrets
    {url, path, access-key-id, secret-access-key} with `input` or `output` in their names. Secrets are never read into
    the catalog and never printed.
    """
    from egress_assets.engine.importing.data_pipeline import import_pipelines, write

    imported = import_pipelines(files, internal=internal)
    if not dry_run:
        write(imported, out)
    _tell(state, imported, out, dry_run=dry_run)


def _tell(state: State, imported: Imported, out: Path, *, dry_run: bool) -> None:
    document = {
        "folder": str(out), "written": not dry_run, "files": dict(imported.files), "needs": list(imported.needs),
        "left": [{"where": each.where, "why": each.why} for each in imported.left],
    }  # fmt: skip
    shown: list[Shown | str] = [f"# {name}\n{text}" for name, text in imported.files.items()] if dry_run else []
    if not dry_run:
        shown.append(
            f"{out} is a catalog of {', '.join(imported.files)}; `egress --catalog {out} check` finds it right"
        )
    shown += [f"needs {each}" for each in imported.needs]
    if imported.left:
        shown.append(Shown(("not taken over", "why"), [(each.where, each.why) for each in imported.left]))
    emit(state, document, *shown)
