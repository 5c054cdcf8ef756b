"""Whole deliveries into a folder, evidence in memory: names, forms, refusals, once."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any

import pytest
import zstandard

from egress_assets.engine.delivery.plan import plan
from egress_assets.engine.delivery.run import run
from egress_assets.engine.dialect import Dialect
from egress_assets.engine.errors import (
    CatalogError,
    ChecksumMismatch,
    DeliveryBusy,
    DeliveryRefused,
    DeliveryUnavailable,
    DeliveryUnknown,
    Held,
    ObjectMissing,
    ReleaseRefused,
    Superseded,
)
from egress_assets.engine.evidence import deliver
from egress_assets.engine.evidence.deliver import Sent
from egress_assets.engine.layout import delivery_unit
from egress_assets.engine.mirror.run import run as mirror
from egress_assets.engine.release import OBJECTS
from egress_assets.engine.transfers import folder
from tests.platforms import DATE, DUMP, NOW, ROWS, SCRUB, A, B, Made, materialise, memory, platform

PREFIX = "in/{date:%Y/%m/%d}/"
PLACE = "in/2026/11/20/"
AUTHORISED = {
    "basis": "authorised", "reason": "r", "recipients": ["acme"], "purpose": "p", "legal_basis": "l",
    "approved_by": "dpo", "until": "2026-12-31",
}  # fmt: skip
HEADER = b'id,"name, or what"\n'


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setenv("EGRESS_NOW", NOW)


@pytest.fixture
def inbox(tmp_path) -> Path:
    made = tmp_path / "inbox"
    made.mkdir()
    return made


def over(inbox: Path, *, made: Made | None = None, unit: Any = SCRUB, to: Any = None, **delivery: Any):
    """A platform with one delivery `acme/customers`, its data made."""
    model = {"from": A, "destination_prefix": PREFIX, **delivery}
    extra = {"mirrors": model.pop("mirrors")} if "mirrors" in model else {}
    env = model.pop("env", "sandbox")
    recipients = {"acme": {"transfer_type": "folder", "path": str(inbox), **(to or {})}}
    settings = {"acme": {"path": str(inbox)}}
    p = platform(env=env, recipients=recipients, settings=settings, deliveries={"acme/customers": model}, **extra)
    materialise(p, unit, made)
    return p


def go(p):
    return run(p, "acme", "customers", DATE)


def signs(p) -> str:
    return "".join(line.sign for line in plan(p, "acme", "customers", DATE))


def files(inbox: Path) -> dict[str, bytes]:
    return {str(p.relative_to(inbox)): p.read_bytes() for p in inbox.rglob("*") if p.is_file()}


def opened(body: bytes, suffix: str) -> bytes:
    if suffix == "csv.zst":
        return zstandard.ZstdDecompressor().stream_reader(body, read_across_frames=True).read()
    return gzip.decompress(body) if suffix == "csv.gz" else body


# -------------------------------------------------------------------------------------------------------------- forms
@pytest.mark.parametrize("header", [False, True])
@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("wanted", ["csv", "csv.gz", "csv.zst"])
@pytest.mark.parametrize("stored", ["csv", "csv.gz", "csv.zst"])
def test_every_form_holds_the_same_rows(inbox, stored, wanted, parts, header):
    p = over(inbox, made=Made(format=stored, parts=parts), format=wanted, header=header)
    result = go(p)
    (name, body), = files(inbox).items()  # fmt: skip
    assert name == f"{PLACE}public.customers.{wanted}"
    assert opened(body, wanted) == (HEADER if header else b"") + ROWS[A]
    assert (result.how, result.sent_bytes, result.tables[OBJECTS].rows) == ("moved", len(body), 2)
    sealed = p.evidence.pointer(delivery_unit("acme", "customers"), DATE) is not None
    assert sealed == (parts > 1 or header or stored != wanted)


@pytest.mark.parametrize("stored", ["csv", "csv.zst"])
def test_a_header_is_of_the_dialect_that_its_rows_are_of(inbox, stored):
    rows = {**ROWS, A: b"1,a\\,b\n2,\\N\n"}
    p = over(inbox, made=Made(rows, stored, csv=Dialect("datapipeline", "\\N", ",", "")), format="csv.gz", header=True)
    go(p)
    (body,) = files(inbox).values()
    assert opened(body, "csv.gz") == b"id,name\\, or what\n" + rows[A]
    sealed = p.evidence.tables(p.evidence.pointer(delivery_unit("acme", "customers"), DATE))[OBJECTS][1]
    assert sealed.csv.is_escaped


def test_the_name_comes_from_date_table_and_format_and_is_safe(inbox):
    table = "public.we ird/../name"
    p = over(inbox, made=Made(rows={**ROWS, table: b"1\n"}))
    p = platform(
        {name: p.store(name) for name in ("evidence", "lake")},
        recipients={"acme": {"transfer_type": "folder"}},
        settings={"acme": {"path": str(inbox)}},
        tables={t: {"columns": {"id": "keep"}} for t in (A, B, table)},
        deliveries={"acme/customers": {"from": table, "destination_prefix": "{date}-"}},
    )
    go(p)
    (name,) = files(inbox)
    assert re.fullmatch(r"2026-11-20-public\.[A-Za-z0-9]+\.csv\.gz", name)


# --------------------------------------------------------------------------------------------------------------- once
def test_a_second_run_sends_nothing_and_says_so(inbox):
    p = over(inbox)
    first = go(p)
    assert (first.how, first.facts["sent_files"]) == ("moved", 1)
    before = files(inbox)
    (path,) = (f for f in inbox.rglob("*") if f.is_file())
    mark = path.stat()
    second = go(p)
    assert (second.how, second.sent_bytes, second.facts["sent_files"]) == ("nothing", 0, 0)
    assert files(inbox) == before
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (mark.st_ino, mark.st_mtime_ns)
    assert second.facts["receipts"] == first.facts["receipts"]
    assert second.tables[OBJECTS].content_digest == first.tables[OBJECTS].content_digest


def test_a_receipt_names_what_was_sent_and_the_ledger_covers_it(inbox):
    p = over(inbox)
    go(p)
    (receipt,) = p.evidence.receipts(DATE)
    assert (receipt.how, receipt.destination) == ("sent", f"{PLACE}public.customers.csv.gz")
    assert receipt.order == (DATE, 1)
    assert receipt.source["unit"] == "delivery/acme/customers"
    state = p.evidence.verify_ledger()
    assert (state.unbroken, state.covered, state.pending) == (True, 1, ())


def test_new_rows_are_a_new_delivery_and_equal_rows_are_none(inbox):
    """x, y, x is three deliveries; the same x again is none."""
    p = over(inbox)
    bodies = []
    for rows in (b"1,x\n", b"2,y\n", b"1,x\n", b"1,x\n"):
        materialise(p, SCRUB, Made(rows={**ROWS, A: rows}))
        go(p)
        (body,) = files(inbox).values()
        bodies.append(gzip.decompress(body))
    assert bodies == [b"1,x\n", b"2,y\n", b"1,x\n", b"1,x\n"]
    assert len(list(p.evidence.receipts(DATE))) == 3


def test_sealed_bytes_that_are_gone_are_made_again_and_nothing_is_sent_for_it(inbox):
    p = over(inbox)
    go(p)
    lake = memory(p, "lake")
    for key in [k for k in lake.objects if k.startswith("delivery/")]:
        lake.delete(key)
    assert go(p).how == "nothing"
    assert any("/part-" in k for k in lake.objects if k.startswith("delivery/"))


def test_an_order_never_goes_back_whether_bytes_were_sealed_or_not(inbox):
    """The order is the data's: a delivery that stops sealing does not look older than one that sealed."""
    stored = over(inbox, made=Made(format="csv.gz"))
    for _ in range(3):
        materialise(stored, SCRUB, Made(format="csv.gz"))
    go(stored)
    sealed = platform(
        {name: stored.store(name) for name in ("evidence", "lake")},
        recipients={"acme": {"transfer_type": "folder"}},
        settings={"acme": {"path": str(inbox)}},
        deliveries={"acme/customers": {"from": A, "destination_prefix": PREFIX, "header": True}},
    )
    assert go(sealed).facts["sent_files"] == 1
    assert [r.order for r in sealed.evidence.receipts(DATE)] == [(DATE, 4), (DATE, 4)]


def test_an_older_release_is_superseded(inbox):
    p = over(inbox, made=Made(format="csv.gz"))
    for _ in range(2):
        materialise(p, SCRUB, Made(format="csv.gz"))
    go(p)
    old = over(inbox, made=Made(format="csv.gz"))
    assert memory(old, "evidence")
    for key, kept in memory(p, "evidence").objects.items():
        if key.startswith(("claims/", "receipts/", "ledger/", "anchors/")):
            memory(old, "evidence").objects[key] = kept
    assert signs(old) == "!"
    with pytest.raises(Superseded):
        go(old)


# ------------------------------------------------------------------------------------------------------------ refusals
def test_raw_rows_need_an_authorisation_for_this_recipient(inbox):
    for release in (None, {"basis": "internal", "reason": "r"}):
        p = over(inbox, unit=DUMP, made=Made(passed=None), **{"from": f"dump/{A}", "release": release})
        with pytest.raises(ReleaseRefused, match="without an authorisation"):
            go(p)
        assert signs(p) == "!"
    other = {**AUTHORISED, "recipients": ["beta"]}
    p = over(inbox, unit=DUMP, made=Made(passed=None), **{"from": f"dump/{A}", "release": other})
    with pytest.raises(ReleaseRefused, match="not for acme"):
        go(p)
    assert files(inbox) == {}
    p = over(inbox, unit=DUMP, made=Made(passed=None), **{"from": f"dump/{A}", "release": AUTHORISED})
    assert go(p).facts["sent_files"] == 1


def test_sealed_bytes_lose_their_right_with_the_authorisation(inbox, monkeypatch):
    said = {"from": f"dump/{A}", "release": {**AUTHORISED, "until": "2026-11-21"}}
    p = over(inbox, unit=DUMP, made=Made(passed=None), **said)
    go(p)
    monkeypatch.setenv("EGRESS_NOW", "2026-11-22T00:00:00+00:00")
    with pytest.raises(ReleaseRefused, match="ended on"):
        go(p)


def test_a_scrub_that_failed_or_is_partial_is_not_delivered(inbox):
    with pytest.raises(ReleaseRefused, match="failed gate"):
        go(over(inbox, made=Made(passed=False)))
    with pytest.raises(ReleaseRefused, match=r"lacks public\.orders"):
        go(over(inbox, made=Made(rows={A: b"1,x\n"})))
    assert files(inbox) == {}


def test_a_scrub_of_another_audience_is_not_delivered(inbox):
    p = over(inbox, to={"audience": "partners"})
    with pytest.raises(ReleaseRefused, match="belongs to partners"):
        go(p)


def test_a_recipient_of_production_gets_nothing_from_elsewhere(inbox):
    dev = over(inbox, to={"env": "prod"}, env="dev")
    with pytest.raises(DeliveryRefused, match="of production, this is dev"):
        go(dev)
    assert signs(dev) == "!"
    assert files(inbox) == {}
    for env in ("prod", "sandbox"):
        assert go(over(inbox, to={"env": "prod"}, env=env)).facts["sent_files"] == 1
        for path in inbox.rglob("*.gz"):
            path.unlink()


def test_a_date_without_data_says_what_to_do(inbox):
    p = over(inbox)
    for call in (run, plan):
        with pytest.raises(ObjectMissing, match="has nothing to deliver"):
            call(p, "acme", "customers", "2026-11-19")


def test_an_unknown_delivery_names_the_known_ones(inbox):
    with pytest.raises(CatalogError) as caught:
        run(over(inbox), "acme", "orders", DATE)
    assert "acme/customers" in caught.value.hint


def test_a_hold_on_the_recipient_or_the_dataset_stops_it(inbox):
    p = over(inbox)
    for kind, name in (("recipient", "acme"), ("dataset", "shop")):
        p.evidence.hold(kind, name, by="ann", reason="audit")
        with pytest.raises(Held):
            go(p)
        assert files(inbox) == {}
        p.evidence.unhold(kind, name, by="ann", reason="done")
    assert go(p).facts["sent_files"] == 1


def test_a_stored_object_that_was_replaced_never_leaves(inbox):
    p = over(inbox, made=Made(format="csv.gz"))
    lake = memory(p, "lake")
    key = next(k for k in lake.objects if "customers" in k)
    lake.put(key, lake.objects[key].body[::-1])
    with pytest.raises(ChecksumMismatch):
        go(p)
    assert files(inbox) == {}
    materialise(p, SCRUB, Made(format="csv.gz"))
    assert go(p).facts["sent_files"] == 1, "the claim was given back"


def test_bytes_that_rot_between_the_look_and_the_send_never_leave(inbox):
    p = over(inbox, made=Made(format="csv.gz"))
    lake = memory(p, "lake")
    key = next(k for k in lake.objects if "customers" in k)
    lake.objects[key].body = lake.objects[key].body[::-1]  # under its old ETag
    with pytest.raises(ChecksumMismatch, match="the release says"):
        go(p)
    assert files(inbox) == {}


# ------------------------------------------------------------------------------------------------------------- endings
def answering(monkeypatch, *answers: Sent) -> list[str]:
    """The recipient stores and answers as told; what it was sent is listed."""
    sends, left = [], list(answers)
    original = folder.FolderTransfer.send

    def scripted(self, parcel, chunks, *, identity, not_after):
        sends.append(identity)
        said = left.pop(0) if left else None
        if said is None or said.answer != "refused":
            sent = original(self, parcel, chunks, identity=identity, not_after=not_after)
            return said or sent
        return said

    monkeypatch.setattr(folder.FolderTransfer, "send", scripted)
    return sends


def test_a_definite_no_gives_the_claim_back(inbox, monkeypatch):
    p = over(inbox)
    answering(monkeypatch, Sent("refused", {"status": 403}), Sent("refused", {"status": 503, "retryable": True}))
    with pytest.raises(DeliveryRefused, match="status 403"):
        go(p)
    with pytest.raises(DeliveryUnavailable, match="status 503"):
        go(p)
    assert go(p).facts["sent_files"] == 1


def test_a_lost_answer_is_unknown_then_busy_then_found_by_its_identity(inbox, monkeypatch):
    p = over(inbox)
    sends = answering(monkeypatch, Sent("ambiguous", {"reason": "reset"}))
    with monkeypatch.context() as short:
        short.setattr(deliver, "TTL", 10**6)
        with pytest.raises(DeliveryUnknown, match="reset"):
            go(p)
        with pytest.raises(DeliveryBusy):
            go(p)
        short.setattr(deliver, "MARGIN", -(10**9))
        result = go(p)
    assert (result.how, result.facts["found_files"], result.facts["sent_files"], result.sent_bytes) == (
        "moved",
        1,
        0,
        0,
    )
    assert len(sends) == 1
    assert [r.how for r in p.evidence.receipts(DATE)] == ["found"]


@pytest.mark.parametrize(("retry", "how"), [("hold", None), ("resend", "resent")])
def test_a_recipient_that_can_not_be_asked_is_held_or_sent_again_by_policy(inbox, monkeypatch, retry, how):
    p = over(inbox, to={"retry": retry})
    monkeypatch.setattr(folder.FolderTransfer, "knows", "write-only")
    sends = answering(monkeypatch, Sent("ambiguous", {"reason": "reset"}))
    with pytest.raises(DeliveryUnknown):
        go(p)
    monkeypatch.setattr(deliver, "MARGIN", -(10**10))
    if how is None:
        with pytest.raises(DeliveryUnknown):
            go(p)
        assert len(sends) == 1
        return
    assert go(p).facts["sent_files"] == 1
    assert [r.how for r in p.evidence.receipts(DATE)] == [how]


def test_the_ledger_also_covers_receipts_of_a_run_that_died_before_it(inbox, monkeypatch):
    p = over(inbox)
    with monkeypatch.context() as dying:
        dying.setattr("egress_assets.engine.evidence.driver.Evidence.append_ledger", lambda *_a, **_k: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            go(p)
    assert p.evidence.verify_ledger().pending
    assert go(p).how == "nothing"
    assert p.evidence.verify_ledger().pending == ()


# ------------------------------------------------------------------------------------------------------------- mirrors
def test_the_objects_of_a_mirror_are_delivered_under_their_names(inbox):
    p = over(inbox, mirrors={"shop": {"to": "ceph", "prefix": "m"}}, **{"from": "mirror/shop"})
    mirror(p, "shop", DATE)
    result = go(p)
    copies = {k.removeprefix("m/"): v.body for k, v in memory(p, "ceph").objects.items() if "/part-" in k}
    assert files(inbox) == {PLACE + name: body for name, body in copies.items()}
    assert (result.facts["sent_files"], result.tables[OBJECTS].objects) == (2, 2)
    assert go(p).how == "nothing"
    assert signs(p) == "=="


def foreign(inbox: Path, **delivery: Any):
    basis = {"basis": "internal", "reason": "r"}
    model = {"from": {"store": "foreign", "prefix": "in/"}, "select": "bucket", "to": "ceph", "release": basis}
    said = {"from": "mirror/all", "destination_prefix": "", **delivery}
    p = over(inbox, mirrors={"all": model}, **said)
    for name in ("in/a.csv", "in/sub/b.csv"):
        memory(p, "foreign").put(name, name.encode())
    memory(p, "foreign").put("in/there", b"same")
    memory(p, "ceph").put("in/there", b"same")
    memory(p, "ceph").put("in/not-mirrored", b"theirs")
    mirror(p, "all", "2026-11-21")
    return p


def test_foreign_objects_are_delivered_with_a_basis_of_their_own(inbox):
    p = foreign(inbox)
    with pytest.raises(ReleaseRefused):
        run(p, "acme", "customers", "2026-11-21")
    p = foreign(inbox, release={"basis": "public", "reason": "published"})
    assert "".join(x.sign for x in plan(p, "acme", "customers", "2026-11-21")) == ">>>"
    result = run(p, "acme", "customers", "2026-11-21")
    assert files(inbox) == {"in/a.csv": b"in/a.csv", "in/sub/b.csv": b"in/sub/b.csv", "in/there": b"same"}
    assert result.facts["sent_files"] == 3


def test_one_file_that_fails_does_not_stop_the_others(inbox):
    p = foreign(inbox, release={"basis": "public", "reason": "published"})
    (inbox / "in").mkdir()
    (inbox / "in/a.csv").write_bytes(b"theirs")
    with pytest.raises(DeliveryRefused, match=r"not delivered \(1\): 'in/a.csv'"):
        run(p, "acme", "customers", "2026-11-21")
    assert (inbox / "in/a.csv").read_bytes() == b"theirs"
    assert (inbox / "in/sub/b.csv").exists()
    assert p.evidence.verify_ledger().covered == 2


def test_raw_rows_do_not_leave_by_way_of_a_mirror(inbox):
    basis = {"basis": "internal", "reason": "our cluster"}
    model = {"to": "ceph", "from": "dump", "release": basis}
    p = over(
        inbox, unit=DUMP, made=Made(passed=None), mirrors={"raw": model}, **{"from": "mirror/raw", "release": basis}
    )
    mirror(p, "raw", DATE)
    with pytest.raises(ReleaseRefused, match="without an authorisation"):
        go(p)
    assert files(inbox) == {}


# ---------------------------------------------------------------------------------------------------------------- plan
def test_a_plan_says_what_a_run_does_and_does_nothing(inbox):
    p = over(inbox)
    evidence, lake = memory(p, "evidence"), memory(p, "lake")
    before = (set(evidence.objects), set(lake.objects))
    assert signs(p) == "+>"
    assert (set(evidence.objects), set(lake.objects)) == before
    go(p)
    assert signs(p) == "="
    materialise(p, SCRUB, Made(rows={**ROWS, A: b"9,z\n"}, snapshot="s"))
    materialise(p, SCRUB, Made(rows={**ROWS, A: b"9,z\n"}))
    assert signs(p) == "+>"
    stored = over(inbox, made=Made(format="csv.gz"))
    assert signs(stored) == ">"
