"""What is said of a long step: amounts over many items, rates over a window, time left only where it can be known."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pytest

from egress_assets.engine.progress import Meter, Tick, amount, described, duration
from egress_assets.progress import Progress

MB = 10**6


def copied(item: str, done: int, **more: object) -> Tick:
    return Tick("dump", item, done, **more)  # type: ignore[arg-type]


def test_items_under_way_and_finished_ones_add_up():
    meter = Meter("dump", 0.0)
    meter.hear(copied("public.a", 10, rows=1, whole=100), 1)
    meter.hear(copied("public.b", 30, rows=3, whole=100), 1)
    meter.hear(copied("public.a", 20, rows=2, whole=100), 2)  # cumulative: replaces what it said before
    meter.hear(copied("public.b", 40, rows=4, whole=100, finished=True), 2)
    reading = meter.read(3)
    assert (reading.done, reading.rows, reading.finished, reading.items) == (60, 6, 1, ("public.a",))
    assert reading.percent == 60


def test_a_finished_item_is_forgotten_so_memory_is_that_of_the_items_under_way():
    meter = Meter("mirror", 0.0)
    for n in range(10_000):
        meter.hear(copied(f"key-{n}", 1), n)
        meter.hear(copied(f"key-{n}", 2, finished=True), n)
    reading = meter.read(10_000)
    assert (reading.done, reading.finished, reading.items) == (20_000, 10_000, ())
    assert len(meter._under_way) == 0


def test_the_rate_is_that_of_the_last_half_minute():
    meter, done = Meter("dump", 0.0), 0
    for at in range(5, 65, 5):  # a minute at 10 MB/s, sampled every 5 s
        done += 50 * MB
        meter.hear(copied("a", done), at)
        assert meter.read(at).rate == pytest.approx(10 * MB)
    for at in range(65, 100, 5):  # then 2 MB/s
        done += 10 * MB
        meter.hear(copied("a", done), at)
        rate = meter.read(at).rate
    assert rate == pytest.approx(2 * MB)


def test_time_left_follows_from_rate_and_total():
    meter = Meter("dump", 0.0)
    meter.hear(copied("a", 25 * MB, whole=100 * MB), 5)
    reading = meter.read(5)
    assert (reading.rate, reading.left, reading.percent) == (5 * MB, 15, 25)
    assert described(reading) == "25 %, 25.0 MB of 100.0 MB, 5.0 MB/s, about 15 s left; now a"


def test_without_a_total_there_is_neither_percent_nor_time_left():
    meter = Meter("mirror", 0.0)
    meter.hear(copied("a", 25 * MB), 5)
    reading = meter.read(5)
    assert (reading.percent, reading.left) == (None, None)
    assert described(reading) == "25.0 MB, 5.0 MB/s; now a"


def test_a_single_item_brings_its_own_total():
    meter = Meter("deliver", 0.0)
    meter.hear(copied("in/orders.csv.gz", 25, total=100), 5)
    assert meter.read(5).percent == 25


def test_several_items_without_a_common_total_have_none():
    """Those that have not begun are not counted in the totals that were told."""
    meter = Meter("deliver", 0.0)
    meter.hear(copied("a", 25, total=100), 5)
    meter.hear(copied("b", 25, total=100), 5)
    assert meter.read(5).percent is None


def test_an_estimate_is_said_to_be_one_and_never_reaches_the_end():
    meter = Meter("dump", 0.0)
    meter.hear(copied("a", 150, whole=100, estimated=True), 5)
    reading = meter.read(5)
    assert (reading.percent, reading.left) == (99, None)
    assert described(reading).startswith("~99 %, 150 B of ~100 B, ")


def test_what_stands_still_is_said_and_no_time_left_is_promised():
    meter = Meter("dump", 0.0)
    meter.hear(copied("a", 50, whole=100), 5)
    meter.hear(copied("a", 50, whole=100), 20)  # heard, but nothing moved
    assert described(meter.read(40)) == "50 %, 50 B of 100 B, nothing moved for 35 s; now a"


def test_a_lock_that_is_waited_for_counts_tables():
    meter = Meter("lock", 0.0)
    meter.hear(Tick("lock", "shop", 0, 8, unit="tables"), 0)
    assert described(meter.read(5)) == "0 %, 0 tables of 8 tables; now shop"
    assert described(meter.read(15)) == "0 %, 0 tables of 8 tables, nothing moved for 15 s; now shop"


def test_many_tables_are_one_line_that_names_a_few():
    meter = Meter("scrub", 0.0)
    for n in range(40):
        meter.hear(Tick("scrub", f"t{n}", MB, rows=1000), 1)
    assert described(meter.read(1)) == "40.0 MB, 40,000 rows, 40.0 MB/s; now t0, t1, t2 and 37 more"


def test_a_name_that_a_terminal_would_obey_is_escaped():
    meter = Meter("mirror", 0.0)
    meter.hear(copied("a\x1b[2J", 1), 1)
    assert "\x1b" not in described(meter.read(1))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (1.25, "1.2 s"), (7.4, "7 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")],
)
def test_durations_for_people(seconds: float, text: str):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(999, "999 B"), (1000, "1.0 kB"), (2_500_000, "2.5 MB"), (10**18, "1000.0 PB")]
)
def test_amounts_for_people(count: int, text: str):
    assert amount(count, "bytes") == text


# ------------------------------------------------------------------------------------------------------------- listener
class Clock:
    """Stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.INFO, logger="egress_assets")
    return lambda: [record.getMessage() for record in caplog.records]


def test_each_phase_tells_its_begin_and_its_end_with_the_time_that_it_took(clock: Clock, said):
    with Progress("dump/shop 2026-11-19", every=3600, clock=clock) as on:
        on(Tick("lock", "shop", 0, 2, unit="tables"))
        clock.at += 0.5
        on(Tick("lock", "shop", 2, 2, unit="tables", finished=True))
        on(Tick("dump", "public.a", 10 * MB, rows=10))
        clock.at += 4
        on(Tick("dump", "public.a", 40 * MB, rows=40, finished=True))
    title = "dump/shop 2026-11-19: "
    assert said() == [
        f"{title}lock began",
        f"{title}lock ended after 0.5 s",
        f"{title}dump began",
        f"{title}dump ended after 4 s, 40.0 MB, 40 rows, 10.0 MB/s",
    ]


def test_a_phase_that_an_error_cut_short_did_not_end_well(clock: Clock, said):
    def work() -> None:
        with Progress("t", every=3600, clock=clock) as on:
            on(Tick("dump", "public.a", 10))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert said()[-1] == "t: dump broke off after 0.0 s, 10 B"


def test_ticks_are_silent_until_the_next_line_is_due(clock: Clock, said):
    on = Progress("t", every=3600, clock=clock)
    for n in range(1000):
        on(Tick("dump", f"public.t{n % 50}", n * MB, whole=1000 * MB, estimated=True))
    clock.at += 5
    on.tell()
    assert len(said()) == 2
    assert said()[1].startswith("t: dump ~99 %, ")


def test_phases_may_be_left_out_where_a_run_has_hundreds_of_stages(clock: Clock, said):
    with Progress("t", phases=False, every=3600, clock=clock) as on:
        on(Tick("lock", "shop", 2, 2, unit="tables", finished=True))
        on(Tick("dump", "public.a", MB))
        clock.at += 5
        on.tell()
    assert said() == ["t: dump 1.0 MB, 200.0 kB/s; now public.a"]


def test_nothing_under_way_is_nothing_to_tell(clock: Clock, said):
    Progress("t", clock=clock).tell()
    assert said() == []


def test_lines_come_by_themselves_while_nothing_moves_and_end_with_the_run(caplog: pytest.LogCaptureFixture):
    """A statement that waits for a lock sends no tick."""
    caplog.set_level(logging.INFO, logger="egress_assets")
    told = threading.Event()

    class Heard(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "0 tables of 2" in record.getMessage():
                told.set()

    handler = Heard()
    logging.getLogger("egress_assets").addHandler(handler)
    try:
        with Progress("t", every=0.001) as on:
            on(Tick("lock", "shop", 0, 2, unit="tables"))
            assert told.wait(20)
    finally:
        logging.getLogger("egress_assets").removeHandler(handler)
    assert not any(thread.name == "progress" for thread in threading.enumerate())
