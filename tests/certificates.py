"""Platforms whose catalog has certificates, with keys that are made for the tests, and what one reads of them."""

from __future__ import annotations

import json
from typing import Any

from egress_assets.engine.catalog.operate import CertificatesModel
from egress_assets.engine.certificate import dsse
from egress_assets.engine.certificate.keys import LocalSigner, new_private_pem, public_pem
from egress_assets.engine.errors import CatalogError
from egress_assets.engine.evidence.records import canonical
from egress_assets.engine.platform import Platform
from tests.platforms import Provider

OLD, NEW, OTHER = (new_private_pem() for _ in range(3))


def public(private: str) -> str:
    return public_pem(LocalSigner.parse(private).public)


class Keyed(Provider):
    """Keys of certificates, which may be absent where a process only reads."""

    signing: str = ""
    trusts: tuple[str, ...] = ()

    def signing_key(self) -> str:
        if not self.signing:
            raise CatalogError("environment variable SIGNING is not set")
        return self.signing

    def trusted_keys(self) -> list[str]:
        return [public(private) for private in self.trusts]


def given(base: Platform, signing: str = NEW, *trusts: str, **said: Any) -> Platform:
    """`base` with certificates; `said` are further fields of them."""
    model = CertificatesModel.model_validate({"key": {"env": "SIGNING"}, **said})
    endpoints = base.catalog.endpoints.model_copy(update={"certificates": model})
    provider = Keyed()
    provider.signing, provider.trusts = signing, trusts
    return Platform(base.catalog.model_copy(update={"endpoints": endpoints}), provider, base.env, base._stores)


def keys(*privates: str) -> list[Any]:
    return [LocalSigner.parse(private).public for private in privates]


def statement_of(body: bytes) -> dict[str, Any]:
    return json.loads(dsse.parse(body).payload)


def resealed(body: bytes, change: Any, private: str = NEW) -> bytes:
    """The certificate with a changed statement, signed again by who has the key."""
    said = statement_of(body)
    change(said)
    return dsse.seal(canonical(said), LocalSigner.parse(private))
