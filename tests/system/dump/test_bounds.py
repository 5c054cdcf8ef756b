"""What the catalog bounds of an extract: ceilings that end it early, a throttle, quiet hours."""

from __future__ import annotations

import logging
import threading

import pytest

from egress_assets.engine.dump.cells import copy_cells
from egress_assets.engine.dump.copying import Stopped, copy_part
from egress_assets.engine.dump.plan import plan
from egress_assets.engine.dump.run import run
from egress_assets.engine.dump.snapshot import joined, open_snapshot
from egress_assets.engine.dump.source import connect
from egress_assets.engine.dump.tasks import PartTask
from egress_assets.engine.dump.throttle import Pace
from egress_assets.engine.errors import LimitExceeded, SourceQuiet
from egress_assets.engine.layout import dump_unit, scrub_unit
from egress_assets.engine.scrub.plan import plan as scrub_plan
from egress_assets.engine.scrub.run import run as scrub

DAY = "2026-11-19"
UNIT = dump_unit("shop")
ROWS = {"public.orders": {"id": "keep", "customer_id": "keep", "total": "keep"}, "public.nothing": {"id": "keep"}}


def generation(place, unit=UNIT):
    pointer = place.platform.evidence.pointer(unit, DAY)
    return pointer.generation if pointer else 0


def scrubbing(place):
    """`shop` scrubbed as well."""
    place.tables = dict(ROWS)
    place.dataset["scrub"] = {"key": "k"}
    return scrub_unit("shop", "shared")


# --------------------------------------------------------------------------------------------------------------- limits
def test_a_date_may_come_to_exactly_its_limit(place):
    place.dataset["limits"] = {"rows": 550}
    assert run(place.platform, "shop", DAY).how == "moved"


@pytest.mark.parametrize("limits", [{"rows": 549}, {"bytes": 5000}])
def test_above_its_limit_nothing_is_published_and_the_bytes_are_gone(place, limits, until):
    place.dataset["limits"] = limits
    with pytest.raises(
        LimitExceeded, match=r"dump/shop 2026-11-19 comes to .* its limit is .* public\.orders with"
    ) as e:
        run(place.platform, "shop", DAY)
    assert "raise `limits` at catalog/shop.yaml:5" in e.value.hint
    assert (generation(place), place.objects(), place.lake.here()[1]) == (0, {}, {})
    until(lambda: not place.db.sessions())  # the server takes a moment to see that a client is gone


def test_the_previous_truth_stands_when_the_next_run_is_too_large(place):
    place.dataset["limits"] = {"rows": 550}
    run(place.platform, "shop", DAY)
    before = place.objects()
    place.db.run("INSERT INTO orders SELECT g, 1, 1 FROM generate_series(501, 600) g")
    with pytest.raises(LimitExceeded, match=r"comes to \d+ rows( so far)?, its limit is 550"):
        run(place.platform, "shop", DAY, again=True)
    assert (generation(place), place.objects()) == (1, before)
    assert run(place.platform, "shop", DAY).how == "nothing"


def test_a_run_over_some_tables_counts_what_the_others_have(place):
    place.dataset["limits"] = {"rows": 550}
    run(place.platform, "shop", DAY)
    place.db.run("INSERT INTO customers VALUES (51, 'one more')")
    with pytest.raises(
        LimitExceeded, match=r"comes to 551 rows( so far)?, its limit is 550: .*public\.orders with 500"
    ):
        run(place.platform, "shop", DAY, tables=["public.customers"], again=True)


def test_reading_ends_early_and_a_throttled_worker_ends_in_order(place, caplog, until):
    """A million rows at 1,000 a second would take a quarter of an hour."""
    place.db.run("INSERT INTO orders SELECT g, 1, 1 FROM generate_series(1000, 1000000) g")
    place.dataset["limits"], place.rules["throttle"] = {"rows": 600}, {"rows_per_second": 1000}
    with caplog.at_level(logging.INFO), pytest.raises(LimitExceeded, match=r"rows so far, its limit is 600"):
        run(place.platform, "shop", DAY)
    assert "killed worker process" not in caplog.text
    assert (place.objects(), place.lake.here()[1]) == ({}, {})
    until(lambda: not place.db.sessions())  # the server takes a moment to see that a client is gone


def test_a_scrub_above_its_limit_leaves_nothing(place):
    unit = scrubbing(place)
    place.dataset["limits"] = {"rows": 499}
    with pytest.raises(LimitExceeded, match=r"scrub/shop/shared 2026-11-19 comes to \d+ rows"):
        scrub(place.platform, "shop", DAY)
    assert (generation(place, unit), place.objects()) == (0, {})
    place.dataset["limits"] = {"rows": 500}
    assert scrub(place.platform, "shop", DAY).how == "moved"


# ------------------------------------------------------------------------------------------------------------- throttle
class Ticking(threading.Event):
    """A stop flag whose waits cost no time and are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.waited = 0.0

    def wait(self, timeout=None):
        self.waited += timeout or 0.0
        return self.is_set()


def copied(db, lake, stop, **share):
    """`public.orders` read at a pace by a clock that only waits move."""
    with open_snapshot(db.settings(), ["public.orders"]) as leader:
        relation = leader.relations["public.orders"]
        cells = copy_cells(relation, None, None, leader.connection)
        task = PartTask("public.orders", cells, "k/0.csv", "csv")
        with (
            connect(db.settings(), application_name="egress worker") as session,
            joined(session, leader.snapshot, task),
        ):
            pace = Pace(share, clock=lambda: stop.waited)
            return copy_part(session, task, lake.open(), stop=stop, tell=lambda _size, _rows: None, pace=pace)


def test_a_throttled_table_is_the_same_bytes_after_the_waits_that_its_rows_cost(place, db, lake):
    db.run("INSERT INTO orders SELECT g, 1, 1 FROM generate_series(1000, 20499) g")
    free, slow, narrow = Ticking(), Ticking(), Ticking()
    plain = copied(db, lake, free)
    by_rows = copied(db, lake, slow, rows=2000.0)
    by_bytes = copied(db, lake, narrow, bytes=plain.raw_bytes / 5)
    assert (by_rows.cells, by_bytes.cells) == (plain.cells, plain.cells)
    assert plain.rows == 20_000
    assert free.waited == 0
    assert slow.waited == pytest.approx(20_000 / 2000, rel=0.1)
    assert narrow.waited == pytest.approx(5, rel=0.1)


def test_a_stopped_run_ends_its_wait(place, db, lake):
    stop = Ticking()
    stop.set()
    with pytest.raises(Stopped):
        copied(db, lake, stop, rows=0.001)
    assert stop.waited <= 1


def test_a_throttled_run_reads_what_any_other_reads(place):
    place.rules["throttle"] = {"rows_per_second": 100_000, "bytes_per_second": "10MB", "hours": ["00:00-23:59"]}
    result = run(place.platform, "shop", DAY)
    assert sum(table.rows or 0 for table in result.tables.values()) == 550


# ---------------------------------------------------------------------------------------------------------- quiet hours
def test_no_extract_begins_in_quiet_hours_and_the_error_says_until_when(place, monkeypatch):
    place.rules["quiet_hours"] = ["02:00-06:00"]
    with pytest.raises(SourceQuiet, match=r"quiet hours of source db, which end at 2026-11-20 06:00 GMT") as refused:
        run(place.platform, "shop", DAY)
    assert refused.value.retryable
    assert "egress dump shop --date 2026-11-19 --quiet-hours ignore" in refused.value.hint
    assert [line.sign for line in plan(place.platform, "shop", DAY)] == ["!", "+", "+", "+"]
    assert (place.objects(), generation(place)) == ({}, 0)
    monkeypatch.setenv("EGRESS_NOW", "2026-11-20T06:00:00+00:00")
    assert run(place.platform, "shop", DAY).how == "moved"


def test_what_stands_is_answered_in_quiet_hours_too(place):
    run(place.platform, "shop", DAY)
    place.rules["quiet_hours"] = ["02:00-06:00"]
    assert run(place.platform, "shop", DAY).how == "nothing"
    assert {line.sign for line in plan(place.platform, "shop", DAY)} == {"="}
    with pytest.raises(SourceQuiet):
        run(place.platform, "shop", DAY, again=True)


def test_quiet_hours_can_be_ignored_and_that_is_recorded(place, caplog):
    place.rules["quiet_hours"] = ["02:00-06:00"]
    result = run(place.platform, "shop", DAY, quiet_hours="ignore")
    assert (result.how, result.facts["quiet_hours"]) == ("moved", "ignored")
    assert "reads source db in its quiet hours, which end at 2026-11-20 06:00 GMT" in caplog.text


def test_a_run_that_is_tried_again_in_quiet_hours_goes_on(place, monkeypatch):
    from egress_assets.engine.dump import run as module
    from egress_assets.engine.errors import SourceChanged

    real, tried = module.extract, []

    def extract(*arguments, **options):
        tried.append(1)
        if len(tried) == 1:
            monkeypatch.setenv("EGRESS_NOW", "2026-11-20T03:00:00+00:00")
            raise SourceChanged("rewritten")
        return real(*arguments, **options)

    monkeypatch.setattr(module, "extract", extract)
    place.rules["quiet_hours"] = ["03:00-06:00"]
    assert (run(place.platform, "shop", DAY).how, len(tried)) == ("moved", 2)


def test_a_scrub_keeps_quiet_hours_as_well(place):
    scrubbing(place)
    place.rules["quiet_hours"] = ["02:00-06:00"]
    with pytest.raises(SourceQuiet, match="scrub/shop/shared 2026-11-19 was about to begin"):
        scrub(place.platform, "shop", DAY)
    assert scrub_plan(place.platform, "shop", DAY)[0].sign == "!"
    assert scrub(place.platform, "shop", DAY, quiet_hours="ignore").facts["quiet_hours"] == "ignored"
