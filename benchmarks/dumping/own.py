"""One dump by the engine, as the command makes it: `own.py` with the order as JSON on standard input.

Prints {seconds, bytes, phases} of the stage's public call; what importing takes is not in it. Every
order names buckets of its own: nothing is compared with a date that was dumped before.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from typing import Any

from egress_assets.engine.catalog.models import Catalog, DatasetModel, Endpoints
from egress_assets.engine.dump.run import run
from egress_assets.engine.dump.source import SourceSettings
from egress_assets.engine.platform import Platform
from egress_assets.engine.stores.settings import StoreSettings

DATE, NOW = "2026-11-19", "2026-11-20T02:30:00+00:00"


@dataclass(frozen=True, slots=True)
class Order:
    """What is dumped and where to: `sink` throws bytes away, `evidence` keeps them."""

    source: dict[str, Any]
    table: str
    rows: int
    format: str
    sink: str
    evidence: str
    bucket: str


@dataclass(frozen=True, slots=True)
class Given:
    """The order's endpoints, as a platform's provider."""

    order: Order

    def source(self, _name: str) -> SourceSettings:
        return SourceSettings.model_validate({"name": "db", "tls": "disable", **self.order.source})

    def store(self, name: str) -> StoreSettings:
        endpoint = self.order.evidence if name == "evidence" else self.order.sink
        return StoreSettings(name=name, bucket=self.order.bucket, endpoint=endpoint, access_key="k", secret_key="s")

    def recipient(self, name: str) -> dict[str, Any]:
        raise KeyError(name)

    def secret(self, value: Any) -> str:
        return str(value)


def platform_of(order: Order) -> Platform:
    stores = {name: {"bucket": name, "zone": "trusted"} for name in ("evidence", "lake")}
    given = {"timezone": "UTC", "evidence": {"store": "evidence"}, "sources": {"db": {"host": "db.example"}}}
    dataset = {"source": "db", "start": "2026-11-01", "dump": {"format": order.format}, "tables": {order.table: {}}}
    catalog = Catalog(
        endpoints=Endpoints.model_validate({**given, "stores": stores}),
        datasets={"bench": DatasetModel.model_validate(dataset)},
    )
    return Platform(catalog, Given(order))


def main() -> None:
    os.environ["EGRESS_NOW"] = NOW
    order = Order(**json.load(sys.stdin))
    platform = platform_of(order)
    began = time.perf_counter()
    result = run(platform, "bench", DATE)
    seconds = time.perf_counter() - began
    (table,) = result.tables.values()
    if table.rows != order.rows:
        sys.exit(f"{order.table} has {order.rows} rows, {table.rows} were dumped")
    print(json.dumps({"seconds": seconds, "bytes": table.bytes, "phases": result.phases}))


if __name__ == "__main__":
    main()
