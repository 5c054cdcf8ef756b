"""An endpoint of the sandbox in the place of one of the catalog, under its name."""

from dataclasses import dataclass
from typing import Any

from egress_assets.engine.catalog.models import Catalog


@dataclass(frozen=True, slots=True)
class SandboxEndpoint:
    """Starts the sandbox when it is first asked for settings, in whichever process runs the op."""

    catalog: Catalog
    kind: str  # source, store, recipient or key
    name: str

    def settings(self) -> Any:
        """As the catalog's own resource would give them."""
        return getattr(self._provider(), self.kind)(self.name)

    def secret(self) -> str:
        scrub = self.catalog.dataset(self.name).scrub
        return self._provider().secret(scrub.key if scrub else "")

    def ping(self) -> str:
        """As the catalog's own resource would do it."""
        from egress_assets.engine.dump import source
        from egress_assets.engine.stores import open_store
        from egress_assets.engine.transfers import open_transfer

        if self.kind == "source":
            return source.ping(self.settings())
        if self.kind == "store":
            return open_store(self.settings()).ping()
        transfer_type = self.catalog.endpoints.recipients[self.name].transfer_type
        return open_transfer(transfer_type, self.settings(), recipient=self.name).ping()

    def _provider(self) -> Any:
        """Imported here: the production image has no sandbox."""
        from egress_assets.sandbox.provider import SandboxProvider

        return SandboxProvider(self.catalog)
