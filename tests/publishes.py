"""A dataset that publishes fixed names, over stores in memory or any others, for tests of `publish`."""

from __future__ import annotations

import gzip
import json
from hashlib import sha256
from typing import Any

from egress_assets.engine.evidence.records import digest
from egress_assets.engine.layout import Unit, mirror_unit
from egress_assets.engine.platform import Platform
from egress_assets.engine.stores.settings import StoreSettings
from tests.platforms import (
    DATE,
    DUMP,
    ROWS,
    STORES,
    A,
    B,
    Made,
    MemoryStore,
    Provider,
    catalog,
    materialise,
    memory,
    platform,
)

UNIT = mirror_unit("shop_files")
FLAG = f"exports/{DATE}/_SUCCESS"
ORDERS, CUSTOMERS = f"exports/{DATE}/orders.csv.gz", f"exports/{DATE}/customers.csv.gz"
FILES: dict[str, Any] = {
    "to": "inside", "path": "exports/{date:%Y-%m-%d}/{table}.csv.gz", "format": "csv.gz",
    "flag": "exports/{date:%Y-%m-%d}/_SUCCESS",
}  # fmt: skip
SCHEMA = f"exports/{DATE}/{{}}.schema.json"
DESCRIBED = {"schema": "exports/{date:%Y-%m-%d}/{table}.schema.json", "header": True}
CHANGED = {A: b"1,ann\n2,bob\n3,eve\n", B: b'7,"a,b"\n8,\n'}


def dataset(stage: str = "dump", **changed: Any) -> dict[str, Any]:
    """Fields of the dataset `shop`, whose stage publishes FILES, some fields changed; None leaves one out."""
    said = {"publish": {"files": {k: v for k, v in {**FILES, **changed}.items() if v is not None}}}
    model: dict[str, Any] = {"dump": {}, "scrub": {"key": "k"}, "mirrors": {}}
    return {**model, stage: {**model[stage], **said}}


def published(stores: dict[str, Any] | None = None, *, stage: str = "dump", **changed: Any) -> Platform:
    return platform(stores, **dataset(stage, **changed))


def made(*, stage: Unit = DUMP, rows: Any = None, parts: int = 1, form: str = "csv.zst", **changed: Any) -> Platform:
    """With a date of the stage materialised; its tables have schemas where they are published."""
    p = published(stage=stage.stage, **changed)
    materialise(p, stage, Made(rows or ROWS, form, parts, sidecars="schema" in changed))
    return p


def lying(p: Platform, store: str = "inside") -> dict[str, bytes]:
    return {key: kept.body for key, kept in sorted(memory(p, store).objects.items())}


def writes(store: MemoryStore) -> list[tuple[str, str]]:
    return [(method, key) for method, key in store.asked if method in ("put", "upload", "delete", "put_if")]


def served(endpoint: str, bucket: str, **changed: Any) -> Platform:
    """Over an S3 server that takes any secret: each store is a prefix of one bucket."""
    stores = {
        name: StoreSettings(
            name=name, zone=zone, bucket=bucket, prefix=name, endpoint=endpoint, access_key="a", secret_key="s"
        )
        for name, zone in STORES.items()
    }
    return Platform(catalog(**dataset(**changed)), Provider({}, stores))


def found(p: Platform) -> dict[str, bytes]:
    """As `lying`, of any store."""
    store = p.store("inside")
    return {listed.key: b"".join(store.get(listed.key)) for listed in store.list("exports/")}


def require_no_mixture(files: dict[str, bytes]) -> None:
    """No flag, or one that stands for exactly what lies below it, all of one version, schemas among it."""
    if FLAG not in files:
        return
    rows = {A: _rows(files, CUSTOMERS), B: _rows(files, ORDERS)}
    assert rows in (ROWS, CHANGED)
    said = {o["key"]: (o["bytes"], o["sha256"]) for o in json.loads(files[FLAG])["objects"]}
    assert said == {key: (len(body), sha256(body).hexdigest()) for key, body in files.items() if key != FLAG}
    for table, body in rows.items():
        if schema := files.get(SCHEMA.format(table.partition(".")[2])):
            assert json.loads(schema)["content_digest"] == digest([table, body.decode("latin-1")])


def _rows(files: dict[str, bytes], key: str) -> bytes:
    """What lies under the key, without the header line that comes with a schema."""
    body = gzip.decompress(files[key])
    return body.partition(b"\n")[2] if any(key.endswith(".schema.json") for key in files) else body
