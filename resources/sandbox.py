"""Endpoints of the sandbox in the place of the catalog's, under their names."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from egress_assets.engine.catalog.models import Catalog

if TYPE_CHECKING:
    from egress_assets.engine.platform import Provider


class Embedded:
    """The sandbox of one process, started when it is first asked for."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog

    @cached_property
    def provider(self) -> "Provider":
        """Raises CatalogError where the sandbox is not installed, as in the production image."""
        from egress_assets.engine.endpoints import open_platform

        return open_platform(self.catalog, "sandbox").provider


@dataclass(frozen=True, slots=True)
class SandboxEndpoint:
    """One endpoint; `kind` is source, store, recipient, key or certificates."""

    embedded: Embedded
    kind: str
    name: str

    def settings(self) -> Any:
        """As the catalog's own resource would give them."""
        return getattr(self.embedded.provider, self.kind)(self.name)

    def secret(self) -> str:
        """The scrub key of the dataset `name`."""
        scrub = self.embedded.catalog.dataset(self.name).scrub
        return self.embedded.provider.secret(scrub.key if scrub else "")

    def signing_key(self) -> str:
        """Of certificates: the sandbox's own."""
        return self.embedded.provider.signing_key()

    def trusted_keys(self) -> list[str]:
        """Of certificates."""
        return self.embedded.provider.trusted_keys()

    def ping(self) -> str:
        """As the catalog's own resource would do it."""
        from egress_assets.engine.dump import source
        from egress_assets.engine.stores import open_store
        from egress_assets.engine.transfers import open_transfer

        if self.kind == "source":
            return source.ping(self.settings())
        if self.kind == "store":
            return open_store(self.settings()).ping()
        transfer_type = self.embedded.catalog.endpoints.recipients[self.name].transfer_type
        return open_transfer(transfer_type, self.settings(), recipient=self.name).ping()
