"""A foreign bucket with keys of every sort, mirrored by the real command (S1-7).

The source holds all of them. SeaweedFS, the destination, can't: those are named and nothing of them lies anywhere, the
others arrive under their own names with their own bytes.
"""

from __future__ import annotations

import pytest

REFUSED = [
    "..", "../../etc/passwd", "a/../b", "dot/./x", "x/..", "double//slash", "/leading", "trailing/", "back\\slash",
    "L" * 1024, "Ω/" + "ß" * 511,
]  # fmt: skip
"""SeaweedFS has 1,024 bytes for a key, of which the mirror's prefix takes some."""
KEPT = [
    "plain", "two words", " leading space", "trailing space ", "a+b", "100%", "%2e%2e%2fx", "..%2f..%2fx", "q?x=1&y=2",
    "hash#tag", "new\nline", "tab\tx", "\x01control", "\x7fdel", "nfc-\u00e9", "nfd-e\u0301", "🦆/🦆", "\u202egnp.exe",
    "\ufeffbom", "<x>&amp;", "quote\"'`", "a:b*c|d;e,f=g~h", ".hidden", "x/...", "l/" * 300 + "end", "marker/",
    "double/slash", "leading", "back/slash", "trailing",
]  # fmt: skip
"""The last four are what a store that normalises makes of some of the others."""


def body(key: str) -> bytes:
    return b"" if key == "marker/" else f"body of {key!r}".encode()


@pytest.fixture
def foreign(hostile, fault):
    """The mirror `got` of a bucket with all the keys; its prefix at the destination keeps them together."""
    with_them = fault.open()
    for key in (*REFUSED, *KEPT):
        with_them.put(key, body(key))
    assert {listed.key for listed in with_them.list()} == {*REFUSED, *KEPT}
    hostile.overlay(stores={"foreign": {**fault.settings, "zone": "trusted"}})
    release = {"basis": "internal", "reason": "made up"}
    mirror = {"to": "ceph", "select": "bucket", "prefix": "got", "from": {"store": "foreign"}, "release": release}
    hostile.write("bucket", {"start": "2026-01-01", "mirrors": {"got": mirror}})
    return hostile


def test_keys_that_the_destination_can_not_hold_are_named_and_the_others_arrive(foreign):
    said = foreign.refused(foreign.run("mirror", "got"), 30, f"not mirrored ({len(REFUSED)})")
    for key in REFUSED:
        assert f"not mirrored: {'got/' + key!r}" in said.err
    store = foreign.platform().store("ceph")
    there = {listed.key: b"".join(store.get(listed.key)) for listed in store.list()}
    assert there == {f"got/{key}": body(key) for key in KEPT}
    assert foreign.done("verify")["verified"] == [], "nothing became true"
    assert "got" in foreign.run("status", "--days", "1").out


def test_without_them_the_mirror_is_whole_and_verifies(foreign, fault):
    for key in REFUSED:
        fault.open().delete(key)
    made = foreign.done("mirror", "got")
    assert made["tables"]["objects"]["objects"] == len(KEPT)
    assert foreign.done("mirror", "got")["sent_bytes"] == 0
    assert foreign.done("verify")["ok"]


def test_a_listing_that_breaks_off_is_an_error_and_never_a_shorter_bucket(foreign, fault):
    fault.fault("ListObjects", action="cut")
    foreign.refused(foreign.run("mirror", "got"), 30, "LIST in bucket", fault.bucket)
    fault.fault("ListObjects", action="answer", status=403, code="AccessDenied")
    foreign.refused(foreign.run("mirror", "got"), 30, "AccessDenied", fault.bucket)
    fault.fault()
    assert not list(foreign.platform().store("ceph").list())
