"""A dump end to end over a real database and store: what moves the pointer, what does nothing, what a kill leaves.

S0-3 (killed runs), S0-4 (one snapshot a date).
"""

from __future__ import annotations

import os
import signal
import threading
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from egress_assets.engine.dump import run as dump_run
from egress_assets.engine.dump.plan import plan
from egress_assets.engine.dump.run import run
from egress_assets.engine.errors import (
    CatalogError,
    HistoryUnavailable,
    SourceChanged,
    SourceDenied,
    SourceUnavailable,
    StoreUnavailable,
    TableMissing,
)
from egress_assets.engine.layout import dump_unit, is_attempt
from egress_assets.engine.stream import decompressed

DAY = "2026-11-19"
UNIT = dump_unit("shop")
TABLES = {"public.customers", "public.orders", "public.nothing"}


def text(place, table):
    """The rows that the pointer names, decompressed."""
    platform = place.platform
    pointer = platform.evidence.pointer(UNIT, DAY)
    _, record = platform.evidence.tables(pointer)[table]
    return b"".join(decompressed(platform.store("lake").get(record.objects[0].key), record.format)).decode()


def signs(place):
    return {line.what: line.sign for line in plan(place.platform, "shop", DAY)}


# --------------------------------------------------------------------------------------------------- moves and nothings
def test_a_first_run_moves_every_table_in_one_swap(place):
    ticks = []
    result = run(place.platform, "shop", DAY, on=ticks.append)
    assert (result.how, result.generation, set(result.tables)) == ("moved", 1, TABLES)
    assert {name: table.rows for name, table in result.tables.items()} == {
        "public.customers": 50,
        "public.orders": 500,
        "public.nothing": 0,
    }
    assert all(table.moved and is_attempt(table.attempt) for table in result.tables.values())
    assert result.sent_bytes == sum(size for size, _ in place.objects().values())
    assert {"lock", "dump"} <= set(result.phases)
    assert list(dict.fromkeys(tick.phase for tick in ticks)) == ["lock", "dump", "seal"]
    assert all(tick.whole and tick.estimated for tick in ticks if tick.phase == "dump")
    assert text(place, "public.customers").startswith("1,c1@example.com\n2,")
    pointer = place.platform.evidence.pointer(UNIT, DAY)
    assert pointer is not None
    assert pointer.consistent(frozenset(TABLES))


def test_the_manifest_says_how_the_rows_were_read(place):
    run(place.platform, "shop", DAY)
    evidence = place.platform.evidence
    manifest, record = evidence.tables(evidence.pointer(UNIT, DAY))["public.orders"]
    draft = manifest.draft
    assert draft.position.line.count("/") == 1
    assert draft.snapshot.endswith(f"@{draft.position.at}")
    assert draft.facts["server_version"].startswith("18")
    assert [(c.name, c.type, c.nullable) for c in record.columns] == [
        ("id", "integer", False),
        ("customer_id", "integer", True),
        ("total", "numeric(12,2)", True),
    ]
    assert record.objects[0].raw_bytes == len(text(place, "public.orders"))


def test_a_second_run_reads_no_row_and_asks_for_no_lock(place):
    run(place.platform, "shop", DAY)
    before = place.lake.here()
    with place.db.connect() as other, other.transaction():
        other.execute("LOCK TABLE orders")  # a run that locked would be refused after lock_timeout
        result = run(place.platform, "shop", DAY)
    assert (result.how, result.sent_bytes, result.generation) == ("nothing", 0, 1)
    assert {name: table.rows for name, table in result.tables.items()}["public.orders"] == 500
    assert place.lake.here() == before
    assert set(signs(place).values()) == {"="}


def test_again_reads_the_rows_and_equal_ones_keep_their_attempt(place):
    first = run(place.platform, "shop", DAY)
    second = run(place.platform, "shop", DAY, again=True)
    assert (second.how, second.generation) == ("unchanged", 2)
    assert {n: t.attempt for n, t in second.tables.items()} == {n: t.attempt for n, t in first.tables.items()}
    assert second.sent_bytes > 0
    place.db.run("INSERT INTO customers VALUES (51, 'new')")
    third = run(place.platform, "shop", DAY, again=True)
    assert third.how == "moved"
    assert {name for name, table in third.tables.items() if table.moved} == {"public.customers"}
    assert third.tables["public.orders"].attempt == first.tables["public.orders"].attempt


@pytest.mark.parametrize("change", ["format", "column", "object gone", "object replaced", "table added"])
def test_what_the_pointer_no_longer_stands_for_is_made_again(place, change):
    run(place.platform, "shop", DAY)
    key = next(key for key in place.objects() if "public.orders" in key)
    match change:
        case "format":
            place.dataset["dump"] = {"format": "csv.gz"}
        case "column":
            place.dataset["drift"] = {"added": "accept"}
            place.db.run("ALTER TABLE orders ADD COLUMN note text")
        case "object gone":
            place.data.delete(key)
        case "object replaced":
            place.data.put(key, b"other")
        case "table added":
            place.db.run("CREATE TABLE more (id int)")
            place.tables["public.more"] = {}
    assert signs(place)["public.orders"] == "*"
    result = run(place.platform, "shop", DAY)
    assert result.how == "moved"
    assert len(text(place, "public.orders").splitlines()) == 500
    assert run(place.platform, "shop", DAY).how == "nothing"


def test_a_damaged_object_of_equal_length_is_healed_by_again(place):
    run(place.platform, "shop", DAY)
    key, (size, _) = next((k, found) for k, found in place.objects().items() if "public.orders" in k)
    place.data.put(key, b"x" * size)
    assert run(place.platform, "shop", DAY, again=True).tables["public.orders"].moved
    assert text(place, "public.orders").startswith("1,")


def test_a_table_taken_out_of_the_catalog_leaves_the_pointer(place):
    run(place.platform, "shop", DAY)
    place.dataset["drift"] = {"removed_table": "accept"}
    del place.tables["public.nothing"]
    result = run(place.platform, "shop", DAY)
    assert (result.how, set(result.tables)) == ("moved", TABLES - {"public.nothing"})


def test_a_run_over_some_tables_leaves_the_others_and_is_not_consistent(place):
    run(place.platform, "shop", DAY)
    place.db.run("DELETE FROM orders WHERE id > 10")
    part = run(place.platform, "shop", DAY, tables=["public.orders"], again=True)
    assert (part.how, set(part.tables)) == ("moved", {"public.orders"})
    pointer = place.platform.evidence.pointer(UNIT, DAY)
    assert not pointer.consistent(frozenset(TABLES))
    assert run(place.platform, "shop", DAY, tables=["public.orders"]).how == "nothing"
    whole = run(place.platform, "shop", DAY)  # it wants one snapshot for all
    assert whole.how == "unchanged"
    assert place.platform.evidence.pointer(UNIT, DAY).consistent(frozenset(TABLES))


def test_an_unknown_table_dataset_or_date_is_refused_with_what_there_is(place):
    with pytest.raises(CatalogError, match=r"no table public\.x") as caught:
        run(place.platform, "shop", DAY, tables=["public.x"])
    assert "public.orders" in caught.value.hint
    with pytest.raises(CatalogError, match="nowhere"):
        run(place.platform, "nowhere", DAY)
    with pytest.raises(CatalogError, match="outside"):
        run(place.platform, "shop", "2026-11-20")


def test_a_dataset_that_is_only_scrubbed_has_no_raw_dump(place):
    place.dataset |= {"dump": None, "scrub": {"key": "k"}}
    place.tables = {name: {"columns": {}} for name in place.tables}
    platform = place.platform
    platform.catalog.datasets["shop"] = platform.catalog.datasets["shop"].model_copy(update={"dump": None})
    with pytest.raises(CatalogError, match="has no raw dump"):
        run(platform, "shop", DAY)


# ---------------------------------------------------------------------------------------------------------------- dates
def test_a_past_date_is_refused_until_it_is_relabelled_and_the_manifest_says_so(place, monkeypatch):
    monkeypatch.setenv("EGRESS_NOW", "2026-11-25T02:30:00+00:00")
    with pytest.raises(HistoryUnavailable):
        run(place.platform, "shop", DAY)
    assert [line.sign for line in plan(place.platform, "shop", DAY)] == ["!", "+", "+", "+"]
    result = run(place.platform, "shop", DAY, relabel=True)
    assert result.facts["relabelled"] is True
    evidence = place.platform.evidence
    (manifest, _), *_ = evidence.tables(evidence.pointer(UNIT, DAY)).values()
    assert manifest.draft.facts["relabelled"] is True


def test_relabel_in_time_is_an_ordinary_run(place):
    assert "relabelled" not in run(place.platform, "shop", DAY, relabel=True).facts


@pytest.mark.parametrize("kind", ["timestamptz", "timestamp", "date"])
def test_a_window_holds_the_rows_of_its_day_and_days_leave_no_gap(place, monkeypatch, kind):
    monkeypatch.setenv("EGRESS_NOW", "2026-12-15T02:30:00+00:00")  # any past date may be extracted
    place.db.run(
        f"CREATE TABLE clicks (n int, at {kind})",
        "SET timezone = 'Europe/London'",
        f"INSERT INTO clicks SELECT g, (timestamp '2026-11-18 00:00' + g * interval '1 hour')::{kind}"
        " FROM generate_series(0, 71) g",
        "INSERT INTO clicks VALUES (-1, NULL), (-2, 'infinity')",
    )
    place.tables = {"public.clicks": {"window": "at"}}
    place.dataset["extract"] = "window"
    days = {}
    for day in ("2026-11-18", "2026-11-19", "2026-11-20"):
        run(place.platform, "shop", day)
        evidence = place.platform.evidence
        _, record = evidence.tables(evidence.pointer(UNIT, day))["public.clicks"]
        days[day] = record.rows
    assert days == {"2026-11-18": 24, "2026-11-19": 24, "2026-11-20": 24}


def test_a_window_column_of_another_type_is_refused_by_name(place):
    place.tables = {"public.customers": {"window": "email"}}
    place.dataset["extract"] = "window"
    with pytest.raises(CatalogError, match=r"window public\.customers\.email is of type text"):
        run(place.platform, "shop", DAY)
    place.tables = {"public.customers": {"window": "nope"}}
    with pytest.raises(TableMissing, match="no column nope"):
        run(place.platform, "shop", DAY)


# ------------------------------------------------------------------------------------------------------------ disturbed
def test_s0_4_all_tables_of_a_date_are_of_one_moment_while_others_write(place):
    """Two tables that are always changed in one transaction are equal in every dump."""
    place.db.run("CREATE TABLE a (n int)", "CREATE TABLE b (n int)", "CREATE TABLE pad AS SELECT generate_series(1,99)")
    place.tables = {"public.a": {}, "public.pad": {}, "public.b": {}}
    stop, written = threading.Event(), threading.Event()

    def write():
        with place.db.connect() as session:
            for n in count():
                if stop.is_set():
                    return
                with session.transaction():
                    session.execute("INSERT INTO a VALUES (%s)", [n])
                    session.execute("INSERT INTO b VALUES (%s)", [n])
                written.set()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert written.wait(60)
        for _ in range(3):
            result = run(place.platform, "shop", DAY, again=True)
            assert result.tables["public.a"].rows > 0
            assert text(place, "public.a") == text(place, "public.b")
    finally:
        stop.set()
        writer.join()


def test_a_run_that_ddl_disturbs_starts_over_on_a_new_snapshot(place, monkeypatch):
    tried = disturb(monkeypatch, times=1)
    assert run(place.platform, "shop", DAY).how == "moved"
    assert len(tried) == 2


def test_s0_3_a_session_killed_during_copy_costs_one_more_try(place, until):
    place.db.run("CREATE VIEW v AS SELECT g FROM generate_series(1, 1500) g WHERE pg_sleep(1e-3) IS NOT NULL")
    place.tables["public.v"] = {}
    killed = []
    ready = partial(place.db.sessions, "COPY%")
    killer = threading.Thread(target=lambda: (until(ready), killed.append(place.db.terminate("egress worker"))))
    killer.start()
    result = run(place.platform, "shop", DAY)
    killer.join()
    assert killed[0] >= 1
    assert (result.how, result.generation, result.tables["public.v"].rows) == ("moved", 1, 1500)
    assert place.lake.here()[1] == {}


def test_it_gives_up_after_three_snapshots_and_the_previous_truth_stands(place, monkeypatch):
    first = run(place.platform, "shop", DAY)
    tried = disturb(monkeypatch, times=99)
    monkeypatch.setattr("egress_assets.engine.stage._pause", lambda _seconds: None)
    with pytest.raises(SourceChanged):
        run(place.platform, "shop", DAY, again=True)
    assert len(tried) == 3
    monkeypatch.undo()
    assert place.platform.evidence.pointer(UNIT, DAY).generation == first.generation
    assert text(place, "public.orders").startswith("1,")


def disturb(monkeypatch, *, times):
    """The first `times` extracts fail as they do when DDL came in between."""
    real, tried = dump_run.extract, []

    def extract(*arguments, **options):
        tried.append(1)
        if len(tried) <= times:
            raise SourceChanged("rewritten")
        return real(*arguments, **options)

    monkeypatch.setattr(dump_run, "extract", extract)
    return tried


def test_a_table_dropped_between_plan_and_run_is_missing_and_nothing_moves(place):
    run(place.platform, "shop", DAY)
    assert signs(place)["public.orders"] == "="
    place.db.run("DROP TABLE orders, customers")
    for again in (False, True):
        with pytest.raises(TableMissing, match=r"public\.customers, public\.orders"):
            run(place.platform, "shop", DAY, again=again)
    (line,) = plan(place.platform, "shop", DAY)
    assert (line.sign, line.what) == ("!", "dump/shop")
    assert place.platform.evidence.pointer(UNIT, DAY).generation == 1


def test_a_role_that_lost_its_grant_is_told_by_plan_and_refused_by_run(place):
    with place.db.connect() as session:
        session.execute("REVOKE SELECT ON orders FROM reader")
    assert [line.sign for line in plan(place.platform, "shop", DAY)] == ["!"]
    with pytest.raises(SourceDenied, match=r"public\.orders"):
        run(place.platform, "shop", DAY)


def test_a_source_that_is_down_leaves_the_previous_truth(place):
    run(place.platform, "shop", DAY)
    place.source["port"] = 1
    with pytest.raises(SourceUnavailable):
        run(place.platform, "shop", DAY, again=True)
    assert text(place, "public.orders").startswith("1,")


def test_s0_3_a_killed_worker_s_leftovers_are_gone_after_the_next_run(place, until):
    """SIGKILL can't clean up: an upload in parts stays open, invisible to every reader, until the next start."""
    place.db.run(
        "CREATE VIEW slow AS SELECT g, repeat(md5(g::text), 30) FROM generate_series(1, 1000000) g"
        " WHERE pg_sleep(5e-4) IS NOT NULL"
    )
    run(place.platform, "shop", DAY)
    objects, ordinary = place.objects(), dict(place.tables)
    place.tables["public.slow"] = {}
    place.dataset["dump"], place.stored = {"format": "csv"}, {"part_bytes": 64 * 1024}
    parent = os.fork()
    if parent == 0:
        try:
            run(place.platform, "shop", DAY)
        finally:
            os._exit(1)
    until(lambda: place.lake.here()[1])
    for pid in (parent, *children(parent)):
        os.kill(pid, signal.SIGKILL)
    os.waitpid(parent, 0)
    assert place.lake.here()[1]
    place.tables, place.dataset["dump"], place.stored = ordinary, {}, {}
    assert text(place, "public.orders").startswith("1,")
    assert run(place.platform, "shop", DAY, again=True).how == "unchanged"
    assert place.lake.here()[1] == {}
    assert objects.items() <= place.objects().items()


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_store_that_is_down_leaves_the_previous_truth(place):
    first = run(place.platform, "shop", DAY)
    place.stored |= {"retry_deadline": 0.5}
    place.lake.fault("PutObject", "503", skip=1, times=1000)  # the first is the attempt's note
    with pytest.raises(StoreUnavailable):
        run(place.platform, "shop", DAY, again=True)
    place.lake.control("clear")
    assert place.platform.evidence.pointer(UNIT, DAY).generation == first.generation


def test_plan_reads_only(place):
    lines = plan(place.platform, "shop", DAY)
    assert [(line.sign, line.what) for line in lines] == [("+", table) for table in place.tables]
    assert "unknown" in lines[0].detail
    place.db.run("ANALYZE orders")
    assert plan(place.platform, "shop", DAY)[1].detail.startswith("about 500 rows")
    assert place.lake.here() == ({}, {})
    assert place.lake.here(f"{place.lake.bucket}-evidence") == ({}, {})


def test_a_changed_window_is_another_policy(place):
    place.db.run("ALTER TABLE customers ADD a date DEFAULT '2026-11-19', ADD b date DEFAULT '2026-11-19'")
    place.tables = {"public.customers": {"window": "a"}}
    place.dataset["extract"] = "window"
    run(place.platform, "shop", DAY)
    place.tables = {"public.customers": {"window": "b"}}
    (line,) = plan(place.platform, "shop", DAY)
    assert (line.sign, line.detail.partition(";")[0]) == ("*", "its policy has changed")
