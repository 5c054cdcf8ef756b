"""A table left the catalog: what was mirrored and delivered of dates that still have it, over stores in memory."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from egress_assets.engine.delivery.run import run as deliver
from egress_assets.engine.errors import ReleaseRefused
from egress_assets.engine.evidence import here
from egress_assets.engine.evidence.records import Draft, Position
from egress_assets.engine.housekeeping import keep_house
from egress_assets.engine.layout import date_prefix, mirror_unit
from egress_assets.engine.mirror.run import run as mirror
from egress_assets.engine.release import release_for
from tests.platforms import DATE, ROWS, SCRUB, A, B, Made, materialise, memory, platform

NEWER = "2026-11-21"
MANIFEST = f"{date_prefix(SCRUB, DATE)}manifest.json"


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setenv("EGRESS_NOW", "2026-11-22T03:00:00+00:00")


def whole(tmp_path, tables=(A, B), stores=None):
    deliveries = {
        f"acme/{t.partition('.')[2]}": {"from": t, "format": "csv.zst", "destination_prefix": "{date}/"} for t in tables
    }
    return platform(
        stores,
        tables={t: {"columns": {"id": "keep"}} for t in tables},
        recipients={"acme": {"transfer_type": "folder"}},
        settings={"acme": {"path": str(tmp_path)}},
        deliveries=deliveries,
    )


@pytest.fixture
def removed(tmp_path):
    """DATE was scrubbed, mirrored and delivered with both tables; then `orders` left the catalog."""
    p = whole(tmp_path)
    materialise(p, SCRUB)
    mirror(p, "shop", DATE)
    for pipeline in ("customers", "orders"):
        deliver(p, "acme", pipeline, DATE)
    return whole(tmp_path, (A,), {name: p.store(name) for name in ("evidence", "lake", "ceph")})


def copies(p, date=DATE):
    return {k: v.body for k, v in memory(p, "ceph").objects.items() if f"date={date}/" in k}


def statuses(p, date=DATE):
    return {(v.table, v.status) for v in p.evidence.verify(SCRUB, date, p.store("lake"))}


def test_the_mirror_of_an_old_date_stays_as_it_is_and_says_why_it_is_not_made_again(removed):
    before = copies(removed)
    for again in (False, True):
        with pytest.raises(ReleaseRefused, match=r"2026-11-20 has public\.orders, which left the catalog") as refused:
            mirror(removed, "shop", DATE, again=again)
        assert "What was sent of the date stays as it is" in refused.value.hint
    assert copies(removed) == before
    assert set(json.loads(before[MANIFEST])["tables"]) == {A, B}
    pointer = removed.evidence.pointer(mirror_unit("shop"), DATE)
    assert pointer is not None
    assert pointer.generation == 1


def test_the_mirror_of_a_new_date_has_exactly_the_catalogs_tables(removed):
    materialise(removed, SCRUB, Made(rows={A: ROWS[A]}), date=NEWER)
    mirror(removed, "shop", NEWER)
    manifest = json.loads(copies(removed, NEWER)[f"{date_prefix(SCRUB, NEWER)}manifest.json"])
    assert set(manifest["tables"]) == {A}
    assert len(copies(removed, NEWER)) == 2


def made_without_the_table(p, rows=ROWS[A]):
    """The next run of DATE, over exactly the catalog's tables."""

    def work(_base, _attempt):
        manifest, record = p.evidence.tables(p.evidence.pointer(SCRUB, DATE))[A]
        return Draft({A: record}, Position("as_of", 99), "next", manifest.draft.as_of, "lake")

    materialise(p, SCRUB, Made(rows={A: rows}))
    p.evidence.materialise(SCRUB, DATE, work, p.store("lake"))


def test_the_date_made_again_without_the_table_is_mirrored_without_it(removed):
    made_without_the_table(removed)
    assert mirror(removed, "shop", DATE).how == "moved"
    assert set(json.loads(copies(removed)[MANIFEST])["tables"]) == {A}


def test_the_other_tables_of_an_old_date_are_still_delivered(removed, tmp_path):
    assert deliver(removed, "acme", "customers", DATE).how == "nothing"
    (tmp_path / "else").mkdir()
    stores = {name: removed.store(name) for name in ("evidence", "lake")}
    late = platform(
        stores,
        tables={A: {"columns": {"id": "keep"}}},
        recipients={"late": {"transfer_type": "folder"}},
        settings={"late": {"path": str(tmp_path / "else")}},
        deliveries={"late/customers": {"from": A, "format": "csv.zst"}},
    )
    assert deliver(late, "late", "customers", DATE).how == "moved"
    with pytest.raises(ReleaseRefused, match=r"does not have public\.none"):
        release_for(late, SCRUB, DATE, only=frozenset({A, "public.none"}))


def test_pieces_of_several_runs_are_no_dataset_whatever_left_the_catalog(removed):
    materialise(removed, SCRUB, Made(rows={A: b"9,z\n"}))
    stays = platform({n: removed.store(n) for n in ("evidence", "lake")}, tables={A: {"columns": {"id": "keep"}}})
    with pytest.raises(ReleaseRefused, match="mixes snapshots of different runs"):
        release_for(stays, SCRUB, DATE, only=frozenset({A}))


def test_old_dates_are_verified_with_the_table_that_left(removed):
    assert statuses(removed) == {(A, "ok"), (B, "ok")}


def aged(p, monkeypatch):
    """A month later, every process gone."""
    for store in ("evidence", "lake"):
        for kept in memory(p, store).objects.values():
            kept.modified -= timedelta(days=30)
    monkeypatch.setattr(here, "is_gone", lambda _note: True)


def test_housekeeping_keeps_what_old_pointers_and_receipts_name(removed, monkeypatch):
    aged(removed, monkeypatch)
    before = set(memory(removed, "lake").objects)
    house = keep_house(removed)
    assert (house.objects, house.failed) == (0, [])
    assert set(memory(removed, "lake").objects) == before
    assert statuses(removed) == {(A, "ok"), (B, "ok")}
    assert removed.evidence.verify_ledger().problems == ()


def test_of_overtaken_attempts_only_those_stay_that_a_receipt_names(removed, monkeypatch):
    delivered = {key for key in memory(removed, "lake").objects if key.startswith("scrub/")}
    made_without_the_table(removed, b"9,z\n")
    overtaken = {key for key in memory(removed, "lake").objects if "/part-" in key} - delivered
    made_without_the_table(removed, b"8,y\n")
    aged(removed, monkeypatch)
    assert keep_house(removed).objects == len(overtaken) == 1
    assert delivered <= set(memory(removed, "lake").objects)
    assert not overtaken & set(memory(removed, "lake").objects)
