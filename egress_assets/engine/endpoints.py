"""Where endpoints come from outside the sandbox: the catalog, with `{env: NAME}` and `{file: PATH}` resolved when used.

Each use resolves anew, so a rotated secret is seen by the next run. Values are never in an error: it names the
variable or file and the line of the catalog that asks for it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from egress_assets.engine.catalog.loader import load_catalog
from egress_assets.engine.catalog.models import Catalog, StoreModel
from egress_assets.engine.catalog.operate import CertificatesModel
from egress_assets.engine.catalog.values import Ref, Strict
from egress_assets.engine.dump.source import SourceSettings
from egress_assets.engine.environment import environment
from egress_assets.engine.errors import CatalogError, ReleaseRefused
from egress_assets.engine.platform import Platform, Provider
from egress_assets.engine.stores import kinds
from egress_assets.engine.stores.settings import StoreSettings

_LARGEST_FILE = 2**20  # bytes; a secret or a bundle of certificates
NOT_SETTINGS = frozenset({"expire_days", "abort_days", "block_public", "policy", "throttle", "quiet_hours"})
"""Rules about an endpoint, not ways to it."""


@dataclass(frozen=True, slots=True)
class CatalogProvider:
    """Settings as the catalog says. Raises CatalogError for a name, variable or file that is not there."""

    catalog: Catalog
    env: str = "prod"

    def source(self, name: str) -> SourceSettings:
        model = self._named("sources", name)
        return SourceSettings(name=name, **self._resolved(model, f"endpoints.sources.{name}"))

    def store(self, name: str) -> StoreSettings:
        model: StoreModel = self._named("stores", name)
        values = self._resolved(model, f"endpoints.stores.{name}")
        if isinstance(model.ca, Ref) and model.ca.file:
            values["ca"] = model.ca.file  # its client reads the bundle from a path
        return StoreSettings(name=name, **values)

    def recipient(self, name: str) -> Mapping[str, Any]:
        """Fields of the transfer type. Raises ReleaseRefused for a recipient of `env: prod` elsewhere."""
        model = self._named("recipients", name)
        if model.env == "prod" and self.env != "prod":
            raise ReleaseRefused(
                f"recipient {name} is for prod, this is {self.env}",
                hint=f"Give it a test address and `env: any` in endpoints.{self.env}.yaml.",
            )
        said = model.settings()
        values = self._value(said, f"endpoints.recipients.{name}")
        if model.transfer_type in kinds() and _is_file(said.get("ca")):
            values["ca"] = said["ca"]["file"]  # a bucket's client, as a store's
        return values

    def secret(self, value: Any) -> str:
        keys = {name: m.scrub.key for name, m in self.catalog.datasets.items() if m.scrub}
        asked = next((name for name, key in keys.items() if key == value), "")
        return str(self._value(value, f"{asked}.scrub.key"))

    def signing_key(self) -> str:
        said = self._certificates()
        return self._reference(Ref(env=said.key.env, file=said.key.file), "endpoints.certificates.key")

    def trusted_keys(self) -> list[str]:
        said = self._certificates().trusted
        return [str(self._value(each, f"endpoints.certificates.trusted.{n}")) for n, each in enumerate(said)]

    def _certificates(self) -> CertificatesModel:
        if (said := self.catalog.endpoints.certificates) is None:
            raise CatalogError("endpoints.yaml has no `certificates`", hint="Add `certificates: {key: {file: ...}}`.")
        return said

    def token(self, path: str) -> str:
        """What a caller of a trigger shows; '' for an open path. Also the sandbox resolves it: it guards us."""
        return str(self._value(self.catalog.endpoints.triggers[path].token or "", f"endpoints.triggers.{path}.token"))

    def resolved(self, value: Any, key: str) -> str:
        """A literal or reference that the catalog says at `key`, for what is neither source, store nor recipient."""
        return str(self._value(value, key))

    def _named(self, section: str, name: str) -> Any:
        known = getattr(self.catalog.endpoints, section)
        if name not in known:
            hint = f"Valid: {', '.join(sorted(known)) or 'there are none'}."
            raise CatalogError(f"{name!r} is not among the {section} of endpoints.yaml", hint=hint)
        return known[name]

    def _resolved(self, model: Strict, key: str) -> dict[str, Any]:
        """The fields that are said or have a default, without the ones that are absent."""
        fields = {name: getattr(model, name) for name in type(model).model_fields}
        said = {name: v for name, v in fields.items() if v is not None and name not in NOT_SETTINGS}
        return {name: self._value(v, f"{key}.{name}") for name, v in said.items()}

    def _value(self, value: Any, key: str) -> Any:
        if isinstance(value, Ref):
            return self._reference(value, key)
        if not isinstance(value, Mapping):
            return value
        if len(value) == 1 and next(iter(value)) in ("env", "file"):
            return self._reference(Ref.model_validate(value), key)
        return {name: self._value(each, f"{key}.{name}") for name, each in value.items()}

    def _reference(self, ref: Ref, key: str) -> str:
        found = _variable(ref.env, self._where(key)) if ref.env else _file(ref.file or "", self._where(key))
        return found.rstrip("\r\n")

    def _where(self, key: str) -> str:
        place = self.catalog.place(key)
        return f"{place}: {key.partition('.')[2]}" if place else key


def _is_file(value: Any) -> bool:
    return isinstance(value, Mapping) and value.keys() == {"file"}


def _variable(name: str, where: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        state = "empty" if name in os.environ else "not set"
        raise CatalogError(f"{where}: environment variable {name} is {state}", hint=f"Set {name} for this process.")
    return value


def _file(path: str, where: str) -> str:
    hint = "Mount the secret there, readable for this process."
    try:
        with Path(path).open("rb") as stream:
            body = stream.read(_LARGEST_FILE + 1)
        text = body.decode()
    except OSError as error:
        raise CatalogError(f"{where}: file {path}: {error.strerror}", hint=hint) from None
    except UnicodeDecodeError:
        raise CatalogError(f"{where}: file {path} is not UTF-8 text", hint=hint) from None
    except ValueError:  # a NUL in the path
        raise CatalogError(f"{where}: file {path!r} can't be a path", hint=hint) from None
    if not text.strip() or len(body) > _LARGEST_FILE:
        raise CatalogError(f"{where}: file {path} is empty or above {_LARGEST_FILE} bytes", hint=hint)
    return text


def open_platform(catalog: Catalog | None = None, env: str | None = None) -> Platform:
    """Catalog and endpoints of an environment (default: EGRESS_ENV). Connects to nothing; the sandbox starts on use.

    Raises CatalogError.
    """
    env = env or environment()
    catalog = catalog or load_catalog(env=env)
    return Platform(catalog, _sandbox(catalog) if env == "sandbox" else CatalogProvider(catalog, env), env)


def _sandbox(catalog: Catalog) -> Provider:
    try:
        from egress_assets.sandbox.provider import SandboxProvider  # not in the production image
    except ImportError as error:
        hint = "Set EGRESS_ENV to dev or prod, or install the project with its group `sandbox`."
        raise CatalogError(f"EGRESS_ENV is sandbox, which is not installed here: {error}", hint=hint) from error
    return SandboxProvider(catalog)
