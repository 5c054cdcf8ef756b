"""Definitions of AWS Data Pipeline become a catalog: the reference system's own shape, its variants, hostile files."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from egress_assets.cli import egress
from egress_assets.cli._state import State
from egress_assets.engine.catalog.loader import load_catalog
from egress_assets.engine.catalog.rows import rows_dialect
from egress_assets.engine.catalog.values import Ref
from egress_assets.engine.dialect import Dialect
from egress_assets.engine.errors import CatalogError
from egress_assets.engine.importing import data_pipeline
from egress_assets.engine.importing.layouts import parse_place
from egress_assets.engine.importing.pipeline import parse_tables

CANARY = "canary-secret"
OBJECTS: list[dict[str, Any]] = [
    {"id": "Default", "name": "Default", "scheduleType": "ONDEMAND", "failureAndRerunMode": "CASCADE",
     "role": "DataPipelineDefaultRole", "pipelineLogUri": "#{my_S3_logs}"},
    {"id": "rds", "type": "JdbcDatabase", "connectionString": "#{my_RDS_jdbc}", "username": "#{my_RDS_username}",
     "*password": "#{*my_RDS_password}", "jdbcDriverClass": "org.postgresql.Driver",
     "jdbcProperties": ["allowMultiQueries=true", "tcpKeepAlive=true"]},
    {"id": "Source", "type": "SqlDataNode", "table": "#{my_RDS_table_name}", "database": {"ref": "rds"},
     "selectQuery": "select * from #{table}"},
    {"id": "Target", "type": "S3DataNode", "directoryPath":
     "#{my_S3_path}/#{my_RDS_table_name}/#{format(@scheduledStartTime,'YYYY-MM-dd-HH-mm-ss')}"},
    {"id": "Machine", "type": "Ec2Resource", "instanceType": "m3.medium", "terminateAfter": "2 Hours"},
    {"id": "Copy", "type": "CopyActivity", "input": {"ref": "Source"}, "output": {"ref": "Target"},
     "runsOn": {"ref": "Machine"}},
]  # fmt: skip
VALUES: dict[str, Any] = {
    "my_RDS_jdbc": "jdbc:postgresql://db.example:5432/shop", "my_RDS_username": "reader", "*my_RDS_password": CANARY,
    "my_RDS_table_name": "customers", "my_S3_path": "s3://shop-egress/rds", "my_S3_logs": "s3://logs/",
}  # fmt: skip
SECRET = {"access-key-id": CANARY, "secret-access-key": CANARY}
INPUT = {**SECRET, "url": "https://s3.eu-west-2.amazonaws.com\n", "path": "shop-egress/rds\n"}
OUTPUT = {**SECRET, "url": "https://ceph.example\n", "path": "mirror/shop\n"}

Import = Callable[..., data_pipeline.Imported]


def definition(*changed: dict[str, Any], **values: Any) -> dict[str, Any]:
    """The reference's pipeline, objects replaced by their id, values by name."""
    objects = {each["id"]: each for each in [*OBJECTS, *changed]}
    return {"objects": list(objects.values()), "parameters": [{"id": "my_S3_path"}], "values": {**VALUES, **values}}


def secret(name: str, values: dict[str, str], *, encoded: bool = True) -> dict[str, Any]:
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    held = {"data": data} if encoded else {"stringData": values}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, **held}


@pytest.fixture
def take(tmp_path: Path) -> Import:
    """Import documents, given as {file name: content}."""

    def taken(files: dict[str, Any], **options: Any) -> data_pipeline.Imported:
        return data_pipeline.import_pipelines(put(tmp_path, files), **options)

    return taken


def put(folder: Path, files: dict[str, Any]) -> list[Path]:
    for name, content in files.items():
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content, indent=2))
    return [folder / name for name in files]


def said(imported: data_pipeline.Imported, name: str) -> Any:
    return yaml.safe_load(imported.files[f"{name}.yaml"])


def left(imported: data_pipeline.Imported) -> dict[str, str]:
    return {each.where: each.why for each in imported.left}


# ------------------------------------------------------------------------------------------------------ what it becomes
def test_the_reference_pipeline_becomes_a_catalog_that_is_right(take: Import, tmp_path: Path) -> None:
    imported = take({"p.json": definition()})
    data_pipeline.write(imported, tmp_path / "out")
    catalog = load_catalog(tmp_path / "out", env="prod")
    shop, source = catalog.datasets["shop"], catalog.endpoints.sources["shop_db"]
    assert (shop.date_label, shop.schedule, list(shop.tables), list(shop.mirrors)) == (
        "run_day",
        None,
        ["public.customers"],
        ["shop_files"],
    )
    assert (source.jdbc, source.user) == ("jdbc:postgresql://db.example:5432/shop", "reader")
    assert source.password == Ref(env="SHOP_PASSWORD")
    lake = catalog.endpoints.stores["lake"]
    assert (lake.bucket, lake.prefix, lake.zone) == ("shop-egress", "rds", "trusted")
    assert any("SHOP_PASSWORD" in each for each in imported.needs)
    assert any(data_pipeline.EVIDENCE in each for each in imported.needs)


def test_what_was_not_taken_over_is_named_with_its_reason(take: Import) -> None:
    told = left(take({"p.json": definition()}))
    assert told == {
        "lake, names of files": "a file is called <table>.<format>: a pipeline gives each another name",
        "p.json: Default": "roles and logs are the deployment's",
        "p.json: Machine": "Egress runs where it is deployed",
        "p.json: rds.jdbcProperties": "it has no counterpart",
        "shop, schedule": 'nothing there says when: write `schedule: "02:00"`',
    }


def test_no_secret_is_in_what_is_made_or_told(take: Import) -> None:
    jdbc = f"jdbc:postgresql://db.example/shop?user=u&password={CANARY}&ssl=true"
    files = {
        "p.json": definition(my_RDS_jdbc=jdbc),
        "in.json": secret("egress-input", INPUT),
        "out.json": secret("egress-output", OUTPUT, encoded=False),
    }
    imported = take(files, internal="own cluster")
    assert CANARY not in repr(imported)
    assert base64.b64encode(CANARY.encode()).decode() not in repr(imported)
    assert {where for where in left(imported) if "JDBC option" in where} == {
        "p.json: Copy, JDBC option user", "p.json: Copy, JDBC option password", "p.json: Copy, JDBC option ssl",
    }  # fmt: skip


def test_a_pipeline_a_table_becomes_one_dataset_of_all(take: Import) -> None:
    names = ("customers", "orders", "sales.Items", '"Odd Name"')
    imported = take({f"{n}.json": definition(my_RDS_table_name=name) for n, name in enumerate(names)})
    assert list(said(imported, "shop")["tables"]) == [
        "public.customers", "public.orders", "sales.items", "public.Odd Name",
    ]  # fmt: skip


@pytest.mark.parametrize("tables", [["customers", "orders"], "customers orders", "customers, orders"])
def test_a_list_of_tables_in_one_value_is_all_of_them(take: Import, tables: Any) -> None:
    plain = {"id": "Target", "type": "S3DataNode", "directoryPath": "#{my_S3_path}"}
    imported = take({"p.json": definition(plain, my_RDS_table_name=tables)})
    assert list(said(imported, "shop")["tables"]) == ["public.customers", "public.orders"]


def test_values_may_lie_in_files_of_their_own_one_a_table(take: Import) -> None:
    values = [{"values": {**VALUES, "my_RDS_table_name": name}} for name in ("a", "b")]
    files = {"p.json": {"objects": OBJECTS}, "a.json": values[0], "b.json": values[1]}
    assert list(said(take(files), "shop")["tables"]) == ["public.a", "public.b"]


@pytest.mark.parametrize("prefix", ["", "my", "my_"])
def test_parameters_alone_are_enough_with_or_without_my(take: Import, prefix: str) -> None:
    values = {prefix + name.removeprefix("my_"): value for name, value in VALUES.items()}
    imported = take({"values.json": {"values": values}})
    assert list(said(imported, "shop")["tables"]) == ["public.customers"]
    assert said(imported, "endpoints")["sources"]["shop_db"]["user"] == "reader"


def test_databases_and_places_that_differ_are_apart(take: Import) -> None:
    files = {
        "a.json": definition(),
        "b.json": definition(my_RDS_jdbc="jdbc:postgresql://other:5432/shop", my_S3_path="s3://second"),
        "c.json": definition(my_RDS_jdbc="jdbc:postgresql://db/1-Über"),
        "d.json": definition(my_RDS_jdbc="jdbc:postgresql://db/endpoints"),
    }
    imported = take(files)
    assert set(imported.files) == {
        "endpoints.yaml", "shop.yaml", "shop_2.yaml", "db_1_ber.yaml", "db_endpoints.yaml",
    }  # fmt: skip
    assert said(imported, "shop_2")["store"] == "lake_2"


def test_a_daily_schedule_is_its_hour_and_any_other_is_told(take: Import) -> None:
    daily = {"id": "S", "type": "Schedule", "period": "1 days", "startDateTime": "2019-10-01T02:30:00"}
    copy = {**OBJECTS[-1], "schedule": {"ref": "S"}}
    assert said(take({"p.json": definition(daily, copy)}), "shop")["schedule"] == "02:30"
    weekly = take({"p.json": definition({**daily, "period": "1 week"}, copy)})
    assert "schedule" not in said(weekly, "shop")
    assert "it is not daily" in left(weekly)["p.json: Schedule"]


def test_gzip_stays_gzip(take: Import) -> None:
    target = {**next(each for each in OBJECTS if each["id"] == "Target"), "compression": "gzip"}
    rows = {"dialect": "datapipeline"}
    dump = said(take({"p.json": definition(target)}), "shop")["dump"]
    assert (dump["format"], dump["csv"]) == ("csv.gz", rows)


# ------------------------------------------------------------------------------------------------------------- the rows
def formed(**form: Any) -> dict[str, Any]:
    """The reference's pipeline with a data format at its target."""
    target = {**next(each for each in OBJECTS if each["id"] == "Target"), "dataFormat": {"ref": "Form"}}
    return definition(target, {"id": "Form", **form})


@pytest.mark.parametrize(
    ("form", "delimiter"),
    [
        ({"type": "CSV"}, ","),
        ({"type": "CSV", "escapeChar": "\\"}, ","),
        ({"type": "TSV"}, "\t"),
        ({"type": "Custom", "columnSeparator": "|", "recordSeparator": "\n"}, "|"),
        ({"type": "Custom", "columnSeparator": "\\t"}, "\t"),
    ],
)
def test_rows_stay_unquoted_escaped_and_divided_as_they_were_s0_2(
    take: Import, tmp_path: Path, form: dict[str, Any], delimiter: str
) -> None:
    imported = take({"p.json": formed(**form)})
    assert not any("dataFormat" in where or "Form" in where for where in left(imported))
    data_pipeline.write(imported, tmp_path / "out")
    dump = load_catalog(tmp_path / "out", env="prod").datasets["shop"].dump
    assert dump
    assert rows_dialect(dump.csv) == Dialect("datapipeline", "\\N", delimiter, "")


def test_without_a_data_format_rows_are_of_the_pipeline_s_own_dialect_s0_2(take: Import) -> None:
    rows = {"dialect": "datapipeline"}
    dump = said(take({"p.json": definition()}), "shop")["dump"]
    assert (dump["format"], dump["csv"]) == ("csv", rows)


@pytest.mark.parametrize(
    ("form", "what"),
    [
        ({"type": "Custom", "columnSeparator": "::"}, "columnSeparator"),
        ({"type": "Custom", "columnSeparator": ["|"]}, "columnSeparator"),
        ({"type": "Custom", "columnSeparator": "-"}, "columnSeparator"),
        ({"type": "TSV", "recordSeparator": "\r\n"}, "recordSeparator"),
        ({"type": "CSV", "escapeChar": '"'}, "escapeChar"),
    ],
)
def test_what_a_dump_s_rows_can_t_have_is_listed(take: Import, form: dict[str, Any], what: str) -> None:
    imported = take({"p.json": formed(**form)})
    assert "docs/catalog.md" in left(imported)[f"p.json: Copy, dataFormat.{what}"]
    assert said(imported, "shop")["dump"]["csv"]["dialect"] == "datapipeline"


def test_tables_of_one_database_have_one_delimiter_and_others_are_listed(take: Import) -> None:
    imported = take({"a.json": formed(type="TSV"), "b.json": definition(my_RDS_table_name="orders")})
    assert said(imported, "shop")["dump"]["csv"] == {"dialect": "datapipeline", "delimiter": "\t"}
    assert "b.json: public.orders, delimiter" in left(imported)


# ---------------------------------------------------------------------------------------------------------- the mirror
def test_the_mirrors_secrets_become_stores_by_reference(take: Import) -> None:
    items = {"kind": "List", "items": [secret("egress-input", INPUT), secret("egress-output", OUTPUT)]}
    imported = take({"p.json": definition(), "secrets.yaml": yaml.safe_dump(items)}, internal="our own cluster")
    stores = said(imported, "endpoints")["stores"]
    assert stores["output"] == {
        "kind": "ceph", "bucket": "mirror", "zone": "external", "endpoint": "https://ceph.example", "prefix": "shop",
        "access_key": {"file": "/secrets/egress-output/access-key-id"},
        "secret_key": {"file": "/secrets/egress-output/secret-access-key"},
    }  # fmt: skip
    assert (stores["lake"]["region"], stores["lake"]["access_key"]) == (
        "eu-west-2", {"file": "/secrets/egress-input/access-key-id"},
    )  # fmt: skip
    release = {"basis": "internal", "reason": "our own cluster"}
    assert said(imported, "shop")["mirrors"] == {"shop": {"to": "output", "from": "dump", "release": release}}


def test_nothing_raw_is_mirrored_without_a_reason(take: Import) -> None:
    imported = take({"p.json": definition(), "s.json": secret("egress-output", OUTPUT)})
    assert "mirrors" not in said(imported, "shop")
    assert "output" not in said(imported, "endpoints")["stores"]
    assert "raw rows would leave" in left(imported)["Secret egress-output"]


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"url": "${URL}"}, "it is a template"),
        ({"url": f"https://u:{CANARY}@ceph"}, "more than an address"),
        ({"url": f"https://ceph/?key={CANARY}"}, "more than an address"),
        ({"url": "ftp://ceph"}, "does not begin with http"),
        ({"url": "http://[ceph"}, "its url is none"),
        ({"path": "../up"}, "its path is no bucket"),
        ({"path": ""}, "its path is no bucket"),
    ],
)
def test_a_secret_that_is_no_place_is_left_with_a_reason(take: Import, values: dict[str, str], why: str) -> None:
    told = take({"p.json": definition(), "s.json": secret("egress-output", {**OUTPUT, **values})}, internal="x")
    assert why in left(told)["s.json: Secret egress-output"]
    assert CANARY not in repr(told)


def test_a_secret_by_another_name_or_of_a_hostile_one_is_left(take: Import) -> None:
    files = {"p.json": definition(), "a.json": secret("ceph", OUTPUT), "b.json": secret("../input", INPUT)}
    assert {"a.json: Secret ceph", "b.json: Secret secret"} <= left(take(files)).keys()


# -------------------------------------------------------------------------------------------------- what is not guessed
@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"id": "Source", "selectQuery": "select id from #{table}"}, "more than it copied"),
        ({"id": "Source", "selectQuery": "select * from #{table} where id > 5"}, "more than it copied"),
        ({"id": "Source", "selectQuery": "select * from other"}, "more than it copied"),
        ({"id": "Source", "table": "a; drop table b"}, "no name of a table"),
        ({"id": "Source", "table": '"a.b".c'}, "no name of a table"),
        ({"id": "Source", "table": "#{nowhere}"}, "names no table"),
        ({"id": "Target", "directoryPath": "#{nowhere}/x"}, "no s3://bucket/folder"),
        ({"id": "Target", "directoryPath": "hdfs://x/y"}, "no s3://bucket/folder"),
        ({"id": "rds", "connectionString": "jdbc:mysql://h/db"}, "none of PostgreSQL's"),
        ({"id": "rds", "connectionString": f"jdbc:postgresql://u:{CANARY}@h/db"}, "password before its host"),
        ({"id": "rds", "type": "RdsDatabase", "rdsInstanceId": "i"}, "names an instance"),
        ({"id": "Copy", "input": {"ref": "Target"}}, "does not copy from a SqlDataNode"),
        ({"id": "Copy", "type": "ShellCommandActivity", "command": f"psql {CANARY}"}, "is no copy of a table"),
    ],
)
def test_what_would_copy_something_else_is_not_taken_over(take: Import, changed: dict[str, Any], why: str) -> None:
    whole = {**next(each for each in OBJECTS if each["id"] == changed["id"]), **changed}
    second = [{**each, "id": f"{each['id']}2"} for each in OBJECTS if each["id"] != "Copy"]
    fine = {"id": "Fine", "type": "CopyActivity", "input": {"ref": "Source2"}, "output": {"ref": "Target2"}}
    second = [each | ({"database": {"ref": "rds2"}} if "database" in each else {}) for each in second]
    imported = take({"p.json": definition(whole, *second, fine)})
    assert why in " ".join(each.why for each in imported.left)
    assert list(said(imported, "shop")["tables"]) == ["public.customers"], "of the second copy"
    assert CANARY not in repr(imported)


def test_a_query_that_is_the_whole_table_in_other_words_is_one(take: Import) -> None:
    node = {**next(each for each in OBJECTS if each["id"] == "Source"), "selectQuery": "SELECT * FROM customers;"}
    assert list(said(take({"p.json": definition(node)}), "shop")["tables"]) == ["public.customers"]


# -------------------------------------------------------------------------------------------------------------- hostile
@pytest.mark.parametrize(
    "content",
    ["", "[]", "7", "{", '{"objects": ' + "[" * 100_000, "\x00", "a: b: c", "&a [*a]", "!!python/object:os.system {}",
     {"objects": []}, {"objects": "x"}, {"objects": [{"id": 7}, None, {"type": "CopyActivity"}]}, {"values": [1]},
     {"objects": [{"id": "Copy", "type": "CopyActivity", "input": {"ref": "Copy"}, "output": {"ref": ["x"]}}]},
     {"kind": "List", "items": [{"kind": "Secret", "metadata": 7, "data": ["x"]}, 5]},
     {"kind": "Secret", "metadata": {"name": "egress-output"}, "data": {"url": "not base64!", "path": 7}}],
)  # fmt: skip
def test_a_file_that_is_none_is_told_and_nothing_is_made(take: Import, content: Any) -> None:
    with pytest.raises(CatalogError) as caught:
        take({"p.json": content})
    assert caught.value.hint


def test_expressions_that_go_round_and_grow_end(take: Import) -> None:
    round_ = {"my_S3_path": "#{my_S3_path}"}
    bomb = {"my_S3_path": "#{a}" * 400, **{x: f"#{{{y}}}" * 400 for x, y in ("ab", "bc", "cd", "de")}, "e": "x" * 1000}
    for values in (round_, bomb):
        with pytest.raises(CatalogError, match="nothing in these files"):
            take({"p.json": definition(**values)})


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=12)
    | st.sampled_from([*VALUES.values(), "#{a}", "Copy"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from([*"abc", "id", "type", "ref", "input", "table", "kind", "data", "url"]), inner
        )
    ),
    max_leaves=12,
)


@given(st.integers(0, len(OBJECTS) - 1), st.sampled_from(["id", "type", "table", "directoryPath", "input", "database",
       "connectionString", "username", "schedule", "selectQuery", "compression"]), JSON, JSON)  # fmt: skip
def test_whatever_stands_in_a_field_is_a_catalog_or_an_error_of_ours(
    tmp_path_factory: pytest.TempPathFactory, number: int, name: str, value: Any, other: Any
) -> None:
    objects = [dict(each) for each in OBJECTS]
    objects[number][name] = value
    document = {"objects": objects, "values": {**VALUES, "my_RDS_table_name": other}, "parameters": other}
    files = put(tmp_path_factory.mktemp("in"), {"p.json": document})
    try:
        told = repr(data_pipeline.import_pipelines(files))
    except CatalogError as error:
        told = repr((error.message, error.hint, error.problems))
    assert CANARY not in told


@given(st.text(max_size=30))
def test_tables_and_places_are_names_or_nothing(text: str) -> None:
    assert all(name.partition(".")[0] and name.partition(".")[2] for name in parse_tables(text))
    place = parse_place(text, ())
    assert place is None or ".." not in place[0]


# ------------------------------------------------------------------------------------------------------------- the verb
def run(*arguments: str | Path) -> Result:
    words = ["import", "data-pipeline", *map(str, arguments)]
    return CliRunner().invoke(egress, words, obj=State(), standalone_mode=False)


def test_the_verb_writes_a_folder_and_never_over_anything(tmp_path: Path) -> None:
    (file,) = put(tmp_path, {"p.json": definition()})
    out = tmp_path / "made" / "here"
    first = run(file, "--out", out)
    assert first.exception is None
    assert "needs the environment variable SHOP_PASSWORD" in first.output
    assert "Machine" in first.output
    before = {each.name: each.read_bytes() for each in out.iterdir()}
    again = run(file, "--out", out)
    assert isinstance(again.exception, CatalogError)
    assert "is there already" in str(again.exception)
    assert {each.name: each.read_bytes() for each in out.iterdir()} == before


def test_a_dry_run_prints_and_writes_nothing(tmp_path: Path) -> None:
    (file,) = put(tmp_path, {"p.json": definition()})
    done = run(file, "--out", tmp_path / "out", "--dry-run", "--json")
    document = json.loads(done.output)
    assert document["written"] is False
    assert set(document["files"]) == {"endpoints.yaml", "shop.yaml"}
    assert CANARY not in done.output
    assert not (tmp_path / "out").exists()
