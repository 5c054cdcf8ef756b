"""All resources of a catalog, by the keys that stages ask for: source_, store_, recipient_ and key_<name>, and one of
certificates.

In the sandbox each is replaced by its kind under the same name; nothing starts before a run uses one.
"""

from typing import Any

from egress_assets.engine.catalog.models import Catalog, SourceModel, StoreModel
from egress_assets.engine.catalog.values import Ref
from egress_assets.engine.endpoints import NOT_SETTINGS
from resources.ceph import CephResource
from resources.certificates import CERTIFICATES, CertificatesResource
from resources.keys import KeyResource
from resources.rds import RdsResource
from resources.references import referred
from resources.s3 import S3Resource
from resources.sandbox import Embedded, SandboxEndpoint
from resources.sft import recipient_resource


def resources(catalog: Catalog, env: str) -> dict[str, Any]:
    """Resources by key. Resolves nothing and opens nothing."""
    if env == "sandbox":
        embedded = Embedded(catalog)
        return {f"{kind}_{name}": SandboxEndpoint(embedded, kind, name) for kind, name in _names(catalog)}
    endpoints = catalog.endpoints
    sources = {f"source_{name}": RdsResource(name=name, **referred(_way(m))) for name, m in endpoints.sources.items()}
    stores = {f"store_{name}": _store(name, model) for name, model in endpoints.stores.items()}
    recipients = {
        f"recipient_{name}": recipient_resource(m.transfer_type)(recipient=name, **referred(m.settings()))
        for name, m in endpoints.recipients.items()
    }
    keys = {
        f"key_{name}": KeyResource(dataset=name, **referred({"value": dataset.scrub.key}))
        for name, dataset in catalog.datasets.items()
        if dataset.scrub
    }
    return sources | stores | recipients | keys | _certificates(catalog)


def _certificates(catalog: Catalog) -> dict[str, Any]:
    """None where the catalog has none; a key that KMS keeps is not read by a resource."""
    said = catalog.endpoints.certificates
    if said is None:
        return {}
    key = referred({"key": Ref(env=said.key.env, file=said.key.file)}) if not said.key.kms else {}
    trusted = [referred({"trusted": each})["trusted"] for each in said.trusted]
    return {CERTIFICATES: CertificatesResource(trusted=trusted, **key)}


def _store(name: str, model: StoreModel) -> Any:
    return (CephResource if model.kind == "ceph" else S3Resource)(name=name, **referred(_way(model)))


def _way(model: SourceModel | StoreModel) -> dict[str, Any]:
    """How to get there, without the rules about it."""
    return {name: value for name, value in dict(model).items() if name not in NOT_SETTINGS}


def _names(catalog: Catalog) -> list[tuple[str, str]]:
    endpoints = catalog.endpoints
    named = {"source": endpoints.sources, "store": endpoints.stores, "recipient": endpoints.recipients}
    keyed = [("key", name) for name, dataset in catalog.datasets.items() if dataset.scrub]
    signing = [("certificates", "key")] if endpoints.certificates else []
    return [(kind, name) for kind, group in named.items() for name in group] + keyed + signing
