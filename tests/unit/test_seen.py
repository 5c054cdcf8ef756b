"""What is looked at again and again: kept by ETag, read within bounds, told out of evidence; what left the catalog."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise

import pytest

from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.catalog.units import below, parent_of
from egress_assets.engine.drift import Drift, tables_gone, units_gone
from egress_assets.engine.evidence.memory import Memory, Unread
from egress_assets.engine.evidence.proofs import Receipt
from egress_assets.engine.evidence.records import canonical
from egress_assets.engine.found import delivered, fingerprint, of_delivery, result, unreported, versions
from egress_assets.engine.hours import due, late
from egress_assets.engine.layout import Unit, dump_unit, mirror_unit, receipt_key, scrub_unit
from egress_assets.engine.partition import now
from egress_assets.engine.seen import look
from egress_assets.engine.status import newest
from tests.platforms import DATE, NOW, SCRUB, A, B, Made, catalog, materialise, memory, platform

RECIPIENTS = {"acme": {"transfer_type": "sft"}}
DELIVERIES = {"acme/orders": {"from": B}, "acme/all": {"from": "mirror/shop"}, "acme/raw": {"from": f"dump/{A}"}}
MIRROR = mirror_unit("shop")


def receipt(destination: str, sha: str, *, era: int = 0, generation: int = 1, attempt: str = "a") -> Receipt:
    return Receipt(
        identity=f"{destination}-{sha}-{era}", by="b", how="sent", recipient="acme", pipeline="orders",
        order=(DATE, generation), destination=destination, sha256=sha, bytes=7, era=era, at=era,
        source={"unit": str(SCRUB), "attempt": attempt, "manifest_digest": "m"},
    )  # fmt: skip


# --------------------------------------------------------------------------------------------------------------- memory
def test_a_record_is_read_once_for_each_etag():
    kept, reads = Memory(), list[int]()
    for etag in ("e1", "e1", "e2", "e1"):
        kept.get("k", etag, lambda: reads.append(1))
    assert len(reads) == 2


def test_a_round_reads_no_more_than_it_may_and_the_next_one_goes_on():
    kept = Memory(reads=2)
    assert [kept.get(k, "", lambda k=k: k) for k in "ab"] == ["a", "b"]
    with pytest.raises(Unread):
        kept.get("c", "", str)
    assert kept.get("a", "", str) == "a", "what is known costs nothing"
    kept.begin_round()
    assert kept.get("c", "", lambda: "c") == "c"


def test_the_least_recently_used_is_given_up():
    kept, reads = Memory(keeps=2), list[str]()
    for key in ("a", "b", "a", "c", "a", "b"):
        kept.get(key, "", lambda key=key: reads.append(key))
    assert reads == ["a", "b", "c", "b"]


def test_an_error_is_not_remembered():
    kept = Memory()
    with pytest.raises(ZeroDivisionError):
        kept.get("k", "e", lambda: 1 // 0)
    assert kept.get("k", "e", lambda: 3) == 3


# ----------------------------------------------------------------------------------------------------------------- look
def test_a_second_look_reads_only_what_changed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EGRESS_NOW", NOW)
    place, kept = platform(), Memory()
    dates = newest(place.catalog, 7, now())
    materialise(place, SCRUB)
    first = look(place.catalog, place.evidence, dates, kept)
    assert first.truths[SCRUB, DATE].rows == 3
    memory(place, "evidence").asked.clear()
    look(place.catalog, place.evidence, dates, kept)
    assert memory(place, "evidence").times("read") == 0
    materialise(place, SCRUB, Made({A: b"9,new\n", B: b"8,new\n"}))
    assert look(place.catalog, place.evidence, dates, kept).truths[SCRUB, DATE].rows == 2


# ---------------------------------------------------------------------------------------------------------------- found
def test_of_two_receipts_for_a_destination_the_newest_counts_in_the_order_of_sending():
    older, newer, other = receipt("b", "x", era=0), receipt("b", "y", era=1), receipt("a", "z")
    assert of_delivery([newer, other, older]) == [other, newer]
    assert delivered([other, newer]) != delivered([other, older])


def test_fingerprints_differ_by_date_table_and_content_and_by_nothing_else():
    made = {DATE: {A: "1", B: "2"}}
    others = [{}, {DATE: {A: "1"}}, {DATE: {A: "1", B: "3"}}, {"2026-11-19": {A: "1", B: "2"}}]
    prints = [fingerprint(each) for each in (made, *others)]
    assert len(set(prints)) == 5
    assert fingerprint({DATE: {B: "2", A: "1"}}) == prints[0]
    assert unreported({A: "1", B: "2"}, {A: "1", B: "old"}) == [B]


def test_a_result_out_of_evidence_is_what_the_run_would_have_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EGRESS_NOW", NOW)
    place = platform(recipients=RECIPIENTS, deliveries=DELIVERIES)
    outcome = materialise(place, SCRUB, Made(facts={"milliseconds": {"read": 250, "write": 750}}))
    sent = receipt("in/orders.csv", "sha", attempt=outcome.attempt)
    memory(place, "evidence").put(receipt_key(DATE, sent.identity), canonical(sent.to_json()))
    seen = look(place.catalog, place.evidence, newest(place.catalog, 3, now()))
    told = result(place.catalog, place.evidence, "shop", (SCRUB, DATE), seen)
    assert (told.how, told.generation, told.seconds) == ("moved", 1, 1.0)
    assert {name: (t.rows, t.moved) for name, t in told.tables.items()} == {A: (2, True), B: (1, True)}
    assert told.tables[A].checks
    delivery = Unit("delivery", ("acme", "orders"))
    assert versions(place.catalog, "shop", delivery, DATE, seen) == {"": delivered([sent])}
    told = result(place.catalog, place.evidence, "shop", (delivery, DATE), seen)
    assert (told.tables["objects"].rows, told.tables["objects"].bytes, told.sent_bytes) == (1, 7, 7)
    assert told.facts == {"sent_files": 1, "receipts": [sent.identity]}


def test_tables_that_left_the_catalog_are_no_version():
    place = platform()
    materialise(place, SCRUB, Made({A: b"1\n", B: b"2\n", "public.old": b"3\n"}))
    seen = look(place.catalog, place.evidence, {"shop": [DATE]})
    assert set(versions(place.catalog, "shop", SCRUB, DATE, seen)) == {A, B}
    (gone,) = tables_gone(place.catalog, seen.truths)
    assert (gone.title, gone.dataset, gone.dates) == ("public.old of scrub/shop/shared", "shop", 1)


# ------------------------------------------------------------------------------------------------- drift, units, hours
def test_units_that_left_the_catalog_are_counted_with_their_dates():
    old, whole = mirror_unit("old"), catalog()
    slots = [(old, "2026-11-03"), (old, "2026-11-01"), (MIRROR, DATE), (dump_unit("gone"), DATE)]
    found = units_gone(whole, slots)
    assert [(d.title, d.dataset, d.dates, d.first, d.last) for d in found] == [
        ("dump/gone", "", 1, DATE, DATE),
        ("mirror/old", "", 2, "2026-11-01", "2026-11-03"),
    ]
    assert units_gone(whole, [(old, "2026-11-09")], found)[1].dates == 3


def test_a_dump_or_scrub_that_left_says_whose_it_was():
    whole = catalog(dump=None)
    assert units_gone(whole, [(dump_unit("shop"), DATE)]) == [Drift(dump_unit("shop"), "", "shop", 1, DATE, DATE)]
    assert units_gone(whole, [(scrub_unit("shop", "other"), DATE)])[0].dataset == "shop"


def test_every_unit_knows_what_it_is_made_from():
    whole = catalog(RECIPIENTS, deliveries=DELIVERIES)
    made = {unit: parent_of(whole, "shop", unit) for unit in below(whole, "shop", [dump_unit("shop"), SCRUB])}
    assert {str(unit): parent for unit, parent in made.items()} == {
        "dump/shop": (None, ""),
        "scrub/shop/shared": (None, ""),
        "mirror/shop": (SCRUB, ""),
        "delivery/acme/orders": (SCRUB, B),
        "delivery/acme/all": (MIRROR, ""),
        "delivery/acme/raw": (dump_unit("shop"), A),
    }
    assert [u.title for u in below(whole, "shop", [MIRROR])] == ["mirror/shop", "delivery/acme/all"]


def _due(whole: Catalog, date: str) -> datetime | None:
    return due(whole, "shop", date)


def _late(whole: Catalog, date: str) -> datetime | None:
    return late(whole, "shop", date, SCRUB)


def test_what_is_late_was_due_before():
    whole = catalog(schedule="02:15", sla="01:00")
    hours = [hour(whole, date) for date in ("2026-11-01", DATE) for hour in (_due, _late)]
    assert all(earlier < later for earlier, later in pairwise(h for h in hours if h))
    assert due(catalog(), "shop", DATE) is None
