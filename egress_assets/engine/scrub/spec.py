"""One dataset's scrub of one date: what the catalog wants of it, before anything is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from psycopg import sql

from egress_assets.engine.catalog.models import DatasetModel, ScrubModel
from egress_assets.engine.catalog.rows import rows_dialect
from egress_assets.engine.catalog.units import require_dataset
from egress_assets.engine.dialect import Dialect
from egress_assets.engine.dump.chain import Chain, chain_of
from egress_assets.engine.dump.incremental import Asked
from egress_assets.engine.dump.rows import rows_of
from egress_assets.engine.dump.snapshot import Leader
from egress_assets.engine.dump.source import SourceSettings
from egress_assets.engine.dump.sums import Chosen
from egress_assets.engine.dump.tasks import Relation
from egress_assets.engine.errors import CatalogError
from egress_assets.engine.evidence.records import digest
from egress_assets.engine.layout import Unit, scrub_unit
from egress_assets.engine.partition import Calendar
from egress_assets.engine.platform import Platform
from egress_assets.engine.scrub.keys import AudienceKeys, MasterKey
from egress_assets.engine.scrub.policy import TablePolicy, compile_policy, detectors_of
from egress_assets.engine.stage import Standing, Wanted, chosen_tables, standing


def scrub_of(platform: Platform, dataset: str) -> ScrubModel:
    """What the catalog says of the dataset's scrub. Raises CatalogError."""
    model = require_dataset(platform.catalog, dataset)
    if model.scrub is None or model.source is None:
        raise CatalogError(f"dataset {dataset} is not scrubbed", hint="Add `scrub: {key: ...}` to its catalog file.")
    return model.scrub


@dataclass(frozen=True, slots=True)
class ScrubSpec:
    """`tables` are those of the run, in the catalog's order."""

    platform: Platform
    dataset: str
    date: str
    tables: tuple[str, ...]
    model: DatasetModel
    scrub: ScrubModel
    calendar: Calendar
    keys: AudienceKeys = field(repr=False)
    chain: Chain | None = None  # of an incremental extract, once it was looked at
    accept_drift: bool = False  # whatever the catalog says of it, this once

    @staticmethod
    def of(
        platform: Platform, dataset: str, date: str, tables: Iterable[str] | None, *, accept_drift: bool = False
    ) -> ScrubSpec:
        """Raises CatalogError (no such dataset or table, no `scrub:`), KeyMissing."""
        scrub, model = scrub_of(platform, dataset), platform.catalog.dataset(dataset)
        chosen = chosen_tables(model.tables, tables, dataset)
        keys = MasterKey.parse(platform.provider.secret(scrub.key)).audience(scrub.audience, scrub.epoch)
        calendar = platform.catalog.calendar(dataset)
        return ScrubSpec(platform, dataset, date, chosen, model, scrub, calendar, keys, accept_drift=accept_drift)

    def chained(self) -> ScrubSpec:
        """With the chain as evidence has it now, where the extract is incremental."""
        if self.model.extract != "incremental":
            return self
        first = self.calendar.start.isoformat()
        return replace(self, chain=chain_of(self.platform.evidence, self.unit, self.date, self.tables, first))

    @property
    def unit(self) -> Unit:
        return scrub_unit(self.dataset, self.scrub.audience)

    @property
    def title(self) -> str:
        return f"{self.unit.title} {self.date}"

    @property
    def store(self) -> str:
        return self.scrub.store or self.model.store

    @property
    def landing(self) -> str:
        """The store that bytes are written to before the gate has passed them."""
        return self.scrub.quarantine or self.store

    @property
    def csv(self) -> Dialect:
        """How rows are written."""
        return rows_dialect(self.scrub.csv)

    @property
    def is_whole(self) -> bool:
        """Whether the run covers all tables of the dataset."""
        return len(self.tables) == len(self.model.tables)

    @property
    def detectors(self) -> tuple[str, ...]:
        return detectors_of(self.scrub)

    def settings(self) -> SourceSettings:
        return self.platform.provider.source(self.model.source or "")

    def policies(self, relations: Mapping[str, Relation]) -> dict[str, TablePolicy]:
        """Raises Unclassified, TableMissing, CatalogError; see `compile_policy`."""
        return compile_policy(self.model, {table: relations[table] for table in self.tables}, self.keys)

    def wanted(self, policies: Mapping[str, TablePolicy]) -> dict[str, Wanted]:
        """What each table's entry has to stand for."""
        return {
            table: Wanted(
                policy.digest,
                tuple(c.record for c in policy.columns),
                self.scrub.format,
                self.csv,
                self.chain.after(table) if self.chain else "",
            )
            for table, policy in policies.items()
        }

    def asked(self, leader: Leader, policy: TablePolicy) -> Asked | None:
        """What an incremental extract asks of a table; None of every other extract.

        A row version is the raw row: its digest is keyed, and the key does not change with the epoch.
        """
        if self.chain is None:
            return None
        relation = leader.relations[policy.table]
        return Asked(
            leader=leader,
            relation=relation,
            model=self.model.tables[policy.table],
            date=self.date,
            calendar=self.calendar,
            link=self.chain.links.get(policy.table),
            where=self.rows(relation),
            columns=tuple(column.info for column in policy.columns),
            key=self.keys.row_key(),
            store=self.platform.store,
        )

    def rows(self, relation: Relation) -> sql.Composable | None:
        """Which rows belong to the date; None = all that there are."""
        return rows_of(self.model.tables[relation.table], relation, self.date, self.calendar)

    def chosen(self, relations: Mapping[str, Relation], policies: Mapping[str, TablePolicy]) -> list[Chosen]:
        """What is selected of every table, to be selected once more and compared."""
        return [
            Chosen(
                relations[table], policy.select, self.rows(relations[table]), self.scrub.format, self.csv,
                self.keys.session(policy.domains),
            )
            for table, policy in policies.items()
        ]  # fmt: skip

    def standing(self, wanted: Mapping[str, Wanted]) -> Standing:
        return standing(
            self.platform.evidence,
            self.unit,
            self.date,
            data=self.platform.store(self.store),
            wanted=wanted,
            dataset=frozenset(self.model.tables),
            key_id=self.keys.key_id,
        )


def spec_digest(wanted: Mapping[str, Wanted]) -> str:
    return digest({table: w.form for table, w in wanted.items()})
