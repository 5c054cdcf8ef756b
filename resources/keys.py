"""A scrub key as a resource: which variable or file holds it shows in the UI, the key itself nowhere."""

import dagster as dg
from pydantic import Field

from resources.references import resolved


class KeyResource(dg.ConfigurableResource):
    """The scrub key of one dataset; `env:NAME` and `file:PATH` are read at use."""

    dataset: str = ""
    value: str = Field(default="", repr=False, json_schema_extra={"dagster__is_secret": True})

    def secret(self) -> str:
        """The key. Raises CatalogError for a file that can't be read."""
        return resolved({"key": self.value}, of=f"scrub of {self.dataset}")["key"]
