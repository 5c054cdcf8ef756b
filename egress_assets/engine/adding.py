"""Add a table of the live database to a dataset's file, with a mask suggested for each column.

The file is changed in one atomic replace, after the catalog has been read whole with the new text in its place. Rows
are read for a sample only, at most `SAMPLE` of them, in a read-only transaction; values are looked at by the detectors
and are never kept, told or written.
"""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from egress_assets.engine import masks
from egress_assets.engine.catalog.document import Document, parse_document, read_document
from egress_assets.engine.catalog.insertion import insert_table
from egress_assets.engine.catalog.loader import catalog_folder, load_catalog
from egress_assets.engine.catalog.models import Catalog, DatasetModel
from egress_assets.engine.catalog.problems import choices
from egress_assets.engine.catalog.values import NAME
from egress_assets.engine.catalog.writing import read, replace
from egress_assets.engine.dump.tasks import ColumnInfo
from egress_assets.engine.endpoints import open_platform
from egress_assets.engine.errors import CatalogError
from egress_assets.engine.masks.seam import Site
from egress_assets.engine.partition import now
from egress_assets.engine.scrub.found import Found, find_table
from egress_assets.engine.scrub.suggest import Suggestion, suggest, yaml_key

logger = logging.getLogger(__name__)

_DATES = ("timestamptz", "timestamp", "date")
_LIKELY = ("at", "created_at", "occurred_at", "happened_at", "placed_at", "inserted_at", "time", "timestamp", "date")
"""What the column that dates a row is often called, the likeliest first."""


@dataclass(frozen=True, slots=True)
class Added:
    """What was written, or would be. `columns` is empty where the dataset has no scrub."""

    dataset: str
    table: str
    file: Path
    columns: Mapping[str, Suggestion]
    types: Mapping[str, str]
    window: str
    diff: str
    sampled_rows: int = 0
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for. `window` is the column that dates a row; empty: choose one where the dataset needs it.

    `source` begins a dataset that has no file yet: scrubbed, from yesterday on.
    """

    dataset: str
    table: str
    window: str = ""
    source: str = ""
    sample: bool = False
    dry_run: bool = False


def add_table(wish: Wish, *, folder: Path | None = None, env: str | None = None) -> Added:
    """Look at the table, suggest, and write the dataset's file unless `wish.dry_run`.

    Safe beside another `add_table` of the same folder: one waits for the other. Raises CatalogError (no such dataset,
    the table is there, a catalog that would be wrong, a file that can't be written), TableMissing, SourceDenied,
    SourceUnavailable.
    """
    folder = catalog_folder() if folder is None else folder
    file = _file(folder, wish)
    text = read(file) if file.exists() else _begun(folder, wish)
    catalog = _with_stub(folder, env, text, wish)
    model = catalog.dataset(wish.dataset)
    platform = open_platform(catalog, env)
    found = find_table(platform.provider.source(model.source or ""), wish.table, sample=wish.sample)
    window, notes = _window(model, found, wish)
    suggestions = _suggestions(found) if model.scrub else {}
    changed = insert_table(text, wish.table, _block(wish.table, window, suggestions), file=file.name)
    _require_right(load_catalog(folder, env, instead={wish.dataset: changed}), found, wish)
    added = Added(
        wish.dataset, wish.table, file, suggestions, {c.name: c.type for c in found.relation.columns}, window,
        _diff(text if file.exists() else "", changed, file), found.sampled_rows, notes,
    )  # fmt: skip
    if not wish.dry_run:
        replace(file, text if file.exists() else None, changed)
        logger.info("added %s to %s: %d columns", wish.table, file, len(suggestions))
    return added


# ------------------------------------------------------------------------------------------------------------ the file
def _file(folder: Path, wish: Wish) -> Path:
    """The dataset's file. Raises CatalogError when there is none and none is to begin, or when the table is in it."""
    file = folder / f"{wish.dataset}.yaml"
    known = sorted(p.stem for p in folder.glob("*.yaml") if p.stem.split(".")[0] != "endpoints")
    if wish.dataset not in known:
        if wish.source and re.fullmatch(NAME, wish.dataset):
            return file
        hint = f"{choices(wish.dataset, known).capitalize()}. A new one begins with --source NAME, or by hand."
        raise CatalogError(f"{wish.dataset!r} is not a dataset", hint=hint)
    if wish.source:
        hint = "Leave --source out: a dataset has one source, and its file says which."
        raise CatalogError(f"{wish.dataset} is a dataset already", hint=hint)
    document = read_document(file, str(file))
    if document.data is None and document.problems:
        problems = tuple(map(str, document.problems))
        raise CatalogError(f"{file.name} can't be read", hint="Correct it first.", problems=problems)
    if wish.table in document.names("tables"):
        _, line = document.place(("tables", wish.table))
        hint = "Change it there; `egress plan` shows what a run would do."
        raise CatalogError(f"{wish.table} is in {file.name}:{line} already", hint=hint)
    return file


def _begun(folder: Path, wish: Wish) -> str:
    """A new dataset's file without its table. A reference to a key, not a key: `egress check` needs none."""
    said = "../docs/schema/dataset.schema.json"
    head = f"# yaml-language-server: $schema={said}\n" if (folder / said).is_file() else ""
    start = (now() - timedelta(days=1)).date().isoformat()
    key = f"{wish.dataset.upper()}_SCRUB_KEY"
    return f"{head}source: {yaml_key(wish.source)}\nstart: {start}\nscrub: {{key: {{env: {key}}}}}\n"


def _with_stub(folder: Path, env: str | None, text: str, wish: Wish) -> Catalog:
    """The catalog as it will be, but for the columns: all else that is wrong with it is told before anything is asked.

    So a dataset may get its first table: without one its `source` would be refused.
    """
    parse_document(text.removeprefix("\ufeff"), document := Document(wish.dataset))
    data: Mapping[str, Any] = document.data if isinstance(document.data, dict) else {}
    if data.get("extract") == "incremental":
        hint = f"Write it by hand: `{wish.table}: {{watermark: <column>}}`, the column that every change sets."
        raise CatalogError(f"{wish.dataset} has `extract: incremental`, whose tables need a watermark", hint=hint)
    window = "column" if data.get("extract") == "window" else ""
    columns = {"column": Suggestion("keep")} if data.get("scrub") else {}
    block = _block(wish.table, window, columns)
    stub = text if document.problems else insert_table(text, wish.table, block, file=f"{wish.dataset}.yaml")
    return load_catalog(folder, env, instead={wish.dataset: stub})


def _block(table: str, window: str, columns: Mapping[str, Suggestion]) -> list[tuple[int, str]]:
    """The table as lines: (depth, text) each."""
    if not columns:
        return [(0, f"{yaml_key(table)}: {{{f'window: {yaml_key(window)}' if window else ''}}}")]
    head = [(1, f"window: {yaml_key(window)}"), (1, "columns:")] if window else []
    depth = 2 if window else 1
    return [(0, f"{yaml_key(table)}:"), *head, *((depth, f"{yaml_key(c)}: {said}") for c, said in columns.items())]


def _diff(before: str, after: str, file: Path) -> str:
    old, new = before.splitlines(), after.splitlines()
    return "\n".join(difflib.unified_diff(old, new, f"a/{file.name}", f"b/{file.name}", lineterm=""))


# --------------------------------------------------------------------------------------------------------- the columns
def _suggestions(found: Found) -> dict[str, Suggestion]:
    """A generated column is left out: it holds what others say, and can't be loaded."""
    columns = found.relation.columns
    return {
        c.name: suggest(c, columns, sampled=found.sampled.get(c.name), is_enum=c.name in found.enums)
        for c in columns
        if not c.generated
    }


def _window(model: DatasetModel, found: Found, wish: Wish) -> tuple[str, tuple[str, ...]]:
    """(the column that dates a row, what to say of it); '' where the dataset doesn't extract by one."""
    columns = {c.name: c for c in found.relation.columns}
    if model.extract != "window":
        if wish.window:
            hint = f"{wish.dataset} has `extract: {model.extract}`: leave --window out."
            raise CatalogError("--window does nothing in this dataset", hint=hint)
        return "", ()
    if wish.window:
        if wish.window not in columns:
            hint = f"{choices(wish.window, columns).capitalize()}."
            raise CatalogError(f"{wish.table} has no column {wish.window!r}", hint=hint)
        return wish.window, ()
    dating = [c for c in found.relation.columns if c.base in _DATES and not c.generated]
    if not dating:
        hint = "Put it into a dataset of `extract: full`, or name the column with --window."
        raise CatalogError(f"{wish.table} has no date or timestamp, and {wish.dataset} extracts by one", hint=hint)
    chosen = min(dating, key=_unlikely)
    others = [c.name for c in dating if c is not chosen]
    also = f"; also possible: {', '.join(others)}" if others else ""
    note = f"`extract: window` needs the column that dates a row: {chosen.name} ({chosen.type}) was chosen{also}"
    return chosen.name, (note,)


def _unlikely(column: ColumnInfo) -> tuple[int, bool, int]:
    """Well-known names first, then columns that every row has, then the more exact type."""
    name = column.name.lower()
    return _LIKELY.index(name) if name in _LIKELY else len(_LIKELY), column.nullable, _DATES.index(column.base)


def _require_right(catalog: Catalog, found: Found, wish: Wish) -> None:
    """Every line is a mask that its column can take. Raises CatalogError."""
    columns = {c.name: c for c in found.relation.columns}
    problems: list[str] = []
    for name, rule in catalog.dataset(wish.dataset).tables[wish.table].columns.items():
        mask = masks.find(rule.mask)
        wrong = mask.check(Site(columns[name], columns), masks.parse_params(mask, rule.params))
        problems += [f"{wish.table}.{name}: {problem}" for problem in wrong]
    if problems:
        hint = "Write the table by hand; `egress list-masks` shows the masks."
        raise CatalogError(f"no mask is known for {wish.table}", hint=hint, problems=tuple(problems))
