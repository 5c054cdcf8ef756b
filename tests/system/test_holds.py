"""Holds: nothing leaves from their record on, whichever way it was to go; everything else goes on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from egress_assets.engine import holds
from egress_assets.engine.delivery.plan import plan as plan_delivery
from egress_assets.engine.delivery.run import run as deliver
from egress_assets.engine.errors import CatalogError, Held, OutcomeUnknown, PolicyError, StoreUnavailable
from egress_assets.engine.evidence.failures import last_failure
from egress_assets.engine.evidence.proofs import LedgerEntry
from egress_assets.engine.layout import delivery_unit, hold_key, mirror_unit
from egress_assets.engine.mirror.plan import plan as plan_mirror
from egress_assets.engine.mirror.run import run as mirror
from tests.platforms import DATE, MIRRORS, NOW, SCRUB, A, Made, materialise, memory, platform

RUN_DAY = "2026-11-21"
HOLDS = [("recipient", "acme"), ("dataset", "shop")]


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setenv("EGRESS_NOW", NOW)


@pytest.fixture
def inbox(tmp_path) -> Path:
    (tmp_path / "inbox").mkdir()
    return tmp_path / "inbox"


@pytest.fixture
def p(inbox):
    """A scrub; delivered as one table and as the objects of a mirror, and mirrored three ways."""
    made = platform(
        recipients={"acme": {"transfer_type": "folder", "path": str(inbox)}},
        settings={"acme": {"path": str(inbox)}},
        mirrors=MIRRORS,
        deliveries={
            "acme/customers": {"from": A, "destination_prefix": "one/"},
            "acme/all": {"from": "mirror/inner", "destination_prefix": "all/"},
        },
    )
    materialise(made, SCRUB, Made(format="csv.gz"))
    mirror(made, "inner", DATE)
    for key in ("in/a", "in/b", "in/c"):
        memory(made, "foreign").put(key, b"x" * 10)
    return made


def hold(p, kind, name, reason="wrong columns"):
    return holds.put(p.evidence, kind, name, by="amy@desk", reason=reason)


def files(inbox: Path) -> set[str]:
    return {str(path) for path in inbox.rglob("*") if path.is_file()}


def sent_to(p, store: str) -> list[str]:
    return [key for method, key in memory(p, store).asked if method in ("put", "upload")]


# -------------------------------------------------------------------------------------------------------- every way out
@pytest.mark.parametrize("name", ["customers", "all"])
@pytest.mark.parametrize("held", HOLDS)
def test_a_held_delivery_says_who_why_since_when_and_how_to_lift_it(p, inbox, held, name):
    hold(p, *held)
    with pytest.raises(PolicyError) as caught:
        deliver(p, "acme", name, DATE)
    error = caught.value
    assert (type(error), error.code, error.exit_code, error.retryable) == (Held, "held", 50, False)
    assert f"{' '.join(held)} is held by amy@desk since 20" in error.message
    assert error.message.endswith(": wrong columns")
    assert f"`egress unhold {' '.join(held)}`" in error.hint
    assert files(inbox) == set()
    assert not any(key.startswith("claims/") for key in memory(p, "evidence").objects), "nothing was even claimed"
    assert p.evidence.pointer(delivery_unit("acme", name), DATE) is None, "nothing was even sealed"
    assert [line.sign for line in plan_delivery(p, "acme", name, DATE)] == ["!"]
    holds.lift(p.evidence, *held, by="ben@desk")
    assert deliver(p, "acme", name, DATE).facts["sent_files"] == len(files(inbox)) > 0


def test_a_hold_is_no_failure(p):
    """Nobody is called at night for what a colleague wants; status tells it as long as it is on."""
    hold(p, *HOLDS[0])
    with pytest.raises(Held):
        deliver(p, "acme", "customers", DATE)
    assert last_failure(p.evidence, delivery_unit("acme", "customers"), DATE) is None


@pytest.mark.parametrize(("name", "day"), [("shop", DATE), ("foreign", RUN_DAY)])
def test_a_held_dataset_is_not_mirrored_to_an_external_store(p, name, day):
    hold(p, "dataset", "shop")
    with pytest.raises(Held, match=r"mirror \w+ is stopped: dataset shop is held by amy@desk"):
        mirror(p, name, day)
    assert sent_to(p, "ceph") == []
    assert [line.sign for line in plan_mirror(p, name, day)] == ["!"]
    holds.lift(p.evidence, "dataset", "shop", by="ben@desk")
    assert mirror(p, name, day).facts["sent_objects"] > 1


def test_what_stays_inside_goes_on(p):
    for held in HOLDS:
        hold(p, *held)
    assert mirror(p, "inner", DATE, again=True).how in ("moved", "unchanged")
    materialise(p, SCRUB)


def test_a_recipients_hold_stops_no_other_recipient_and_no_mirror(p):
    hold(p, "recipient", "beta")
    hold(p, "dataset", "beta")
    assert deliver(p, "acme", "customers", DATE).facts["sent_files"] == 1
    assert mirror(p, "shop", DATE).facts["sent_objects"] == 2


def test_objects_of_another_datasets_mirror_are_of_that_dataset_too(p):
    from egress_assets.engine.delivery.spec import find_delivery

    other = p.catalog.datasets["shop"].model_copy(update={"mirrors": {}})
    own = p.catalog.datasets["shop"].model_copy(update={"deliveries": {}})
    p.catalog = p.catalog.model_copy(update={"datasets": {"shop": own, "other": other}})
    assert find_delivery(p, "acme", "all").holds == (("dataset", "other"), ("dataset", "shop"))


# ------------------------------------------------------------------------------------------------------ under way
def test_a_delivery_under_way_stops_before_its_next_file(p, inbox, monkeypatch):
    from egress_assets.engine.transfers.folder import FolderTransfer

    original = FolderTransfer.send

    def send(self, *args, **kwargs):
        sent = original(self, *args, **kwargs)
        hold(p, "recipient", "acme")
        return sent

    monkeypatch.setattr(FolderTransfer, "send", send)
    with pytest.raises(Held):
        deliver(p, "acme", "all", DATE)
    receipts = list(p.evidence.receipts(DATE))
    assert len(files(inbox)) == len(receipts) == 1, "what was sent whole has its receipt"
    assert p.evidence.verify_ledger().pending == (), "and the ledger has it"
    monkeypatch.undo()
    monkeypatch.setenv("EGRESS_NOW", NOW)
    holds.lift(p.evidence, "recipient", "acme", by="ben@desk")
    assert deliver(p, "acme", "all", DATE).facts["sent_files"] == 1


def test_a_file_that_is_being_sent_is_given_up_and_its_claim_with_it(p, inbox, monkeypatch):
    monkeypatch.setattr(holds, "EVERY", 0.0)
    lake, chunks = memory(p, "lake"), []
    lake.chunk = 8

    def before(method, key):
        if method == "get":
            chunks.append(key)
            if len(chunks) == 2:
                hold(p, "dataset", "shop")

    lake.before = before
    with pytest.raises(Held):
        deliver(p, "acme", "customers", DATE)
    assert 2 <= len(chunks) <= 4
    assert files(inbox) == set()
    lake.before = None
    holds.lift(p.evidence, "dataset", "shop", by="ben@desk")
    assert deliver(p, "acme", "customers", DATE).facts["sent_files"] == 1, "no claim is in the way"


@pytest.mark.parametrize(("name", "day", "store"), [("shop", DATE, "lake"), ("foreign", RUN_DAY, "foreign")])
def test_a_mirror_under_way_stops_before_its_next_object(p, monkeypatch, name, day, store):
    """One object at a time here; the pointer stays, and so does the destination's manifest."""
    monkeypatch.setattr(holds, "EVERY", 0.0)
    monkeypatch.setattr("egress_assets.engine.mirror.copy.IN_FLIGHT", 1)
    source = memory(p, store)
    source.before = lambda method, _key: hold(p, "dataset", "shop") and None if method == "read" else None
    with pytest.raises(Held):
        mirror(p, name, day)
    assert len(sent_to(p, "ceph")) == 1
    assert p.evidence.pointer(mirror_unit(name), day) is None


def test_a_hold_that_comes_after_the_last_object_keeps_the_mirrors_manifest_back(p, monkeypatch):
    monkeypatch.setattr(holds, "EVERY", 3600.0)
    memory(p, "lake").before = lambda method, _key: hold(p, "dataset", "shop") and None if method == "read" else None
    with pytest.raises(Held):
        mirror(p, "shop", DATE)
    assert not any(key.endswith("manifest.json") for key in sent_to(p, "ceph"))


def test_a_store_that_can_not_say_whether_there_is_a_hold_stops_the_delivery(p, inbox):
    memory(p, "evidence").failing["read", hold_key("recipient", "acme")] = StoreUnavailable("down")
    with pytest.raises(StoreUnavailable):
        deliver(p, "acme", "customers", DATE)
    assert files(inbox) == set()


# ------------------------------------------------------------------------------------------------- put and lifted
def events(p) -> list[tuple[str, str, str, str]]:
    objects = memory(p, "evidence").objects
    entries = [LedgerEntry.parse(objects[key].body) for key in sorted(objects) if key.startswith("ledger/")]
    return [(e.what, e.name, e.by, e.reason) for entry in entries for e in entry.events]


def test_again_for_the_same_reason_writes_nothing_and_another_reason_is_noted(p):
    assert hold(p, "recipient", "acme").how == "held"
    again = hold(p, "recipient", "acme", "wrong  columns\n")
    assert (again.how, again.hold and again.hold.event.reason) == ("already held", "wrong columns")
    assert hold(p, "recipient", "acme", "and rows").how == "held"
    lifted = holds.lift(p.evidence, "recipient", "acme", by="ben@desk", reason="fixed")
    assert (lifted.how, lifted.hold and lifted.hold.event.reason) == ("lifted", "and rows")
    assert holds.lift(p.evidence, "recipient", "acme", by="ben@desk").how == "not held"
    assert events(p) == [
        ("hold", "recipient/acme", "amy@desk", "wrong columns"), ("hold", "recipient/acme", "amy@desk", "and rows"),
        ("unhold", "recipient/acme", "ben@desk", "fixed"),
    ]  # fmt: skip


def test_two_at_once_leave_one_hold_and_an_unbroken_ledger(p):
    with ThreadPoolExecutor(4) as threads:
        placed = list(threads.map(lambda n: hold(p, "recipient", "acme", f"reason {n}"), range(4)))
    assert {each.how for each in placed} == {"held"}
    assert len(list(p.evidence.holds())) == 1
    assert sorted(event[3] for event in events(p)) == [f"reason {n}" for n in range(4)]
    assert p.evidence.verify_ledger().unbroken


def test_a_lost_answer_is_said_and_saying_it_again_is_safe(p, monkeypatch):
    monkeypatch.setattr("egress_assets.engine.evidence.driver.time.sleep", lambda _seconds: None)
    store = memory(p, "evidence")
    original = type(store).put_if
    monkeypatch.setattr(type(store), "put_if", lambda self, key, body, *, etag: "ambiguous")
    with pytest.raises(OutcomeUnknown, match="hold of recipient/acme could not be settled") as caught:
        hold(p, "recipient", "acme")
    assert "say it again" in caught.value.hint

    def ledger_lost(self, key, body, *, etag):
        return "ambiguous" if key.startswith("ledger/") else original(self, key, body, etag=etag)

    monkeypatch.setattr(type(store), "put_if", ledger_lost)
    with pytest.raises(OutcomeUnknown, match="hold of recipient/acme binds"):
        hold(p, "recipient", "acme")
    with pytest.raises(Held):
        deliver(p, "acme", "customers", DATE)
    monkeypatch.setattr(type(store), "put_if", original)
    assert hold(p, "recipient", "acme").how == "already held"
    p.evidence.append_ledger()
    assert [event[:2] for event in events(p)] == [("hold", "recipient/acme")], "the closer brings it into the ledger"


@pytest.mark.parametrize("reason", ["", "  ", "x" * 1001, "bell\x07", "turn \u202e round"])
def test_a_reason_is_a_line_that_people_can_read(p, reason):
    with pytest.raises(CatalogError, match="a hold's reason must be a line"):
        hold(p, "recipient", "acme", reason)
    assert list(p.evidence.holds()) == []
