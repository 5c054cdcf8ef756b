"""Ask every endpoint of a catalog whether it is there and lets us do what the catalog says. For `egress check --live`.

Everything is asked, whatever failed before; a finding is a line of the answer. What is written is a probe of a few
bytes under `egress-probe/`, deleted at once. Nothing of a table's content is read.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from psycopg import pq

from egress_assets.engine.bucket_policy.run import look as look_at_bucket
from egress_assets.engine.bucket_policy.wanted import written_stores
from egress_assets.engine.catalog.models import Catalog, DatasetModel
from egress_assets.engine.dump.snapshot import look
from egress_assets.engine.dump.source import ping
from egress_assets.engine.errors import CatalogError, EgressError, SourceDenied, StoreError
from egress_assets.engine.layout import PROBES
from egress_assets.engine.platform import Platform
from egress_assets.engine.scrub.keys import MasterKey
from egress_assets.engine.scrub.policy import compile_policy
from egress_assets.engine.transfers import open_transfer


@dataclass(frozen=True, slots=True)
class Finding:
    """What one question to one endpoint came to; `hint` is the way out of a problem."""

    what: str  # store lake, source shop_db, dataset shop, recipient acme
    asked: str  # reach, write, conditional PUT, bucket policy, tables, policy
    state: Literal["ok", "problem"]
    detail: str
    hint: str = ""


def findings(platform: Platform) -> Iterator[Finding]:
    """Stores, sources, datasets, recipients, as the answers come."""
    catalog = platform.catalog
    written = written_stores(catalog)
    for name in sorted(_stores(catalog)):
        yield from _store(platform, name, is_written=name in written)
    yield _asked("client libpq", "TLS", lambda: _tls(catalog))
    for name in sorted({model.source for model in catalog.datasets.values() if model.source}):
        yield _asked(f"source {name}", "reach", lambda name=name: ping(platform.provider.source(name)))
    for name, model in catalog.datasets.items():
        if model.source:
            yield _asked(f"dataset {name}", "tables", lambda model=model: _tables(platform, model))
    for name in sorted(
        {delivery.split("/")[0] for model in catalog.datasets.values() for delivery in model.deliveries}
    ):
        yield _asked(f"recipient {name}", "reach", lambda name=name: _recipient(platform, name))


def _asked(what: str, asked: str, question: Callable[[], str]) -> Finding:
    try:
        return Finding(what, asked, "ok", question())
    except CatalogError as error:
        return Finding(what, asked, "problem", "; ".join(error.problems) or error.message, error.hint)
    except EgressError as error:
        return Finding(what, asked, "problem", error.message, error.hint)


def _stores(catalog: Catalog) -> set[str]:
    """Stores that something uses."""
    mirrors = [mirror for model in catalog.datasets.values() for mirror in model.mirrors.values()]
    read = {mirror.from_.store for mirror in mirrors if mirror.from_ and not isinstance(mirror.from_, str)}
    watched = {watch.store for model in catalog.datasets.values() for watch in model.watch}
    return {*written_stores(catalog)} | read | watched


def _store(platform: Platform, name: str, *, is_written: bool) -> Iterator[Finding]:
    what = f"store {name}"
    reached = _asked(what, "reach", lambda: platform.store(name).ping())
    yield reached
    if reached.state == "ok" and is_written:
        yield _asked(what, "write", lambda: _write(platform, name))
    if reached.state == "ok" and name == platform.catalog.endpoints.evidence.store:
        key = f"{PROBES}{secrets.token_hex(8)}"
        yield _asked(what, "conditional PUT", lambda: platform.store(name).probe_conditional_put(key))
    if reached.state == "ok" and is_written and platform.catalog.endpoints.stores[name].policy == "apply":
        yield _asked(what, "bucket policy", lambda: _bucket_policy(platform, name))


def _write(platform: Platform, name: str) -> str:
    store, key = platform.store(name), f"{PROBES}{secrets.token_hex(8)}"
    store.put(key, b"written by `egress check --live`, deleted at once")
    store.delete(key)
    return "put and deleted a probe"


def _bucket_policy(platform: Platform, name: str) -> str:
    """What `--apply` would cure is no problem: nothing that runs needs it."""
    found = look_at_bucket(platform, name)
    if bad := [item for item in (*found.unknown, *found.drift) if item.sign == "!"]:
        said = "; ".join(f"{item.what} {item.state}: {item.detail}" for item in bad)
        raise StoreError(f"bucket {found.bucket!r}: {said}", hint=f"`egress bucket-policy {name}` shows all of it.")
    if found.drift:
        return f"differs in {len(found.drift)} items: `egress bucket-policy {name} --apply` makes it so"
    return f"as the catalog says, {len(found.items)} items"


def _tls(catalog: Catalog) -> str:
    """A libpq that was built without TLS ignores every certificate: its own default says so."""
    options = {option.keyword: option.compiled for option in pq.Conninfo.get_defaults()}
    version = ".".join(str(part) for part in divmod(pq.version(), 10_000))
    if options.get(b"sslmode") == b"disable" and any(s.tls != "disable" for s in catalog.endpoints.sources.values()):
        hint = "Install psycopg[binary], or a libpq that was built with OpenSSL."
        raise SourceDenied(f"libpq {version} was built without TLS", hint=hint)
    return f"libpq {version} ({pq.__impl__}) with TLS"


def _tables(platform: Platform, model: DatasetModel) -> str:
    """Tables and columns as the catalog names them, readable, and every column of a scrub with a mask that fits."""
    relations = look(platform.provider.source(model.source or ""), tuple(model.tables))
    columns = sum(len(relation.columns) for relation in relations.values())
    said = f"{len(relations)} tables, {columns} columns"
    if model.scrub is None:
        return said
    key = MasterKey.parse(platform.provider.secret(model.scrub.key))
    compile_policy(model, relations, key.audience(model.scrub.audience, model.scrub.epoch))
    return f"{said}, each with a mask that fits; key {key.key_id}"


def _recipient(platform: Platform, name: str) -> str:
    kind = platform.catalog.endpoints.recipients[name].transfer_type
    return open_transfer(kind, platform.provider.recipient(name), recipient=name).ping()
