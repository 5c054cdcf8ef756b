"""The whole graph of the shipped catalog, as committed: a change to it is a change to a file that people review.

EGRESS_GOLDEN=write .venv/bin/pytest -q tests/graph/test_golden.py     writes it anew
"""

import json
import os
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from egress_assets.definitions import build
from egress_assets.engine.catalog.loader import load_catalog

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).with_name("golden.json")


@pytest.fixture(scope="module")
def shipped() -> dg.Definitions:
    return build(load_catalog(ROOT / "catalog", env="sandbox"))


def graph(defs: dg.Definitions) -> dict[str, Any]:
    assets = defs.resolve_asset_graph()
    return {
        "assets": {key.to_user_string(): asset(assets.get(key)) for key in sorted(assets.get_all_asset_keys())},
        "checks": {
            f"{key.asset_key.to_user_string()}:{key.name}": check(assets.get_check_spec(key))
            for key in sorted(assets.asset_check_keys)
        },
        "ops": {
            each.op.name: op(each)
            for each in sorted((a for a in assets.assets_defs if a.is_executable), key=lambda a: a.op.name)
        },
        "jobs": {job.name: selected(job) for job in defs.resolve_all_job_defs() if not job.name.startswith("__")},
        "schedules": {s.name: [s.cron_schedule, s.execution_timezone, s.job_name] for s in defs.schedules or ()},
        "sensors": {s.name: s.default_status.value for s in defs.sensors or ()},
        "resources": {key: type(value).__name__ for key, value in sorted((defs.resources or {}).items())},
    }


def asset(node: Any) -> dict[str, Any]:
    parts = node.partitions_def
    return {
        "deps": sorted(key.to_user_string() for key in node.parent_keys),
        "group": node.group_name,
        "owners": list(node.owners),
        "kinds": sorted(node.kinds),
        "table": node.metadata.get("dagster/table_name"),
        "partitions": parts and [parts.start.date().isoformat(), parts.timezone, parts.end_offset, parts.cron_schedule],
        "automation": node.automation_condition and node.automation_condition.get_label(),
        "declared": reference(node.metadata.get("dagster/code_references")),
    }


def reference(found: Any) -> str | None:
    if found is None:
        return None
    (one,) = found.code_references
    return str(Path(one.file_path).relative_to(ROOT))


def check(spec: Any) -> dict[str, Any]:
    return {"blocking": spec.blocking, "partitioned": spec.partitions_def is not None}


def op(definition: dg.AssetsDefinition) -> dict[str, Any]:
    return {
        "pool": definition.op.pool,
        "tags": dict(definition.op.tags),
        "subset": definition.can_subset,
        "resources": sorted(definition.required_resource_keys),
        "assets": len(definition.keys),
    }


def selected(job: dg.JobDefinition) -> dict[str, Any]:
    return {
        "assets": sorted(key.to_user_string() for key in job.asset_layer.executable_asset_keys),
        "executor": job.executor_def.name,
        "tags": dict(job.partitioned_config.get_tags_for_partition_key("2026-11-10")) if job.partitioned_config else {},
    }


def test_the_graph_of_the_shipped_catalog_is_the_committed_one(shipped: dg.Definitions):
    now = json.dumps(graph(shipped), indent=1, sort_keys=True, default=str) + "\n"
    if os.environ.get("EGRESS_GOLDEN") == "write":
        GOLDEN.write_text(now)
    assert now == GOLDEN.read_text(), (
        "if the change is meant: EGRESS_GOLDEN=write .venv/bin/pytest tests/graph/test_golden.py"
    )


def test_the_graph_is_the_same_each_time_it_is_built(shipped: dg.Definitions):
    again = build(load_catalog(ROOT / "catalog", env="sandbox"))
    assert graph(again) == graph(shipped)


def test_every_asset_points_at_the_line_that_declares_it(shipped: dg.Definitions):
    assets = shipped.resolve_asset_graph()
    for key in assets.get_all_asset_keys():
        (found,) = assets.get(key).metadata["dagster/code_references"].code_references
        line = Path(found.file_path).read_text().splitlines()[found.line_number - 1]
        named = dict.fromkeys(("mirror", "bucket_policy"), f"{key.path[-1]}:")
        named |= {"source": "source", "delivery": "/".join(key.path[1:]), "overview": "evidence:"}
        name = named.get(key.path[0], f"{'.'.join(key.path[-2:])}:")
        name = {"events_files:": "files:"}.get(name, name)  # a publish is written below its stage
        assert name in line or key.path[0] == "source"


def test_only_what_lies_below_a_dated_parent_moves_by_itself(shipped: dg.Definitions):
    assets = shipped.resolve_asset_graph()
    moving = {key.path[0] for key in assets.get_all_asset_keys() if assets.get(key).automation_condition}
    assert moving == {"source", "mirror", "delivery"}
