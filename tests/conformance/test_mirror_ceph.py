"""Mirrors from and to a real Ceph RGW, which holds every key that S3 allows."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from egress_assets.engine.errors import ObjectConflict
from egress_assets.engine.mirror.run import run
from egress_assets.engine.release import OBJECTS
from egress_assets.engine.stores.s3 import S3Store
from tests.conformance.conftest import Server
from tests.platforms import NOW, Provider, platform

pytestmark = pytest.mark.ceph
RUN_DAY = "2026-11-21"
MIB = 2**20
PLAIN = (
    "a",
    "a/b",
    "a-b",
    "sp ace",
    "plus+",
    "per%cent",
    "per%2Fcent",
    "ünïcøde/日本",
    "\U0001f600",
    "\ue000",
    "q?x=1#f",
    "~",
)
BENT = (
    "/lead",
    "dir/",
    "dir//two",
    "//",
    "back\\slash",
    "new\nline",
    "tab\tkey",
    "./dot",
    "../up",
    "a/./b",
    "a/../b",
    ".",
)


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setenv("EGRESS_NOW", NOW)


def bucket(server: Server, kind: str, name: str, zone: str) -> S3Store:
    store = server.open(kind, bucket=name, name=name, zone=zone, part_bytes=5 * MIB)
    store.ensure_bucket()
    return store


@pytest.fixture
def mirrored(ceph_rgw: Server) -> Callable[[S3Store, S3Store], object]:
    """A platform that mirrors one store into another, prefix by prefix of this test."""

    def over(source: S3Store, target: S3Store):
        model = {
            "from": {"store": "foreign"}, "select": "bucket", "to": "ceph",
            "release": {"basis": "internal", "reason": "ours"},
        }  # fmt: skip
        p = platform({"foreign": source, "ceph": target}, mirrors={"all": model})
        settings = {n: store._settings for n, store in (("foreign", source), ("ceph", target))}
        assert isinstance(p.provider, Provider)
        p.provider.stores = settings
        return p

    return over


def content(store: S3Store) -> dict[str, str]:
    return {x.key: hashlib.sha256(b"".join(store.get(x.key))).hexdigest() for x in store.list()}


def test_every_key_that_the_source_holds_arrives_as_it_is(ceph_rgw, mirrored):
    """S1-7, S0-7."""
    token = secrets.token_hex(4)
    source, target = (
        bucket(ceph_rgw, "ceph", f"{side}-{token}", zone) for side, zone in (("from", "trusted"), ("to", "external"))
    )
    names = [*PLAIN, *BENT, "x" * 1000, *(f"many/{n:05d}" for n in range(1050))]
    headers = {"content-type": "text/csv", "cache-control": "no-store", "content-encoding": "gzip"}
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda key: source.put(key, key.encode(), metadata={"owner": "ann"}, headers=headers), names))
    source.put("zero", b"")
    source.upload("large", (os.urandom(MIB) for _ in range(12)), metadata={"owner": "bob"})
    p = mirrored(source, target)
    result = run(p, "all", RUN_DAY)
    assert result.tables[OBJECTS].objects == len(names) + 2
    assert content(target) == content(source)
    for key in (*PLAIN, *BENT):
        there = target.head(key)
        assert there
        assert there.metadata["owner"] == "ann"
        assert headers.items() <= there.headers.items()
    second = run(p, "all", RUN_DAY)
    assert (second.how, second.sent_bytes) == ("unchanged", 0)


def test_keys_that_the_destination_bends_are_named_and_the_rest_arrives(ceph_rgw, seaweedfs, mirrored):
    """S1-7: SeaweedFS normalises some keys; a copy under another name is no copy."""
    token = secrets.token_hex(4)
    source = bucket(ceph_rgw, "ceph", f"bent-{token}", "trusted")
    target = bucket(seaweedfs, "s3", f"bent-{token}", "external")
    mistaken = ("back\\slash", "dir//two", "/lead", "full/", "two words/")
    for key in (*PLAIN, *mistaken):
        source.put(key, b"x")
    with pytest.raises(ObjectConflict, match=rf"not mirrored \({len(mistaken)}\)") as caught:
        run(mirrored(source, target), "all", RUN_DAY)
    assert all(repr(key) in caught.value.message for key in mistaken)
    assert set(PLAIN) <= {x.key for x in target.list()}
