"""What the gate checks, and what its error says."""

from __future__ import annotations

import pickle
from dataclasses import replace

from egress_assets.engine import masks
from egress_assets.engine.dump.tasks import CellDone, ColumnInfo, PartDone, Relation, TableDone
from egress_assets.engine.evidence.records import canonical
from egress_assets.engine.masks.seam import Site
from egress_assets.engine.scrub import gate
from egress_assets.engine.scrub.identifiers import scan
from egress_assets.engine.scrub.keys import MasterKey
from egress_assets.engine.scrub.policy import MaskedColumn, TablePolicy

KEYS = MasterKey(bytes(range(32))).audience("shared", "1")
ID, NOTE = ColumnInfo("id", "bigint", "int8", nullable=False), ColumnInfo("note", "text", "text", nullable=True)
PART = PartDone("public.t", "k", (CellDone("public.t", "00", 2, 20),), 2, 20, 10, "00", "e")
DONE = TableDone("public.t", (PART,))


def policy(*columns: ColumnInfo) -> TablePolicy:
    keep = masks.find("keep")
    params = masks.parse_params(keep, {})
    masked = (MaskedColumn(c, keep, params, keep.compile(Site(c, {}), params, KEYS)) for c in columns)
    return TablePolicy("public.t", tuple(masked), frozenset(), "d" * 64)


def relation(*columns: ColumnInfo) -> Relation:
    return Relation("public.t", "public", "t", 1, "r", columns, (("public", "t"),))


def examine(policy_=None, relation_=None, done: TableDone = DONE, counted: int = 2):
    checks = gate.examine(
        {"public.t": policy_ or policy(ID, NOTE)},
        {"public.t": relation_ or relation(ID, NOTE)},
        {"public.t": done},
        {"public.t": counted},
        ["email"],
    )
    return checks, gate.failures(checks)


def test_a_clean_table_passes_every_check():
    checks, failed = examine()
    assert [c.name for c in checks["public.t"]] == ["policy_covers_schema", "no_direct_identifiers", "row_counts_match"]
    assert failed == {}


def test_a_missing_row_fails_with_both_counts():
    checks, _ = examine(counted=3)
    assert "public.t row_counts_match: 2 rows written, 3 in the source" in gate.gate_failed("x", checks).message


def test_a_column_outside_the_policy_fails_but_a_generated_one_does_not():
    checks, _ = examine(policy(ID))
    assert "public.t policy_covers_schema: without a mask ['note']" in gate.gate_failed("x", checks).message
    assert examine(policy(ID), relation(ID, replace(NOTE, generated=True)))[1] == {}
    assert examine(policy(ID, NOTE), relation(ID))[1]


def test_an_identifier_fails_with_column_count_and_shape_and_no_value():
    found = scan([b"1,ann.smith@example.org\n2,joe@example.org\n"], ["email"])
    checks, _ = examine(done=TableDone("public.t", (replace(PART, findings=found),)))
    located = {"public.t": gate.located(checks["public.t"], {"email": ("note",)})}
    error = gate.gate_failed("scrub/shop 2026-11-20", located)
    assert "no_direct_identifiers: 2 x email in note (shapes aaa.aaaaa@aaaaaaa.aaa, aaa@aaaaaaa.aaa)" in error.message
    told = f"{error.message} {error.hint} {canonical([c.to_json() for c in checks['public.t']])}"
    assert "ann.smith" not in told
    assert "joe@" not in told
    assert not error.retryable


def test_every_failing_table_is_in_one_error():
    checks, _ = examine(counted=3)
    message = gate.gate_failed("x", {**checks, "public.u": checks["public.t"]}).message
    assert message.count("row_counts_match") == 2


def test_the_error_carries_the_checks_of_clean_tables_too_also_across_a_process_border():
    checks, _ = examine(counted=3)
    clean, _ = examine()
    error = gate.gate_failed("x", {**checks, "public.u": clean["public.t"]})
    assert "public.u" not in error.message
    again = pickle.loads(pickle.dumps(error))
    assert (again.message, again.hint, again.checks) == (error.message, error.hint, error.checks)
    assert {t: all(c.passed for c in records) for t, records in again.checks.items()} == {
        "public.t": False,
        "public.u": True,
    }


def test_columns_that_are_not_known_leave_the_records_as_they_are():
    checks, _ = examine()
    assert gate.located(checks["public.t"], {}) == checks["public.t"]
