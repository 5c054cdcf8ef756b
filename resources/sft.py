"""Recipients as resources: the fields of their transfer type's settings. A new transfer type needs nothing here."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from egress_assets.engine.transfers import open_transfer, registry
from resources.endpoint import Endpoint, with_fields


class RecipientEndpoint(Endpoint):
    """One recipient of the catalog."""

    recipient: str = ""
    transfer_type: str = ""

    def settings(self) -> Mapping[str, Any]:
        """The transfer type's fields, for the engine. Raises CatalogError for a file that can't be read."""
        return self.fields_of(registry()[self.transfer_type].Settings, f"recipient {self.recipient}")

    def ping(self) -> str:
        """Reach the recipient without sending anything; a line for people."""
        return open_transfer(self.transfer_type, self.settings(), recipient=self.recipient).ping()


@cache
def recipient_resource(transfer_type: str) -> type[Any]:
    """The resource class of a transfer type, for example SftResource."""
    name = f"{transfer_type.title().replace('_', '')}Resource"
    return with_fields(RecipientEndpoint, registry()[transfer_type].Settings, name, transfer_type=transfer_type)


SftResource = recipient_resource("sft")
