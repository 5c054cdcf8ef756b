"""`egress add`"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from egress_assets.cli._options import dataset_argument, json_option
from egress_assets.cli._output import Shown, emit
from egress_assets.cli._state import State

if TYPE_CHECKING:
    from egress_assets.engine.adding import Added


@click.group("add")
def command() -> None:
    """Write into the catalog what the database says."""


@command.command("table")
@dataset_argument
@click.argument("table", metavar="SCHEMA.TABLE")
@click.option("--window", metavar="COLUMN", help="The column that dates a row, for a dataset of `extract: window`.")
@click.option("--source", metavar="NAME", help="Begin a new dataset from this source of endpoints.yaml, scrubbed.")
@click.option("--sample", is_flag=True, help="Also read up to 1,000 rows and run the identifier detectors over them.")
@click.option("--dry-run", is_flag=True, help="Print what would change in the file; write nothing.")
@json_option
@click.pass_obj
def table(state: State, dataset: str, table: str, **options: Any) -> None:
    """Add a table to a dataset's file, with a mask suggested for every column.

    Columns and types come from the live database; no row is read without --sample. Lines marked `# review:` are for a
    person to decide. The rest of the file stays as it is written.
    """
    from egress_assets.engine.adding import Wish, add_table

    wish = Wish(dataset, table, **{name: value for name, value in options.items() if value})
    _tell(state, add_table(wish, folder=state.catalog_folder), dry_run=wish.dry_run)


def _tell(state: State, added: Added, *, dry_run: bool) -> None:
    columns = [
        {"name": name, "type": added.types[name], "mask": said.mask, "review": said.review}
        for name, said in added.columns.items()
    ]
    document: dict[str, Any] = {
        "dataset": added.dataset, "table": added.table, "file": str(added.file), "written": not dry_run,
        "window": added.window, "sampled_rows": added.sampled_rows, "columns": columns, "notes": list(added.notes),
        "diff": added.diff,
    }  # fmt: skip
    if dry_run:
        emit(state, document, added.diff, *added.notes)
        return
    review = sum(1 for each in columns if each["review"])
    said = f"{added.table} is in {added.file}: {len(columns)} columns with a mask, {review} of them marked for review"
    line = said if columns else f"{added.table} is in {added.file}"
    rows = [(each["name"], each["type"], each["mask"], each["review"]) for each in columns]
    shown = [Shown(("column", "type", "mask", "review"), rows)] if rows else []
    emit(state, document, line, *shown, *added.notes)
