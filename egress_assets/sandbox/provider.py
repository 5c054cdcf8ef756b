"""The sandbox as endpoints of a catalog: every source, store and recipient replaced by its kind, under the same name.

No `{env: ...}` or `{file: ...}` of the catalog is resolved, so no secret of anywhere else is needed or touched. The
sandbox starts, with its sample data, when the first setting is asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from egress_assets.engine.catalog.models import Catalog, StoreModel
from egress_assets.engine.dump.source import SourceSettings
from egress_assets.engine.errors import CatalogError
from egress_assets.engine.stores.settings import StoreSettings
from egress_assets.sandbox import sample
from egress_assets.sandbox.lifecycle import start
from egress_assets.sandbox.model import DATABASES, Sandbox
from egress_assets.sandbox.state import BUCKETS

_KEPT = ("zone", "part_bytes", "max_parts")
_SHARED = {"s3": "lake", "ceph": "mirror"}  # the bucket of stores that have none of their own, by server


class SandboxProvider:
    """Settings of the embedded servers. Safe to call from many threads."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._lock = threading.Lock()
        self._sandbox: Sandbox | None = None

    @property
    def sandbox(self) -> Sandbox:
        """Started, with sample data. Raises SandboxUnavailable."""
        with self._lock:
            if self._sandbox is None:
                self._sandbox = start()
                sample.load(self._sandbox)
            return self._sandbox

    def source(self, name: str) -> SourceSettings:
        """The sample database of the same name, with or without `_db`."""
        model = self._named("sources", name)
        database = name.removesuffix("_db")
        if database not in DATABASES:
            valid = ", ".join(f"{each}_db" for each in DATABASES)
            hint = f"The sandbox has {valid}; set EGRESS_ENV to dev or prod to reach your own database."
            raise CatalogError(f"source {name} has no counterpart in the sandbox", hint=hint)
        dsn = self.sandbox.dsn(database).conninfo
        fields = ("workers", "lock_timeout", "statement_timeout", "max_snapshot_seconds")
        kept = {field: getattr(model, field) for field in fields}
        return SourceSettings(name=name, dsn=dsn, tls="disable", **kept)

    def store(self, name: str) -> StoreSettings:
        """The bucket of the same name, or the one that the catalog names, or a folder of its own in a shared one."""
        model: StoreModel = self._named("stores", name)
        server = model.kind if model.kind in BUCKETS else "s3"
        own = next((each for each in BUCKETS[server] if each in (name, model.bucket)), "")
        bucket = self.sandbox.stores[own or _SHARED[server]]
        prefix = model.prefix if own else f"stores/{name}/{model.prefix}"
        kept = {field: getattr(model, field) for field in _KEPT}
        return bucket.model_copy(update={"name": name, "prefix": prefix, **kept})

    def recipient(self, name: str) -> Mapping[str, Any]:
        """The embedded recipient of the same transfer type, whatever the catalog's one is for."""
        model = self._named("recipients", name)
        if model.transfer_type not in _RECIPIENTS:
            hint = f"The sandbox has {', '.join(_RECIPIENTS)}."
            raise CatalogError(f"transfer type {model.transfer_type} has no counterpart in the sandbox", hint=hint)
        return _RECIPIENTS[model.transfer_type](self.sandbox, name)

    def secret(self, value: Any) -> str:
        """The sandbox's scrub key in place of any reference; a literal is itself."""
        return value if isinstance(value, str) else self.sandbox.scrub_key

    def signing_key(self) -> str:
        """The sandbox's own, in place of any reference."""
        return self.sandbox.signing_key

    def trusted_keys(self) -> list[str]:
        """Literals of the catalog: files and variables are of elsewhere."""
        said = self._catalog.endpoints.certificates
        return [each for each in said.trusted if isinstance(each, str)] if said else []

    def _named(self, section: str, name: str) -> Any:
        known = getattr(self._catalog.endpoints, section)
        if name not in known:
            hint = f"Valid: {', '.join(sorted(known)) or 'there are none'}."
            raise CatalogError(f"{name!r} is not among the {section} of endpoints.yaml", hint=hint)
        return known[name]


def _sft(sandbox: Sandbox, _name: str) -> dict[str, Any]:
    """The receiver keeps one copy an Idempotency-Key."""
    at = sandbox.receiver
    return {"url": at.url, "ca": str(at.ca), "cert": str(at.cert), "key": str(at.key), "knows": "idempotent"}


def _folder(sandbox: Sandbox, name: str) -> dict[str, Any]:
    folder = sandbox.folder / name
    folder.mkdir(exist_ok=True)
    return {"path": str(folder)}


def _s3(sandbox: Sandbox, name: str) -> dict[str, Any]:
    return sandbox.stores["recipient-inbox"].model_dump() | {"prefix": name}


_RECIPIENTS: Mapping[str, Callable[[Sandbox, str], dict[str, Any]]] = {"folder": _folder, "s3": _s3, "sft": _sft}
