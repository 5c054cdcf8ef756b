"""The keys of certificates as a resource: which variable or file holds them shows in the UI, the keys nowhere."""

import dagster as dg
from pydantic import Field

from resources.references import resolved

CERTIFICATES = "certificates_key"
"""Its key among the resources; there is one a catalog."""


class CertificatesResource(dg.ConfigurableResource):
    """The signing key, and public keys that are trusted besides; `env:NAME` and `file:PATH` are read at use."""

    key: str = Field(default="", repr=False, json_schema_extra={"dagster__is_secret": True})
    trusted: list[str] = Field(default=[])

    def signing_key(self) -> str:
        """PEM of the private key. Raises CatalogError for a file or variable that can't be read."""
        return resolved({"key": self.key}, of="certificates")["key"]

    def trusted_keys(self) -> list[str]:
        """PEM of the public keys. Raises as `signing_key`."""
        return [resolved({"trusted": each}, of="certificates")["trusted"] for each in self.trusted]
