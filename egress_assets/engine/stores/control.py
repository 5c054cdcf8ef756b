"""What a bucket says of itself: lifecycle, default encryption, public access block. Documents in, documents out.

A server that lacks one of them answers in its own way: 501, 405, or another document altogether (RGW 16 lists the
bucket when asked for its encryption). All of these are `not supported`, never an empty configuration.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree as ET

from egress_assets.engine.stores.answers import error_code, local_name, refusal
from egress_assets.engine.stores.client import Client, Request
from egress_assets.engine.stores.http import Response

Subject = Literal["lifecycle", "encryption", "publicAccessBlock"]

ROOTS: Mapping[Subject, str] = {
    "lifecycle": "LifecycleConfiguration",
    "encryption": "ServerSideEncryptionConfiguration",
    "publicAccessBlock": "PublicAccessBlockConfiguration",
}
NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
SMALLEST = "x-amz-transition-default-minimum-object-size"
"""Part of the lifecycle that travels as a header: AWS resets it when a PUT leaves it out."""

_JUDGED = frozenset({400, 403, 404, 405, 501})
_LACKING = frozenset({"NotImplemented", "MethodNotAllowed", "http_404", "http_405", "http_501"})
_UNSET = frozenset(
    {
        "NoSuchLifecycleConfiguration",
        "ServerSideEncryptionConfigurationNotFoundError",
        "NoSuchPublicAccessBlockConfiguration",
    }
)


@dataclass(frozen=True, slots=True)
class Configuration:
    """One answer. `document` is an empty root where nothing is set; elements have no namespace."""

    state: Literal["set", "unset", "not supported", "denied"]
    document: ET.Element
    headers: Mapping[str, str]  # to be sent back with a changed document
    is_rgw: bool = False  # by the answer, whatever the catalog calls it


def configuration(client: Client, subject: Subject) -> Configuration:
    """What is set. Raises StoreError (no bucket, wrong keys, an answer that is no XML), StoreUnavailable."""
    request = Request("GET", query=((subject, ""),), judge=_JUDGED)
    response = client.send(request)
    empty, is_rgw = ET.Element(ROOTS[subject]), _is_rgw(client, response)
    code = error_code(response)
    if code in _UNSET:
        return Configuration("unset", empty, {}, is_rgw)
    if code in _LACKING:
        return Configuration("not supported", empty, {}, is_rgw)
    if code == "AccessDenied":
        return Configuration("denied", empty, {}, is_rgw)
    if code:
        raise refusal(client.where(request), response)
    document = _parsed(response.body)
    if document is None or local_name(document) != ROOTS[subject]:
        return Configuration("not supported", empty, {}, is_rgw)
    kept = {SMALLEST: response.headers[SMALLEST]} if SMALLEST in response.headers else {}
    return Configuration("set", document, kept, is_rgw)


def configure(client: Client, subject: Subject, document: ET.Element, headers: Mapping[str, str]) -> None:
    """Set it as a whole; an empty lifecycle is deleted, since S3 knows none without rules. Raises StoreError."""
    query = ((subject, ""),)
    if subject == "lifecycle" and not len(document):
        client.send(Request("DELETE", query=query))
        return
    root = ET.Element(document.tag, {"xmlns": NAMESPACE})
    root.extend(document)
    body = ET.tostring(root)
    digest = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
    sent = {"content-md5": digest, **headers}
    client.send(Request("PUT", query=query, headers=sent, body=body, sha256=hashlib.sha256(body).hexdigest()))


def _parsed(body: bytes) -> ET.Element | None:
    """The document without namespaces: stores differ in whether they send one, and all elements belong to S3's."""
    try:
        root = ET.fromstring(body.strip())  # noqa: S314  expat >= 2.4.1 bounds expansion, XML_LIMIT the body
    except ET.ParseError:
        return None
    for element in root.iter():
        element.tag = local_name(element)
    return root


def _is_rgw(client: Client, response: Response) -> bool:
    """Its request ids are `tx<hex>-<hex>-<hex>-<zone>`, also behind a proxy that hides everything else."""
    return client.dialect.kind == "ceph" or response.headers.get("x-amz-request-id", "").startswith("tx0000")
