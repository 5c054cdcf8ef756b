"""Folders of AWS Data Pipeline become the `path` of a `publish`, exactly, or are left with their reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from egress_assets.engine.catalog.layouts import layout_of
from egress_assets.engine.catalog.loader import load_catalog
from egress_assets.engine.importing.data_pipeline import Imported, import_pipelines, write
from egress_assets.engine.importing.layouts import MARK, layout, mark, parse_place

TIME = "format(@scheduledStartTime,'YYYY-MM-dd-HH-mm-ss')"
PATH = f"#{{my_S3_path}}/#{{my_RDS_table_name}}/#{{{TIME}}}"
VALUES = {
    "my_RDS_jdbc": "jdbc:postgresql://db:5432/shop", "my_RDS_table_name": "customers", "my_S3_path": "s3://bucket/rds",
}  # fmt: skip


def pipeline(path: str, **values: Any) -> dict[str, Any]:
    objects = [
        {"id": "rds", "type": "JdbcDatabase", "connectionString": "#{my_RDS_jdbc}"},
        {"id": "In", "type": "SqlDataNode", "table": "#{my_RDS_table_name}", "database": {"ref": "rds"}},
        {"id": "Out", "type": "S3DataNode", "directoryPath": path},
        {"id": "Copy", "type": "CopyActivity", "input": {"ref": "In"}, "output": {"ref": "Out"}},
    ]
    return {"objects": objects, "values": {**VALUES, **values}}


def taken(folder: Path, *pipelines: dict[str, Any]) -> Imported:
    files = [folder / f"{number}.json" for number in range(len(pipelines))]
    for file, each in zip(files, pipelines, strict=True):
        file.write_text(json.dumps(each))
    return import_pipelines(files)


def publishes(imported: Imported) -> Any:
    return yaml.safe_load(imported.files["shop.yaml"])["dump"].get("publish")


def test_the_reference_s_folders_are_written_where_they_were(tmp_path: Path) -> None:
    """S0-1: `<prefix>/a/2024-01-31-00-00-00/...csv`."""
    imported = taken(tmp_path, pipeline(PATH), pipeline(PATH, my_RDS_table_name="orders"))
    assert publishes(imported) == {"files": {"to": "lake", "path": "{table}/{date:%Y-%m-%d-%H-%M-%S}/{table}.{ext}"}}
    write(imported, tmp_path / "out")
    shop = load_catalog(tmp_path / "out", env="prod").dataset("shop")
    names = layout_of("shop", shop, shop.mirrors["shop_files"])  # type: ignore[arg-type]
    assert names.key("public.customers", "2024-01-31") == "customers/2024-01-31-00-00-00/customers.csv"
    assert any("a pipeline gives each another name" in each.why for each in imported.left)


def test_values_without_a_definition_are_of_the_reference_s_folders(tmp_path: Path) -> None:
    assert publishes(taken(tmp_path, {"values": VALUES}))["files"]["path"].startswith("{table}/{date:%Y-%m-%d-%H")


def test_a_list_of_tables_is_told_by_their_names(tmp_path: Path) -> None:
    found = publishes(taken(tmp_path, pipeline(PATH, my_RDS_table_name=["a", "b"])))
    assert found["files"]["path"] == "{table}/{date:%Y-%m-%d-%H-%M-%S}/{table}.{ext}"


@pytest.mark.parametrize(
    "path",
    [
        "#{my_S3_path}",
        "#{my_S3_path}/#{my_RDS_table_name}",
        "#{my_S3_path}/#{my_RDS_table_name}/#{@pipelineId}",
        "#{my_S3_path}/#{format(minusDays(@scheduledStartTime,1),'YYYY-MM-dd')}",
        "#{my_S3_path}/#{format(@scheduledStartTime,'EEE dd MMM')}",
        "#{my_S3_path}/#{format(@scheduledStartTime,'YYYY-MM')}",
    ],
)
def test_folders_without_a_whole_date_are_left_with_their_reason(tmp_path: Path, path: str) -> None:
    imported = taken(tmp_path, pipeline(path))
    assert publishes(imported) is None
    assert [each.where for each in imported.left if "no `path` of a `publish`" in each.why] == ["0.json: Copy, folders"]


def test_tables_in_different_folders_are_left(tmp_path: Path) -> None:
    flat = PATH.replace("/#{my_RDS_table_name}", "")
    imported = taken(tmp_path, pipeline(PATH), pipeline(flat, my_RDS_table_name="orders"))
    assert publishes(imported) is None
    assert any("public.orders has others" in each.why for each in imported.left)


def test_what_would_be_no_right_catalog_is_left_and_the_rest_taken_over(tmp_path: Path) -> None:
    """Two schemas with a table of one name: one folder each, by other pipelines, and one name in a catalog."""
    imported = taken(
        tmp_path, pipeline(PATH), pipeline(f"#{{my_S3_path}}/#{{{TIME}}}", my_RDS_table_name="s.customers")
    )
    assert publishes(imported) is None
    both = [pipeline(f"#{{my_S3_path}}/#{{{TIME}}}", my_RDS_table_name=name) for name in ("customers", "s.customers")]
    imported = taken(tmp_path, *both)
    assert publishes(imported) is None
    assert any("as fixed names they would not be right" in each.why for each in imported.left)


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (("dt=\x00\ue000",), "dt={date:%Y-%m-%d}/{table}.{ext}"),
        (("public.orders", "\x00\ue000"), "{schema}.{table}/{date:%Y-%m-%d}/{table}.{ext}"),
        (("{x}", "\x00\ue000"), "{{x}}/{date:%Y-%m-%d}/{table}.{ext}"),
        (("ORDERS", "\x00\ue000"), ""),
        (("\x00\ue001",), ""),
        (("\x00\ue0ff",), ""),
        (("\x00",), ""),
        ((), ""),
    ],
)
def test_a_folder_is_said_exactly_or_not(folders: tuple[str, ...], expected: str) -> None:
    expressions = ["format(@scheduledStartTime, 'yyyy-MM-dd')", "@pipelineId"]
    assert layout(folders, expressions, ["public.orders"]) == expected


def test_a_place_is_cut_where_its_folders_of_a_table_and_a_time_begin() -> None:
    assert parse_place(f"s3://bucket/a/b/orders/{mark(0)}", ["public.orders"]) == ("bucket", "a/b", ("orders", mark(0)))
    assert parse_place(f"s3://bucket/{MARK}/x", ()) is None
