"""Lifecycle rules: ours beside those of others, in one document that S3 only takes as a whole. Pure.

The rules of others are passed on as the elements that came, so that what this code does not know of them survives.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from xml.etree.ElementTree import Element, SubElement

from egress_assets.engine.bucket_policy.report import Item
from egress_assets.engine.bucket_policy.wanted import Rule, Wanted

_PARTS = frozenset({"ID", "Filter", "Prefix", "Status", "Expiration", "AbortIncompleteMultipartUpload"})
_OLD_VERSIONS = "NoncurrentVersionExpiration"
_OLD_DAYS = 1
"""Where a bucket keeps versions, an expired object is only hidden: what is hidden goes a day later."""


def merged(document: Element, wanted: Wanted) -> Element:
    """The document as it should be: the rules of others as they are and in their order, then ours."""
    root = Element(document.tag)
    root.extend(deepcopy(rule) for rule in document.findall("Rule") if not _is_ours(rule, wanted))
    root.extend(element(rule) for rule in wanted.rules)
    return root


def compared(document: Element, wanted: Wanted) -> Iterator[Item]:
    """One item a rule of ours, a rule of ours that is no longer wanted, a rule of others."""
    there = {_id(rule): rule for rule in document.findall("Rule")}
    for rule in wanted.rules:
        yield _wanted(rule, there.get(rule.id))
    ours = {rule.id for rule in wanted.rules}
    for rule in document.findall("Rule"):
        if _is_ours(rule, wanted) and _id(rule) not in ours:
            yield Item("-", "lifecycle", f"{_shown(rule)}: the catalog no longer says so", "left over")
        elif not _is_ours(rule, wanted):
            yield _foreign(rule, wanted)


def element(rule: Rule) -> Element:
    """A rule of ours as S3 takes it."""
    root = Element("Rule")
    SubElement(root, "ID").text = rule.id
    SubElement(SubElement(root, "Filter"), "Prefix").text = rule.prefix
    SubElement(root, "Status").text = "Enabled"
    if rule.days is not None:
        SubElement(SubElement(root, "Expiration"), "Days").text = str(rule.days)
        SubElement(SubElement(root, _OLD_VERSIONS), "NoncurrentDays").text = str(_OLD_DAYS)
    SubElement(SubElement(root, "AbortIncompleteMultipartUpload"), "DaysAfterInitiation").text = str(rule.abort_days)
    return root


def _wanted(rule: Rule, there: Element | None) -> Item:
    says = _said(element(rule))
    if there is None:
        return Item("+", "lifecycle", says, "missing")
    if _canonical(there) == _canonical(element(rule)):
        return Item("=", "lifecycle", says, "as said")
    return Item("*", "lifecycle", f"bucket: {_said(there)}; catalog: {says}", "different")


def _foreign(rule: Element, wanted: Wanted) -> Item:
    """Kept whatever it says; told as a conflict when it deletes what the catalog keeps."""
    for prefix, days in _kept(wanted):
        if _deletes(rule, prefix, days):
            said = "evidence never expires" if wanted.is_evidence else _days(days)
            detail = f"rule of others {_shown(rule)} covers {_place(prefix)}, where the catalog says: {said}"
            return Item("!", "lifecycle", detail, "in conflict")
    return Item("=", "lifecycle", f"rule of others, kept: {_shown(rule)}", "of others")


def _kept(wanted: Wanted) -> Sequence[tuple[str, int | None]]:
    """(prefix, days that bytes lie there at least) of all that is ours in the bucket."""
    return [(wanted.prefix, None)] if wanted.is_evidence else [(rule.prefix, rule.days) for rule in wanted.rules]


def _deletes(rule: Element, prefix: str, days: int | None) -> bool:
    """Whether an active rule without tags expires objects below `prefix` before `days` have passed."""
    expiry = rule.find("Expiration")
    if expiry is None or rule.findtext("Status") != "Enabled" or rule.find(".//Tag") is not None:
        return False
    where = _prefix(rule)
    if not (where.startswith(prefix) or prefix.startswith(where)):
        return False
    after = expiry.findtext("Days")
    if after is None:
        return expiry.find("Date") is not None
    return days is None or not after.isdecimal() or int(after) < days


def _canonical(rule: Element) -> tuple[object, ...]:
    """Equal for two spellings of one rule: order, white space, `Prefix` in or outside of `Filter`."""
    parts = sorted(
        (child.tag, *sorted((each.tag, (each.text or "").strip()) for each in child))
        for child in rule
        if child.tag not in ("Filter", "Prefix", "Status", "ID")
    )
    filters = sorted(each.tag for each in rule.findall("Filter//*") if each.tag not in ("Prefix", "And"))
    return rule.findtext("Status", "").strip(), _prefix(rule), filters, parts


def _is_ours(rule: Element, wanted: Wanted) -> bool:
    return _id(rule).startswith(wanted.owner)


def _id(rule: Element) -> str:
    return (rule.findtext("ID") or "").strip()


def _prefix(rule: Element) -> str:
    return rule.findtext("Filter/Prefix") or rule.findtext("Filter/And/Prefix") or rule.findtext("Prefix") or ""


def _place(prefix: str) -> str:
    return repr(prefix) if prefix else "the whole bucket"


def _shown(rule: Element) -> str:
    return f"{_id(rule)!r} ({_said(rule)})"


def _said(rule: Element) -> str:
    """A rule in words; parts that are not read here are named."""
    words = [f"expires after {days} d"] if (days := rule.findtext("Expiration/Days")) else []
    words += [f"expires on {on[:10]}"] if (on := rule.findtext("Expiration/Date")) else []
    if abort := rule.findtext("AbortIncompleteMultipartUpload/DaysAfterInitiation"):
        words.append(f"unfinished uploads end after {abort} d")
    if old := rule.findtext(f"{_OLD_VERSIONS}/NoncurrentDays"):
        words.append(f"old versions go after {old} d")
    words += [each.tag for each in rule if each.tag not in _PARTS | {_OLD_VERSIONS}]
    words += ["only some objects"] if [e for e in rule.findall("Filter//*") if e.tag not in ("Prefix", "And")] else []
    words += ["disabled"] if rule.findtext("Status") != "Enabled" else []
    return f"{_place(_prefix(rule))}: {', '.join(words) or 'does nothing'}"


def _days(days: int | None) -> str:
    return "bytes are kept" if days is None else f"expires after {days} d"
