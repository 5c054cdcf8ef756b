"""One dataset's dump of one date: what the catalog wants of it, before anything is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import psycopg
from psycopg import sql

from egress_assets.engine.catalog.models import DatasetModel, DumpModel
from egress_assets.engine.catalog.rows import rows_dialect
from egress_assets.engine.catalog.units import require_dataset
from egress_assets.engine.dialect import Dialect
from egress_assets.engine.dump.chain import Chain, chain_of
from egress_assets.engine.dump.incremental import Asked
from egress_assets.engine.dump.overlap import RowKey, plain_digest
from egress_assets.engine.dump.parquet.shape import TYPES_VERSION, shape_of
from egress_assets.engine.dump.rows import chosen_columns, rows_of, rows_record
from egress_assets.engine.dump.snapshot import Leader
from egress_assets.engine.dump.source import SourceSettings
from egress_assets.engine.dump.sums import Chosen
from egress_assets.engine.dump.tasks import Relation, StoredColumn
from egress_assets.engine.errors import CatalogError
from egress_assets.engine.evidence.records import Column, digest
from egress_assets.engine.layout import Unit, dump_unit
from egress_assets.engine.partition import Calendar
from egress_assets.engine.platform import Platform
from egress_assets.engine.stage import Standing, Wanted, chosen_tables, standing
from egress_assets.engine.stream import PARQUET


@dataclass(frozen=True, slots=True)
class DumpSpec:
    """`tables` are those of the run, in the catalog's order."""

    platform: Platform
    dataset: str
    date: str
    tables: tuple[str, ...]
    model: DatasetModel
    dump: DumpModel
    calendar: Calendar
    chain: Chain | None = None  # of an incremental extract, once it was looked at
    accept_drift: bool = False  # whatever the catalog says of it, this once

    @staticmethod
    def of(
        platform: Platform, dataset: str, date: str, tables: Iterable[str] | None, *, accept_drift: bool = False
    ) -> DumpSpec:
        """Raises CatalogError for a dataset without `dump:` and for unknown tables."""
        model = require_dataset(platform.catalog, dataset)
        if model.dump is None or model.source is None:
            raise CatalogError(f"dataset {dataset} has no raw dump", hint="Add `dump: {}` to its catalog file.")
        chosen = chosen_tables(model.tables, tables, dataset)
        calendar = platform.catalog.calendar(dataset)
        return DumpSpec(platform, dataset, date, chosen, model, model.dump, calendar, accept_drift=accept_drift)

    def chained(self) -> DumpSpec:
        """With the chain as evidence has it now, where the extract is incremental."""
        if self.model.extract != "incremental":
            return self
        first = self.calendar.start.isoformat()
        return replace(self, chain=chain_of(self.platform.evidence, self.unit, self.date, self.tables, first))

    @property
    def unit(self) -> Unit:
        return dump_unit(self.dataset)

    @property
    def store(self) -> str:
        return self.dump.store or self.model.store

    @property
    def csv(self) -> Dialect:
        """How rows are written."""
        return rows_dialect(self.dump.csv)

    @property
    def is_whole(self) -> bool:
        """Whether the run covers all tables of the dataset."""
        return len(self.tables) == len(self.model.tables)

    def settings(self) -> SourceSettings:
        return self.platform.provider.source(self.model.source or "")

    def wanted(self, relations: Mapping[str, Relation]) -> dict[str, Wanted]:
        """What each table's entry has to stand for, given its columns now."""
        return {table: self._wanted(table, relations[table]) for table in self.tables}

    def _wanted(self, table: str, relation: Relation) -> Wanted:
        model = self.model.tables[table]
        dating = model.watermark or model.window or ""
        stored = {"parquet": [TYPES_VERSION, self.dump.infinity]} if self.dump.format == PARQUET else {}
        policy = digest({"extract": self.model.extract, "window": dating, **rows_record(model), **stored})
        chosen = chosen_columns(model, relation)
        columns = tuple(Column(column.name, column.type, column.nullable) for column in chosen)
        after = self.chain.after(table) if self.chain else ""
        return Wanted(policy, columns, self.dump.format, self.csv, after)

    def rows(self, relation: Relation) -> sql.Composable | None:
        """Which rows belong to the date; None = all that there are."""
        return rows_of(self.model.tables[relation.table], relation, self.date, self.calendar)

    def asked(self, leader: Leader, table: str) -> Asked | None:
        """What an incremental extract asks of a table; None of every other extract."""
        if self.chain is None:
            return None
        relation, model = leader.relations[table], self.model.tables[table]
        return Asked(
            leader=leader,
            relation=relation,
            model=model,
            date=self.date,
            calendar=self.calendar,
            link=self.chain.links.get(table),
            where=self.rows(relation),
            columns=chosen_columns(model, relation),
            key=RowKey(plain_digest),
            store=self.platform.store,
        )

    def select(self, relation: Relation) -> list[tuple[str, sql.Composable]]:
        """What is read, in order: (column, expression)."""
        chosen = chosen_columns(self.model.tables[relation.table], relation)
        return [(column.name, sql.Identifier(column.name)) for column in chosen]

    def shape(self, relation: Relation, connection: psycopg.Connection) -> tuple[StoredColumn, ...]:
        """How parquet holds the columns; empty for other formats. Raises as `shape_of`."""
        if self.dump.format != PARQUET:
            return ()
        chosen = chosen_columns(self.model.tables[relation.table], relation)
        return shape_of(connection, relation, chosen, infinity=self.dump.infinity)

    def chosen(self, relations: Mapping[str, Relation]) -> list[Chosen]:
        """The same of every table, to be selected once more and compared."""
        tables = [relations[table] for table in self.tables]
        return [Chosen(r, self.select(r), self.rows(r), self.dump.format, self.csv) for r in tables]

    def standing(self, relations: Mapping[str, Relation]) -> Standing:
        return standing(
            self.platform.evidence,
            self.unit,
            self.date,
            data=self.platform.store(self.store),
            wanted=self.wanted(relations),
            dataset=frozenset(self.model.tables),
        )
