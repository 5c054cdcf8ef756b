"""The policy: every column of every table with its mask, compiled to SQL before the first row is read.

Fail closed: a column that the catalog does not name stops the run with all such columns of all tables and lines to
paste. The column list is always explicit, so a column that is added while the run is under way is not read either.
A generated column that the catalog does not name is left out: it holds what other columns say, and can't be loaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from psycopg import sql

from egress_assets.engine.catalog.models import ColumnRule, DatasetModel, ScrubModel
from egress_assets.engine.dump.tasks import ColumnInfo, Relation
from egress_assets.engine.errors import CatalogError, TableMissing, Unclassified
from egress_assets.engine.evidence.records import Column, digest
from egress_assets.engine.masks import find, parse_params
from egress_assets.engine.masks.seam import Mask, MaskParams, Site
from egress_assets.engine.scrub.detectors import DETECTORS, VERSION
from egress_assets.engine.scrub.identifiers import find_detector
from egress_assets.engine.scrub.keys import AudienceKeys
from egress_assets.engine.scrub.suggest import patch


@dataclass(frozen=True, slots=True)
class MaskedColumn:
    """One column of the output: the mask that was chosen, its parameters with defaults filled in, its expression."""

    info: ColumnInfo
    mask: Mask
    params: MaskParams
    expression: sql.Composable

    @property
    def rule(self) -> str:
        """The mask with the parameters that differ from the default, for people and for the manifest."""
        shown = self.params.model_dump(exclude_defaults=True)
        return self.mask.name + (f"({', '.join(f'{k}={v}' for k, v in shown.items())})" if shown else "")

    @property
    def record(self) -> Column:
        return Column(self.info.name, self.info.type, self.info.nullable, self.rule)


@dataclass(frozen=True, slots=True)
class TablePolicy:
    """One table, compiled. `domains` are the sub-keys that a session needs; `digest` covers all that decides bytes."""

    table: str
    columns: tuple[MaskedColumn, ...]
    domains: frozenset[str]
    digest: str

    @property
    def select(self) -> list[tuple[str, sql.Composable]]:
        return [(c.info.name, c.expression) for c in self.columns]


def compile_policy(
    dataset: DatasetModel, relations: Mapping[str, Relation], keys: AudienceKeys
) -> dict[str, TablePolicy]:
    """Every relation's policy, in their order. No I/O.

    Raises Unclassified (columns without a mask), TableMissing (columns that the database does not have), CatalogError
    (unknown mask or parameter, a mask that does not fit its column); each names everything of its kind at once.
    """
    _require_coverage(dataset, relations)
    problems: list[str] = []
    compiled = {
        name: _compile_table(relation, dataset.tables[name].columns, keys, problems)
        for name, relation in relations.items()
    }
    if problems:
        hint = "Choose a mask that fits the column's type; `egress list-masks` shows them."
        raise CatalogError("; ".join(problems), hint=hint, problems=tuple(problems))
    return {
        name: TablePolicy(name, columns, _domains(columns), _digest(dataset, name, columns, keys))
        for name, columns in compiled.items()
    }


def detectors_of(scrub: ScrubModel | None) -> tuple[str, ...]:
    """The identifier detectors of a dataset, in the registry's order. Raises CatalogError for an unknown one."""
    chosen = scrub.detectors if scrub and scrub.detectors is not None else list(DETECTORS)
    wanted = {find_detector(name).name for name in chosen}
    return tuple(name for name in DETECTORS if name in wanted)


def _require_coverage(dataset: DatasetModel, relations: Mapping[str, Relation]) -> None:
    open_columns = {name: found for name, r in relations.items() if (found := _unnamed(dataset, r))}
    gone = [f"{r.table}.{column}" for r in relations.values() for column in _unknown(dataset, r)]
    lost = f"; the catalog also names {', '.join(gone)}, which the database does not have" if gone else ""
    if open_columns:
        names = ", ".join(f"{table}.{c.name}" for table, columns in open_columns.items() for c in columns)
        hint = (
            "Give each a mask, or `keep` where it names nobody; readers then get columns more, which `drift` decides "
            f"about (docs/runbook.md). To paste under `tables`:\n{patch(open_columns)}"
        )
        raise Unclassified(f"columns without a mask: {names}{lost}", hint=hint)
    if gone:
        hint = (
            "Correct the names in the catalog, or take the columns out of it; readers then get columns less, which "
            "`drift` decides about (docs/runbook.md)."
        )
        raise TableMissing(f"columns of the policy that the database does not have: {', '.join(gone)}", hint=hint)


def _unnamed(dataset: DatasetModel, relation: Relation) -> list[ColumnInfo]:
    model = dataset.tables.get(relation.table)
    rules: Mapping[str, ColumnRule] = model.columns if model else {}
    return [c for c in relation.columns if c.name not in rules and not c.generated]


def _unknown(dataset: DatasetModel, relation: Relation) -> list[str]:
    model = dataset.tables.get(relation.table)
    there = {c.name for c in relation.columns}
    return [name for name in model.columns if name not in there] if model else []


def _compile_table(
    relation: Relation, rules: Mapping[str, ColumnRule], keys: AudienceKeys, problems: list[str]
) -> tuple[MaskedColumn, ...]:
    """Columns in the table's own order. What is wrong goes to `problems`, and such a column is left out here."""
    columns = {c.name: c for c in relation.columns}
    return tuple(
        column
        for info in relation.columns
        if info.name in rules
        for column in _compile_column(relation.table, Site(info, columns), rules[info.name], keys, problems)
    )


def _compile_column(
    table: str, site: Site, rule: ColumnRule, keys: AudienceKeys, problems: list[str]
) -> Iterator[MaskedColumn]:
    where = f"{table}.{site.column.name}"
    try:
        mask = find(rule.mask)
        params = parse_params(mask, rule.params)
    except CatalogError as error:
        problems.append(f"{where}: {error.message}. {error.hint}")
        return
    if wrong := mask.check(site, params):
        problems.extend(f"{where}: {problem}" for problem in wrong)
        return
    yield MaskedColumn(site.column, mask, params, mask.compile(site, params, keys))


def _domains(columns: Sequence[MaskedColumn]) -> frozenset[str]:
    return frozenset().union(*(c.mask.domains(c.params) for c in columns))


def _digest(dataset: DatasetModel, table: str, columns: Sequence[MaskedColumn], keys: AudienceKeys) -> str:
    """Rules with all defaults filled in, versions of masks and detectors, key id, epoch, audience, choice of rows."""
    rows = dataset.tables[table]
    return digest(
        {
            "key_id": keys.key_id,
            "epoch": keys.epoch,
            "audience": keys.audience,
            "rows": [dataset.extract, rows.watermark or rows.window or "", *([rows.where] if rows.where else [])],
            "detectors": list(detectors_of(dataset.scrub)),
            "detectors_version": VERSION,
            "columns": [[c.info.name, c.mask.name, c.mask.version, c.params.model_dump(mode="json")] for c in columns],
        }
    )
