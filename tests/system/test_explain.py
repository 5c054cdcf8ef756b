"""What somebody holds in their hands is told whole, from evidence: up to the source, down to the receipts."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from egress_assets.engine.catalog.models import StoreModel
from egress_assets.engine.delivery.run import run as deliver
from egress_assets.engine.errors import CatalogError, ObjectMissing, StoreUnavailable
from egress_assets.engine.evidence.records import Note, Position, canonical, tombstone
from egress_assets.engine.explain import story as telling
from egress_assets.engine.explain.document import document, position
from egress_assets.engine.explain.story import explain
from egress_assets.engine.layout import (
    Unit,
    anchor_key,
    delivery_unit,
    manifest_key,
    mirror_unit,
    note_key,
    receipt_key,
)
from egress_assets.engine.mirror import inventory
from egress_assets.engine.mirror.run import run as mirror
from tests.platforms import DATE, INTERNAL, MIRRORS, NOW, SCRUB, A, B, Made, materialise, memory, platform

RUN_DAY = "2026-11-21"
FILE = "in/2026/11/20/public.customers.csv.gz"
OTHER = "20261101T000000000-deadbeef"


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setenv("EGRESS_NOW", NOW)


@pytest.fixture
def p(tmp_path: Path):
    """Scrubbed, mirrored three ways, delivered as a table that was sealed anew and as a mirror's objects."""
    made = platform(
        recipients={
            "acme": {"transfer_type": "folder", "path": str(tmp_path)},
            "flat": {"transfer_type": "sft", "url": "https://x/"},
        },
        settings={"acme": {"path": str(tmp_path)}},
        mirrors=MIRRORS,
        deliveries={
            "acme/customers": {"from": A, "destination_prefix": "in/{date:%Y/%m/%d}/"},
            "acme/all": {"from": "mirror/foreign", "destination_prefix": "all/", "release": INTERNAL},
        },
    )
    materialise(made, SCRUB)
    mirror(made, "shop", DATE)
    mirror(made, "inner", DATE)
    for n in range(5):
        memory(made, "foreign").put(f"in/{n}", b"x" * n)
    mirror(made, "foreign", RUN_DAY)
    deliver(made, "acme", "customers", DATE)
    deliver(made, "acme", "all", RUN_DAY)
    return made


def told(p, *words: str):
    said = document(explain(p, words))
    json.dumps(said)
    return said


def key_of(p, table: str = A) -> str:
    return next(key for key in memory(p, "lake").objects if key.startswith("scrub/") and table.split(".")[1] in key)


def attempt_of(p, unit: Unit = SCRUB, date: str = DATE) -> str:
    pointer = p.evidence.pointer(unit, date)
    assert pointer
    return pointer.by


# ------------------------------------------------------------------------------------------------------ the whole of it
def test_a_key_is_told_from_the_source_to_the_receipt(p):
    said = told(p, key_of(p))
    (step,) = said["told"]
    manifest = p.evidence.manifest(SCRUB, DATE, attempt_of(p))
    assert (said["dataset"], said["unit"], said["date"]) == ("shop", "scrub/shop/shared", DATE)
    assert (step["table"], step["attempt"], step["state"], step["generation"]) == (A, attempt_of(p), "current", 1)
    assert (step["manifest"], step["manifest_digest"]) == (manifest_key(SCRUB, DATE, attempt_of(p)), manifest.digest)
    assert (step["source"]["kind"], step["snapshot"], step["as_of"]) == ("as_of", attempt_of(p), f"{DATE}T01:00:00Z")
    assert (step["rows"], step["policy"]["digest"]) == (2, "policy")
    assert [column["mask"] for column in step["columns"]] == ["", "keep"]
    assert [(check["name"], check["passed"]) for check in step["checks"]] == [
        ("gate", True), ("row_counts_match", True)
    ]  # fmt: skip
    (there,) = said["objects"]
    kept = memory(p, "lake").objects[key_of(p)]
    assert (there["key"], there["now"], there["bytes"]) == (key_of(p), "there", len(kept.body))
    assert said["up"] == []
    assert {each["unit"] for each in said["down"]} == {"mirror/shop", "mirror/inner", "delivery/acme/customers"}
    (receipt,) = said["receipts"]
    assert (receipt["recipient"], receipt["destination"], receipt["ledger"]) == ("acme", FILE, 0)
    assert (receipt["how"], receipt["source"]["unit"]) == ("sent", "delivery/acme/customers")
    assert said["holds"] == []


def test_another_tables_receipt_is_not_this_ones(p):
    assert told(p, key_of(p, B))["receipts"] == []


@pytest.mark.parametrize("name", [FILE, f"/{FILE}", "public.customers.csv.gz"])
def test_a_delivered_file_is_told_up_to_its_source(p, name):
    said = told(p, name)
    assert (said["unit"], said["told"][0]["state"]) == ("delivery/acme/customers", "current")
    assert [(each["unit"], each["table"]) for each in said["up"]] == [("scrub/shop/shared", A)]
    assert said["up"][0]["columns"], "with the masks of its columns"
    assert [each["destination"] for each in said["receipts"]] == [FILE]


def test_a_recipient_with_flat_names_asks_by_those(p):
    """The claim is the same, whatever character stands for the slash."""
    evidence = memory(p, "evidence")
    from egress_assets.engine.layout import claim_key

    evidence.objects[claim_key("flat", FILE)] = evidence.objects[claim_key("acme", FILE)]
    assert told(p, FILE.replace("/", "~"))["receipts"][0]["destination"] == FILE


def test_a_receipts_key_an_attempt_and_a_pointers_key_are_told(p):
    (receipt,) = p.evidence.receipts(DATE)
    assert told(p, receipt_key(DATE, receipt.identity))["receipts"][0]["identity"] == receipt.identity
    for word in (
        attempt_of(p),
        f"current/scrub/shop/shared/date={DATE}.json",
        manifest_key(SCRUB, DATE, attempt_of(p)),
    ):
        said = told(p, word)
        assert (said["unit"], [step["table"] for step in said["told"]]) == ("scrub/shop/shared", [A, B])


def test_an_attempt_of_another_day_is_found_among_the_notes(p):
    materialise(p, SCRUB, date="2026-11-03")
    attempt = attempt_of(p, date="2026-11-03")
    assert told(p, attempt)["date"] == "2026-11-03"


def test_a_unit_and_a_date_are_told_as_the_pointer_has_them(p):
    said = told(p, "scrub/shop/shared", DATE)
    assert [(step["table"], step["state"]) for step in said["told"]] == [(A, "current"), (B, "current")]
    assert len(said["objects"]) == 2
    assert len(said["receipts"]) == 1


# ------------------------------------------------------------------------------------------------------------ mirrors
@pytest.mark.parametrize(
    ("address", "name"),
    [("s3://ceph/{key}", "shop"), ("s3://inside/copy/{key}", "inner"), ("copy/{key}", "inner")],
)
def test_a_mirrors_copy_is_told_as_a_copy_of_that_object(p, address, name):
    said = told(p, address.format(key=key_of(p)))
    assert (said["unit"], said["told"][0]["table"]) == (f"mirror/{name}", "objects")
    assert [(each["unit"], each["table"]) for each in said["up"]] == [("scrub/shop/shared", A)], "of its table alone"
    (there,) = said["objects"]
    assert (there["store"], there["now"]) == (MIRRORS[name]["to"], "there")


def test_a_store_is_named_by_the_catalog_or_by_its_bucket_and_prefix(p):
    from egress_assets.engine.stores.settings import StoreSettings

    p.provider.stores["lake"] = StoreSettings(name="lake", bucket="shared", prefix="ours")
    assert told(p, f"s3://shared/ours/{key_of(p)}")["unit"] == "scrub/shop/shared"
    assert told(p, f"s3://lake/{key_of(p)}")["unit"] == "scrub/shop/shared"


@pytest.mark.parametrize("word", ["s3://ceph/theirs/in/3", "theirs/in/3", "s3://foreign/in/3", "in/3"])
def test_an_object_of_a_foreign_bucket_is_found_in_the_inventory(p, word):
    said = told(p, word)
    assert (said["unit"], said["date"], said["dataset"]) == ("mirror/foreign", RUN_DAY, "shop")
    (there,) = said["objects"]
    assert (there["store"], there["key"], there["now"], there["bytes"]) == ("ceph", "theirs/in/3", "there", 3)
    assert [each["destination"] for each in said["receipts"]] == ["all/in/3"]


def test_one_object_of_many_is_found_by_halves(p, monkeypatch):
    """Of 400 objects in some 100 shards a handful are read."""
    monkeypatch.setattr(inventory, "CUT", 4)
    for n in range(400):
        memory(p, "foreign").put(f"in/n{n:03}", b"y")
    mirror(p, "foreign", RUN_DAY)
    shards = len(p.evidence.tables(p.evidence.pointer(mirror_unit("foreign"), RUN_DAY))["objects"][1].objects)
    evidence = memory(p, "evidence")
    for name in ("n000", "n217", "n399", "0"):
        evidence.asked.clear()
        assert told(p, f"theirs/in/{name}")["objects"][0]["now"] == "there"
        reads = sum(1 for method, key in evidence.asked if method == "read" and key.startswith("inventories/"))
        assert reads <= shards.bit_length() + 1
    with pytest.raises(ObjectMissing):
        explain(p, ["theirs/in/n2175"])


# -------------------------------------------------------------------------------------------------------------- states
def test_what_a_newer_run_replaced_is_superseded_and_says_by_what(p):
    old, key = attempt_of(p), key_of(p)
    materialise(p, SCRUB, Made(rows={A: b"9,zoe\n", B: b"7,x\n"}))
    said = told(p, key)
    assert (said["told"][0]["state"], said["told"][0]["generation"]) == ("superseded", 2)
    assert said["told"][0]["detail"] == f"by {attempt_of(p)}" != f"by {old}"
    assert len(said["receipts"]) == 1, "what was delivered of it stays told"


def test_equal_content_keeps_its_bytes_and_says_where_they_were_confirmed(p):
    first = told(p, key_of(p))["told"][0]
    materialise(p, SCRUB)
    (step,) = told(p, key_of(p))["told"]
    assert (first["confirmed"], step["attempt"], step["generation"]) == (None, first["attempt"], 2)
    assert (step["source"], step["confirmed"]["snapshot"]) == (first["source"], attempt_of(p))


@pytest.mark.parametrize("dead", [True, False])
def test_an_attempt_without_a_manifest_is_unsealed(p, dead):
    from egress_assets.engine.evidence import here

    note = here.this(OTHER)
    if dead:
        note = Note(OTHER, note.host, note.boot, note.pid, "1")
    memory(p, "evidence").put(note_key(SCRUB, DATE, OTHER), canonical(note.to_json()))
    (step,) = told(p, f"scrub/shop/shared/date={DATE}/a={OTHER}/{A}/part-00000.csv.zst")["told"]
    assert step["state"] == "unsealed"
    assert step["detail"].endswith("its process is gone" if dead else "it runs, or its host died")


def test_an_attempt_with_a_tombstone_is_swept(p):
    memory(p, "evidence").put(manifest_key(SCRUB, DATE, OTHER), canonical(tombstone(OTHER, "sweeper", "n")))
    assert told(p, manifest_key(SCRUB, DATE, OTHER))["told"][0]["state"] == "swept"


def test_objects_that_are_gone_replaced_or_can_not_be_asked_for_are_told_so(p):
    lake, key = memory(p, "lake"), key_of(p)
    lake.put(key, b"other")
    assert told(p, key)["objects"][0]["now"] == "replaced"
    lake.failing["head", key] = StoreUnavailable("down")
    assert (told(p, key)["objects"][0]["now"], told(p, key)["objects"][0]["detail"]) == ("unknown", "down")
    lake.failing.clear()
    lake.delete(key)
    assert told(p, key)["objects"][0]["now"] == "missing"


def test_an_object_that_the_catalogs_rule_has_taken_is_expired(p):
    stores = p.catalog.endpoints.stores
    days = {"bucket": "lake", "zone": "trusted", "expire_days": {"scrub": 7}}
    p.catalog = p.catalog.model_copy(
        update={"endpoints": p.catalog.endpoints.model_copy(
            update={"stores": {**stores, "lake": StoreModel.model_validate(days)}})}
    )  # fmt: skip
    key = key_of(p)
    memory(p, "lake").delete(key)
    assert told(p, key)["objects"][0]["now"] == "missing", "it is a day old"
    note = memory(p, "evidence").objects[note_key(SCRUB, DATE, attempt_of(p))]
    note.modified = datetime.now(UTC) - timedelta(days=8)
    (there,) = told(p, key)["objects"]
    assert (there["now"], there["detail"]) == ("expired", "after 7 days")


def test_holds_that_stop_it_are_told(p):
    p.evidence.hold("recipient", "acme", by="amy", reason="wrong columns")
    p.evidence.hold("dataset", "other", by="amy", reason="not this")
    (hold,) = told(p, key_of(p))["holds"]
    assert (hold["name"], hold["by"], hold["reason"]) == ("recipient/acme", "amy", "wrong columns")


# -------------------------------------------------------------------------------------------------------------- bounds
def test_receipts_beyond_the_bound_are_counted_and_a_name_still_finds_its_own(p, monkeypatch):
    monkeypatch.setattr(telling, "MOST_RECEIPTS", 2)
    said = told(p, "mirror/foreign", RUN_DAY)
    assert (len(said["receipts"]), said["receipts_left_off"]) == (2, 3)
    assert told(p, "all/in/4")["receipts"][0]["destination"] == "all/in/4"


def test_a_receipt_that_no_entry_covers_is_pending(p):
    memory(p, "evidence").objects.pop("ledger/000000000000")
    assert told(p, key_of(p))["receipts"][0]["ledger"] is None
    memory(p, "evidence").objects.pop(anchor_key(DATE))
    assert told(p, key_of(p))["receipts"][0]["ledger"] is None


def test_nothing_but_evidence_is_listed_and_no_object_is_read(p):
    for name in ("lake", "ceph", "inside", "foreign"):
        memory(p, name).asked.clear()
    told(p, key_of(p))
    told(p, "scrub/shop/shared", DATE)
    for name in ("lake", "ceph", "inside", "foreign"):
        assert {method for method, _ in memory(p, name).asked} <= {"head"}


# ------------------------------------------------------------------------------------------------------------- unknown
@pytest.mark.parametrize(
    "words",
    [
        ["nobody.csv"], ["s3://elsewhere/k"], ["../../etc/passwd"], ["x" * 3000], ["\x00"], [OTHER],
        [f"scrub/shop/shared/date={DATE}/a={OTHER}/{A}/part-00000.csv.zst"],
        ["scrub/shop/shared", "2026-11-05"], ["receipts/2026-11-20/" + "0" * 64],
    ],
)  # fmt: skip
def test_what_nobody_knows_is_said(p, words):
    with pytest.raises(ObjectMissing) as caught:
        explain(p, words)
    assert caught.value.exit_code == 30
    assert caught.value.hint


@pytest.mark.parametrize("words", [["scrub/shop", DATE], ["shop", DATE], ["scrub/shop/shared", "yesterday"]])
def test_a_unit_or_date_that_is_none_is_refused_with_the_choices(p, words):
    with pytest.raises(CatalogError):
        explain(p, words)


@pytest.mark.parametrize(
    ("at", "said"),
    [
        (Position("7710/1", 0x1_0000_00AB), {"kind": "lsn", "lsn": "1/AB", "system": "7710", "timeline": "1"}),
        (Position("parents:scrub/shop/shared", 3), {"kind": "parent", "unit": "scrub/shop/shared", "generation": 3}),
        (Position("as_of", 1_000_000), {"kind": "as_of", "at": "1970-01-01T00:00:01Z"}),
    ],
)
def test_a_position_is_told_as_its_database_writes_it(at, said):
    assert position(at) == said


def test_a_unit_that_the_catalog_has_lost_is_told_from_evidence(p):
    key = key_of(p)
    shop = p.catalog.datasets["shop"]
    p.catalog = p.catalog.model_copy(update={"datasets": {"other": shop.model_copy(update={"scrub": None})}})
    said = told(p, key)
    assert (said["told"][0]["state"], said["dataset"]) == ("current", "shop")


def test_the_delivery_that_was_sealed_is_part_of_the_story(p):
    (down,) = (each for each in told(p, key_of(p))["down"] if each["unit"] == "delivery/acme/customers")
    assert down["attempt"] == attempt_of(p, delivery_unit("acme", "customers"))
