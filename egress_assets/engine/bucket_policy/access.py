"""Default encryption and public access block: what is there, and the document that should be. Pure.

Both belong to the bucket as a whole. Neither is ever weakened.
"""

from __future__ import annotations

from copy import deepcopy
from xml.etree.ElementTree import Element, SubElement

from egress_assets.engine.bucket_policy.report import Item
from egress_assets.engine.bucket_policy.wanted import Wanted

FLAGS = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
_STRENGTH = {"": 0, "AES256": 1, "aws:kms": 2, "aws:kms:dsse": 3}
_DEFAULT = "Rule/ApplyServerSideEncryptionByDefault"


def encryption(document: Element, wanted: Wanted, *, is_rgw: bool) -> Item:
    """A bucket that is encrypted by more than the catalog asks for is as said."""
    there = document.findtext(f"{_DEFAULT}/SSEAlgorithm", "").strip()
    key = document.findtext(f"{_DEFAULT}/KMSMasterKeyID", "").strip()
    if is_rgw and not wanted.sse:
        detail = f"{_algorithm(there, key)}: without a key server Ceph RGW then refuses uploads; `sse` asks for it"
        return Item("=", "encryption", detail, "left alone")
    asked = wanted.sse or "AES256"
    if _STRENGTH.get(there, 0) >= _STRENGTH[asked] and _is_key(key, wanted.sse_kms_key):
        return Item("=", "encryption", _algorithm(there, key), "as said")
    says = _algorithm(asked, wanted.sse_kms_key)
    if not there:
        return Item("+", "encryption", says, "missing")
    return Item("*", "encryption", f"bucket: {_algorithm(there, key)}; catalog: {says}", "different")


def encrypted(document: Element, wanted: Wanted) -> Element:
    """The document with our algorithm and key; whatever else it says stays."""
    root = deepcopy(document)
    rule = _child(root, "Rule")
    by = _child(rule, "ApplyServerSideEncryptionByDefault")
    _child(by, "SSEAlgorithm").text = wanted.sse or "AES256"
    if key := by.find("KMSMasterKeyID"):
        by.remove(key)
    if wanted.sse_kms_key:
        _child(by, "KMSMasterKeyID").text = wanted.sse_kms_key
    return root


def public_access(document: Element, wanted: Wanted, *, is_rgw: bool) -> Item:
    """Never touched on Ceph RGW, where it makes the server refuse the owner's own uploads (measured on 16.2)."""
    if is_rgw:
        detail = "never set on Ceph RGW, which then refuses the owner's own uploads"
        return Item("=", "public access", detail, "not supported")
    open_ = [flag for flag in FLAGS if document.findtext(flag, "").strip().lower() != "true"]
    if not wanted.block_public:
        detail = f"{_blocked(open_)}; the catalog says `block_public: false`"
        return Item("=", "public access", detail, "left alone")
    if not open_:
        return Item("=", "public access", _blocked(open_), "as said")
    if len(open_) == len(FLAGS):
        return Item("+", "public access", "blocked", "missing")
    return Item("*", "public access", f"bucket: {_blocked(open_)}; catalog: blocked", "different")


def blocked(document: Element) -> Element:
    """The document with all four flags."""
    root = Element(document.tag)
    for flag in FLAGS:
        SubElement(root, flag).text = "true"
    return root


def _blocked(open_: list[str]) -> str:
    if not open_:
        return "blocked"
    return f"blocked, but for {', '.join(open_)}" if len(open_) < len(FLAGS) else "not blocked"


def _algorithm(name: str, key: str) -> str:
    return f"{name} with key {key}" if key else name or "none"


def _is_key(there: str, asked: str) -> bool:
    """A key may be written as its id or as its ARN, which ends with the id."""
    return not asked or there == asked or there.endswith(f"/{asked}") or asked.endswith(f"/{there}")


def _child(parent: Element, tag: str) -> Element:
    found = parent.find(tag)
    return SubElement(parent, tag) if found is None else found
