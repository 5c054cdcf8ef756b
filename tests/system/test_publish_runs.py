"""Whole runs of `publish` over stores in memory: bytes, the flag's order, what is removed, who may have it."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from typing import Any

import pytest
import zstandard

from egress_assets.engine.catalog.models import Basis
from egress_assets.engine.errors import (
    CatalogError,
    ChecksumMismatch,
    Held,
    ObjectMissing,
    ReleaseRefused,
    StoreUnavailable,
)
from egress_assets.engine.evidence.records import digest
from egress_assets.engine.explain.story import explain
from egress_assets.engine.mirror.plan import plan
from egress_assets.engine.mirror.run import run
from egress_assets.engine.platform import Platform
from egress_assets.engine.release import OBJECTS, read_truth, release_for
from egress_assets.engine.stores import Pending
from tests.platforms import DATE, DUMP, NOW, ROWS, SCRUB, STORES, A, B, Made, materialise, memory, platform
from tests.publishes import (
    CHANGED,
    CUSTOMERS,
    DESCRIBED,
    FILES,
    FLAG,
    ORDERS,
    SCHEMA,
    UNIT,
    lying,
    made,
    published,
    writes,
)

INTERNAL = {"basis": "internal", "reason": "our own cluster"}


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setenv("EGRESS_NOW", NOW)


def signs(p: Platform) -> str:
    return "".join(line.sign for line in plan(p, "shop_files", DATE))


# --------------------------------------------------------------------------------------------------------------- bytes
@pytest.mark.parametrize("form", ["csv", "csv.gz", "csv.zst"])
@pytest.mark.parametrize("parts", [1, 2])
def test_the_daily_folder_of_the_reference_holds_what_copy_wrote(form: str, parts: int) -> None:
    """S0-1: `<prefix>/2024-01-31/a.csv.gz`, no header."""
    p = made(form=form, parts=parts)
    run(p, "shop_files", DATE)
    found = lying(p)
    assert list(found) == [FLAG, CUSTOMERS, ORDERS]
    assert sorted(gzip.decompress(found[CUSTOMERS]).splitlines()) == sorted(ROWS[A].splitlines())
    assert gzip.decompress(found[ORDERS]) == ROWS[B]


def test_the_folder_by_table_and_time_of_the_reference_holds_what_copy_wrote() -> None:
    """S0-1: `<prefix>/a/2024-01-31-00-00-00/...csv`."""
    p = made(path="rds/{table}/{date:%Y-%m-%d-%H-%M-%S}/{table}.csv", format="csv", flag=None)
    run(p, "shop_files", DATE)
    assert lying(p) == {
        f"rds/customers/{DATE}-00-00-00/customers.csv": ROWS[A],
        f"rds/orders/{DATE}-00-00-00/orders.csv": ROWS[B],
    }


def test_parts_of_one_format_are_joined_as_they_are_and_a_header_is_a_frame_of_its_own() -> None:
    p = made(parts=2, path="x/{date}/{table}.{ext}", format=None, flag=None, header=True)
    run(p, "shop_files", DATE)
    body = lying(p)[f"x/{DATE}/customers.csv.zst"]
    lake = memory(p, "lake")
    parts = [kept.body for key, kept in sorted(lake.objects.items()) if "/public.customers/" in key]
    assert body.endswith(b"".join(parts))
    assert zstandard.ZstdDecompressor().decompressobj().decompress(body) == b'id,"name, or what"\n'
    whole = zstandard.ZstdDecompressor().stream_reader(body, read_across_frames=True).read()
    assert whole == b'id,"name, or what"\n1,ann\n2,bob\n'


def test_with_a_part_in_the_path_each_part_is_an_object_with_its_header() -> None:
    p = made(parts=2, path="x/{date}/{schema}.{table}-{part}.csv", format="csv", flag=None, header=True)
    run(p, "shop_files", DATE)
    assert lying(p) == {
        f"x/{DATE}/public.customers-00000.csv": b'id,"name, or what"\n1,ann\n',
        f"x/{DATE}/public.customers-00001.csv": b'id,"name, or what"\n2,bob\n',
        f"x/{DATE}/public.orders-00000.csv": b'id,"name, or what"\n7,"a,b"\n',
        f"x/{DATE}/public.orders-00001.csv": b'id,"name, or what"\n',
    }


def test_the_flag_and_the_evidence_name_every_object_with_its_digest() -> None:
    p = made()
    result = run(p, "shop_files", DATE)
    said = json.loads(lying(p)[FLAG])
    truth = read_truth(p, UNIT, DATE)
    assert truth
    content = truth.contents[OBJECTS]
    assert [(o.key, o.rows) for o in content.record.objects] == [(CUSTOMERS, 2), (ORDERS, 1), (FLAG, 0)]
    assert [o["sha256"] for o in said["objects"]] == [o.sha256 for o in content.record.objects[:2]]
    assert {"lsn", "snapshot", "store"}.isdisjoint(said)
    assert (result.how, result.tables[OBJECTS].objects, result.facts["sent_objects"]) == ("moved", 3, 3)
    assert content.manifest.draft.store == "inside"
    assert content.manifest.draft.parents == read_truth(p, DUMP, DATE).parents  # type: ignore[union-attr]
    verified = list(p.evidence.verify(UNIT, DATE, p.store("inside")))
    assert [(v.key, v.status) for v in verified] == [(CUSTOMERS, "ok"), (ORDERS, "ok"), (FLAG, "ok")]


def test_a_published_name_is_explained_up_to_the_source() -> None:
    p = made()
    run(p, "shop_files", DATE)
    for word in (ORDERS, f"s3://inside/{ORDERS}", f"s3://inside/{FLAG}"):
        story = explain(p, [word])
        assert story.target.unit == UNIT
        assert story.target.date == DATE
    with pytest.raises(ObjectMissing):
        explain(p, [ORDERS.replace(DATE, "2026-11-19")])


# ------------------------------------------------------------------------------------------------------------- schemas
def test_a_tables_schema_lies_beside_it_and_tells_of_the_published_form() -> None:
    p = made(parts=2, **DESCRIBED)
    assert signs(p) == "+++++"
    run(p, "shop_files", DATE)
    found, lake = lying(p), memory(p, "lake")
    assert list(found) == [FLAG, CUSTOMERS, SCHEMA.format("customers"), ORDERS, SCHEMA.format("orders")]
    key = next(key for key in lake.objects if key.endswith("/public.orders/schema.json"))
    stored, said = json.loads(lake.objects[key].body), json.loads(found[SCHEMA.format("orders")])
    assert ((stored["format"], stored["header"]), (said["format"], said["header"])) == (
        ("csv.zst", False),
        ("csv.gz", True),
    )
    told = {name: said[name] for name in ("table", "columns", "format", "csv", "header")}
    assert said == {**stored, **told, "schema_digest": digest(told)}
    assert said["schema_digest"] != stored["schema_digest"]
    assert memory(p, "inside").objects[SCHEMA.format("orders")].headers == {"content-type": "application/json"}


def test_a_schema_of_what_is_published_as_it_is_stored_is_as_it_is_stored() -> None:
    p = made(path="x/{date}/{table}.{ext}", format=None, flag=None, schema="x/{date}/{table}.json")
    run(p, "shop_files", DATE)
    stored = [kept.body for key, kept in sorted(memory(p, "lake").objects.items()) if key.endswith("/schema.json")]
    assert [body for key, body in lying(p).items() if key.endswith(".json")] == stored


def test_schemas_are_in_the_flag_and_in_the_evidence_and_no_rows_of_the_publish() -> None:
    p = made(**DESCRIBED)
    result = run(p, "shop_files", DATE)
    said, truth = json.loads(lying(p)[FLAG])["objects"], read_truth(p, UNIT, DATE)
    assert truth
    record = truth.contents[OBJECTS].record
    schemas = [SCHEMA.format("customers"), SCHEMA.format("orders")]
    assert [o["key"] for o in said if o.get("kind") == "schema"] == schemas
    assert [(o.key, o.rows) for o in record.sidecars] == [(key, None) for key in schemas]
    assert (record.rows, result.facts["sent_objects"]) == (3, 5)
    assert {o["key"]: o["sha256"] for o in said} == {o.key: o.sha256 for o in record.mirrored if o.key != FLAG}
    checked = [(v.key, v.status) for v in p.evidence.verify(UNIT, DATE, p.store("inside"))]
    assert sorted(checked) == [(key, "ok") for key in sorted(lying(p))]
    assert [item.key for item in release_for(p, UNIT, DATE, Basis(**INTERNAL)).objects] == [CUSTOMERS, ORDERS, FLAG]
    story = explain(p, [schemas[1]])
    assert (story.target.unit, [(seen.key, seen.held) for seen in story.objects]) == (UNIT, [(schemas[1], "there")])


def test_a_schema_that_is_gone_or_replaced_is_written_again() -> None:
    p = made(**DESCRIBED)
    run(p, "shop_files", DATE)
    inside, before, (one, two) = memory(p, "inside"), lying(p), map(SCHEMA.format, ("customers", "orders"))
    inside.delete(one)
    inside.put(two, b"somebody else's")
    assert signs(p) == "=+=**"
    inside.asked.clear()
    run(p, "shop_files", DATE)
    assert lying(p) == before
    assert sorted(writes(inside)[1:-1]) == [("upload", one), ("upload", two)]
    assert [writes(inside)[n] for n in (0, -1)] == [("delete", FLAG), ("put", FLAG)]
    assert run(p, "shop_files", DATE).how == "nothing"


def test_a_header_alone_writes_the_schema_anew_and_without_schema_it_is_removed() -> None:
    p = made(**DESCRIBED)
    run(p, "shop_files", DATE)
    plain = published({name: p.store(name) for name in STORES}, **{**DESCRIBED, "header": False})
    assert signs(plain) == "*****"
    run(plain, "shop_files", DATE)
    assert json.loads(lying(p)[SCHEMA.format("orders")])["header"] is False
    without = published({name: p.store(name) for name in STORES})
    assert signs(without) == "==--*"
    assert run(without, "shop_files", DATE).facts["removed_objects"] == 2
    assert list(lying(p)) == [FLAG, CUSTOMERS, ORDERS]


def test_a_date_without_schemas_is_not_published_with_them_and_what_lies_there_stays() -> None:
    p = made()
    run(p, "shop_files", DATE)
    before = lying(p)
    described = published({name: p.store(name) for name in STORES}, **DESCRIBED)
    with pytest.raises(CatalogError, match=r"public.customers of .* has no schema beside its parts for shop_files"):
        run(described, "shop_files", DATE)
    assert lying(p) == before
    assert run(p, "shop_files", DATE).how == "nothing"
    materialise(p, DUMP, Made(sidecars=True))  # equal rows keep the objects that they had
    with pytest.raises(CatalogError):
        run(described, "shop_files", DATE)
    materialise(p, DUMP, Made(CHANGED, sidecars=True))
    run(described, "shop_files", DATE)
    assert len(lying(p)) == 5


def test_a_schema_that_is_damaged_is_published_nowhere() -> None:
    p = made(**DESCRIBED)
    lake = memory(p, "lake")
    damaged = next(key for key in lake.objects if key.endswith("/public.orders/schema.json"))
    lake.put(damaged, lake.objects[damaged].body.replace(b"false", b"true "))
    with pytest.raises(ChecksumMismatch):
        run(p, "shop_files", DATE)
    assert {SCHEMA.format("orders"), FLAG}.isdisjoint(lying(p))


def test_schemas_of_a_scrub_go_to_an_external_store_with_its_release() -> None:
    p = made(stage=SCRUB, to="ceph", **DESCRIBED)
    run(p, "shop_files", DATE)
    assert len(lying(p, "ceph")) == 5


# --------------------------------------------------------------------------------------------------------- once, again
def test_a_second_run_writes_nothing_and_says_so() -> None:
    p = made()
    assert signs(p) == "+++"
    run(p, "shop_files", DATE)
    inside, before = memory(p, "inside"), lying(p)
    inside.asked.clear()
    assert (run(p, "shop_files", DATE).how, signs(p), lying(p)) == ("nothing", "===", before)
    again = run(p, "shop_files", DATE, again=True)
    assert (again.how, again.sent_bytes, writes(inside)) == ("unchanged", 0, [])


def test_rows_that_differ_are_written_below_no_flag() -> None:
    p = made()
    run(p, "shop_files", DATE)
    materialise(p, DUMP, Made({A: ROWS[A], B: CHANGED[B]}))
    inside = memory(p, "inside")
    inside.asked.clear()
    assert signs(p) == "=**"
    result = run(p, "shop_files", DATE)
    assert writes(inside) == [("delete", FLAG), ("upload", ORDERS), ("put", FLAG)]
    assert (result.how, result.facts["sent_objects"], gzip.decompress(lying(p)[ORDERS])) == ("moved", 2, CHANGED[B])
    assert run(p, "shop_files", DATE).how == "nothing"


@pytest.mark.parametrize(("gone", "expected"), [(ORDERS, "=+*"), (FLAG, "==+")])
def test_what_is_gone_is_written_again(gone: str, expected: str) -> None:
    p = made()
    run(p, "shop_files", DATE)
    before = lying(p)
    memory(p, "inside").delete(gone)
    assert signs(p) == expected
    assert run(p, "shop_files", DATE).how == "unchanged"
    assert lying(p) == before


def test_what_somebody_else_put_there_is_replaced() -> None:
    p = made()
    run(p, "shop_files", DATE)
    before = lying(p)
    memory(p, "inside").put(ORDERS, b"x" * len(before[ORDERS]))
    run(p, "shop_files", DATE)
    assert lying(p) == before


def test_equal_rows_of_a_new_dump_keep_their_objects_and_the_evidence_names_the_new_parents() -> None:
    p = made()
    run(p, "shop_files", DATE)
    inside = memory(p, "inside")
    for key in [key for key in memory(p, "lake").objects if key.startswith("dump/shop/")]:
        memory(p, "lake").delete(key)  # so that the equal rows get an attempt of their own
    materialise(p, DUMP)
    inside.asked.clear()
    assert run(p, "shop_files", DATE).how == "moved"
    assert writes(inside) == []
    assert run(p, "shop_files", DATE).how == "nothing"


# ------------------------------------------------------------------------------------------------------ what is removed
def test_a_table_that_the_date_lost_is_removed_before_the_flag_comes_back() -> None:
    p = made()
    run(p, "shop_files", DATE)
    other = published({name: p.store(name) for name in STORES})
    shop = other.catalog.datasets["shop"]
    left = shop.model_copy(update={"tables": {A: shop.tables[A]}, "mirrors": {}}).named("shop")
    other.catalog = other.catalog.model_copy(update={"datasets": {"shop": left}})
    with pytest.raises(ReleaseRefused, match="which left the catalog"):
        run(other, "shop_files", DATE)
    assert sorted(lying(other)) == [FLAG, CUSTOMERS, ORDERS]  # what was published of the date stays as it is

    def without(base: Any, me: str) -> Any:
        found = other.evidence.tables(base)[A]
        return found[0].draft.__class__(
            {A: found[1]}, found[0].draft.position, me, found[0].draft.as_of, "lake", facts={}
        )

    other.evidence.materialise(DUMP, DATE, without, other.store("lake"))
    inside = memory(other, "inside")
    inside.asked.clear()
    assert signs(other) == "=-*"
    assert run(other, "shop_files", DATE).facts["removed_objects"] == 1
    assert writes(inside) == [("delete", FLAG), ("delete", ORDERS), ("put", FLAG)]


def test_another_path_takes_its_old_names_and_flag_along_and_nobody_elses() -> None:
    p = made()
    run(p, "shop_files", DATE)
    memory(p, "inside").put(CUSTOMERS, b"somebody else's by now")
    moved = published({name: p.store(name) for name in STORES}, path="new/{date}/{table}.gz", flag="new/{date}/ok")
    assert signs(moved) == "++--+"
    run(moved, "shop_files", DATE)
    names = [CUSTOMERS, f"new/{DATE}/customers.gz", f"new/{DATE}/ok", f"new/{DATE}/orders.gz"]
    assert sorted(lying(moved)) == sorted(names)


def test_another_flag_takes_the_old_one_along() -> None:
    p = made()
    run(p, "shop_files", DATE)
    other = published({name: p.store(name) for name in STORES}, flag="exports/{date}/done")
    assert signs(other) == "==-+"
    memory(p, "inside").asked.clear()
    run(other, "shop_files", DATE)
    assert writes(memory(p, "inside")) == [
        ("delete", FLAG), ("delete", f"exports/{DATE}/done"), ("put", f"exports/{DATE}/done")
    ]  # fmt: skip
    without = published({name: p.store(name) for name in STORES}, flag=None)
    run(without, "shop_files", DATE)
    assert sorted(lying(without)) == [CUSTOMERS, ORDERS]


def test_in_another_store_nothing_is_removed_where_it_was() -> None:
    p = made()
    run(p, "shop_files", DATE)
    before = lying(p)
    moved = published({name: p.store(name) for name in STORES}, to="foreign")
    run(moved, "shop_files", DATE)
    assert (lying(moved), lying(moved, "foreign")) == (before, before)


def test_parts_that_a_dead_run_left_are_removed_though_no_manifest_names_them() -> None:
    """Four parts are being written when the run dies; the next version has two: no flag above the other two."""
    changed = {"path": "x/{date}/{table}-{part}.csv", "format": "csv", "flag": "x/{date}/ok"}
    p = published(**changed)
    rows = {A: b"".join(b"%d,x\n" % n for n in range(8)), B: ROWS[B]}
    materialise(p, DUMP, Made(rows, parts=4))
    memory(p, "inside").failing["put", "*"] = StoreUnavailable("gone")  # at its flag, when all parts lie there
    with pytest.raises(StoreUnavailable):
        run(p, "shop_files", DATE)
    memory(p, "inside").failing.clear()
    materialise(p, DUMP, Made({A: b"1,y\n2,y\n", B: b"3,y\n4,y\n"}, parts=2))
    assert run(p, "shop_files", DATE).facts["removed_objects"] == 4
    assert set(lying(p)) == {f"x/{DATE}/{t}-0000{n}.csv" for t in ("customers", "orders") for n in (0, 1)} | {
        f"x/{DATE}/ok"
    }


def test_uploads_of_dead_runs_are_aborted_and_others_are_not() -> None:
    p = made()
    inside, now = memory(p, "inside"), datetime.now(UTC)
    inside.pending += [Pending(ORDERS, "1", now), Pending(f"exports/{DATE}/else", "2", now)]
    assert run(p, "shop_files", DATE).facts["swept_uploads"] == 1
    assert [each.upload_id for each in inside.pending] == ["2"]


# ----------------------------------------------------------------------------------------------------- who may have it
def test_raw_rows_go_to_an_external_store_with_a_basis_only() -> None:
    p = made(to="ceph")
    with pytest.raises(ReleaseRefused):
        run(p, "shop_files", DATE)
    assert (signs(p), lying(p, "ceph")) == ("!", {})
    p = made(to="ceph", release=INTERNAL)
    run(p, "shop_files", DATE)
    assert len(lying(p, "ceph")) == 3


def test_a_scrub_goes_there_once_its_gate_has_passed() -> None:
    p = made(stage=SCRUB, to="ceph")
    run(p, "shop_files", DATE)
    truth = read_truth(p, UNIT, DATE)
    assert truth
    assert truth.contents[OBJECTS].manifest.draft.basis["basis"] == "scrubbed"
    failed = published(stage="scrub", to="ceph")
    materialise(failed, SCRUB, Made(passed=False))
    with pytest.raises(ReleaseRefused):
        run(failed, "shop_files", DATE)
    assert lying(failed, "ceph") == {}


def test_half_a_dataset_is_published_nowhere() -> None:
    p = published()
    materialise(p, DUMP, Made({A: ROWS[A]}))
    with pytest.raises(ReleaseRefused, match="lacks public"):
        run(p, "shop_files", DATE)
    assert lying(p) == {}
    several = platform(mirrors={}, dump={"publish": {"files": FILES}}, scrub={"key": "k", "consistency": "table"})
    materialise(several, DUMP, Made({A: ROWS[A]}))
    run(several, "shop_files", DATE)
    assert sorted(lying(several)) == [FLAG, CUSTOMERS]


def test_a_hold_stops_what_leaves_and_nothing_of_the_date_is_touched() -> None:
    p = made(to="ceph", release=INTERNAL)
    run(p, "shop_files", DATE)
    before = lying(p, "ceph")
    materialise(p, DUMP, Made(CHANGED))
    p.evidence.hold("dataset", "shop", by="amy", reason="wrong")
    with pytest.raises(Held):
        run(p, "shop_files", DATE)
    assert lying(p, "ceph") == before


def test_a_part_that_is_damaged_is_published_nowhere() -> None:
    p = made()
    lake = memory(p, "lake")
    damaged = next(key for key in lake.objects if "/public.orders/" in key)
    lake.put(damaged, lake.objects[damaged].body[:-1] + b"x")
    with pytest.raises(ChecksumMismatch):
        run(p, "shop_files", DATE)
    assert (ORDERS in lying(p), FLAG in lying(p)) == (False, False)
