"""The real engine under Dagster: both shipped datasets whole on a sandbox of their own, then again: nothing sent."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from egress_assets.definitions import accepted, build
from egress_assets.engine import glance
from egress_assets.engine.catalog.loader import load_catalog
from egress_assets.engine.layout import parse_asset_key
from egress_assets.sandbox import stop

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A sandbox that starts on first use; stopped afterwards."""
    folder = tmp_path_factory.mktemp("sandbox")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EGRESS_SANDBOX_DIR", str(folder))
        yield folder
        stop(folder)


@pytest.fixture(scope="module")
def date() -> str:
    """The last complete day: the only one that a full extract may be labelled with."""
    return (datetime.now(UTC).astimezone(ZoneInfo("Europe/London")).date() - timedelta(days=1)).isoformat()


@pytest.fixture(scope="module")
def chain(sandbox: Path, date: str) -> Iterator[Any]:
    """Runs a dataset's job on one instance that both tests look at."""
    assert "EGRESS_ENV" not in os.environ
    defs = build(load_catalog(ROOT / "catalog", env="sandbox"))
    with accepted(), dg.DagsterInstance.ephemeral() as instance:

        def run(dataset: str, **more: Any) -> dg.ExecuteInProcessResult:
            job = defs.resolve_job_def(dataset)
            return job.execute_in_process(partition_key=date, instance=instance, **more)

        yield run


def told(result: dg.ExecuteInProcessResult) -> dict[dg.AssetKey, dict[str, Any]]:
    events = [event.step_materialization_data.materialization for event in result.get_asset_materialization_events()]
    return {
        event.asset_key: {name: value.value for name, value in event.metadata.items()} | dict(event.tags or {})
        for event in events
    }


@pytest.mark.parametrize("dataset", ["shop", "events"])
def test_a_datasets_chain_is_made_true_and_the_second_run_sends_nothing(chain: Any, dataset: str, date: str):
    first = told(chain(dataset))
    assert all(facts["how"] == "moved" for facts in first.values())
    assert all(facts["bytes"] > 0 for facts in first.values())
    assert all(parse_asset_key(tuple(key.path))[0].stage for key in first)
    second = told(chain(dataset))
    assert set(second) == set(first)
    for key, facts in second.items():
        assert facts["how"] == "nothing", key
        assert facts["sent_bytes"] == 0, key
        assert facts["dagster/data_version"] == first[key]["dagster/data_version"], key


def test_every_scrubbed_table_has_a_passed_gate(chain: Any):
    result = chain("shop")
    scrubbed = {key for key in told(result) if key.path[0] == "scrub"}
    passed = {check.asset_key for check in result.get_asset_check_evaluations() if check.passed}
    assert passed == scrubbed
    assert len(scrubbed) == 8


def test_every_materialisation_tells_its_whole_story_again_where_nothing_was_to_do(
    chain: Any, monkeypatch: pytest.MonkeyPatch
):
    """Previews, pictures and columns come from evidence; what could not be shown would say so."""
    monkeypatch.setattr(glance, "SECONDS", 120)
    for key, found in told(chain("shop")).items():
        assert "not shown" not in str(found), key
        assert found["bytes_a_day"].startswith("![bytes a day](data:image/svg+xml;base64,")
        assert found["dagster/column_lineage"].deps_by_column
        assert found["rows"] > 0
        assert found["compression_ratio"] > 1
        assert ("preview" in found) == (key.path[0] == "scrub")
    tables = told(chain("shop", asset_selection=[dg.AssetKey(["scrub", "shop", "shared", "public", "customers"])]))
    (customers,) = tables.values()
    assert len(customers["preview"].records) == 10
    assert all(record.data["email"].endswith("@example.invalid") for record in customers["preview"].records)


def test_one_table_by_hand_keeps_the_others(chain: Any):
    orders = dg.AssetKey(["scrub", "shop", "shared", "public", "orders"])
    assert set(told(chain("shop", asset_selection=[orders]))) == {orders}


def test_the_source_is_observed_without_reading_a_row(sandbox: Path):
    defs = build(load_catalog(ROOT / "catalog", env="sandbox"))
    source = dg.AssetKey(["source", "shop"])
    job = defs.resolve_implicit_global_asset_job_def().get_subset(asset_selection={source})
    with accepted():
        result = job.execute_in_process()
    (event,) = result.get_asset_observation_events()
    seen = event.asset_observation_data.asset_observation
    assert len(seen.tags["dagster/data_version"]) == 64
    assert seen.metadata["tables"].value == 8
    assert "/" in str(seen.metadata["lsn"].value)


def test_every_endpoint_of_the_sandbox_answers_a_ping(sandbox: Path):
    catalog = load_catalog(ROOT / "catalog", env="sandbox")
    from resources.endpoints import resources

    given = resources(catalog, "sandbox").items()
    answers = {key: found.ping() for key, found in given if "key" not in key.split("_")}
    assert all(answers.values())
    assert "PostgreSQL" in answers["source_shop_db"]


def test_housekeeping_runs_beside_all_of_it(sandbox: Path):
    defs = build(load_catalog(ROOT / "catalog", env="sandbox"))
    with accepted(), dg.DagsterInstance.ephemeral() as instance:
        result = defs.resolve_job_def("housekeeping").execute_in_process(instance=instance)
    assert result.success
