"""Object tags. They travel as the header `x-amz-tagging`, a URL query; RGW drops that header on multipart uploads."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from urllib.parse import parse_qsl
from xml.etree import ElementTree as ET

from egress_assets.engine.errors import StoreError
from egress_assets.engine.stores.answers import local_name, parse_xml, text_of
from egress_assets.engine.stores.client import Client, Request

HEADER = "x-amz-tagging"


def tags_of(client: Client, key: str, *, bucket: str = "") -> Mapping[str, str]:
    """Tags of an object. Raises ObjectMissing."""
    request = Request("GET", key, query=(("tagging", ""),), bucket=bucket)
    response = client.send(request)
    if not response.body.strip():
        raise StoreError(f"{client.where(request)}: answer is empty", hint="RGW says so of tags that it lost.")
    answer = parse_xml(response, client.where(request), "Tagging")
    return {text_of(tag, "Key"): text_of(tag, "Value") for tag in answer.iter() if local_name(tag) == "Tag"}


def put_tags(client: Client, key: str, tags: str) -> None:
    """Set the tags of an object, given as the header has them. Idempotent."""
    root = ET.Element("Tagging")
    tag_set = ET.SubElement(root, "TagSet")
    for name, value in parse_qsl(tags, keep_blank_values=True):
        tag = ET.SubElement(tag_set, "Tag")
        ET.SubElement(tag, "Key").text = name
        ET.SubElement(tag, "Value").text = value
    body = ET.tostring(root)
    digest = sha256(body).hexdigest()
    headers = client.dialect.integrity(body, digest)
    client.send(Request("PUT", key, (("tagging", ""),), headers, body, digest))
