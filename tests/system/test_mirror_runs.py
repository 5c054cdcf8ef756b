"""Whole runs of mirrors over stores in memory: what is written, what is not, and what the evidence says of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from egress_assets.engine.errors import (
    CatalogError,
    ObjectMissing,
    ReleaseRefused,
    StoreDenied,
    StoreUnavailable,
    Superseded,
)
from egress_assets.engine.evidence import here
from egress_assets.engine.evidence.records import canonical
from egress_assets.engine.layout import date_prefix, mirror_unit, note_key
from egress_assets.engine.mirror import bucket, inventory
from egress_assets.engine.mirror.plan import plan
from egress_assets.engine.mirror.run import run
from egress_assets.engine.release import OBJECTS, read_truth
from egress_assets.engine.stores import Pending
from egress_assets.engine.stores.settings import StoreSettings
from tests.platforms import (
    DATE,
    DUMP,
    NOW,
    ROWS,
    SCRUB,
    A,
    B,
    Made,
    MemoryStore,
    Provider,
    materialise,
    memory,
    platform,
)

RUN_DAY = "2026-11-21"
INTERNAL = {"basis": "internal", "reason": "our own cluster"}
ALL = {
    "from": {"store": "foreign", "prefix": "in/"},
    "select": "bucket",
    "to": "ceph",
    "prefix": "copy",
    "release": INTERNAL,
}


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setenv("EGRESS_NOW", NOW)


def signs(p, name="shop", date=DATE):
    return "".join(line.sign for line in plan(p, name, date))


# -------------------------------------------------------------------------------------------------- select: partition
def scrubbed():
    p = platform()
    materialise(p, SCRUB)
    return p


def test_the_objects_of_the_pointer_appear_under_their_own_keys_with_the_manifest_last():
    p = scrubbed()
    result = run(p, "shop", DATE)
    lake, ceph = memory(p, "lake"), memory(p, "ceph")
    copies = {k: v.body for k, v in ceph.objects.items() if not k.endswith("manifest.json")}
    assert copies == {k: v.body for k, v in lake.objects.items() if not k.endswith("_manifest.json")}
    assert [key for method, key in ceph.asked if method in ("put", "upload")][-1] == (
        f"scrub/shop/shared/date={DATE}/manifest.json"
    )
    assert (result.how, result.generation, result.facts["sent_objects"]) == ("moved", 1, 2)
    assert result.tables[OBJECTS].objects == 2
    assert result.tables[OBJECTS].bytes == sum(map(len, copies.values()))


def test_a_destination_prefix_goes_before_every_key():
    p = platform(mirrors={"shop": {"to": "ceph", "prefix": "team/egress/"}})
    materialise(p, SCRUB)
    run(p, "shop", DATE)
    assert all(key.startswith("team/egress/scrub/shop/shared/") for key in memory(p, "ceph").objects)


def test_a_second_run_transfers_nothing_and_says_so():
    """S0-7."""
    p = scrubbed()
    run(p, "shop", DATE)
    ceph = memory(p, "ceph")
    before = dict(ceph.objects)
    ceph.asked.clear()
    result = run(p, "shop", DATE)
    assert (result.how, result.sent_bytes, result.generation) == ("nothing", 0, 1)
    assert ceph.objects == before
    assert {method for method, _ in ceph.asked} == {"head"}
    again = run(p, "shop", DATE, again=True)
    assert (again.how, again.sent_bytes, again.generation) == ("unchanged", 0, 2)


def test_a_copy_that_is_gone_or_replaced_is_written_again():
    p = scrubbed()
    run(p, "shop", DATE)
    ceph = memory(p, "ceph")
    first, second = sorted(k for k in ceph.objects if not k.endswith("manifest.json"))
    body = ceph.objects[second].body
    ceph.delete(first)
    ceph.put(second, b"x" * len(body))
    assert signs(p) == "+*"
    assert run(p, "shop", DATE).facts["sent_objects"] == 2
    assert ceph.objects[second].body == body
    assert signs(p) == "=="


def test_only_what_moved_is_copied_and_the_rest_is_kept():
    p = scrubbed()
    run(p, "shop", DATE)
    materialise(p, SCRUB, Made(rows={**ROWS, A: b"3,cy\n"}))
    assert sorted(signs(p)) == ["+", "="]
    result = run(p, "shop", DATE)
    assert (result.how, result.generation, result.facts["sent_objects"]) == ("moved", 2, 1)
    assert len([k for k in memory(p, "ceph").objects if "/part-" in k]) == 3


def test_the_manifest_at_the_destination_tells_no_position_and_no_store():
    p = scrubbed()
    run(p, "shop", DATE)
    said = json.loads(memory(p, "ceph").objects[f"scrub/shop/shared/date={DATE}/manifest.json"].body)
    assert set(said) == {"format", "kind", "unit", "date", "as_of", "tables"}
    assert set(said["tables"]) == {A, B}
    assert said["tables"][A]["rows"] == 2
    assert "position" not in str(said)
    assert "lake" not in str(said)
    assert all(o["key"] in memory(p, "ceph").objects for t in said["tables"].values() for o in t["objects"])


def test_the_evidence_names_copies_sources_parents_and_the_basis():
    p = scrubbed()
    run(p, "shop", DATE)
    truth, parent = read_truth(p, mirror_unit("shop"), DATE), read_truth(p, SCRUB, DATE)
    assert truth
    assert parent
    content = truth.contents[OBJECTS]
    assert content.store == "ceph"
    assert content.entry.position.line == "parents:scrub/shop/shared"
    assert content.manifest.draft.parents == parent.parents
    assert content.manifest.draft.basis["basis"] == "scrubbed"
    ceph = memory(p, "ceph")
    assert all(ceph.objects[o.key].etag == o.etag for o in content.record.objects)
    assert {o.source["key"] for o in content.record.objects} == {k for k in memory(p, "lake").objects if "/part-" in k}


def test_a_raw_dump_goes_to_a_trusted_store_only():
    inside = platform(scrub=None, mirrors={"shop": {"to": "inside"}})
    materialise(inside, DUMP, Made(passed=None))
    assert run(inside, "shop", DATE).facts["sent_objects"] == 2
    out = platform(scrub=None)
    materialise(out, DUMP, Made(passed=None))
    with pytest.raises(ReleaseRefused):
        run(out, "shop", DATE)
    assert memory(out, "ceph").objects == {}
    assert signs(out) == "!"
    stated = platform(scrub=None, mirrors={"shop": {"to": "ceph", "release": INTERNAL}})
    materialise(stated, DUMP, Made(passed=None))
    assert run(stated, "shop", DATE).facts["sent_objects"] == 2


def test_a_partial_scrub_is_not_mirrored():
    p = platform()
    materialise(p, SCRUB, Made(rows={A: b"1,x\n"}))
    with pytest.raises(ReleaseRefused, match=r"lacks public\.orders"):
        run(p, "shop", DATE)
    assert memory(p, "ceph").objects == {}


def test_a_lapsed_authorisation_writes_nothing_more(monkeypatch):
    basis = {**INTERNAL, "basis": "authorised", "recipients": ["ceph"], "purpose": "p", "legal_basis": "l"}
    basis |= {"approved_by": "dpo", "until": "2026-11-21"}
    p = platform(scrub=None, mirrors={"shop": {"to": "ceph", "release": basis}})
    materialise(p, DUMP, Made(passed=None))
    run(p, "shop", DATE)
    memory(p, "ceph").objects.clear()
    monkeypatch.setenv("EGRESS_NOW", "2026-11-22T03:00:00+00:00")
    with pytest.raises(ReleaseRefused, match="ended on 2026-11-21"):
        run(p, "shop", DATE)
    assert memory(p, "ceph").objects == {}


def test_one_bad_object_does_not_stop_the_others_and_the_pointer_stays():
    p = scrubbed()
    ceph = memory(p, "ceph")
    bad = next(k for k in memory(p, "lake").objects if A in k)
    ceph.failing[("put", bad)] = StoreDenied("not this key")
    with pytest.raises(StoreDenied, match=r"not mirrored \(1\): .*not this key"):
        run(p, "shop", DATE)
    assert [k for k in ceph.objects if "/part-" in k] == [
        k for k in memory(p, "lake").objects if "/part-" in k and B in k
    ]
    assert p.evidence.pointer(mirror_unit("shop"), DATE) is None
    assert not any(k.endswith("manifest.json") for k in ceph.objects)
    ceph.failing.clear()
    assert run(p, "shop", DATE).facts["sent_objects"] == 1


def test_a_damaged_source_is_not_mirrored():
    p = scrubbed()
    lake = memory(p, "lake")
    key = next(k for k in lake.objects if A in k)
    lake.objects[key].body = b"x" * len(lake.objects[key].body)
    with pytest.raises(Exception, match="its manifest says") as caught:
        run(p, "shop", DATE)
    assert type(caught.value).__name__ == "ChecksumMismatch"
    assert not any(A in k for k in memory(p, "ceph").objects)


def test_a_date_without_data_says_what_to_do():
    with pytest.raises(ObjectMissing):
        run(platform(), "shop", DATE)
    with pytest.raises(ObjectMissing):
        plan(platform(), "shop", DATE)


def test_a_date_that_is_not_complete_is_refused():
    with pytest.raises(CatalogError, match="outside"):
        run(scrubbed(), "shop", "2026-11-21")


def test_an_unknown_mirror_names_the_known_ones():
    with pytest.raises(CatalogError) as caught:
        run(platform(), "shopp", DATE)
    assert "shop" in caught.value.hint


def test_a_plan_writes_nothing():
    p = scrubbed()
    stores = {name: memory(p, name) for name in ("lake", "ceph", "evidence")}
    for store in stores.values():
        store.asked.clear()
    assert signs(p) == "++"
    asked = {method for store in stores.values() for method, _ in store.asked}
    assert asked <= {"head", "read", "list"}


# ----------------------------------------------------------------------------------------------------- select: bucket
def foreign(**mirror):
    p = platform(mirrors={"all": {**ALL, **mirror}})
    store = memory(p, "foreign")
    for key in ("in/a", "in/a/b", "in/dir/", "in/sp ace+%é\n", "out/secret"):
        store.put(key, key.encode(), metadata={"k": "v"}, headers={"content-type": "text/plain"})
    store.put("in/empty", b"")
    store.upload("in/large", [b"x" * 2**19] * 3, metadata={"m": "n"})
    return p, store


def test_a_foreign_prefix_is_copied_in_place():
    """S0-7, S1-7."""
    p, store = foreign()
    result = run(p, "all", RUN_DAY)
    ceph = memory(p, "ceph")
    assert set(ceph.objects) == {f"copy/{k}" for k in store.objects if k.startswith("in/")}
    for key, kept in ceph.objects.items():
        source = store.objects[key.removeprefix("copy/")]
        assert (kept.body, kept.headers) == (source.body, source.headers)
        assert source.metadata.items() <= kept.metadata.items()
    assert (result.how, result.facts["sent_objects"], result.tables[OBJECTS].objects) == ("moved", 6, 6)


def test_a_second_run_over_a_foreign_bucket_lists_and_transfers_nothing():
    """S0-7: also for multipart objects, whose ETags differ: the inventory knows both."""
    p, store = foreign()
    run(p, "all", RUN_DAY)
    ceph = memory(p, "ceph")
    for each in (store, ceph):
        each.asked.clear()
    result = run(p, "all", RUN_DAY)
    assert (result.how, result.sent_bytes, result.facts["sent_objects"]) == ("unchanged", 0, 0)
    assert {method for each in (store, ceph) for method, _ in each.asked} == {"list"}


def test_without_the_inventory_a_head_tells_the_version_of_a_multipart_copy():
    p, _ = foreign()
    run(p, "all", RUN_DAY)
    evidence = memory(p, "evidence")
    for key in [k for k in evidence.objects if k.startswith("inventories/")]:
        evidence.delete(key)
    memory(p, "ceph").asked.clear()
    assert run(p, "all", RUN_DAY).sent_bytes == 0
    assert [key for method, key in memory(p, "ceph").asked if method == "head"] == ["copy/in/large"]


def test_a_change_of_the_same_size_is_copied_and_what_only_the_destination_has_is_kept():
    """S0-8."""
    p, store = foreign()
    run(p, "all", RUN_DAY)
    ceph = memory(p, "ceph")
    ceph.put("copy/in/only-here", b"theirs")
    store.put("in/a", b"IN/A")
    store.delete("in/empty")
    assert [(x.sign, x.what) for x in plan(p, "all", RUN_DAY) if x.sign != "="] == [("*", "copy/in/a")]
    result = run(p, "all", RUN_DAY)
    assert (result.how, result.facts["sent_objects"]) == ("moved", 1)
    assert ceph.objects["copy/in/a"].body == b"IN/A"
    assert "copy/in/only-here" in ceph.objects
    assert "copy/in/empty" in ceph.objects


def test_the_inventory_lists_what_the_mirror_stands_for():
    p, store = foreign()
    store.put("in/there", b"same")
    memory(p, "ceph").put("copy/in/there", b"same")
    run(p, "all", RUN_DAY)
    truth = read_truth(p, mirror_unit("all"), RUN_DAY)
    assert truth
    content = truth.contents[OBJECTS]
    assert content.store == "evidence"
    lines = {c.key: c for c in inventory.read(p.store("evidence"), content.record)}
    assert set(lines) == set(memory(p, "ceph").objects)
    assert lines["copy/in/there"].sha256 == ""
    assert all(line.sha256 for key, line in lines.items() if key != "copy/in/there")
    run(p, "all", RUN_DAY)
    again = read_truth(p, mirror_unit("all"), RUN_DAY)
    assert again
    assert {c.key: c for c in inventory.read(p.store("evidence"), again.contents[OBJECTS].record)} == lines


def test_a_listing_that_breaks_off_fails_the_run_and_moves_nothing():
    for name, key in (("foreign", "in/dir/"), ("ceph", "copy/in/dir/")):
        p, _ = foreign()
        run(p, "all", RUN_DAY)
        memory(p, name).failing[("page", key)] = StoreUnavailable("page 2 failed")
        with pytest.raises(StoreUnavailable, match="page 2"):
            run(p, "all", RUN_DAY)
        pointer = p.evidence.pointer(mirror_unit("all"), RUN_DAY)
        assert pointer
        assert pointer.generation == 1


def test_nothing_to_mirror_is_not_success():
    p = platform(mirrors={"all": ALL})
    with pytest.raises(ObjectMissing, match="nothing lies under"):
        run(p, "all", RUN_DAY)


def test_an_object_that_vanishes_after_the_listing_is_counted_and_fails_nothing():
    p, store = foreign()

    def before(_method: str, key: str) -> None:
        if key == "in/a":
            store.objects.pop(key, None)

    store.before = before
    result = run(p, "all", RUN_DAY)
    assert (result.facts["gone_objects"], result.tables[OBJECTS].objects) == (1, 5)


def test_one_object_that_fails_is_listed_and_the_rest_is_there():
    p, _ = foreign()
    ceph = memory(p, "ceph")
    ceph.failing[("put", "copy/in/a/b")] = StoreDenied("no")
    with pytest.raises(StoreDenied, match="copy/in/a/b"):
        run(p, "all", RUN_DAY)
    assert len(ceph.objects) == 5


def test_foreign_objects_need_a_basis_to_leave():
    p, _ = foreign(release=None)
    with pytest.raises(ReleaseRefused, match="without a `release`"):
        run(p, "all", RUN_DAY)
    assert memory(p, "ceph").objects == {}
    assert signs(p, "all", RUN_DAY) == "!"
    inside, _ = foreign(release=None, to="inside")
    assert run(inside, "all", RUN_DAY).facts["sent_objects"] == 6


def test_a_foreign_bucket_is_dated_by_the_day_of_the_run():
    p, _ = foreign()
    with pytest.raises(CatalogError, match="outside"):
        run(p, "all", "2026-11-22")
    assert run(p, "all", RUN_DAY).date == RUN_DAY


@pytest.mark.parametrize(("prefix", "overlaps"), [("", True), ("in/copy", True), ("in", True), ("copy", False)])
def test_a_mirror_never_copies_its_own_copies(prefix, overlaps):
    p, _ = foreign(prefix=prefix)
    assert isinstance(p.provider, Provider)
    p.provider.stores = {name: StoreSettings(name=name, bucket="one") for name in ("foreign", "ceph")}
    p._stores["ceph"] = p.store("foreign")
    memory(p, "ceph").zone = "external"
    if not overlaps:
        assert run(p, "all", RUN_DAY).facts["sent_objects"] == 6
        return
    with pytest.raises(CatalogError, match="overlap"):
        run(p, "all", RUN_DAY)


def test_an_older_listing_never_replaces_a_newer_truth(monkeypatch):
    p, _ = foreign()
    original = bucket.Work.draft

    def overtaken(self, base, me):
        draft = original(self, base, me)
        if not overtaking:
            overtaking.append(True)
            monkeypatch.setenv("EGRESS_NOW", "2026-11-21T04:00:00+00:00")
            run(p, "all", RUN_DAY)
        return draft

    overtaking: list[bool] = []
    monkeypatch.setattr(bucket.Work, "draft", overtaken)
    with pytest.raises(Superseded):
        run(p, "all", RUN_DAY)


# -------------------------------------------------------------------------------------------------- unfinished uploads
def left(store: MemoryStore, key: str, *, hours: float = 1) -> Pending:
    upload = Pending(key, f"id-{key}", datetime.now(UTC) - timedelta(hours=hours))
    store.pending.append(upload)
    return upload


def note(p, unit, attempt: str, note) -> None:
    memory(p, "evidence").put(note_key(unit, DATE, attempt), canonical(note.to_json()))


def test_uploads_of_a_dead_run_are_aborted_and_other_peoples_are_not():
    p, _ = foreign()
    ceph = memory(p, "ceph")
    ours, theirs, outside = left(ceph, "copy/in/a"), left(ceph, "copy/in/theirs"), left(ceph, "elsewhere/x")
    result = run(p, "all", RUN_DAY)
    assert result.facts["swept_uploads"] == 1
    assert ceph.pending == [theirs, outside]
    assert ours not in ceph.pending


def test_uploads_are_left_while_another_run_of_the_mirror_may_live():
    p = scrubbed()
    ceph = memory(p, "ceph")
    fresh = left(ceph, date_prefix(SCRUB, DATE) + "a=x/part")
    note(p, mirror_unit("shop"), "20261121T030000000-00000000", here.this("x"))
    run(p, "shop", DATE)
    assert ceph.pending == [fresh]
    left(ceph, date_prefix(SCRUB, DATE) + "a=x/old", hours=25)
    run(p, "shop", DATE, again=True)
    assert ceph.pending == [fresh]
