"""A scrubbed table's first rows as tables for the UI. What is shown has passed the gate; nothing else comes here.

pandas costs 1.2 s of processor time to import. So only a run that has made something looks at its rows with it; one
that found nothing to do shows the rows alone, and stays fast.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:  # it loads decompressors, which definitions do without
    from egress_assets.engine.scrub.sample import Sample

ROWS = 10
PROFILED = 200  # rows that a profile is made of, where the head of the object has as many
NULL = "∅"
_CELL = 60  # characters
_DRIFT = ("table", "since", "kind", "column", "was", "now", "how")


def preview(sample: "Sample") -> dg.TableMetadataValue:
    """The first rows. NULL is ∅, long cells end in …, characters that can't be seen are written as escapes."""
    names = [column.name for column in sample.columns]
    shown = ({name: cell(value) for name, value in zip(names, row, strict=False)} for row in sample.rows[:ROWS])
    return table(names, shown)


def profile(sample: "Sample") -> dg.TableMetadataValue:
    """What each column of the sample looks like after its mask: how much is NULL, how many values differ, how long."""
    import pandas as pd

    names = [column.name for column in sample.columns]
    frame = pd.DataFrame([row[: len(names)] for row in sample.rows], columns=range(len(names)), dtype=object)
    facts = pd.DataFrame(
        {
            "column": names,
            "mask": [column.mask for column in sample.columns],
            "null_percent": (frame.isna().mean() * 100).fillna(0).round().astype(int).tolist(),
            "different": frame.nunique().tolist(),
            "longest": frame.map(lambda value: len(value or "")).max().fillna(0).astype(int).tolist(),
        }
    )
    return table(list(facts.columns), facts.to_dict("records"))


def cell(value: str | None) -> str:
    """One value as people can see it, cut to 60 characters. bytea comes as hex and is cut like any other."""
    if value is None:
        return NULL
    head = value[:_CELL]
    seen = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in head)
    return seen if len(value) <= _CELL and len(seen) <= _CELL else f"{seen[:_CELL]}…"


def drift(rows: Iterable[Mapping[str, str]]) -> dg.TableMetadataValue:
    """Differences of schemas, as evidence and SchemaDrift hold them."""
    return table(_DRIFT, (dict(row) for row in rows))


def table(names: Iterable[str], rows: Iterable[dict[str, Any]]) -> dg.TableMetadataValue:
    """Rows of plain values under `names`; Dagster shows them as text, so markup in them stays text."""
    records = [dg.TableRecord({str(name): value for name, value in row.items()}) for row in rows]
    kinds = {name: "int" if any(isinstance(r.data[name], int) for r in records) else "string" for name in names}
    return dg.TableMetadataValue(records, dg.TableSchema([dg.TableColumn(name, kind) for name, kind in kinds.items()]))
