"""A dataset that publishes fixed names, over stores in memory or any others, for tests of `publish`."""

from __future__ import annotations

from typing import Any

from egress_assets.engine.layout import Unit, mirror_unit
from egress_assets.engine.platform import Platform
from tests.platforms import DATE, DUMP, ROWS, A, B, Made, MemoryStore, materialise, memory, platform

UNIT = mirror_unit("shop_files")
FLAG = f"exports/{DATE}/_SUCCESS"
ORDERS, CUSTOMERS = f"exports/{DATE}/orders.csv.gz", f"exports/{DATE}/customers.csv.gz"
FILES: dict[str, Any] = {
    "to": "inside", "path": "exports/{date:%Y-%m-%d}/{table}.csv.gz", "format": "csv.gz",
    "flag": "exports/{date:%Y-%m-%d}/_SUCCESS",
}  # fmt: skip
CHANGED = {A: b"1,ann\n2,bob\n3,eve\n", B: b'7,"a,b"\n8,\n'}


def dataset(stage: str = "dump", **changed: Any) -> dict[str, Any]:
    """Fields of the dataset `shop`, whose stage publishes FILES, some fields changed; None leaves one out."""
    said = {"publish": {"files": {k: v for k, v in {**FILES, **changed}.items() if v is not None}}}
    model: dict[str, Any] = {"dump": {}, "scrub": {"key": "k"}, "mirrors": {}}
    return {**model, stage: {**model[stage], **said}}


def published(stores: dict[str, Any] | None = None, *, stage: str = "dump", **changed: Any) -> Platform:
    return platform(stores, **dataset(stage, **changed))


def made(*, stage: Unit = DUMP, rows: Any = None, parts: int = 1, form: str = "csv.zst", **changed: Any) -> Platform:
    """With a date of the stage materialised."""
    p = published(stage=stage.stage, **changed)
    materialise(p, stage, Made(rows or ROWS, form, parts))
    return p


def lying(p: Platform, store: str = "inside") -> dict[str, bytes]:
    return {key: kept.body for key, kept in sorted(memory(p, store).objects.items())}


def writes(store: MemoryStore) -> list[tuple[str, str]]:
    return [(method, key) for method, key in store.asked if method in ("put", "upload", "delete", "put_if")]
