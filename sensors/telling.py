"""Events about work that Dagster did not see: which it lacks, and the materialisations that it gets."""

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import dagster as dg
from dagster._core.definitions.data_version import DATA_VERSION_TAG

from egress_assets import results
from egress_assets.engine.errors import EgressError
from egress_assets.engine.found import Versions, result, unreported
from egress_assets.engine.platform import Platform
from egress_assets.engine.result import TableResult
from egress_assets.engine.seen import Seen
from egress_assets.stages import Stage
from sensors.at_work import Busy

logger = logging.getLogger(__name__)
EVENTS = 200  # a tick
SECONDS = 0.5  # a tick may spend on telling: previews read bytes
ATTEMPT = "egress/attempt"


@dataclass(slots=True)
class Teller:
    """Tells one tick's events. It stops at its bounds, after at least one event; the next tick goes on."""

    instance: dg.DagsterInstance
    platform: Platform
    busy: Busy
    events: int = EVENTS
    seconds: float = SECONDS
    told: int = 0
    began: float = field(default_factory=time.monotonic)

    @property
    def is_spent(self) -> bool:
        return self.told >= self.events or (self.told > 0 and time.monotonic() - self.began > self.seconds)

    def tell(
        self, stage: Stage, made: Mapping[str, Versions], seen: Seen, events: list[dg.AssetMaterialization]
    ) -> bool:
        """Add what Dagster lacks of a unit's dates to `events`; whether that was all there is to tell of them."""
        if made and self.is_spent:
            return False
        is_all, known = True, self._known(stage, tuple(made)) if made else {}
        for date, versions in sorted(made.items()):
            tables = unreported(versions, known.get(date, {}))
            if not tables or not stage.partitions.has_partition_key(date):
                continue
            if self.is_spent or (stage.dataset, date) in self.busy:
                is_all = False
                continue
            now, later = tables[: self.events - self.told], tables[self.events - self.told :]
            events += self._tell(stage, date, now, seen)
            self.told += len(now)
            is_all = is_all and not later
        return is_all

    def _known(self, stage: Stage, dates: tuple[str, ...]) -> dict[str, dict[str, str]]:
        """By date and table, the version of Dagster's latest materialisation: one query an asset."""
        known: dict[str, dict[str, str]] = {}
        for table, key in stage.keys.items():
            tags = self.instance.event_log_storage.get_latest_tags_by_partition(
                key, dg.DagsterEventType.ASSET_MATERIALIZATION, [DATA_VERSION_TAG], asset_partitions=dates
            )
            for date, said in tags.items():
                known.setdefault(date, {})[table] = said.get(DATA_VERSION_TAG, "")
        return known

    def _tell(self, stage: Stage, date: str, tables: list[str], seen: Seen) -> list[dg.AssetMaterialization]:
        """One unreadable manifest must not stop the others: it is logged, and `egress verify` finds it."""
        try:
            return list(self._events(stage, date, tables, seen))
        except EgressError as error:
            logger.warning("not told: %s %s: %s", stage.unit.title, date, error)
            return []

    def _events(self, stage: Stage, date: str, tables: list[str], seen: Seen) -> Iterator[dg.AssetMaterialization]:
        platform = self.platform
        whole = result(platform.catalog, platform.evidence, stage.dataset, (stage.unit, date), seen)
        past = results.past(stage, whole, platform)
        for table, one in results.by_table(tables, whole).items():
            metadata = results.metadata(stage, table, whole, one, platform=platform, past=past)
            yield dg.AssetMaterialization(
                stage.key(table),
                description="done outside of Dagster, told from evidence",
                partition=date,
                metadata=metadata | _gate(one),
                tags={DATA_VERSION_TAG: one.content_digest, ATTEMPT: one.attempt},
            )


def _gate(found: TableResult) -> dict[str, dg.MetadataValue]:
    """What the gate found: an evaluation of the check can't be told without a run."""
    if not found.checks:
        return {}
    return {
        "gate": dg.MetadataValue.json({check.name: {"passed": check.passed, **check.facts} for check in found.checks})
    }
