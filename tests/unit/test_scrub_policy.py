"""Fail closed: what the policy does not name stops the run, with everything that is missing at once."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
import yaml

from egress_assets.engine.catalog.models import DatasetModel
from egress_assets.engine.dump.tasks import ColumnInfo, Relation
from egress_assets.engine.errors import CatalogError, TableMissing, Unclassified
from egress_assets.engine.scrub.keys import AudienceKeys, MasterKey
from egress_assets.engine.scrub.policy import TablePolicy, compile_policy, detectors_of

MASTER = MasterKey(bytes(range(32)))
KEYS = MASTER.audience("shared", "1")
COLUMNS = (
    ColumnInfo("id", "bigint", "int8", nullable=False),
    ColumnInfo("email", "text", "text", nullable=False),
    ColumnInfo("born", "date", "date", nullable=True),
)
RULES: dict[str, Any] = {"id": "keep", "email": "email", "born": {"mask": "date_shift", "by": "id"}}


def relation(*extra: ColumnInfo, table: str = "public.people") -> Relation:
    schema, _, name = table.partition(".")
    return Relation(table, schema, name, 1, "r", (*COLUMNS, *extra), ((schema, name),))


def dataset(*, tables: dict[str, Any] | None = None, **scrub: Any) -> DatasetModel:
    return DatasetModel.model_validate(
        {
            "source": "db",
            "start": date(2026, 1, 1),
            "scrub": {"key": "x", **scrub},
            "tables": tables or {"public.people": RULES},
        }
    )


def compile_people(
    *extra: ColumnInfo, rules: dict[str, Any] | None = None, keys: AudienceKeys = KEYS, **scrub: Any
) -> TablePolicy:
    model = dataset(tables={"public.people": rules or RULES}, **scrub)
    return compile_policy(model, {"public.people": relation(*extra)}, keys)["public.people"]


def test_a_policy_lists_its_columns_with_their_masks():
    policy = compile_people()
    assert [c.rule for c in policy.columns] == ["keep", "email", "date_shift(by=id)"]
    assert [name for name, _ in policy.select] == ["id", "email", "born"]
    assert policy.domains == {"email", "date_shift"}
    assert policy.columns[1].record.to_json() == {"name": "email", "type": "text", "nullable": False, "mask": "email"}


def test_columns_without_a_mask_are_all_named_with_lines_to_paste():
    note = ColumnInfo("note", "text", "text", nullable=True)
    model = dataset(tables={"public.people": RULES, "public.pets": {"id": "keep"}})
    relations = {"public.people": relation(note), "public.pets": relation(table="public.pets")}
    with pytest.raises(Unclassified) as caught:
        compile_policy(model, relations, KEYS)
    assert caught.value.message == ("columns without a mask: public.people.note, public.pets.email, public.pets.born")
    pasted = yaml.safe_load(caught.value.hint.partition("\n")[2])
    assert pasted == {"public.people": {"note": None}, "public.pets": {"email": "email", "born": None}}


def test_a_renamed_column_is_unclassified_and_the_old_name_is_told():
    rules = {**RULES, "mail": "email"}
    del rules["email"]
    with pytest.raises(Unclassified, match=r"mask: public\.people\.email; the catalog also names public\.people\.mail"):
        compile_people(rules=rules)


def test_a_column_that_is_gone_is_table_missing():
    with pytest.raises(TableMissing, match=r"public\.people\.phone"):
        compile_people(rules={**RULES, "phone": "null"})


def test_a_generated_column_is_left_out_unless_it_is_named():
    domain = ColumnInfo("domain", "text", "text", nullable=True, generated=True)
    assert [c.info.name for c in compile_people(domain).columns] == ["id", "email", "born"]
    assert [c.info.name for c in compile_people(domain, rules={**RULES, "domain": "null"}).columns][-1] == "domain"


def test_masks_that_do_not_fit_are_all_named_before_anything_runs():
    with pytest.raises(CatalogError) as caught:
        compile_people(rules={"id": "email", "email": "null", "born": {"mask": "date_shift", "by": "gone"}})
    assert len(caught.value.problems) == 3
    assert all(problem.startswith("public.people.") for problem in caught.value.problems)


def test_an_unknown_mask_or_parameter_is_a_catalog_error():
    with pytest.raises(CatalogError, match=r"public\.people\.email: mask 'emial' is unknown"):
        compile_people(rules={**RULES, "email": "emial"})
    with pytest.raises(CatalogError, match=r"email\.domian"):
        compile_people(rules={**RULES, "email": {"mask": "email", "domian": "x"}})


@pytest.mark.parametrize(
    "change",
    [
        {"rules": {**RULES, "email": "hash"}},
        {"rules": {**RULES, "email": {"mask": "email", "domain": "other"}}},
        {"rules": {**RULES, "born": {"mask": "date_shift", "by": "id", "days": 181}}},
        {"keys": MasterKey(bytes(32)).audience("shared", "1")},
        {"keys": MASTER.audience("shared", "2")},
        {"keys": MASTER.audience("acme", "1")},
        {"detectors": ["email"]},
    ],
)
def test_whatever_decides_bytes_or_findings_is_in_the_digest(change):
    assert compile_people(**change).digest != compile_people().digest


def test_writing_a_default_out_changes_no_digest():
    said = {**RULES, "email": {"mask": "email", "domain": "email", "normalise": "lower"}}
    assert compile_people(rules=said).digest == compile_people().digest


def test_no_expression_holds_key_material():
    text = " ".join(e.as_string() for _, e in compile_people().select)
    for pad in KEYS.session(["email", "date_shift"]).values():
        assert pad not in text
    assert "egress.i_email" in text


def test_detectors_are_all_by_default_and_in_a_fixed_order():
    assert detectors_of(dataset().scrub)[:2] == ("email", "phone")
    assert detectors_of(dataset(detectors=["phone", "email"]).scrub) == ("email", "phone")
    assert detectors_of(dataset(detectors=[]).scrub) == ()
    with pytest.raises(CatalogError, match="detector 'faces' is unknown"):
        detectors_of(dataset(detectors=["faces"]).scrub)
