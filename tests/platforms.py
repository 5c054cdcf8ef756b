"""A platform over stores in memory (or any others) with a small catalog, for tests of mirrors and deliveries.

The store in memory keeps the Store protocol's promises and counts what it was asked for.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from egress_assets import sandbox
from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.dialect import PLAIN, Dialect
from egress_assets.engine.errors import ObjectConflict, ObjectMissing
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
from egress_assets.engine.layout import Unit, dump_unit, part_key, schema_key, scrub_unit
from egress_assets.engine.platform import Platform
from egress_assets.engine.stores import Answer, Head, Listed, Pending, Store, Uploaded
from egress_assets.engine.stores.settings import StoreSettings
from egress_assets.engine.stream import compressed
from egress_assets.sandbox import Sandbox

DATE = "2026-11-20"
NOW = "2026-11-21T03:00:00+00:00"
SCRUB, DUMP = scrub_unit("shop", "shared"), dump_unit("shop")
A, B = "public.customers", "public.orders"
INTERNAL = {"basis": "internal", "reason": "our own cluster"}
MIRRORS = {  # to an external store, to a trusted one, of a foreign bucket
    "shop": {"to": "ceph"},
    "inner": {"to": "inside", "prefix": "copy"},
    "foreign": {
        "from": {"store": "foreign", "prefix": "in/"}, "select": "bucket", "to": "ceph", "prefix": "theirs",
        "release": INTERNAL,
    },
}  # fmt: skip
ROWS = {A: b"1,ann\n2,bob\n", B: b'7,"a,b"\n'}


@dataclass(slots=True)
class Kept:
    body: bytes
    etag: str
    modified: datetime
    metadata: dict[str, str]
    headers: dict[str, str]


@dataclass(slots=True)
class MemoryStore:
    name: str = "memory"
    zone: str = "trusted"
    kind: str = "memory"
    bucket: str = "memory"
    objects: dict[str, Kept] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)  # (method, key), in order
    failing: dict[tuple[str, str], Exception] = field(default_factory=dict)  # (method, key or "*") -> raised
    before: Callable[[str, str], None] | None = None  # called with (method, key) before each chunk of a get, and reads
    pending: list[Pending] = field(default_factory=list)
    chunk: int = 2**18  # bytes of a get; an upload of more than one is multipart
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def _ask(self, method: str, key: str) -> None:
        self.asked.append((method, key))
        if error := self.failing.get((method, key)) or self.failing.get((method, "*")):
            raise error

    def times(self, method: str) -> int:
        return sum(1 for m, _ in self.asked if m == method)

    def head(self, key: str) -> Head | None:
        self._ask("head", key)
        kept = self.objects.get(key)
        return self._head(key, kept) if kept else None

    def _head(self, key: str, kept: Kept) -> Head:
        now = datetime.now(UTC)
        return Head(key, len(kept.body), kept.etag, kept.modified, now, "", dict(kept.metadata), dict(kept.headers))

    def read(self, key: str) -> tuple[bytes, Head] | None:
        self._ask("read", key)
        if self.before:
            self.before("read", key)
        with self._lock:
            kept = self.objects.get(key)
            return (kept.body, self._head(key, kept)) if kept else None

    def get(self, key: str, *, start: int = 0, etag: str | None = None) -> Iterator[bytes]:
        self._ask("get", key)
        while True:
            if self.before:
                self.before("get", key)
            kept = self.objects.get(key)
            if kept is None:
                raise ObjectMissing(f"{key} is absent")
            if etag is not None and kept.etag != etag:
                raise ObjectConflict(f"{key} changed under the reader")
            etag = kept.etag
            if start >= len(kept.body):
                return
            yield kept.body[start : start + self.chunk]
            start += self.chunk

    def put(
        self,
        key: str,
        body: bytes,
        *,
        metadata: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Uploaded:
        self._ask("put", key)
        return self._keep(key, bytes(body), metadata, headers)

    def _keep(
        self,
        key: str,
        body: bytes,
        metadata: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        tail: str = "",
    ) -> Uploaded:
        etag = hashlib.md5(body).hexdigest() + tail
        with self._lock:
            self.objects[key] = Kept(body, etag, datetime.now(UTC), dict(metadata or {}), dict(headers or {}))
        return Uploaded(key, len(body), hashlib.sha256(body).hexdigest(), etag)

    def put_if(self, key: str, body: bytes, *, etag: str | None) -> Answer:
        self._ask("put_if", key)
        with self._lock:
            kept = self.objects.get(key)
            if (kept.etag if kept else None) != etag:
                return "refused"
            self._keep(key, body, None, None)
            return "ok"

    def upload(
        self,
        key: str,
        chunks: Iterable[bytes],
        *,
        metadata: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        size: int | None = None,
    ) -> Uploaded:
        """Multipart above one chunk, with an ETag that differs between stores: it depends on part sizes."""
        self._ask("upload", key)
        body = b"".join(chunks)
        return self._keep(key, body, metadata, headers, f"-{len(self.name)}" if len(body) > self.chunk else "")

    def copy(self, source_key: str, key: str, *, source_bucket: str | None = None, etag: str | None = None) -> Uploaded:
        raise NotImplementedError

    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[Listed]:
        self._ask("list", prefix)
        for key in sorted(self.objects, key=lambda k: k.encode("utf-8", "surrogatepass")):
            if key.startswith(prefix) and key.encode() > start_after.encode():
                if error := self.failing.get(("page", key)):
                    raise error
                kept = self.objects[key]
                yield Listed(key, len(kept.body), kept.etag, kept.modified)

    def delete(self, key: str) -> None:
        self._ask("delete", key)
        self.objects.pop(key, None)

    def uploads(self, prefix: str = "") -> Iterator[Pending]:
        return iter([p for p in self.pending if p.key.startswith(prefix)])

    def abort(self, upload: Pending) -> None:
        self._ask("abort", upload.key)
        self.pending.remove(upload)

    def ping(self) -> str:
        return "memory"


@dataclass(slots=True)
class Provider:
    """Settings of stores and recipients by name."""

    recipients: dict[str, dict[str, Any]] = field(default_factory=dict)
    stores: dict[str, StoreSettings] = field(default_factory=dict)

    def source(self, name: str) -> Any:
        raise AssertionError(name)

    def store(self, name: str) -> StoreSettings:
        return self.stores.get(name) or StoreSettings(name=name, bucket=name)

    def recipient(self, name: str) -> Mapping[str, Any]:
        return self.recipients[name]

    def secret(self, value: Any) -> str:
        raise AssertionError(value)


STORES = {"evidence": "trusted", "lake": "trusted", "foreign": "trusted", "inside": "trusted", "ceph": "external"}


def catalog(recipients: Mapping[str, Any] | None = None, **shop: Any) -> Catalog:
    """One dataset `shop` of two tables, scrubbed and dumped; `shop` replaces or adds fields."""
    dataset = {
        "source": "shop_db",
        "start": "2026-11-01",
        "dump": {},
        "scrub": {"key": "k"},
        "tables": {A: {"columns": {"id": "keep"}}, B: {"columns": {"id": "keep"}}},
        "mirrors": {"shop": {"to": "ceph"}},
        **shop,
    }
    endpoints = {
        "timezone": "Europe/London",
        "evidence": {"store": "evidence"},
        "sources": {"shop_db": {"dsn": "unused"}},
        "stores": {name: {"bucket": name, "zone": zone} for name, zone in STORES.items()},
        "recipients": dict(recipients or {}),
    }
    return Catalog.model_validate(
        {"endpoints": endpoints, "datasets": {"shop": {k: v for k, v in dataset.items() if v is not None}}}
    )


def platform(stores: Mapping[str, Store] | None = None, *, env: str = "sandbox", **given: Any) -> Platform:
    """A platform over memory, or over `stores`; `given` goes to `catalog`, but for `settings` of recipients."""
    settings = given.pop("settings", {})
    made: dict[str, Any] = {name: MemoryStore(name, zone, bucket=name) for name, zone in STORES.items()}
    return Platform(catalog(**given), Provider(settings), env, _stores=made | dict(stores or {}))


def memory(platform: Platform, name: str) -> MemoryStore:
    store = platform.store(name)
    assert isinstance(store, MemoryStore)
    return store


@dataclass(frozen=True, slots=True)
class Made:
    """How a stage of tests is materialised."""

    rows: Mapping[str, bytes] = field(default_factory=lambda: ROWS)
    format: str = "csv.zst"
    parts: int = 1
    csv: Dialect = PLAIN
    sidecars: bool = False
    passed: bool | None = True  # None: without any check
    snapshot: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


def materialise(platform: Platform, unit: Unit, made: Made | None = None, *, date: str = DATE) -> Outcome:
    """Tables of `unit` in the lake, through the evidence's own protocol."""
    made = made or Made()
    lake = platform.store("lake")

    def work(base: Pointer | None, me: str) -> Draft:
        tables = {table: _table(lake, unit, made, (table, me, date)) for table in made.rows}
        position = Position("as_of", (base.generation if base else 0) + 1)
        return Draft(tables, position, made.snapshot or me, f"{date}T01:00:00Z", "lake", facts=dict(made.facts))

    return platform.evidence.materialise(unit, date, work, lake, frozenset(made.rows))


def _table(lake: Store, unit: Unit, made: Made, name: tuple[str, str, str]) -> TableRecord:
    table, me, date = name
    rows = made.rows[table]
    lines = rows.splitlines(keepends=True)
    records = []
    for n in range(made.parts):
        body = b"".join(compressed([b"".join(lines[n :: made.parts])], made.format))
        key = part_key(unit, date, me, table=table, part=n, suffix=made.format)
        done = lake.upload(key, [body])
        records.append(ObjectRecord(key, done.bytes, done.sha256, len(lines[n :: made.parts]), done.etag))
    checks = () if made.passed is None else (CheckRecord("gate", made.passed), CheckRecord("row_counts_match", True))
    columns = (Column("id", "integer"), Column("name, or what", "text", mask="keep"))
    content = digest([table, rows.decode("latin-1")])
    beside = (_sidecar(lake, made, schema_key(unit, date, me, table=table), (date, content)),) if made.sidecars else ()
    return TableRecord(
        tuple(records), content, columns, made.format, len(lines), "policy", checks, made.csv, sidecars=beside
    )


def _sidecar(lake: Store, made: Made, key: str, of: tuple[str, str]) -> ObjectRecord:
    said: dict[str, Any] = {"table": key.split("/")[-2], "columns": ["id"], "format": made.format}
    said |= {"csv": made.csv.to_json(), "header": False} if made.format.startswith("csv") else {}
    of_a_date = {"version": 1, "kind": "schema", "dataset": "shop", "rows": 2, "date": of[0], "content_digest": of[1]}
    done = lake.put(key, canonical({**of_a_date, "schema_digest": digest(said), **said}))
    return ObjectRecord(key, done.bytes, done.sha256, etag=done.etag)


# ------------------------------------------------------------------------------------------------------- real servers
BUCKETS = {"evidence": "evidence", "lake": "lake", "foreign": "quarantine", "inside": "quarantine", "ceph": "mirror"}


@contextlib.contextmanager
def sandboxed() -> Iterator[Sandbox]:
    """A sandbox of its own; its folder's path is short, because a socket's has 107 bytes."""
    home = Path(tempfile.mkdtemp(prefix="egt-", dir="/tmp"))
    try:
        yield sandbox.start(home)
    finally:
        sandbox.remove(home)
        shutil.rmtree(home)


def over(servers: Sandbox, token: str, **given: Any) -> Platform:
    """A platform over the servers; stores are prefixes named by `token`, so that tests don't meet."""
    stores = {
        name: servers.stores[bucket].model_copy(
            update={"name": name, "zone": STORES[name], "prefix": f"{token}/{name}", "part_bytes": 5 * 2**20}
        )
        for name, bucket in BUCKETS.items()
    }
    at = servers.receiver
    sft = {"url": at.url, "ca": str(at.ca), "cert": str(at.cert), "key": str(at.key), "knows": "idempotent"}
    inbox = servers.stores["recipient-inbox"].model_dump() | {"prefix": token}
    drop = servers.folder / token
    drop.mkdir(exist_ok=True)
    settings = {"acme": sft, "bucket": inbox, "agent": {"path": str(drop)}} | given.pop("settings", {})
    types = {"acme": "sft", "bucket": "s3", "agent": "folder"}
    recipients = {name: {"transfer_type": kind} for name, kind in types.items()} | given.pop("recipients", {})
    env = given.pop("env", "sandbox")
    return Platform(catalog(recipients, **given), Provider(settings, stores), env)


def child(servers: Sandbox, token: str, body: str, **given: Any) -> subprocess.Popen[str]:
    """Another process over the same platform `p`; `body` is its program. Ends with this process's pipe."""
    program = _CHILD.format(folder=str(servers.state.folder), token=token, given=given) + textwrap.dedent(body)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "EGRESS_NOW": NOW}
    command = [sys.executable, "-c", program]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


_CHILD = """
import os, sys, time
from pathlib import Path
from egress_assets import sandbox
from tests.platforms import *
p = over(sandbox.start(Path({folder!r})), {token!r}, **{given!r})
"""
