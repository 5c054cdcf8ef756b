"""A table of the catalog that the database does not have: dropped, renamed, or never there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.errors import TableMissing


@contextmanager
def placed(catalog: Catalog, dataset: str) -> Iterator[None]:
    """A TableMissing of the block says where in the catalog its tables are."""
    try:
        yield
    except TableMissing as error:
        places = [catalog.place(f"{dataset}.tables.{table}") for table in error.tables]
        if not any(places):
            raise
        shown = ", ".join(dict.fromkeys(filter(None, places)))
        found = TableMissing(f"{error.message}; in the catalog at {shown}", hint=error.hint)
        found.tables = error.tables
        raise found from error
