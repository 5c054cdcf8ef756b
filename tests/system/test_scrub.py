"""The scrub stage against the embedded Postgres and object store: what is true afterwards, and what never is."""

from __future__ import annotations

import csv
import hashlib
import io
import logging
import secrets
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from egress_assets.engine import masks
from egress_assets.engine.catalog.loader import load_catalog
from egress_assets.engine.catalog.models import Catalog, ColumnRule, DatasetModel, Endpoints
from egress_assets.engine.dump.source import SourceSettings
from egress_assets.engine.errors import (
    CatalogError,
    GateFailed,
    KeyMissing,
    SourceError,
    StoreError,
    TableMissing,
    Unclassified,
)
from egress_assets.engine.layout import scrub_unit
from egress_assets.engine.partition import now
from egress_assets.engine.platform import Platform
from egress_assets.engine.scrub import gate
from egress_assets.engine.scrub.keys import MasterKey
from egress_assets.engine.scrub.plan import plan
from egress_assets.engine.scrub.run import run
from egress_assets.engine.scrub.spec import ScrubSpec
from egress_assets.engine.stores import Store
from egress_assets.engine.stores.settings import StoreSettings
from egress_assets.engine.stream import decompressed
from egress_assets.sandbox import Sandbox, start
from egress_assets.sandbox.sample import load

KEY = "5c" * 16 + "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
SCHEMA = """
CREATE TABLE people (
  id bigint PRIMARY KEY, email text NOT NULL, name text, born date, note text, seen timestamptz, code uuid NOT NULL
);
CREATE TABLE orders (id bigint PRIMARY KEY, person text, total numeric(10, 2) NOT NULL);
INSERT INTO people VALUES
  (1, 'Ann@Example.org', 'Ann Smith', '1970-02-28', E'back\\\\slash "quote", ''tick''',
   '2026-10-25 00:30:00+00', gen_random_uuid()),
  (2, 'joe@example.org', NULL, NULL, NULL, NULL, gen_random_uuid()),
  (3, 'ada@example.org', E'multi\\nline 😀', '2000-02-29', 'שלום', '2026-03-29 01:30:00.5+00', gen_random_uuid());
INSERT INTO orders VALUES (1, 'ann@example.org', 10.5), (2, 'joe@example.org', 0), (3, NULL, 7),
  (4, 'joe@example.org', 1);
"""
PEOPLE: dict[str, Any] = {
    "id": "keep", "email": {"mask": "email", "domain": "person"}, "name": "name",
    "born": {"mask": "date_shift", "by": "id"}, "note": {"mask": "hash", "length": 20},
    "seen": {"mask": "date_shift", "by": "id"}, "code": {"mask": "hash", "encoding": "uuid"},
}  # fmt: skip
ORDERS: dict[str, Any] = {"id": "keep", "person": {"mask": "email", "domain": "person"}, "total": "keep"}
ENDPOINTS = Endpoints.model_validate(
    {
        "evidence": {"store": "evidence"},
        "sources": {"db": {"dsn": {"env": "UNUSED"}}},
        "stores": {name: {"bucket": name, "zone": "trusted"} for name in ("evidence", "lake", "quarantine")},
    }
)


@dataclass
class Bench:
    """A database of its own, and a prefix of its own in the sandbox's buckets. It is a Provider, too."""

    sandbox: Sandbox
    database: str
    key: str = field(default=KEY, repr=False)
    missing: frozenset[str] = frozenset()  # stores whose bucket does not exist
    prefix: str = field(default_factory=lambda: f"test-scrub-{secrets.token_hex(6)}")

    def source(self, name: str) -> SourceSettings:
        return SourceSettings(name=name, dsn=self.sandbox.admin_dsn(self.database).conninfo, tls="disable", workers=2)

    def store(self, name: str) -> StoreSettings:
        changed = {"name": name, "prefix": self.prefix, "retry_deadline": 5.0}
        if name in self.missing:
            changed["bucket"] = "no-such-bucket"
        return self.sandbox.stores[name].model_copy(update=changed)

    def recipient(self, name: str) -> Mapping[str, Any]:
        raise CatalogError(f"no recipient {name}")

    def secret(self, value: Any) -> str:
        return self.key

    def execute(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.sandbox.admin_dsn(self.database).conninfo, autocommit=True) as session:
            cursor = session.execute(query.encode())
            return cursor.fetchall() if cursor.description else []

    def platform(
        self,
        *,
        people: dict[str, Any] = PEOPLE,
        tables: dict[str, Any] | None = None,
        extract: str = "full",
        **scrub: Any,
    ) -> Platform:
        said = {"key": {"env": "UNUSED"}, "quarantine": "quarantine", **scrub}
        chosen = {"public.people": people, "public.orders": ORDERS} if tables is None else tables
        model = {"source": "db", "start": "2026-01-01", "extract": extract, "scrub": said, "tables": chosen}
        return Platform(Catalog(endpoints=ENDPOINTS, datasets={"d": DatasetModel.model_validate(model)}), self)

    @property
    def date(self) -> str:
        return self.platform().catalog.calendar("d").last_complete(now())

    def opened(self, store: str) -> Store:
        return Platform(Catalog(endpoints=ENDPOINTS, datasets={}), self).store(store)

    def keys(self, store: str) -> list[str]:
        return [listed.key for listed in self.opened(store).list()]

    def clear(self) -> None:
        self.missing = frozenset()
        for name in ENDPOINTS.stores:
            store = self.opened(name)
            for listed in list(store.list()):
                store.delete(listed.key)


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    return start()


@pytest.fixture
def bench(sandbox: Sandbox) -> Iterator[Bench]:
    name = f"scrub_{secrets.token_hex(6)}"
    made = sql.Identifier(name)
    with psycopg.connect(sandbox.admin_dsn().conninfo, autocommit=True) as session:
        session.execute(sql.SQL("CREATE DATABASE {}").format(made))
        try:
            bench = Bench(sandbox, name)
            bench.execute(SCHEMA)
            yield bench
            bench.clear()
        finally:
            session.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(made))


def rows_of(platform: Platform, date: str, table: str) -> list[list[str]]:
    """The table's rows as a reader finds them: pointer, manifest, object."""
    pointer = platform.evidence.pointer(scrub_unit("d", "shared"), date)
    assert pointer is not None
    _, record = platform.evidence.tables(pointer)[table]
    store = platform.store("lake")
    data = b"".join(chunk for o in record.objects for chunk in decompressed(store.get(o.key), record.format))
    return sorted(csv.reader(io.StringIO(data.decode(), newline="")))


def truth(platform: Platform, date: str) -> tuple[int, dict[str, str]]:
    """(generation, attempt by table) of the pointer; (0, {}) before the first run."""
    pointer = platform.evidence.pointer(scrub_unit("d", "shared"), date)
    return (pointer.generation, {t: e.attempt for t, e in pointer.entries.items()}) if pointer else (0, {})


def by_reference(platform: Platform, date: str, bench: Bench) -> list[list[str]]:
    """What the masks' Python references make of the people in the database."""
    keys = ScrubSpec.of(platform, "d", date, None).keys
    raw = bench.execute("SELECT id::text, email, name, born::text, note, seen::text, code::text FROM people")
    out = []
    for values in raw:
        row = dict(zip(PEOPLE, values, strict=True))
        row["seen"] = row["seen"] and row["seen"].replace("+00", "") + "+00"
        cells = []
        for name, rule in platform.catalog.dataset("d").tables["public.people"].columns.items():
            mask = masks.find(rule.mask)
            cells.append(mask.reference(row[name], masks.parse_params(mask, rule.params), keys, row=row) or "")
        out.append(cells)
    return sorted(out)


# ------------------------------------------------------------------------------------------------------ what is true
def test_every_cell_is_what_the_reference_says(bench):
    platform, date = bench.platform(), bench.date
    result = run(platform, "d", date)
    assert rows_of(platform, date, "public.people") == by_reference(platform, date, bench)
    assert (result.how, result.generation, result.tables["public.people"].rows) == ("moved", 1, 3)
    passed = [c.name for c in result.tables["public.people"].checks if c.passed]
    assert passed == ["policy_covers_schema", "no_direct_identifiers", "row_counts_match"]
    assert bench.keys("quarantine") == []


def test_pseudonyms_join_across_tables_and_null_stays_null_s0_10(bench):
    """Raw stays where it is; the public copy has plain sha256 as Spark's sha2(column, 256) gives it."""
    digest = {"mask": "hash", "algorithm": "sha256", "normalise": "lower"}
    platform = bench.platform(
        tables={"public.people": {**PEOPLE, "email": digest}, "public.orders": {**ORDERS, "person": digest}}
    )
    date = bench.date
    run(platform, "d", date)
    people = {row[1] for row in rows_of(platform, date, "public.people")}
    orders = [row[1] for row in rows_of(platform, date, "public.orders")]
    assert people == {
        hashlib.sha256(e).hexdigest() for e in (b"ann@example.org", b"joe@example.org", b"ada@example.org")
    }
    assert [bool(person) for person in orders] == [True, True, False, True]
    assert {person for person in orders if person} < people


def test_keyed_pseudonyms_join_in_one_audience_and_not_across_two(bench):
    date = bench.date
    platform, other = bench.platform(), bench.platform(audience="acme")
    run(platform, "d", date)
    run(other, "d", date)
    people = {row[1] for row in rows_of(platform, date, "public.people")}
    assert {row[1] for row in rows_of(platform, date, "public.orders") if row[1]} < people
    pointer = other.evidence.pointer(scrub_unit("d", "acme"), date)
    assert pointer is not None
    record = other.evidence.tables(pointer)["public.people"][1]
    theirs = b"".join(decompressed(other.store("lake").get(record.objects[0].key), record.format)).decode()
    assert not any(email in theirs for email in people)


def test_nothing_to_do_is_found_without_reading_and_again_reads(bench):
    platform, date = bench.platform(), bench.date
    run(platform, "d", date)
    assert (run(platform, "d", date).how, truth(platform, date)[0]) == ("nothing", 1)
    before = truth(platform, date)[1]
    assert run(platform, "d", date, again=True).how == "unchanged"
    assert truth(platform, date) == (2, before)
    assert run(bench.platform(people={**PEOPLE, "name": "null"}), "d", date).how == "moved"


def test_a_window_takes_the_rows_of_the_day_only(bench):
    day = bench.date
    bench.execute(f"UPDATE people SET seen = '{day} 12:00:00+00' WHERE id = 2")
    model = {"window": "seen", "columns": PEOPLE}
    windowed = bench.platform(tables={"public.people": model}, extract="window")
    result = run(windowed, "d", day)
    assert (result.tables["public.people"].rows, [r[0] for r in rows_of(windowed, day, "public.people")]) == (1, ["2"])


def test_without_quarantine_the_unsealed_attempt_is_one(bench):
    platform = bench.platform(quarantine=None, format="csv.gz")
    run(platform, "d", bench.date)
    assert rows_of(platform, bench.date, "public.people") == by_reference(platform, bench.date, bench)
    assert bench.keys("quarantine") == []


def test_the_shop_of_the_sandbox_passes_with_no_false_alarm_and_raw_columns_are_named(sandbox):
    """The shipped catalog over 242,800 rows: the gate is silent, and speaks when columns are kept."""
    load(sandbox)
    bench = Bench(sandbox, "shop")
    model = load_catalog(Path(__file__).parents[2] / "catalog", "sandbox").dataset("shop")
    endpoints = ENDPOINTS.model_copy(update={"sources": {"shop_db": ENDPOINTS.sources["db"]}})
    platform = Platform(Catalog(endpoints=endpoints, datasets={"shop": model}), bench)
    date = platform.catalog.calendar("shop").last_complete(now())
    result = run(platform, "shop", date)
    assert sum(table.rows or 0 for table in result.tables.values()) == 242_800
    people = model.tables["public.customers"]
    raw = people.model_copy(
        update={"columns": {**people.columns, "email": ColumnRule(mask="keep"), "notes": ColumnRule(mask="keep")}}
    )
    leaky = model.model_copy(update={"tables": {**model.tables, "public.customers": raw}})
    with pytest.raises(GateFailed) as caught:
        run(Platform(Catalog(endpoints=endpoints, datasets={"shop": leaky}), bench), "shop", date)
    assert "x email in email" in caught.value.message
    assert "x phone in notes" in caught.value.message
    assert "@example" not in caught.value.message
    bench.clear()


# ------------------------------------------------------------------------------------------------------- fail closed
def test_an_added_column_stops_before_the_first_row(bench):
    platform, date = bench.platform(), bench.date
    run(platform, "d", date)
    before, stored = truth(platform, date), sorted(bench.keys("lake"))
    bench.execute("ALTER TABLE people ADD COLUMN mobile text DEFAULT '+44 7700 900123'")
    for again in (False, True):
        with pytest.raises(Unclassified, match=r"public\.people\.mobile") as caught:
            run(platform, "d", date, again=again)
        assert "    mobile: null" in caught.value.hint
    assert (truth(platform, date), sorted(bench.keys("lake")), bench.keys("quarantine")) == (before, stored, [])
    assert [line.sign for line in plan(platform, "d", date)] == ["!"]


def test_a_dropped_column_stops_before_the_first_row(bench):
    platform, date = bench.platform(), bench.date
    bench.execute("ALTER TABLE people DROP COLUMN note")
    with pytest.raises(TableMissing, match=r"public\.people\.note"):
        run(platform, "d", date, again=True)
    assert (bench.keys("lake"), bench.keys("quarantine")) == ([], [])


@pytest.fixture
def in_parts(bench, monkeypatch):
    """8,000 people in parts of 64 KiB."""
    monkeypatch.setattr("egress_assets.engine.dump.cells.CELL_BLOCKS", 8)
    monkeypatch.setattr("egress_assets.engine.dump.parts.SMALLEST", 8 * 8192)
    bench.execute(
        "INSERT INTO people SELECT g, 'p' || g || '@example.org', 'Person ' || g, '1980-01-01', 'n' || g, now(), "
        "gen_random_uuid() FROM generate_series(4, 8000) g"
    )
    return bench


@pytest.mark.parametrize("quarantine", ["quarantine", None])
def test_a_table_in_parts_is_gated_and_promoted_whole(in_parts, quarantine):
    platform, date = in_parts.platform(quarantine=quarantine), in_parts.date
    result = run(platform, "d", date)
    people = result.tables["public.people"]
    assert people.objects > 5
    assert people.rows == 8000
    assert rows_of(platform, date, "public.people") == by_reference(platform, date, in_parts)
    assert in_parts.keys("quarantine") == []
    assert run(platform, "d", date).how == "nothing"


def test_what_a_detector_finds_in_a_later_part_is_named_with_its_column(in_parts):
    in_parts.execute("UPDATE people SET note = 'mail joe.public@real-company.co.uk' WHERE id IN (5, 7990)")
    leaky = in_parts.platform(people={**PEOPLE, "note": "keep"}, detectors=["email"])
    with pytest.raises(GateFailed, match=r"public\.people no_direct_identifiers: 2 x email in note") as caught:
        run(leaky, "d", in_parts.date)
    record = next(c for c in caught.value.checks["public.people"] if c.name == "no_direct_identifiers")
    first, last = record.facts["findings"]["email"]["offsets"]
    assert last > first
    assert "joe.public" not in f"{caught.value.message} {record.facts}"
    assert (in_parts.keys("lake"), in_parts.keys("quarantine")) == ([], [])


@pytest.mark.parametrize("quarantine", ["quarantine", None])
def test_a_failed_gate_leaves_the_previous_pointer_and_no_bytes(bench, quarantine):
    platform, date = bench.platform(quarantine=quarantine), bench.date
    run(platform, "d", date)
    before, stored = truth(platform, date), sorted(bench.keys("lake"))
    leaky = bench.platform(people={**PEOPLE, "email": "keep"}, quarantine=quarantine)
    with pytest.raises(GateFailed) as caught:
        run(leaky, "d", date)
    assert "public.people no_direct_identifiers: 3 x email in email (shapes aaa@aaaaaaa.aaa)" in caught.value.message
    assert "example.org" not in f"{caught.value.message}{caught.value.hint}"
    assert (truth(platform, date), sorted(bench.keys("lake")), bench.keys("quarantine")) == (before, stored, [])
    assert not caught.value.retryable


def test_a_missing_row_fails_the_gate(bench, monkeypatch):
    counted = gate.count_rows
    monkeypatch.setattr(gate, "count_rows", lambda *a: {t: n + (t == "public.orders") for t, n in counted(*a).items()})
    with pytest.raises(GateFailed, match=r"public\.orders row_counts_match: 4 rows written, 5 in the source"):
        run(bench.platform(), "d", bench.date)
    assert (bench.keys("lake"), bench.keys("quarantine")) == ([], [])


def test_a_promotion_that_fails_leaves_no_bytes_in_quarantine(bench):
    bench.missing = frozenset({"lake"})
    with pytest.raises(StoreError):
        run(bench.platform(), "d", bench.date)
    assert bench.keys("quarantine") == []


@pytest.mark.parametrize("key", ["", "short", "ab" * 16])
def test_a_key_that_is_too_short_stops_before_anything_is_opened(bench, key):
    bench.key, bench.database = key, "no_such_database"
    with pytest.raises(KeyMissing):
        run(bench.platform(), "d", "2026-11-01")


@pytest.mark.parametrize("change", ["key", "epoch"])
def test_after_a_key_change_a_subset_is_refused_and_the_whole_is_made_anew(bench, change):
    date = bench.date
    run(bench.platform(), "d", date)
    bench.key = KEY if change == "epoch" else KEY[::-1]
    changed = bench.platform(**({"epoch": "2"} if change == "epoch" else {}))
    with pytest.raises(KeyMissing, match=r"public\.orders would be with key"):
        run(changed, "d", date, tables=["public.orders"])
    result = run(changed, "d", date)
    assert {t.moved for t in result.tables.values()} == {True}
    assert run(changed, "d", date, tables=["public.orders"], again=True).how == "unchanged"


def test_an_error_of_the_server_is_reworded_without_the_row(bench):
    bench.execute("UPDATE people SET born = '5874897-12-31'")
    with pytest.raises(SourceError, match=r"table public\.people: .*SQLSTATE 22008") as caught:
        run(
            bench.platform(people={**PEOPLE, "born": {"mask": "date_shift", "by": "id", "days": 3650}}), "d", bench.date
        )
    assert "5874897" not in f"{caught.value}{caught.value.hint}"
    assert (bench.keys("lake"), bench.keys("quarantine")) == ([], [])


def test_a_constant_that_an_enum_refuses_writes_nothing(bench):
    bench.execute("CREATE TYPE mood AS ENUM ('good'); ALTER TABLE people ADD COLUMN mood mood")
    with pytest.raises(SourceError):
        run(bench.platform(people={**PEOPLE, "mood": {"mask": "constant", "value": "bad"}}), "d", bench.date)
    assert bench.keys("quarantine") == []


def test_unknown_datasets_and_datasets_without_scrub_are_refused(bench):
    with pytest.raises(CatalogError, match="is not a dataset"):
        run(bench.platform(), "x", bench.date)
    model = DatasetModel.model_validate(
        {"source": "db", "start": "2026-01-01", "dump": {}, "tables": {"public.people": None}}
    )
    with pytest.raises(CatalogError, match="not scrubbed"):
        plan(Platform(Catalog(endpoints=ENDPOINTS, datasets={"d": model}), bench), "d", bench.date)


# ----------------------------------------------------------------------------------------------------------- secrets
def test_the_key_is_in_no_query_argument_log_or_record(bench, caplog):
    """Neither the master nor what is derived of it; looked for while the run goes on and in all that it leaves."""
    caplog.set_level(logging.DEBUG)
    bench.execute("INSERT INTO orders SELECT i, 'p' || i || '@example.org', 1 FROM generate_series(10, 60000) AS i")
    platform, date = bench.platform(), bench.date
    audience = MasterKey.parse(KEY).audience("shared", "1")
    hidden = [KEY, *audience.session(["person", "name", "date_shift", "hash"]).values()]
    seen: list[str] = []
    with watching(bench, seen):
        run(platform, "d", date)
    texts = "".join(seen)
    assert "COPY (SELECT" in texts
    assert "egress.i_person" in texts
    assert "egress_assets.engine.worker" in texts
    for store in ("evidence", "lake"):
        opened = platform.store(store)
        texts += "".join(str(b"".join(opened.get(key))) for key in bench.keys(store) if "/part-" not in key)
    texts += caplog.text + repr(platform) + repr(ScrubSpec.of(platform, "d", date, None))
    assert not [secret for secret in hidden if secret in texts]
    assert audience.key_id in texts


def test_a_server_that_logs_parameters_is_warned_of_and_the_manifest_says_so(bench, caplog):
    quiet = run(bench.platform(), "d", bench.date)
    bench.execute(f"ALTER DATABASE \"{bench.database}\" SET log_statement = 'all'")
    loud = run(bench.platform(), "d", bench.date, again=True)
    assert (quiet.facts["keys_logged_by_server"], loud.facts["keys_logged_by_server"]) == (False, True)
    assert "may write derived keys to its log: log_statement = all; set log_parameter_max_length = 0" in caplog.text
    bench.execute(f'ALTER DATABASE "{bench.database}" SET log_parameter_max_length = 0')
    assert run(bench.platform(), "d", bench.date, again=True).facts["keys_logged_by_server"] is False


@contextmanager
def watching(bench: Bench, seen: list[str]) -> Iterator[None]:
    """Note every query that the server shows and every command line of this machine, again and again."""
    done = threading.Event()

    def look() -> None:
        with psycopg.connect(bench.sandbox.admin_dsn(bench.database).conninfo, autocommit=True) as session:
            while not done.wait(0.02):
                seen.extend(row[0] for row in session.execute("SELECT query FROM pg_stat_activity WHERE query <> ''"))
                seen.append(
                    subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True).stdout
                )

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


# -------------------------------------------------------------------------------------------------------------- plan
def test_a_plan_shows_each_column_with_its_mask_and_reads_no_row(bench):
    platform, date = bench.platform(), bench.date
    lines = plan(platform, "d", date)
    assert [line.sign for line in lines] == ["+"] * 12
    assert ("public.people.email", "email(domain=person): text") in [(line.what, line.detail) for line in lines]
    assert bench.keys("evidence") == []
    run(platform, "d", date)
    assert {line.sign for line in plan(platform, "d", date)} == {"="}
    changed = plan(bench.platform(people={**PEOPLE, "name": "null"}), "d", date)
    assert {line.sign for line in changed} == {"*"}
    assert changed[0].detail.startswith("its columns have changed") or "policy" in changed[0].detail
