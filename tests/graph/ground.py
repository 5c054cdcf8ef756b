"""Evidence in memory below real definitions: what sensors look at, and ticks as the daemon makes them."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import dagster as dg

from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.evidence.proofs import Receipt
from egress_assets.engine.evidence.records import (
    CheckRecord,
    Column,
    Draft,
    ObjectRecord,
    Outcome,
    Pointer,
    Position,
    TableRecord,
    canonical,
    digest,
)
from egress_assets.engine.layout import delivery_unit, dump_unit, mirror_unit, receipt_key, scrub_unit
from egress_assets.engine.platform import Platform
from tests.graph.conftest import DELIVERY, DUMP, MIRROR, SCRUB, TABLES
from tests.platforms import MemoryStore, Provider

UNITS = {
    "dump": dump_unit("shop"),
    "scrub": scrub_unit("shop", "shared"),
    "mirror": mirror_unit("shop"),
    "delivery": delivery_unit("acme", "orders"),
}
KEYS = {"dump": DUMP, "scrub": SCRUB, "mirror": {"": MIRROR}, "delivery": {"": DELIVERY}}


def over_memory(catalog: Catalog) -> Platform:
    stores: dict[str, Any] = {
        name: MemoryStore(name, model.zone, bucket=name) for name, model in catalog.endpoints.stores.items()
    }
    return Platform(catalog, Provider(), _stores=stores)


@dataclass
class Ground:
    """`make` does what the CLI would leave behind; `tick` evaluates a sensor with the cursor of its last tick."""

    platform: Platform
    defs: dg.Definitions
    instance: dg.DagsterInstance
    cursors: dict[str, str | None] = field(default_factory=dict)
    made: int = 0

    @property
    def store(self) -> MemoryStore:
        store = self.platform.store("evidence")
        assert isinstance(store, MemoryStore)
        return store

    def make(self, stage: str, date: str, content: str = "v1", *, tables: tuple[str, ...] = TABLES) -> Outcome:
        """A unit's pointer moves as its run would move it; a delivery is sealed only.

        What a mirror or delivery holds is its parent's: `content` is of dumps and scrubs.
        """
        parents = self._parents(stage, date)
        content = digest(parents) if parents else content
        names = tables if stage in ("dump", "scrub") else ("objects",)
        self.made += 1
        draft = Draft(
            tables={name: _record(name, content, tabular=len(names) > 1) for name in names},
            position=Position("lsn", self.made),
            snapshot=f"s{self.made}",
            as_of=f"{date}T23:00:00Z",
            store="lake",
            basis={"basis": "scrubbed"},
            parents=parents,
            facts={"milliseconds": {"read": 1500, "write": 500}},
        )

        def work(_base: Pointer | None, _attempt: str) -> Draft:
            return draft

        return self.platform.evidence.materialise(UNITS[stage], date, work, tables=frozenset(names))

    def _parents(self, stage: str, date: str) -> dict[str, Any]:
        if stage not in ("mirror", "delivery"):
            return {}
        above = self.platform.evidence.pointer(UNITS["scrub"], date)
        assert above is not None
        entries = {t: [e.attempt, e.content_digest] for t, e in above.entries.items()}
        return {str(above.unit): entries if stage == "mirror" else {"public.orders": entries["public.orders"]}}

    def deliver(self, date: str) -> None:
        """Sealed and sent, unless this was sent before."""
        outcome = self.make("delivery", date)
        entry = outcome.pointer.entries["objects"]
        source = {"unit": str(UNITS["delivery"]), "attempt": entry.attempt, "manifest_digest": entry.manifest_digest}
        receipt = Receipt(
            identity=digest([date, entry.content_digest]), by="cli", how="sent", recipient="acme", pipeline="orders",
            order=(date, outcome.pointer.generation), destination=f"{date}.csv.gz", sha256=entry.content_digest,
            bytes=9, era=outcome.pointer.generation, at=self.made, source=source,
        )  # fmt: skip
        self.store.put(receipt_key(date, receipt.identity), canonical(receipt.to_json()))

    def chain(self, *dates: str, content: str = "v1") -> None:
        for date in dates:
            for stage in ("dump", "scrub", "mirror"):
                self.make(stage, date, content)
            self.deliver(date)

    def tick(self, name: str, *, lost: bool = False) -> Any:
        """SensorExecutionData of one tick; what it reports is stored, as the daemon does."""
        sensor = self.defs.resolve_sensor_def(name)
        context = dg.build_sensor_context(
            instance=self.instance, cursor=None if lost else self.cursors.get(name), sensor_name=name,
            repository_def=self.defs.get_repository_def(),
        )  # fmt: skip
        with context:
            data = sensor.evaluate_tick(context)
        if data.skip_message is None or data.cursor:
            self.cursors[name] = data.cursor
        for event in data.asset_events:
            self.instance.report_runless_asset_event(event)
        return data


def _record(name: str, content: str, *, tabular: bool) -> TableRecord:
    columns = (Column("id", "bigint", False, "keep"), Column("email", "text", True, "email")) if tabular else ()
    return TableRecord(
        objects=(ObjectRecord(f"k/{name}", 100, digest([name, content]), 10, "e", raw_bytes=400),),
        content_digest=digest([name, content]),
        columns=columns,
        format="csv.zst",
        rows=10,
        checks=(CheckRecord("identifiers", True, {"scanned": 9}),) if tabular else (),
    )


def at(monkeypatch: Any, moment: str) -> datetime:
    monkeypatch.setenv("EGRESS_NOW", moment)
    return datetime.fromisoformat(moment)
