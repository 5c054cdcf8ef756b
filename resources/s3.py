"""An S3 bucket as a resource: the fields of the engine's StoreSettings."""

from egress_assets.engine.stores import open_store
from egress_assets.engine.stores.settings import StoreSettings
from resources.endpoint import Endpoint, with_fields


class StoreEndpoint(Endpoint):
    """One store of the catalog."""

    name: str = ""

    def settings(self) -> StoreSettings:
        """For the engine. Raises CatalogError for a file that can't be read."""
        return self.settings_of(StoreSettings, f"store {self.name}")

    def ping(self) -> str:
        """Connect and list one key; a line for people. Raises as every store does."""
        return open_store(self.settings()).ping()


S3Resource = with_fields(StoreEndpoint, StoreSettings, "S3Resource")
