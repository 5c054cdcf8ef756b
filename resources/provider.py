"""What the engine is given instead of the catalog's references: the settings of a run's resources."""

from collections.abc import Mapping
from typing import Any

from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.dump.source import SourceSettings
from egress_assets.engine.environment import environment
from egress_assets.engine.errors import CatalogError, ReleaseRefused
from egress_assets.engine.stores.settings import StoreSettings
from resources.certificates import CERTIFICATES


class ResourceProvider:
    """The engine's Provider over Dagster resources. An op has the endpoints that its stage declares, no others."""

    def __init__(self, resources: object, catalog: Catalog) -> None:
        self._resources = resources
        self._catalog = catalog

    def source(self, name: str) -> SourceSettings:
        return self._resource(f"source_{name}").settings()

    def store(self, name: str) -> StoreSettings:
        return self._resource(f"store_{name}").settings()

    def recipient(self, name: str) -> Mapping[str, Any]:
        """Raises ReleaseRefused for a recipient of `env: prod` elsewhere; the sandbox has replaced it."""
        if self._catalog.endpoints.recipients[name].env == "prod" and environment() == "dev":
            hint = "Give it a test address and `env: any` in endpoints.dev.yaml."
            raise ReleaseRefused(f"recipient {name} is for prod, this is dev", hint=hint)
        return self._resource(f"recipient_{name}").settings()

    def secret(self, value: Any) -> str:
        """The scrub key of the dataset whose catalog file says `value`."""
        for name, dataset in self._catalog.datasets.items():
            if dataset.scrub and dataset.scrub.key == value and hasattr(self._resources, f"key_{name}"):
                return self._resource(f"key_{name}").secret()
        raise CatalogError("a secret was asked for that no resource of this run holds", hint="This is a defect.")

    def signing_key(self) -> str:
        return self._resource(CERTIFICATES).signing_key()

    def trusted_keys(self) -> list[str]:
        return self._resource(CERTIFICATES).trusted_keys()

    def _resource(self, key: str) -> Any:
        try:
            return getattr(self._resources, key)
        except AttributeError as error:
            hint = "The stage's `endpoints` have to name what it opens."
            raise CatalogError(f"resource {key} is not among those of this run", hint=hint) from error
