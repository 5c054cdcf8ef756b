"""Add a table of the live database to a dataset's file, with a mask suggested for each column.

The file is changed in one atomic replace, after the catalog has been read whole with the new text in its place. Rows
are read for a sample only, at most `SAMPLE` of them, in a read-only transaction; values are looked at by the detectors
and are never kept, told or written.
"""

from __future__ import annotations

import difflib
import fcntl
import logging
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from egress_assets.engine import masks
from egress_assets.engine.catalog.document import read_document
from egress_assets.engine.catalog.insertion import insert_table
from egress_assets.engine.catalog.loader import catalog_folder, load_catalog
from egress_assets.engine.catalog.models import Catalog, DatasetModel
from egress_assets.engine.catalog.problems import choices
from egress_assets.engine.dump.tasks import ColumnInfo
from egress_assets.engine.endpoints import open_platform
from egress_assets.engine.errors import CatalogError
from egress_assets.engine.masks.seam import Site
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
    """What is asked for. `window` is the column that dates a row; empty: choose one where the dataset needs it."""

    dataset: str
    table: str
    window: str = ""
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
    text = _read(file)
    catalog = _with_stub(folder, env, file, text, wish)
    model = catalog.dataset(wish.dataset)
    platform = open_platform(catalog, env)
    found = find_table(platform.provider.source(model.source or ""), wish.table, sample=wish.sample)
    window, notes = _window(model, found, wish)
    suggestions = _suggestions(found) if model.scrub else {}
    changed = insert_table(text, wish.table, _block(wish.table, window, suggestions), file=file.name)
    _require_right(load_catalog(folder, env, instead={wish.dataset: changed}), found, wish)
    added = Added(
        wish.dataset, wish.table, file, suggestions, {c.name: c.type for c in found.relation.columns}, window,
        _diff(text, changed, file), found.sampled_rows, notes,
    )  # fmt: skip
    if not wish.dry_run:
        _replace(file, text, changed)
        logger.info("added %s to %s: %d columns", wish.table, file, len(suggestions))
    return added


# ------------------------------------------------------------------------------------------------------------ the file
def _file(folder: Path, wish: Wish) -> Path:
    """The dataset's file. Raises CatalogError when there is none, or when the table is in it."""
    file = folder / f"{wish.dataset}.yaml"
    known = sorted(p.stem for p in folder.glob("*.yaml") if p.stem.split(".")[0] != "endpoints")
    if wish.dataset not in known:
        hint = f"{choices(wish.dataset, known).capitalize()}. A dataset begins as a file with `source` and `start`."
        raise CatalogError(f"{wish.dataset!r} is not a dataset", hint=hint)
    document = read_document(file, str(file))
    if wish.table in document.names("tables"):
        _, line = document.place(("tables", wish.table))
        hint = "Change it there; `egress plan` shows what a run would do."
        raise CatalogError(f"{wish.table} is in {file.name}:{line} already", hint=hint)
    return file


def _read(file: Path) -> str:
    with file.open(encoding="utf-8", newline="") as stream:
        return stream.read()


def _with_stub(folder: Path, env: str | None, file: Path, text: str, wish: Wish) -> Catalog:
    """The catalog as it will be, but for the columns: all else that is wrong with it is told before anything is asked.

    So a dataset may get its first table: without one its `source` would be refused.
    """
    document = read_document(file, str(file))
    data: Mapping[str, Any] = document.data if isinstance(document.data, dict) else {}
    window = "column" if data.get("extract") == "window" else ""
    columns = {"column": Suggestion("keep")} if data.get("scrub") else {}
    stub = insert_table(text, wish.table, _block(wish.table, window, columns), file=file.name) if data else text
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


def _replace(file: Path, before: str, after: str) -> None:
    """Atomic, with the file's own mode and behind its link. Raises CatalogError when it changed meanwhile."""
    target = file.resolve()
    try:
        with _locked(target.parent):
            if _read(target) != before:
                hint = "Somebody else has just written it: add the table again."
                raise CatalogError(f"{file} has changed while the table was looked at", hint=hint)
            _write(target, after)
    except OSError as error:
        hint = "Nothing was changed. `--dry-run` prints what would be written."
        raise CatalogError(f"{file} can't be written: {error.strerror}", hint=hint) from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One `add_table` at a time writes into a folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(target: Path, text: str) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as stream:
            stream.write(text)
            stream.flush()
            os.fchmod(stream.fileno(), stat.S_IMODE(target.stat().st_mode))
            os.fsync(stream.fileno())
        Path(name).replace(target)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(name).unlink()
        raise


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
