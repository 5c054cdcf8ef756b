"""Kubernetes Secrets of the shape {url, path, access-key-id, secret-access-key} as stores of the catalog.

`url` and `path` are read; keys never are: the catalog refers to the files that the Secret is mounted as.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any
from urllib.parse import urlsplit

from egress_assets.engine.importing.layouts import parse_place
from egress_assets.engine.importing.reading import Left, mappings

_SHAPE = frozenset({"url", "path"})
_MOUNTED = "/secrets"
_AWS = re.compile(r"s3[.-]([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?")


@dataclass(frozen=True, slots=True)
class Place:
    """A bucket, how it is reached, and the Secret that has its keys."""

    secret: str
    endpoint: str  # '' for AWS
    region: str
    bucket: str
    prefix: str

    def store(self, zone: str) -> dict[str, Any]:
        keys = {"access_key": "access-key-id", "secret_key": "secret-access-key"}
        found: dict[str, Any] = {"kind": "ceph" if self.endpoint else "s3", "bucket": self.bucket, "zone": zone}
        found |= {"endpoint": self.endpoint} if self.endpoint else {"region": self.region}
        found |= {"prefix": self.prefix} if self.prefix else {}
        return found | {key: {"file": f"{_MOUNTED}/{self.secret}/{name}"} for key, name in keys.items()}


def is_secret(data: Mapping[str, Any]) -> bool:
    """Whether a file holds Secrets and no pipeline; both call their content `objects`."""
    return "kind" in data or data.keys() >= _SHAPE


def places(file: str, data: Mapping[str, Any], left: list[Left]) -> Iterator[tuple[str, Place]]:
    """(`input` or `output`, place) of each Secret in a file."""
    for name, values in _secrets(file, data, left):
        side = next((side for side in ("input", "output") if side in name), "")
        found = _place(name, values)
        if not side:
            left.append(Left(f"{file}: Secret {name}", "its name has neither `input` nor `output`"))
        elif isinstance(found, str):
            left.append(Left(f"{file}: Secret {name}", found))
        else:
            yield side, found


def _secrets(file: str, data: Mapping[str, Any], left: list[Left]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if "kind" not in data:
        yield _name(PurePath(file).stem), data
        return
    for each in [data, *mappings(data.get("items")), *mappings(data.get("objects"))]:
        kind, meta = each.get("kind"), each.get("metadata")
        if kind == "Secret":
            name = meta.get("name") if isinstance(meta, Mapping) else None
            yield _name(name), {**_decoded(each.get("data")), **_mapping(each.get("stringData"))}
        elif kind not in ("List", "Template"):
            left.append(Left(f"{file}: {str(kind)[:40]}", "only Secrets are read of Kubernetes' objects"))


def _place(name: str, values: Mapping[str, Any]) -> Place | str:
    """The place, or why there is none."""
    url, path = (str(values.get(key, "")).strip() for key in ("url", "path"))
    if "${" in url + path:
        return "it is a template: give the Secret with its values"
    try:
        parts = urlsplit(url)
        host, user, port = parts.hostname, parts.username, parts.port
    except ValueError:
        return "its url is none"
    if user is not None or parts.query:
        return "its url holds more than an address, perhaps a password"
    if parts.scheme not in ("http", "https") or not host or port == 0:
        return "its url does not begin with http:// or https://"
    where = parse_place(path, ())
    if where is None:
        return "its path is no bucket/folder"
    if host.endswith((".amazonaws.com", ".amazonaws.com.cn")):
        region = found[1] if (found := _AWS.fullmatch(host)) else "us-east-1"
        return Place(name, "", region, *where[:2])
    return Place(name, url.rstrip("/"), "", *where[:2])


def _name(name: Any) -> str:
    """As Kubernetes allows it: it becomes part of a path."""
    return name if isinstance(name, str) and re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", name) else "secret"


def _decoded(data: Any) -> dict[str, str]:
    found = {}
    for key in _SHAPE & _mapping(data).keys():
        try:
            found[key] = base64.b64decode(str(data[key]), validate=True).decode()
        except (binascii.Error, ValueError):
            found[key] = ""
    return found


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
