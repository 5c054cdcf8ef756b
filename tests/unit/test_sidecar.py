"""The schema beside a table's parts: what it says, what it never says, and who treats it as what."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from egress_assets.engine.catalog.models import Basis, DatasetModel
from egress_assets.engine.dialect import Dialect
from egress_assets.engine.dump.describing import LONGEST_COMMENT, Description, Reference
from egress_assets.engine.dump.tasks import ColumnInfo, Relation
from egress_assets.engine.evidence.records import Column, ObjectRecord, TableRecord, canonical, digest, tombstone
from egress_assets.engine.layout import attempt_of, dump_unit, manifest_key, mirror_unit, schema_key, scrub_unit
from egress_assets.engine.mirror.run import run as mirror
from egress_assets.engine.release import OBJECTS, release_for
from egress_assets.engine.sidecar import Attempt, as_published, document, with_sidecars
from tests.platforms import DATE, NOW, SCRUB, A, B, Made, materialise, memory, platform

HOSTILE = 'a "quote", \\ back\nslash \u202e\u0007 {"x": 1} </script> 🐘'
ORDERS = Relation(
    "public.orders", "public", "orders", 7, "r",
    (
        ColumnInfo("id", "bigint", "int8", nullable=False), ColumnInfo("customer", "integer", "int4", nullable=True),
        ColumnInfo("total", "numeric(12,2)", "numeric", nullable=True, generated=True),
    ),
    (("public", "orders"),),
)  # fmt: skip
KEYS = Description(
    frozenset({"id"}), {"": HOSTILE, "id": "x" * (LONGEST_COMMENT + 1)}, ("id",), (("customer", "total"),),
    (Reference(("customer",), "public.customers", ("id",)), Reference(("customer",), "other.elsewhere", ("id",))),
)  # fmt: skip
MODEL: dict[str, Any] = {"source": "db", "start": "2026-11-01", "tables": {"public.orders": {}, "public.customers": {}}}
RECORD = TableRecord(
    (), "c0ffee", tuple(Column(c.name, c.type, c.nullable) for c in ORDERS.columns), "csv.zst", rows=3
)  # fmt: skip


def attempt(*, unit=dump_unit("shop"), date="2026-11-20", comments=True, **model: Any) -> Attempt:
    given = DatasetModel.model_validate({**MODEL, "dump": {}, **model})
    return Attempt(unit, date, "20261121T021500123-0a1b2c3d", "shop", given, comments)


def said(of: Attempt, record: TableRecord = RECORD, description: Description = KEYS) -> dict[str, Any]:
    found = document(of, record, ORDERS, description)
    assert json.loads(canonical(found)) == found
    return found


# --------------------------------------------------------------------------------------------------------- what it says
def test_it_says_what_a_reader_without_evidence_needs() -> None:
    found = said(attempt())
    assert {key: found[key] for key in ("version", "kind", "dataset", "table", "date", "rows", "content_digest")} == {
        "version": 1, "kind": "schema", "dataset": "shop", "table": "public.orders", "date": "2026-11-20", "rows": 3,
        "content_digest": "c0ffee",
    }  # fmt: skip
    assert found["columns"][2] == {
        "name": "total", "type": "numeric(12,2)", "base": "numeric", "nullable": True, "generated": True,
        "default": False,
    }  # fmt: skip
    assert (found["primary_key"], found["unique"]) == (["id"], [["customer", "total"]])
    assert (found["format"], found["header"]) == ("csv.zst", False)
    assert found["csv"] == {"dialect": "postgres", "null": "", "delimiter": ",", "quote": '"'}


def test_references_are_those_among_the_tables_of_the_dataset() -> None:
    assert said(attempt())["foreign_keys"] == [{"columns": ["customer"], "table": "public.customers", "to": ["id"]}]


def test_keys_of_columns_that_are_not_written_are_no_keys_of_the_file() -> None:
    some = replace(RECORD, columns=RECORD.columns[1:2])
    found = said(attempt(), some)
    assert (found["primary_key"], found["unique"], len(found["foreign_keys"])) == ([], [], 1)
    tables = {"public.orders": {}, "public.customers": {"select": ["name"]}}
    assert said(attempt(tables=tables))["foreign_keys"] == []


def test_what_is_no_csv_has_no_dialect() -> None:
    assert not {"csv", "header"} & said(attempt(), replace(RECORD, format="parquet")).keys()


def test_comments_are_text_that_is_cut_and_says_so() -> None:
    found = said(attempt())
    assert found["comment"] == HOSTILE
    assert "comment_cut" not in found
    assert found["columns"][0]["comment"] == "x" * LONGEST_COMMENT
    assert found["columns"][0]["comment_cut"] is True


def test_a_scrub_s_has_masks_by_name_and_no_comment_at_all() -> None:
    masked = replace(RECORD, columns=(Column("id", "bigint", False, "permute_int(domain=customer)"),))
    unit, columns = scrub_unit("shop", "shared"), {"id": "keep"}
    of = attempt(unit=unit, comments=False, scrub={"key": "k"}, tables={"public.orders": columns})
    found = said(of, masked)
    assert found["columns"][0]["mask"] == "permute_int"
    assert "comment" not in str(found)
    assert "customer" not in str(found)


# ----------------------------------------------------------------------------------------------------------- its digest
def test_the_same_table_is_the_same_bytes_on_every_run_and_the_same_digest_on_every_date() -> None:
    one, again, later = said(attempt()), said(attempt()), said(attempt(date="2026-11-21"), replace(RECORD, rows=9))
    assert canonical(one) == canonical(again)
    differing = {key for key in one if one[key] != later[key]}
    assert differing == {"date", "rows"}


CHANGES: dict[str, tuple[Any, Any]] = {
    "a type": (replace(RECORD, columns=(Column("id", "integer", False), *RECORD.columns[1:])), KEYS),
    "a default": (RECORD, replace(KEYS, defaults=frozenset())),
    "a comment": (RECORD, replace(KEYS, comments={"": "other"})),
    "a key": (RECORD, replace(KEYS, primary_key=())),
    "a reference": (RECORD, replace(KEYS, references=())),
    "the format": (replace(RECORD, format="csv"), KEYS),
    "the dialect": (replace(RECORD, csv=Dialect(delimiter=";")), KEYS),
}


@pytest.mark.parametrize("change", CHANGES)
def test_each_change_of_the_table_changes_the_digest(change: str) -> None:
    assert said(attempt(), *CHANGES[change])["schema_digest"] != said(attempt())["schema_digest"]


# --------------------------------------------------------------------------------------------------- as it is published
@pytest.mark.parametrize("header", [False, True])
def test_of_a_table_that_is_published_it_says_the_form_that_lies_there(header: bool) -> None:
    stored = said(attempt())
    found = json.loads(as_published(canonical(stored), "csv.gz", header=header))
    assert {key for key in stored if found[key] != stored[key]} == {"format", "schema_digest", *(["header"] * header)}
    assert (found["format"], found["header"], found.keys()) == ("csv.gz", header, stored.keys())
    later = said(attempt(date="2026-11-21"), replace(RECORD, rows=9))
    again = json.loads(as_published(canonical(later), "csv.gz", header=header))
    assert again["schema_digest"] == found["schema_digest"]


@pytest.mark.parametrize("form", ["csv", "csv.gz", "csv.zst", "parquet"])
def test_published_as_it_is_stored_it_stays_as_it_is(form: str) -> None:
    stored = canonical(said(attempt(), replace(RECORD, format=form)))
    assert as_published(stored, form, header=False) == stored


# ----------------------------------------------------------------------------------------------------------- the record
def test_it_lies_beside_the_parts_and_the_record_names_it() -> None:
    lake, of = platform().store("lake"), attempt()
    (record,) = with_sidecars(
        lake, of, {"public.orders": RECORD}, {"public.orders": ORDERS}, {"public.orders": KEYS}
    ).values()
    (found,) = record.sidecars
    assert found.key == schema_key(of.unit, of.date, of.attempt, table="public.orders")
    assert found.key == f"dump/shop/date=2026-11-20/a={of.attempt}/public.orders/schema.json"
    assert attempt_of(found.key) == of.attempt
    body = b"".join(lake.get(found.key))
    assert (found.bytes, found.sha256) == (len(body), digest(body))
    assert TableRecord.from_json(record.to_json()) == record
    assert (record.bytes, record.stored) == (0, (found,))


def test_records_that_are_older_than_sidecars_are_read_and_written_as_they_were() -> None:
    plain = RECORD.to_json()
    assert "sidecars" not in plain
    assert TableRecord.from_json(plain).sidecars == ()
    assert ObjectRecord.from_json({"key": "k", "bytes": 1, "sha256": "s"}).etag == ""


# ---------------------------------------------------------------------------------------------------- who treats it how
@pytest.fixture
def made(monkeypatch):
    monkeypatch.setenv("EGRESS_NOW", NOW)
    p = platform()
    materialise(p, SCRUB, Made(sidecars=True))
    return p


def beside(store) -> list[str]:
    return sorted(key for key in store.objects if key.endswith("/schema.json"))


def test_verify_reads_it_again(made) -> None:
    lake = memory(made, "lake")
    keys = beside(lake)
    assert [f.status for f in made.evidence.verify(SCRUB, DATE, lake)] == ["ok"] * 4
    lake.objects[keys[0]].body = b"rotten"
    del lake.objects[keys[1]]
    found = {f.key: f.status for f in made.evidence.verify(SCRUB, DATE, lake) if f.status != "ok"}
    assert found == {keys[0]: "corrupt", keys[1]: "missing"}


def test_an_entry_whose_sidecar_is_gone_is_replaced_by_equal_content(made) -> None:
    lake = memory(made, "lake")
    (gone,) = (key for key in beside(lake) if A in key)
    assert materialise(made, SCRUB, Made(sidecars=True)).how == "unchanged"
    del lake.objects[gone]
    assert materialise(made, SCRUB, Made(sidecars=True)).moved == {A}


def test_a_mirror_of_a_date_takes_it_along_and_names_it(made) -> None:
    result = mirror(made, "shop", DATE)
    ceph, lake = memory(made, "ceph"), memory(made, "lake")
    assert {k: ceph.objects[k].body for k in beside(ceph)} == {k: lake.objects[k].body for k in beside(lake)}
    assert (len(beside(ceph)), result.facts["sent_objects"]) == (2, 4)
    record = made.evidence.tables(made.evidence.pointer(mirror_unit("shop"), DATE))[OBJECTS][1]
    assert ([o.key for o in record.sidecars], len(record.objects)) == (beside(ceph), 2)
    manifest = json.loads(ceph.objects[f"{SCRUB}/date={DATE}/manifest.json"].body)
    (named,) = manifest["tables"][B]["sidecars"]
    assert named["key"] in beside(ceph)
    assert mirror(made, "shop", DATE).how == "nothing"
    del ceph.objects[named["key"]]
    assert mirror(made, "shop", DATE).facts["sent_objects"] == 1


def test_a_release_lets_it_go_with_the_objects_and_is_none_of_them(made) -> None:
    release = release_for(made, SCRUB, DATE)
    assert [item.key.endswith("/schema.json") for item in release.objects] == [False, False]
    assert sorted(item.key for item in release.sidecars) == beside(memory(made, "lake"))
    for item in release.sidecars:
        release.require(item)
    only = release_for(made, SCRUB, DATE, Basis(basis="public", reason="r"), only=frozenset({A}))
    assert [item.table for item in only.sidecars] == [A]


def test_a_sweep_takes_it_away_with_its_attempt(made) -> None:
    lake, gone = memory(made, "lake"), "20261121T020000000-00000000"
    kept, body = beside(lake), canonical(tombstone(gone, "here", "0" * 32))
    lake.put(schema_key(SCRUB, DATE, gone, table=A), b"{}")
    memory(made, "evidence").put(manifest_key(SCRUB, DATE, gone), body)
    assert made.evidence.sweep(SCRUB, DATE, lake).objects == 1
    assert beside(lake) == kept
