"""The one object that stages are given: the catalog and opened endpoints, whoever runs them (CLI, Dagster, a test).

Endpoints come from an `Endpoints` provider: the sandbox (every source, store and recipient replaced by its kind under
the same name), the catalog with its references resolved, or Dagster's resources. Nothing is opened before it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.evidence.driver import Evidence
from egress_assets.engine.stores import ManagedStore, open_store
from egress_assets.engine.stores.settings import StoreSettings


class Provider(Protocol):
    """Where settings come from. Each call may raise CatalogError naming the missing variable or file."""

    def source(self, name: str) -> Any:
        """SourceSettings of engine/dump/source.py."""
        ...

    def store(self, name: str) -> StoreSettings: ...

    def recipient(self, name: str) -> Mapping[str, Any]:
        """Fields of the transfer type's settings, references resolved."""
        ...

    def secret(self, value: Any) -> str:
        """A literal or reference of the catalog, resolved."""
        ...

    def signing_key(self) -> str:
        """PEM of the private key of `certificates`, where the catalog has them and KMS doesn't keep it."""
        ...

    def trusted_keys(self) -> list[str]:
        """PEM of the public keys of `certificates.trusted`."""
        ...


@dataclass(slots=True)
class Platform:
    """Catalog + endpoints. Stores are opened once and shared by threads."""

    catalog: Catalog
    provider: Provider
    env: str = "sandbox"
    _stores: dict[str, ManagedStore] = field(default_factory=dict)

    def store(self, name: str) -> ManagedStore:
        if name not in self._stores:
            self._stores[name] = open_store(self.provider.store(name))
        return self._stores[name]

    @property
    def evidence(self) -> Evidence:
        return Evidence(self.store(self.catalog.endpoints.evidence.store))
