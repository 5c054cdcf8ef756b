"""The channels of a catalog, by name. Secrets are resolved when a channel is opened, and only then."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.catalog.operate import MailModel, NotifyModel, WebhookModel
from egress_assets.engine.catalog.values import Value
from egress_assets.engine.endpoints import CatalogProvider
from egress_assets.engine.notify.folder import Folder
from egress_assets.engine.notify.mail import Mail
from egress_assets.engine.notify.webhook import Webhook
from egress_assets.engine.notify.words import Message


class Sender(Protocol):
    """A way to tell people. Raises EgressError's kinds."""

    def send(self, message: Message) -> None: ...


Opener = Callable[[], Sender]


def channels(catalog: Catalog, env: str) -> Mapping[str, Opener]:
    """How each channel is opened; opening raises CatalogError for a variable or file that is not there.

    In the sandbox all messages go to a folder: it resolves no reference and tells nobody. Without `notify`, elsewhere,
    there is no channel.
    """
    if env == "sandbox":
        return {"folder": _folder}
    notify = catalog.endpoints.notify or _NOBODY
    provider = CatalogProvider(catalog, env)
    found: dict[str, Opener] = {}
    if notify.mail:
        found["mail"] = partial(_mail, notify.mail, provider)
    if notify.webhook:
        found["webhook"] = partial(_webhook, notify.webhook, provider)
    return found


_NOBODY = NotifyModel.model_construct(mail=None, webhook=None, ui="")


def _folder() -> Folder:
    from egress_assets.sandbox.state import state_folder  # not in the production image

    return Folder(state_folder() / "notifications")


def _mail(model: MailModel, provider: CatalogProvider) -> Mail:
    def said(name: str, value: Value | None) -> str:
        return provider.resolved(value, f"endpoints.notify.mail.{name}") if value is not None else ""

    return Mail(
        host=said("host", model.host), port=model.port, tls=model.tls, sender=model.from_, to=tuple(model.to),
        user=said("user", model.user), password=said("password", model.password),
    )  # fmt: skip


def _webhook(model: WebhookModel, provider: CatalogProvider) -> Webhook:
    at = "endpoints.notify.webhook"
    headers = {name: provider.resolved(value, f"{at}.headers.{name}") for name, value in model.headers.items()}
    return Webhook(provider.resolved(model.url, f"{at}.url"), headers)
