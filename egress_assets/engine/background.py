"""What is read beside a stage's result, for people who look at it: its manifests, its first rows, the dates before.

One of these serves all tables of a run, so that each small object is read once, and many at a time. It works from
evidence alone: a run that found nothing to do, or one that happened elsewhere, is told like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from egress_assets.engine.errors import EgressError, ManifestInvalid
from egress_assets.engine.evidence.records import Manifest, TableRecord
from egress_assets.engine.glance import glance
from egress_assets.engine.layout import Unit, manifest_key
from egress_assets.engine.past import MANY, Past
from egress_assets.engine.platform import Platform
from egress_assets.engine.release import OBJECTS
from egress_assets.engine.result import StageResult, TableResult

if TYPE_CHECKING:
    from egress_assets.engine.scrub.sample import Sample

_ROWS = {"nothing": 10}  # of a sample: what is shown; more where new rows are looked at as well
_ROWS_OF_NEW = 200


@dataclass(slots=True)
class Background:
    """Lazy. `parent` is what a delivery sends as it is stored there: its result then names the parent's manifest.

    Memory: the run's manifests, 200 rows a table of at most 1 MiB, and what `Past` says.
    """

    platform: Platform
    result: StageResult
    parent: tuple[Unit, str] | None = None
    past: Past = field(init=False)
    _manifests: dict[str, Manifest | EgressError] = field(default_factory=dict, repr=False)
    _samples: tuple[Mapping[str, Sample], Mapping[str, str]] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        many = sum(found.objects for found in self.result.tables.values()) > MANY
        why = f"more than {MANY} objects a date" if many else ""
        self.past = Past(self.platform.evidence, self.result.unit, self.result.date, why)

    def manifest(self, unit: Unit, attempt: str) -> Manifest:
        """A manifest of the result's date, asked for once, however that ends. Raises as `Evidence.manifest` does."""
        key = manifest_key(unit, self.result.date, attempt)
        if key not in self._manifests:
            try:
                self._manifests[key] = self.platform.evidence.manifest(unit, self.result.date, attempt)
            except EgressError as error:
                self._manifests[key] = error
        found = self._manifests[key]
        if isinstance(found, EgressError):
            raise found
        return found

    def record(self, found: TableResult) -> TableRecord:
        """What the manifest that the result names says of the table. Raises as `manifest`."""
        unit, table = self._named(found)
        record = self.manifest(unit, found.attempt).draft.tables.get(table)
        if record is None:
            raise ManifestInvalid(f"the manifest of {unit.title} {self.result.date} does not hold {table}")
        return record

    def _named(self, found: TableResult) -> tuple[Unit, str]:
        own = manifest_key(self.result.unit, self.result.date, found.attempt)
        if found.manifest != own and self.parent:
            return self.parent[0], self.parent[1] or OBJECTS
        return self.result.unit, found.table

    def parents(self, found: TableResult) -> dict[str, tuple[Unit, TableRecord]]:
        """By table, what a mirror or delivery of its own manifest was made of: (unit, record). Raises as `manifest`."""
        out = {}
        for name, tables in self.manifest(self.result.unit, found.attempt).draft.parents.items():
            unit = Unit.parse(name)
            for table, (attempt, _) in tables.items():
                out[table] = unit, self.manifest(unit, attempt).draft.tables[table]
        return out

    def sample(self, table: str) -> Sample | str:
        """The first rows of a scrubbed table, or why there are none to show. Reads those of all tables at once."""
        if self._samples is None:
            found = self.result.tables
            attempts = {t.attempt: partial(self.manifest, self.result.unit, t.attempt) for t in found.values()}
            _, failed = glance(attempts)
            reads = {name: partial(self._sample, t) for name, t in found.items() if t.attempt not in failed}
            samples, why = glance(reads)
            self._samples = samples, why | {n: failed[t.attempt] for n, t in found.items() if t.attempt in failed}
        samples, why = self._samples
        return samples.get(table) or why.get(table, "not among the run's tables")

    def _sample(self, found: TableResult) -> Sample:
        from egress_assets.engine.scrub.sample import sample  # decompressors, which definitions need not load

        manifest = self.manifest(self.result.unit, found.attempt)
        rows = _ROWS.get(self.result.how, _ROWS_OF_NEW)
        return sample(self.platform.store(manifest.draft.store), manifest, found.table, rows=rows)
