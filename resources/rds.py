"""A Postgres database (RDS or any other) as a resource: the fields of the engine's SourceSettings."""

from egress_assets.engine.dump.source import SourceSettings, ping
from resources.endpoint import Endpoint, with_fields


class SourceEndpoint(Endpoint):
    """One source of the catalog."""

    name: str = ""

    def settings(self) -> SourceSettings:
        """For the engine. Raises CatalogError for a file that can't be read."""
        return self.settings_of(SourceSettings, f"source {self.name}")

    def ping(self) -> str:
        """Connect and say what is there, in a line for people. Raises as the engine's `connect` does."""
        return ping(self.settings())


RdsResource = with_fields(SourceEndpoint, SourceSettings, "RdsResource")
