"""What a materialisation tells: numbers, rows that passed the gate, where columns come from, what has changed."""

import base64
import dataclasses
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._serdes import serialize_value

from egress_assets import results
from egress_assets.engine import glance
from egress_assets.engine.delivery.run import run as deliver
from egress_assets.engine.errors import StoreUnavailable
from egress_assets.engine.evidence.records import CheckRecord, Column, Draft, ObjectRecord, Pointer, Position, digest
from egress_assets.engine.evidence.records import TableRecord as Table
from egress_assets.engine.layout import Unit, part_key
from egress_assets.engine.mirror.run import run as mirror
from egress_assets.engine.past import MANY
from egress_assets.engine.platform import Platform
from egress_assets.engine.result import Certified, StageResult
from egress_assets.engine.stage import Standing, Tally, finished, nothing
from egress_assets.engine.stream import compressed
from egress_assets.graph import ops
from egress_assets.stages import Stage
from tests.platforms import DATE, DUMP, NOW, SCRUB, A, B, memory, platform

COLUMNS = (
    Column("id", "bigint", nullable=False, mask="keep"),
    Column("email", "text", mask="email"),
    Column("born", "date", mask="date_shift(by=id)"),
)
ROWS = b"1,a1@example.invalid,1980-01-02\n2,,1981-02-03\n"
POLICY = {"columns": {"id": "keep", "email": "email", "born": {"mask": "date_shift", "by": "id"}}}
NUMBERS = {
    "rows", "dagster/row_count", "bytes", "raw_bytes", "objects", "sent_bytes", "compression_ratio", "seconds",
    "throughput_mb_per_s", "raw_throughput_mb_per_s",
}  # fmt: skip


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Platform:
    monkeypatch.setenv("EGRESS_NOW", NOW)
    monkeypatch.setattr(glance, "SECONDS", 60)
    return platform(
        recipients={"agent": {"transfer_type": "folder", "sla": "06:00"}},
        settings={"agent": {"path": str(tmp_path)}},
        tables={A: POLICY, B: POLICY},
        deliveries={"agent/orders": {"from": B, "format": "csv.gz"}, "agent/stored": {"from": B, "format": "csv.zst"}},
    )


def stage_of(p: Platform, unit: Unit) -> Stage:
    return next(stage for stage in ops(p.catalog) if stage.unit == unit)


def made(
    p: Platform,
    unit: Unit = SCRUB,
    rows: Mapping[str, bytes] | None = None,
    *,
    day: str = DATE,
    columns: tuple[Column, ...] = COLUMNS,
    passed: bool = True,
) -> StageResult:
    """A dump or scrub as the engine leaves it, and what it answers."""
    rows = {A: ROWS, B: ROWS, **(rows or {})}
    lake = p.store("lake")

    def record(table: str, me: str) -> Table:
        key = part_key(unit, day, me, table=table, part=0, suffix="csv.zst")
        done = lake.upload(key, compressed([rows[table]], "csv.zst"))
        count, raw = rows[table].count(b"\n"), len(rows[table])
        stored = ObjectRecord(key, done.bytes, done.sha256, count, done.etag, raw_bytes=raw)
        content = digest([table, done.sha256, [c.to_json() for c in columns]])
        checks = (CheckRecord("row_counts_match", passed),) if unit.stage == "scrub" else ()
        return Table((stored,), content, columns, "csv.zst", count, "policy", checks)

    def work(base: Pointer | None, me: str) -> Draft:
        position = Position("as_of", (base.generation if base else 0) + 1)
        return Draft({t: record(t, me) for t in rows}, position, me, f"{day}T01:00:00Z", "lake", facts={"epoch": "1"})

    outcome = p.evidence.materialise(unit, day, work, lake, frozenset(rows))
    tally = Tally(sent_bytes=1000)
    tally.phases.update({"lock": 0.5, unit.stage: 1.5})
    return finished(p.evidence, outcome, rows, tally=tally, facts={"milliseconds": {"lock": 500}, "epoch": "1"})


def again(p: Platform, unit: Unit = SCRUB) -> StageResult:
    """The answer of a run that found nothing to do."""
    pointer = p.evidence.pointer(unit, DATE)
    assert pointer
    return nothing(unit, DATE, Standing(pointer, p.evidence.tables(pointer), {}), tally=Tally())


def told(p: Platform, result: StageResult, table: str = A) -> dict[str, Any]:
    """As Dagster keeps it: everything has to become JSON, and whatever is shown is in there."""
    stage = stage_of(p, result.unit)
    found = results.by_table(stage.keys, result)[table if table in stage.keys else ""]
    metadata = results.metadata(stage, table if table in stage.keys else "", result, found, platform=p)
    event = dg.AssetMaterialization("x", metadata=metadata)
    json.loads(serialize_value(event))
    return {name: value.value if hasattr(value, "value") else value for name, value in event.metadata.items()}


def test_a_scrubs_certificate_is_told_beside_its_manifest(shop: Platform):
    signed = replace(made(shop), certificate=Certified("certificates/x/1.json", "ab" * 32, "release"))
    said = told(shop, signed)
    assert said["certificate"] == "certificates/x/1.json"
    assert (said["certificate_sha256"], said["certificate_key_id"]) == ("ab" * 32, "release")
    assert "certificate" not in told(shop, made(shop))


def records(value: Any) -> list[dict[str, Any]]:
    return [dict(record.data) for record in value.records]


def svg(markdown: str) -> str:
    return base64.b64decode(markdown.partition("base64,")[2].removesuffix(")")).decode()


def test_an_incremental_date_says_from_where_and_which_rows_need_a_word(shop: Platform):
    says = {"column": "at", "watermark": "2026-11-19 23:59:00+00", "after": "2026-11-18/a/d", "begins": "", "again": ""}
    says |= {"late_rows": 3, "ahead_rows": 0, "missed_rows": None, "snapshot": "7:9:", "key_id": "k"}
    result = made(shop)
    tables = {**result.tables, A: dataclasses.replace(result.tables[A], continues=says)}
    found = told(shop, dataclasses.replace(result, tables=tables))
    assert (found["continues_from"], found["watermark"]) == ("2026-11-18", "2026-11-19 23:59:00+00")
    assert (found["late_rows"], found["ahead_rows"]) == (3, 0)
    assert not {"missed_rows", "begins", "again", "snapshot", "key_id"} & found.keys()
    assert "watermark" not in told(shop, result)


# ----------------------------------------------------------------------------------------------------------------- rows
def test_scrubbed_rows_are_shown_with_nulls_one_can_see(shop: Platform):
    found = told(shop, made(shop))
    assert records(found["preview"]) == [
        {"id": "1", "email": "a1@example.invalid", "born": "1980-01-02"},
        {"id": "2", "email": "∅", "born": "1981-02-03"},
    ]


def test_no_more_than_ten_rows_are_shown(shop: Platform):
    rows = b"".join(b"%d,x,2026-01-01\n" % n for n in range(500))
    found = told(shop, made(shop, rows={A: rows}))
    assert [row["id"] for row in records(found["preview"])] == [str(n) for n in range(10)]
    assert records(found["profile"])[0] == {
        "column": "id", "mask": "keep", "null_percent": 0, "different": 200, "longest": 3,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"a|b|`c`", "a|b|`c`"),
        (b"<img src=x onerror=alert(1)>", "<img src=x onerror=alert(1)>"),
        (b'"x\ny\tz"', "x\\ny\\tz"),
        ("\u202eevil 😀 é".encode(), "\\u202eevil 😀 é"),
        (b"\\x89504e47" + b"0d" * 500, "\\x89504e47" + "0d" * 25 + "…"),
        (b"x" * 100_000, "x" * 60 + "…"),
        (b"\x00\x01", "\\x00\\x01"),
        (b'"\n' + b"\n" * 100 + b'"', "\\n" * 30 + "…"),
        (b'""', ""),
    ],
)
def test_a_hostile_cell_is_short_and_stays_text(shop: Platform, raw: bytes, shown: str):
    found = told(shop, made(shop, rows={A: b"1," + raw + b",2026-01-01\n"}))
    assert records(found["preview"])[0]["email"] == shown


@pytest.mark.parametrize("unit", [DUMP, Unit("mirror", ("shop",)), Unit("delivery", ("agent", "orders"))])
def test_rows_of_anything_but_a_scrub_are_neither_shown_nor_read(shop: Platform, unit: Unit):
    made(shop)
    run = {"dump": lambda: made(shop, DUMP), "mirror": lambda: mirror(shop, "shop", DATE)}
    result = run.get(unit.stage, lambda: deliver(shop, *unit.names, DATE))()
    lake = memory(shop, "lake")
    lake.asked.clear()
    found = told(shop, result)
    assert not {"preview", "profile"} & found.keys()
    assert (lake.times("get"), lake.times("read")) == (0, 0)
    assert "a1@" not in str(found)


def test_a_scrub_whose_gate_did_not_pass_shows_no_row(shop: Platform):
    found = told(shop, made(shop, passed=False))
    assert found["preview"] == "not shown: scrub/shop/shared has not passed a gate, so its rows are not shown"
    assert "profile" not in found
    assert memory(shop, "lake").times("get") == 0


def test_a_run_with_nothing_to_do_shows_the_rows_from_evidence_without_pandas(
    shop: Platform, monkeypatch: pytest.MonkeyPatch
):
    made(shop)
    monkeypatch.setitem(sys.modules, "pandas", None)  # an import of it would fail
    found = told(shop, again(shop))
    assert found["how"] == "nothing"
    assert len(records(found["preview"])) == 2
    assert "profile" not in found


def test_what_is_told_from_evidence_alone_has_rows_and_costs_no_pandas(shop: Platform, monkeypatch: pytest.MonkeyPatch):
    """As the sensor does it for work that was done elsewhere."""
    monkeypatch.setitem(sys.modules, "pandas", None)
    found = told(shop, replace(made(shop), facts={}))
    assert len(records(found["preview"])) == 2
    assert "profile" not in found


def test_rows_are_shown_where_pandas_can_not_be_had(shop: Platform, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    found = told(shop, made(shop))
    assert len(records(found["preview"])) == 2
    assert found["profile"] == "not shown: ModuleNotFoundError"


def test_an_empty_table_says_so(shop: Platform):
    assert told(shop, made(shop, rows={A: b""}))["preview"] == "no rows"


def test_a_row_too_long_to_be_looked_at_says_so(shop: Platform):
    rows = {A: b"1," + b"x" * 2**21 + b",2026-01-01\n"}
    assert told(shop, made(shop, rows=rows))["preview"] == "not shown: its first row is longer than what is read"


def test_a_store_that_does_not_answer_costs_the_preview_and_nothing_else(shop: Platform):
    result = made(shop)
    memory(shop, "lake").failing["get", "*"] = StoreUnavailable("store lake does not answer")
    found = told(shop, result)
    assert found["preview"] == "not shown: store lake does not answer"
    assert found.keys() >= NUMBERS | {"dagster/column_schema", "bytes_a_day", "manifest"}


@pytest.mark.parametrize("stage", ["scrub", "mirror", "delivery"])
def test_evidence_that_does_not_answer_fails_nothing(shop: Platform, stage: str):
    result = made(shop)
    if stage != "scrub":
        result = mirror(shop, "shop", DATE) if stage == "mirror" else deliver(shop, "agent", "orders", DATE)
    for method in ("list", "read"):
        memory(shop, "evidence").failing[method, "*"] = StoreUnavailable("store evidence does not answer")
    found = told(shop, result)
    assert found["bytes_a_day"] == "not shown; not all: store evidence does not answer"
    assert found["bytes"] > 0
    assert found["manifest"].startswith(f"manifests/{result.unit}/")


# -------------------------------------------------------------------------------------------------------------- numbers
def test_every_stage_tells_the_same_numbers(shop: Platform):
    every = [made(shop, DUMP), made(shop), mirror(shop, "shop", DATE)]
    every += [deliver(shop, "agent", name, DATE) for name in ("orders", "stored")]
    for result in every:
        found = told(shop, result)
        lacking = NUMBERS - {name for name, value in found.items() if isinstance(value, int | float)}
        assert not lacking, (result.unit.title, lacking)
        tables = 2 if result.unit.stage == "mirror" else 1
        assert (found["rows"], found["raw_bytes"]) == (tables * 2, tables * len(ROWS))


def test_numbers_say_what_they_mean(shop: Platform):
    found = told(shop, made(shop))
    assert found["compression_ratio"] == round(len(ROWS) / found["bytes"], 2)
    assert (found["seconds/lock"], found["seconds/scrub"]) == (0.5, 1.5)
    assert found["facts"] == {"epoch": "1"}  # the phases are told once
    assert "where 2.00 s went" in svg(found["where_time_went"])


def test_a_run_that_moved_nothing_has_no_speed(shop: Platform):
    made(shop)
    found = told(shop, again(shop))
    assert (found["throughput_mb_per_s"], found["raw_throughput_mb_per_s"]) == (0.0, 0.0)


def test_a_delivery_names_its_receipts(shop: Platform):
    made(shop)
    result = deliver(shop, "agent", "orders", DATE)
    (identity,) = result.facts["receipts"]
    found = told(shop, result)
    assert found["receipts"] == f"- `receipts/{DATE}/{identity}`"
    assert shop.evidence.store.read(found["receipts"][3:-1])


# ----------------------------------------------------------------------------------------------------------- the past
def day(back: int) -> str:
    return (date.fromisoformat(DATE) - timedelta(days=back)).isoformat()


def test_the_bytes_of_the_last_dates_are_a_picture(shop: Platform):
    for back in (3, 2, 1):
        made(shop, day=day(back))
    picture = svg(told(shop, made(shop))["bytes_a_day"])
    assert f"{day(3)} .. {DATE}" in picture
    assert picture.count("v-") == 4


def test_what_has_changed_since_the_date_before_is_a_table(shop: Platform):
    was = (COLUMNS[0], Column("email", "character varying(80)", mask="hash"), Column("old", "text", mask="null"))
    made(shop, day=day(4), columns=was)
    found = told(shop, made(shop))
    assert found["schema_before"] == day(4)
    assert records(found["schema_changes"]) == [
        {"column": "email", "what": "type", "was": "character varying(80)", "now": "text"},
        {"column": "email", "what": "mask", "was": "hash", "now": "email"},
        {"column": "born", "what": "added", "was": "", "now": "date"},
        {"column": "old", "what": "removed", "was": "text", "now": ""},
    ]


def test_equal_schemas_are_not_worth_a_word(shop: Platform):
    made(shop, day=day(1))
    assert not {"schema_changes", "schema_before"} & told(shop, made(shop)).keys()


def test_the_tables_of_a_run_share_what_is_read_for_them(shop: Platform):
    for back in range(20):
        made(shop, day=day(back))
    result, stage = again(shop), stage_of(shop, SCRUB)
    evidence, lake = memory(shop, "evidence"), memory(shop, "lake")
    evidence.asked.clear()
    lake.asked.clear()
    past = results.past(stage, result, shop)
    for table, found in results.by_table(stage.keys, result).items():
        shared = results.metadata(stage, table, result, found, platform=shop, past=past)
        assert shared.keys() == results.metadata(stage, table, result, found, platform=shop).keys()
        evidence.asked, lake.asked = evidence.asked[:42], lake.asked[:2]  # without what the second one read
    assert (evidence.times("list"), evidence.times("read"), lake.times("get")) == (1, 2 * 20 + 1, 2)


def test_dates_of_very_many_objects_are_not_read_for_a_picture(shop: Platform):
    result = made(shop)
    tables = {name: replace(found, objects=MANY) for name, found in result.tables.items()}
    found = told(shop, replace(result, tables=tables))
    assert found["bytes_a_day"] == f"not shown; not all: more than {MANY} objects a date"


# -------------------------------------------------------------------------------------------------------------- columns
def lineage(found: dict[str, Any]) -> dict[str, list[tuple[str, str]]]:
    deps = found["dagster/column_lineage"].deps_by_column
    return {name: [(d.asset_key.to_user_string(), d.column_name) for d in each] for name, each in deps.items()}


def test_a_scrubbed_column_names_its_source_and_what_else_its_mask_reads(shop: Platform):
    found = told(shop, made(shop))
    assert lineage(found) == {
        "id": [("source/shop", f"{A}.id")],
        "email": [("source/shop", f"{A}.email")],
        "born": [("source/shop", f"{A}.born"), ("source/shop", f"{A}.id")],
    }
    born = found["dagster/column_schema"].columns[2]
    assert dict(born.tags) == {"mask": "date_shift(by=id)"}
    assert born.description.startswith(f"from `{A}.born`, `{A}.id` of source/shop: the date moved by")


def test_a_dumped_column_is_the_sources(shop: Platform):
    plain = tuple(Column(c.name, c.type, c.nullable) for c in COLUMNS)
    found = told(shop, made(shop, DUMP, columns=plain))
    assert lineage(found)["id"] == [("source/shop", f"{A}.id")]
    assert {c.name: dict(c.tags) for c in found["dagster/column_schema"].columns} == {"id": {}, "email": {}, "born": {}}


def test_a_mirror_has_the_columns_of_all_its_tables(shop: Platform):
    made(shop)
    found = told(shop, mirror(shop, "shop", DATE))
    assert lineage(found)[f"{B}.email"] == [("scrub/shop/shared/public/orders", "email")]
    shown = {c.name: dict(c.tags) for c in found["dagster/column_schema"].columns}
    assert len(shown) == 6
    assert shown[f"{A}.email"] == {"mask": "email"}


@pytest.mark.parametrize("name", ["orders", "stored"])
def test_a_delivered_column_is_that_of_the_scrub(shop: Platform, name: str):
    """Sealed anew in another format, and sent as it is stored."""
    made(shop)
    found = told(shop, deliver(shop, "agent", name, DATE))
    assert lineage(found) == {c.name: [("scrub/shop/shared/public/orders", c.name)] for c in COLUMNS}
    assert [dict(c.tags)["mask"] for c in found["dagster/column_schema"].columns] == [c.mask for c in COLUMNS]


def test_a_table_that_has_left_the_catalog_is_told_without_its_policy(shop: Platform):
    result = made(shop)
    stage = stage_of(platform(tables={B: POLICY}), SCRUB)
    found = results.metadata(stage, A, result, result.tables[A], platform=shop)
    assert [d.column_name for d in found["dagster/column_lineage"].deps_by_column["born"]] == [f"{A}.born"]
