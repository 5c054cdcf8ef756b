"""The morning's table: what each date of each unit has come to, judged from what was seen and the hour."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, get_args

import pytest

from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.catalog.units import dataset_of, units_of
from egress_assets.engine.errors import CatalogError, SourceUnavailable
from egress_assets.engine.evidence.failures import Failure, clear_failure, last_failure, record_failure
from egress_assets.engine.evidence.here import this
from egress_assets.engine.evidence.proofs import Event, Hold, Missed, Receipt
from egress_assets.engine.evidence.records import Entry, Note, Pointer, Position, canonical
from egress_assets.engine.layout import Unit, delivery_unit, dump_unit, failure_key, mirror_unit, scrub_unit
from egress_assets.engine.seen import Seen, Truth
from egress_assets.engine.status import WORST, Row, State, judge
from tests.platforms import platform

DATE = "2026-11-19"
DUMP, SCRUB, MIRROR, DELIVERY = (
    dump_unit("shop"), scrub_unit("shop", "shared"), mirror_unit("m"), delivery_unit("acme", "orders")
)  # fmt: skip
TABLES = ("public.a", "public.b")
CATALOG = Catalog.model_validate(
    {
        "endpoints": {
            "timezone": "Europe/London",
            "evidence": {"store": "e"},
            "sources": {"db": {"dsn": "x"}},
            "stores": {"e": {"bucket": "e"}},
            "recipients": {"acme": {"transfer_type": "sft", "sla": "06:00"}, "late": {"transfer_type": "sft"}},
        },
        "datasets": {
            "shop": {
                "source": "db", "start": "2026-11-01", "schedule": "02:15", "dump": {}, "scrub": {"key": "k"},
                "tables": {name: {"id": "keep"} for name in TABLES},
                "mirrors": {"m": {"to": "e"}},
                "deliveries": {"acme/orders": {"from": "public.a"}},
            }
        },
    }
)  # fmt: skip
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@dataclass
class Case:
    """What was seen of DATE; `judged` gives the rows by unit."""

    at: datetime = NOON
    seen: Seen = field(default_factory=Seen)

    def pointer(self, unit: Unit, *tables: str, snapshots: tuple[str, ...] = ("s", "s"), generation: int = 1) -> None:
        entries = {
            name: Entry("a", "m", "c", Position("l", 1), snapshot)
            for name, snapshot in zip(tables, snapshots, strict=False)
        }
        pointer = Pointer(unit, DATE, generation, entries, "a", "", "n")
        self.seen.truths[unit, DATE] = Truth(pointer, 10, 100)

    def judged(self) -> dict[Unit, Row]:
        return {row.unit: row for row in judge(CATALOG, self.seen, {"shop": [DATE]}, self.at)}


def failure(unit: Unit) -> Failure:
    return Failure(unit, DATE, "source_denied", "no entry", "Ask.", False, 1)


def receipt(**fields: Any) -> Receipt:
    known = {"identity": "i", "by": "b", "how": "sent", "recipient": "acme", "pipeline": "orders", "order": (DATE, 1),
             "destination": "d", "sha256": "s", "bytes": 7, "era": 0, "at": 1}  # fmt: skip
    return Receipt(**known | fields)


def test_dates_before_the_first_run_wait_for_nobody() -> None:
    case = Case()
    case.pointer(SCRUB, *TABLES)
    case.seen.holds["recipient/acme"] = Hold(True, Event("hold", "recipient/acme", "ann", "audit", "n"))
    rows = list(judge(CATALOG, case.seen, {"shop": ["2026-11-17", "2026-11-18", DATE]}, NOON))
    older = {(row.state, row.detail) for row in rows if row.date < DATE}
    assert older == {("missing", "before the first run")}
    assert {row.state for row in rows if row.date == DATE} == {"done", "late", "held"}


def test_everything_of_one_snapshot_is_done() -> None:
    case = Case()
    case.pointer(SCRUB, *TABLES, generation=3)
    row = case.judged()[SCRUB]
    assert (row.state, row.generation, row.tables, row.rows, row.bytes) == ("done", 3, 2, 10, 100)


@pytest.mark.parametrize(
    ("tables", "snapshots", "detail"),
    [
        (TABLES[:1], ("s",), "1 of 2 tables lacking"),
        (TABLES, ("s", "t"), "tables of several snapshots"),
    ],
)
def test_what_is_no_whole_dataset_is_partial(tables: tuple[str, ...], snapshots: tuple[str, ...], detail: str) -> None:
    case = Case()
    case.pointer(DUMP, *tables, snapshots=snapshots)
    assert (case.judged()[DUMP].state, case.judged()[DUMP].detail) == ("partial", detail)


@pytest.mark.parametrize(
    ("hour", "scrub", "delivery"),
    [
        ("2026-11-20T02:14", "due", "due"),
        ("2026-11-20T02:16", "missing", "missing"),
        ("2026-11-20T03:16", "late", "missing"),
        ("2026-11-20T06:01", "late", "late"),
    ],
)
def test_nothing_is_due_missing_or_late_by_the_hour(hour: str, scrub: str, delivery: str) -> None:
    """A run is late an hour after its schedule, a delivery when its SLA has passed."""
    rows = Case(at=datetime.fromisoformat(hour).replace(tzinfo=UTC)).judged()
    assert (rows[SCRUB].state, rows[MIRROR].state, rows[DELIVERY].state) == (scrub, scrub, delivery)


def test_late_says_since_when_on_the_catalogs_clock() -> None:
    assert Case().judged()[DELIVERY].detail == "since 2026-11-20 06:00"


def test_a_failure_is_told_with_its_reason_even_over_an_older_truth() -> None:
    case = Case()
    case.pointer(SCRUB, *TABLES)
    case.seen.failures = {(unit, DATE): failure(unit) for unit in (SCRUB, MIRROR, DELIVERY)}
    rows = case.judged()
    assert {rows[unit].state for unit in (SCRUB, MIRROR, DELIVERY)} == {"failed"}
    assert rows[SCRUB].detail == "source_denied: no entry"
    assert rows[SCRUB].rows == 10, "the previous truth is still there"


def test_an_attempt_without_end_is_not_sealed() -> None:
    case = Case()
    mine = this("20261120T020000000-0a0b0c0d")
    case.seen.unsealed[SCRUB, DATE] = mine
    assert (case.judged()[SCRUB].state, case.judged()[SCRUB].detail) == ("not sealed", f"{mine.attempt} on {mine.host}")
    case.seen.unsealed[SCRUB, DATE] = Note(mine.attempt, mine.host, mine.boot, mine.pid, "another start")
    assert case.judged()[SCRUB].detail.endswith("its process is gone")
    case.pointer(SCRUB, *TABLES)
    assert case.judged()[SCRUB].state == "done", "what is true does not wait for a new attempt"


def test_receipts_make_a_delivery() -> None:
    case = Case()
    case.seen.receipts = {("acme", "orders", DATE): [receipt(), receipt(identity="j")]}
    row = case.judged()[DELIVERY]
    assert (row.state, row.detail, row.receipts, row.bytes) == ("delivered", "2 receipts", 2, 14)


def test_bytes_that_were_prepared_are_no_delivery() -> None:
    case = Case()
    case.pointer(DELIVERY, "objects")
    assert case.judged()[DELIVERY].state == "late"


@pytest.mark.parametrize("name", ["recipient/acme", "dataset/shop"])
def test_a_hold_is_told_with_who_and_why(name: str) -> None:
    case = Case()
    case.seen.holds[name] = Hold(True, Event("hold", name, "dpo", "complaint", "n"))
    row = case.judged()[DELIVERY]
    assert (row.state, row.detail) == ("held", f"{name} by dpo: complaint")
    assert case.judged()[SCRUB].state == "late", "a hold stops sending only"
    external = "held" if name == "dataset/shop" else "late"
    assert case.judged()[MIRROR].state == external, "a mirror to an external store is of the dataset"


def test_the_newest_date_comes_first_and_units_in_the_order_they_become_true() -> None:
    rows = list(judge(CATALOG, Seen(), {"shop": ["2026-11-18", DATE]}, NOON))
    assert [row.unit for row in rows] == [DUMP, SCRUB, MIRROR, DELIVERY] * 2
    assert [row.date for row in rows[::4]] == [DATE, "2026-11-18"]


def test_units_belong_to_a_dataset_or_are_unknown() -> None:
    assert units_of(CATALOG, "shop") == (DUMP, SCRUB, MIRROR, DELIVERY)
    assert dataset_of(CATALOG, DELIVERY) == "shop"
    with pytest.raises(CatalogError, match="'mirror/n' is not a unit") as caught:
        dataset_of(CATALOG, mirror_unit("n"))
    assert "did you mean mirror/m?" in caught.value.hint
    with pytest.raises(CatalogError, match="'shpo' is not a dataset"):
        units_of(CATALOG, "shpo")


def test_a_failure_survives_its_record() -> None:
    one = failure(SCRUB)
    assert Failure.parse(canonical(one.to_json())) == one


# --------------------------------------------------------------------------------------------------------- missed, sla
def test_a_missed_date_says_why_and_what_is_made_from_it_says_by_what() -> None:
    case = Case()
    case.seen.missed[SCRUB, DATE] = Missed(SCRUB, DATE, "no run made it until 36 h after the day", 1)
    rows = case.judged()
    assert (rows[SCRUB].state, rows[SCRUB].detail) == ("missed", "no run made it until 36 h after the day")
    assert {rows[unit].state for unit in (MIRROR, DELIVERY)} == {"missed"}
    assert rows[MIRROR].detail == "scrub/shop/shared was missed"


def test_what_came_nevertheless_is_what_counts() -> None:
    case = Case()
    case.seen.missed[SCRUB, DATE] = Missed(SCRUB, DATE, "too late", 1)
    case.pointer(SCRUB, *TABLES)
    rows = case.judged()
    assert (rows[SCRUB].state, rows[MIRROR].state) == ("done", "late")


def test_a_missed_date_survives_its_record() -> None:
    one = Missed(SCRUB, DATE, "too late", 5)
    assert Missed.parse(canonical(one.to_json())) == one


@pytest.mark.parametrize(
    ("hour", "scrub", "delivery"),
    [("2026-11-20T04:00", "missing", "missing"), ("2026-11-20T05:01", "late", "missing"),
     ("2026-11-20T06:01", "late", "late")],
)  # fmt: skip
def test_the_datasets_sla_says_when_it_is_late_and_a_recipients_own_one_comes_first(
    hour: str, scrub: str, delivery: str
) -> None:
    shop = CATALOG.datasets["shop"].model_copy(update={"sla": "05:00"})
    catalog = CATALOG.model_copy(update={"datasets": {"shop": shop}})
    at = datetime.fromisoformat(hour).replace(tzinfo=UTC)
    rows = {row.unit: row.state for row in judge(catalog, Seen(), {"shop": [DATE]}, at)}
    assert (rows[SCRUB], rows[MIRROR], rows[DELIVERY]) == (scrub, scrub, delivery)


def test_a_table_that_left_the_catalog_leaves_its_old_dates_done_and_is_named() -> None:
    case = Case()
    case.pointer(SCRUB, *TABLES, "public.old", "public.older", snapshots=("s", "s", "s", "t"))
    row = case.judged()[SCRUB]
    assert row.state == "done"
    assert row.detail == "holds public.old, public.older, not in the catalog any more"


def test_many_removed_tables_are_counted() -> None:
    case = Case()
    names = (*TABLES, *(f"public.x{n}" for n in range(9)))
    case.pointer(DUMP, *names, snapshots=("s",) * len(names))
    assert case.judged()[DUMP].detail == "holds public.x0, public.x1, public.x2 and 6 more, not in the catalog any more"


def test_every_state_has_its_place_among_the_worst() -> None:
    assert sorted(WORST) == sorted(get_args(State))


def test_failures_count_until_a_run_succeeds() -> None:
    place = platform()
    for tries in (1, 2, 3):
        record_failure(place.evidence, SCRUB, DATE, SourceUnavailable("gone"))
        found = last_failure(place.evidence, SCRUB, DATE)
        assert found is not None
        assert found.tries == tries
    clear_failure(place.evidence, SCRUB, DATE)
    assert last_failure(place.evidence, SCRUB, DATE) is None
    record_failure(place.evidence, SCRUB, DATE, SourceUnavailable("gone"))
    again = last_failure(place.evidence, SCRUB, DATE)
    assert again is not None
    assert again.tries == 1


def test_a_failure_record_of_before_is_the_first_try_and_a_garbled_one_is_overwritten() -> None:
    place, key = platform(), failure_key(SCRUB, DATE)
    body = {name: value for name, value in failure(SCRUB).to_json().items() if name != "tries"}
    assert Failure.parse(canonical(body)).tries == 1
    place.evidence.store.put(key, b"{")
    record_failure(place.evidence, SCRUB, DATE, SourceUnavailable("gone"))
    assert last_failure(place.evidence, SCRUB, DATE) is not None
