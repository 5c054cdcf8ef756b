"""Nothing leaves without a Release, and a Release comes from evidence alone."""

from __future__ import annotations

import ast
import copy
import dataclasses
from pathlib import Path

import pytest

from egress_assets.engine.catalog.models import Basis
from egress_assets.engine.errors import ReleaseRefused
from egress_assets.engine.layout import mirror_unit
from egress_assets.engine.mirror.outlet import Copy, Outlet
from egress_assets.engine.mirror.run import run as mirror
from egress_assets.engine.release import (
    Release,
    ReleasedObject,
    read_truth,
    release_for,
    release_prefix,
    require_release,
)
from egress_assets.engine.transfers import Parcel
from tests.platforms import DATE, DUMP, NOW, ROWS, SCRUB, A, B, Made, MemoryStore, materialise, memory, platform

ENGINE = Path(__file__).parents[2] / "egress_assets"
INTERNAL = Basis(basis="internal", reason="counts only")
AUTHORISED = {
    "basis": "authorised",
    "reason": "contract 7",
    "recipients": ["acme"],
    "purpose": "billing",
    "legal_basis": "contract",
    "approved_by": "dpo",
    "until": "2026-11-21",
}


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setenv("EGRESS_NOW", NOW)


def refused(match: str):
    return pytest.raises(ReleaseRefused, match=match)


def test_a_scrub_whose_checks_passed_is_released_object_by_object():
    p = platform()
    materialise(p, SCRUB)
    release = release_for(p, SCRUB, DATE)
    assert release.order == (DATE, 1)
    assert release.basis == {"basis": "scrubbed", "unit": "scrub/shop/shared", "audience": "shared"}
    lake = memory(p, "lake")
    assert {o.table for o in release.objects} == {A, B}
    assert all(o.bytes == len(lake.objects[o.key].body) for o in release.objects)
    for item in release.objects:
        release.require(item)


def test_the_order_of_a_release_follows_its_pointer():
    p = platform()
    materialise(p, SCRUB)
    materialise(p, SCRUB, Made(rows={**ROWS, A: b"3,cy\n"}))
    assert release_for(p, SCRUB, DATE).order == (DATE, 2)


def test_a_date_without_data_is_refused():
    with refused("has no data"):
        release_for(platform(), SCRUB, DATE)


@pytest.mark.parametrize(("passed", "match"), [(False, "failed gate"), (None, "was never checked")])
def test_a_scrub_that_did_not_pass_its_checks_is_refused_whatever_is_stated(passed, match):
    p = platform()
    materialise(p, SCRUB, Made(passed=passed))
    for basis in (None, "scrubbed", INTERNAL):
        with refused(match):
            release_for(p, SCRUB, DATE, basis)


def test_a_raw_dump_is_refused_without_a_basis_and_released_with_one():
    p = platform()
    materialise(p, DUMP, Made(passed=None))
    for basis in (None, "scrubbed"):
        with refused("not scrubbed"):
            release_for(p, DUMP, DATE, basis)
    assert release_for(p, DUMP, DATE, INTERNAL).basis["reason"] == "counts only"


def test_a_partial_materialisation_is_refused_for_a_dataset_and_taken_by_table():
    p = platform()
    materialise(p, SCRUB, Made(rows={A: b"1,ann\n"}))
    with refused("lacks public.orders"):
        release_for(p, SCRUB, DATE)
    by_table = platform({"evidence": p.store("evidence")}, scrub={"key": "k", "consistency": "table"})
    only = release_for(by_table, SCRUB, DATE, only=frozenset({A}))
    assert {o.table for o in only.objects} == {A}
    with refused("does not have public.orders"):
        release_for(by_table, SCRUB, DATE, only=frozenset({B}))


def test_tables_of_two_snapshots_are_refused():
    p = platform()
    materialise(p, SCRUB)
    materialise(p, SCRUB, Made(rows={A: b"9,zed\n"}))
    with refused("mixes snapshots"):
        release_for(p, SCRUB, DATE)


def test_an_extract_of_a_later_day_is_refused_under_any_basis():
    p = platform()
    materialise(p, DUMP, Made(passed=None, facts={"relabelled": True}))
    with refused("later state"):
        release_for(p, DUMP, DATE, INTERNAL)


def test_an_authorisation_is_for_its_recipients_until_the_end_of_its_last_day(monkeypatch):
    p = platform()
    materialise(p, DUMP, Made(passed=None))
    basis = Basis.model_validate(AUTHORISED)
    assert release_for(p, DUMP, DATE, basis, recipient="acme").recipient == "acme"
    with refused("authorised for acme, not for beta"):
        release_for(p, DUMP, DATE, basis, recipient="beta")
    monkeypatch.setenv("EGRESS_NOW", "2026-11-21T23:59:59+00:00")
    release_for(p, DUMP, DATE, basis, recipient="acme")
    monkeypatch.setenv("EGRESS_NOW", "2026-11-22T00:00:00+00:00")
    with refused("ended on 2026-11-21"):
        release_for(p, DUMP, DATE, basis, recipient="acme")


def test_a_foreign_prefix_needs_a_stated_basis_and_covers_nothing_beside_it():
    p = platform()
    with refused("without a `release`"):
        release_prefix(p, mirror_unit("all"), DATE, scope=("foreign", "in/"), basis=None, recipient="ceph")
    release = release_prefix(p, mirror_unit("all"), DATE, scope=("foreign", "in/"), basis=INTERNAL, recipient="ceph")
    release.require(ReleasedObject("objects", "foreign", "in/x", 1, ""))
    for store, key in (("foreign", "out/x"), ("lake", "in/x")):
        with refused("is not of the release"):
            release.require(ReleasedObject("objects", store, key, 1, ""))


def test_a_scrubbed_mirror_passes_its_basis_on_and_an_internal_one_does_not():
    p = platform()
    materialise(p, SCRUB)
    mirror(p, "shop", DATE)
    assert release_for(p, mirror_unit("shop"), DATE).basis["basis"] == "scrubbed"
    raw = platform(scrub=None, mirrors={"shop": {"to": "ceph", "release": {"basis": "internal", "reason": "ours"}}})
    materialise(raw, DUMP, Made(passed=None))
    mirror(raw, "shop", DATE)
    with refused("not scrubbed"):
        release_for(raw, mirror_unit("shop"), DATE)


def test_every_refusal_names_the_way_out():
    p = platform()
    materialise(p, SCRUB, Made(passed=False))
    for unit in (SCRUB, DUMP):
        with pytest.raises(ReleaseRefused) as caught:
            release_for(p, unit, DATE)
        assert caught.value.hint.endswith(".")
        assert not caught.value.retryable


# ------------------------------------------------------------------------------------------- no way around the type
def released() -> tuple[Release, MemoryStore]:
    p = platform()
    materialise(p, SCRUB)
    return release_for(p, SCRUB, DATE), memory(p, "ceph")


def test_a_release_can_not_be_built_or_altered_by_hand():
    release, _ = released()
    with refused("built by hand"):
        Release(SCRUB, DATE, 1, {"basis": "scrubbed"}, "acme", (), None, object())
    with pytest.raises((ValueError, TypeError)):
        dataclasses.replace(release, objects=())  # pyright: ignore[reportCallIssue]
    with pytest.raises(dataclasses.FrozenInstanceError):
        release.objects = ()  # pyright: ignore[reportAttributeAccessIssue]
    assert copy.copy(release) == release


def test_an_external_store_opens_for_a_release_alone():
    release, ceph = released()
    with refused("without a release"):
        Outlet(ceph, None)
    with refused("without a release"):
        require_release(None, zone="external", what="store ceph")
    Outlet(ceph, release)
    Outlet(MemoryStore("inside"), None)


def test_an_outlet_writes_released_objects_only():
    release, ceph = released()
    good = release.objects[0]
    outlet = Outlet(ceph, release)
    for item in (
        dataclasses.replace(good, sha256="0" * 64),
        dataclasses.replace(good, key="dump/shop/raw"),
        dataclasses.replace(good, bytes=good.bytes + 1),
    ):
        copy_of = Copy((item,), item.key, {}, {})
        with refused("is not of the release"):
            outlet.write_whole(copy_of, b"raw")
        with refused("is not of the release"):
            outlet.write(copy_of, iter([b"raw"]), size=3)
    assert ceph.objects == {}


def test_a_parcel_holds_a_released_object_only():
    release, _ = released()
    good = release.objects[0]
    assert Parcel(release, good, "x.csv").sha256 == good.sha256
    with refused("is not of the release"):
        Parcel(release, dataclasses.replace(good, sha256="0" * 64), "x.csv")
    with refused("without a release"):
        Parcel(None, good, "x.csv")  # pyright: ignore[reportArgumentType]


WRITING = ("put", "upload", "put_if", "copy")
WRITERS = {
    "engine/mirror/outlet.py": "checks the Release of each object",
    "engine/mirror/odd_keys.py": "a constant of its own, below egress-probe/",
    "engine/mirror/inventory.py": "shards in the evidence store",
    "engine/delivery/seal.py": "the dataset's store, after require_release",
    "engine/transfers/s3.py": "takes a Parcel, which checks its Release",
}
"""Who of all that send may call a store's writing methods. Stages that make data write to trusted stores."""


def _writes(source: str) -> set[str]:
    if "store" not in source or not any(f".{name}(" in source for name in WRITING):
        return set()
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    attributes = (call.func for call in calls if isinstance(call.func, ast.Attribute))
    return {
        f"{ast.unparse(a.value)}.{a.attr}"
        for a in attributes
        if a.attr in WRITING and "store" in ast.unparse(a.value).lower()
    }


def test_no_other_module_that_sends_calls_a_stores_writing_methods():
    found = {}
    for folder in ("engine/mirror", "engine/delivery", "engine/transfers"):
        for path in sorted((ENGINE / folder).rglob("*.py")):
            if writes := _writes(path.read_text()):
                found[str(path.relative_to(ENGINE))] = writes
    assert set(found) == set(WRITERS)


def test_evidence_of_a_changed_manifest_is_not_released():
    p = platform()
    outcome = materialise(p, SCRUB)
    evidence = memory(p, "evidence")
    key = next(k for k in evidence.objects if k.startswith("manifests/scrub/shop") and outcome.attempt in k)
    body = evidence.objects[key].body.replace(b'"passed":true', b'"passed":true,"x":1', 1)
    evidence.put(key, body)
    with pytest.raises(Exception, match="sha256 of the manifest"):
        read_truth(p, SCRUB, DATE)
