"""What a recipient with limits gets of a date over all its deliveries: into a folder, evidence in memory."""

from __future__ import annotations

import pytest

from egress_assets.engine.delivery import allowance
from egress_assets.engine.delivery.plan import plan
from egress_assets.engine.delivery.run import run
from egress_assets.engine.errors import DeliveryRefused, EgressError, LimitExceeded
from egress_assets.engine.evidence.announced import Announced, announce, announced
from egress_assets.engine.mirror.run import run as mirror
from egress_assets.engine.release import OBJECTS
from egress_assets.engine.transfers import folder
from tests.platforms import DATE, NOW, ROWS, SCRUB, A, B, Made, materialise, memory, platform

CUSTOMERS, ORDERS = len(ROWS[A]), len(ROWS[B])  # 12 and 8 bytes as csv, 2 rows and 1


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setenv("EGRESS_NOW", NOW)


@pytest.fixture
def inbox(tmp_path):
    made = tmp_path / "inbox"
    made.mkdir()
    return made


def over(inbox, limits, *, stores=None, made=None, **given):
    """`acme/customers` and `acme/orders` as csv, and `other/orders` to somebody without limits."""
    deliveries = {
        "acme/customers": {"from": A, "format": "csv", "destination_prefix": "{date}/"},
        "acme/orders": {"from": B, "format": "csv", "destination_prefix": "{date}/"},
        "other/orders": {"from": B, "format": "csv", "destination_prefix": "other/{date}/"},
    }
    recipients = {"acme": {"transfer_type": "folder", "limits": limits}, "other": {"transfer_type": "folder"}}
    settings = {name: {"path": str(inbox)} for name in recipients}
    p = platform(
        stores, recipients=recipients, settings=settings, deliveries=deliveries | given.pop("extra", {}), **given
    )
    if stores is None:
        materialise(p, SCRUB, made or Made(format="csv"))
    return p


def sent(inbox):
    return sorted(str(p.relative_to(inbox)) for p in inbox.rglob("*") if p.is_file())


def signs(p, pipeline):
    return "".join(line.sign for line in plan(p, "acme", pipeline, DATE))


@pytest.mark.parametrize(("what", "both"), [("bytes", CUSTOMERS + ORDERS), ("rows", 3)])
def test_all_deliveries_of_a_date_together_may_come_to_the_limit_and_no_further(inbox, what, both):
    p = over(inbox, {what: both})
    assert run(p, "acme", "customers", DATE).how == "moved"
    assert run(p, "acme", "orders", DATE).how == "moved"
    assert len(sent(inbox)) == 2


@pytest.mark.parametrize(("what", "less"), [("bytes", CUSTOMERS + ORDERS - 1), ("rows", 2)])
def test_above_the_limit_nothing_of_the_second_delivery_is_sent_or_claimed(inbox, what, less):
    p = over(inbox, {what: less})
    run(p, "acme", "customers", DATE)
    claims = [key for key in memory(p, "evidence").objects if key.startswith("claims/")]
    assert signs(p, "orders") == "!"
    with pytest.raises(LimitExceeded) as refused:
        run(p, "acme", "orders", DATE)
    assert f"recipient acme would then have {less + 1} of the date" in refused.value.message.replace(f" {what}", "")
    assert f"its limit is {less}" in refused.value.message
    assert "raise `limits` at" in refused.value.hint
    assert len(sent(inbox)) == 1
    assert [key for key in memory(p, "evidence").objects if key.startswith("claims/")] == claims
    failure = p.evidence.store.read(f"failures/delivery/acme/orders/date={DATE}.json")
    assert failure is not None
    assert b"limit_exceeded" in failure[0]


def test_other_recipients_and_other_dates_are_counted_apart(inbox):
    p = over(inbox, {"bytes": CUSTOMERS})
    run(p, "other", "orders", DATE)
    run(p, "acme", "customers", DATE)
    materialise(p, SCRUB, Made(format="csv"), date="2026-11-19")
    assert run(p, "acme", "customers", "2026-11-19").how == "moved"


def test_what_has_its_receipt_counts_once_however_often_it_is_run(inbox):
    p = over(inbox, {"bytes": CUSTOMERS})
    run(p, "acme", "customers", DATE)
    assert run(p, "acme", "customers", DATE).how == "nothing"
    assert signs(p, "customers") == "="


def test_a_limit_lowered_afterwards_leaves_what_was_delivered_alone(inbox):
    p = over(inbox, {"bytes": CUSTOMERS})
    run(p, "acme", "customers", DATE)
    lower = over(inbox, {"bytes": 1}, stores={name: p.store(name) for name in ("evidence", "lake")})
    assert run(lower, "acme", "customers", DATE).how == "nothing"


def test_a_correction_counts_again_because_it_is_sent_again(inbox):
    p = over(inbox, {"bytes": CUSTOMERS + 5})
    run(p, "acme", "customers", DATE)
    materialise(p, SCRUB, Made(rows={**ROWS, A: b"1,eve\n"}, format="csv"))
    with pytest.raises(
        LimitExceeded, match=f"would send 6 bytes, recipient acme would then have {CUSTOMERS + 6} of the date"
    ):
        run(p, "acme", "customers", DATE)


def test_two_deliveries_at_once_do_not_both_slip_under(inbox, monkeypatch):
    """The other one begins, whole, between this one's look at the receipts and its own announcement."""
    p, real = over(inbox, {"bytes": CUSTOMERS}), allowance.announce

    def late(evidence, mine):
        monkeypatch.setattr(allowance, "announce", real)
        run(p, "acme", "customers", DATE)
        real(evidence, mine)

    monkeypatch.setattr(allowance, "announce", late)
    with pytest.raises(LimitExceeded, match="with what customers announced and has no receipt for"):
        run(p, "acme", "orders", DATE)
    assert sent(inbox) == [f"{DATE}/public.customers.csv"]


def test_one_that_is_refused_leaves_room_for_a_smaller_one(inbox):
    p = over(inbox, {"bytes": ORDERS})
    with pytest.raises(LimitExceeded):
        run(p, "acme", "customers", DATE)
    assert run(p, "acme", "orders", DATE).how == "moved"


def test_what_a_failed_delivery_may_have_sent_is_counted_until_it_has_ended(inbox, monkeypatch):
    p = over(inbox, {"bytes": CUSTOMERS + ORDERS - 1})
    with monkeypatch.context() as broken:
        broken.setattr(folder.FolderTransfer, "send", lambda *_a, **_k: (_ for _ in ()).throw(DeliveryRefused("no")))
        with pytest.raises(EgressError):
            run(p, "acme", "customers", DATE)
    with pytest.raises(LimitExceeded) as refused:
        run(p, "acme", "orders", DATE)
    assert "run what was announced to its end first" in refused.value.hint
    assert run(p, "acme", "customers", DATE).how == "moved"


def test_an_announcement_of_a_delivery_that_left_the_catalog_is_not_counted(inbox):
    p = over(inbox, {"bytes": CUSTOMERS})
    announce(p.evidence, Announced("acme", "former", DATE, 1, 10**9, "host 1"))
    assert run(p, "acme", "customers", DATE).how == "moved"
    assert {a.pipeline for a in announced(p.evidence, "acme", DATE)} == {"former", "customers"}


def test_bytes_are_those_that_are_sent_not_those_that_are_stored(inbox):
    p = over(inbox, {"bytes": CUSTOMERS}, made=Made(format="csv.zst"))
    assert memory(p, "lake").objects
    assert run(p, "acme", "customers", DATE).tables[OBJECTS].bytes == CUSTOMERS


def test_files_of_a_foreign_bucket_have_no_known_rows_so_a_limit_of_rows_refuses_them(inbox):
    foreign = {
        "mirrors": {"in": {"from": {"store": "foreign", "prefix": "in/"}, "select": "bucket", "to": "ceph",
                           "release": {"basis": "public", "reason": "r"}}},
        "extra": {"acme/in": {"from": "mirror/in", "release": {"basis": "public", "reason": "r"}}},
    }  # fmt: skip
    p = over(inbox, {"rows": 10**9}, **foreign)
    p.store("foreign").put("in/one", b"12345")
    mirror(p, "in", DATE)
    assert signs(p, "in") == "!"
    with pytest.raises(LimitExceeded, match="how many rows some of its files have is not known") as refused:
        run(p, "acme", "in", DATE)
    assert "limit `bytes`" in refused.value.hint
    stores = {name: p.store(name) for name in ("evidence", "lake", "foreign", "ceph")}
    by_bytes = over(inbox, {"bytes": 5}, stores=stores, **foreign)
    assert run(by_bytes, "acme", "in", DATE).how == "moved"
