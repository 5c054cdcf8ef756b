"""The queue tags runs that came without tags."""

from dataclasses import dataclass
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.run_coordinator.base import SubmitRunContext

from egress_assets.run_queue import TaggingRunCoordinator, tags_of
from tests.graph.conftest import DATE, DUMP, MIRROR, SCRUB


@dataclass
class Workspace:
    """What a coordinator reads of a workspace."""

    asset_graph: Any


def run_of(job: str, *assets: dg.AssetKey, **tags: str) -> dg.DagsterRun:
    all_tags = {f"dagster/{name}": value for name, value in tags.items()}
    return dg.DagsterRun(job_name=job, asset_selection=frozenset(assets) or None, tags=all_tags)


@pytest.fixture
def workspace(defs: dg.Definitions) -> Any:
    foreign = dg.AssetSpec("foreign", group_name="shop")
    merged = dg.Definitions.merge(defs, dg.Definitions(assets=[foreign]))
    return Workspace(merged.resolve_asset_graph())


def tags(run: dg.DagsterRun, workspace: Any) -> dict[str, str]:
    return tags_of(run, SubmitRunContext(run, workspace))


def test_a_whole_jobs_run_says_so_and_what_it_works_on(workspace):
    run = run_of("shop", partition=DATE)
    assert tags(run, workspace) == {
        "egress/work": f"shop:{DATE}",
        "egress/dataset": "shop",
        "egress/whole": "yes",
    }


def test_a_range_is_of_its_dataset_and_says_itself_whether_it_is_whole(workspace, defs: dg.Definitions):
    """Its configuration decides, which the queue does not read."""
    job = defs.resolve_job_def("shop_range")
    with dg.DagsterInstance.ephemeral() as instance:
        run = instance.create_run_for_job(job, run_config={"from": DATE, "to": DATE}, tags=dict(job.run_tags))
    assert tags(run, workspace) == {"egress/work": "shop:range", "egress/dataset": "shop"}


def test_a_run_of_some_assets_is_not_whole(workspace):
    for job in ("__ASSET_JOB", "shop"):
        run = run_of(job, *SCRUB.values(), MIRROR, partition=DATE)
        assert tags(run, workspace) == {"egress/work": f"shop:{DATE}", "egress/dataset": "shop"}


@pytest.mark.parametrize("assets", [(), (dg.AssetKey("foreign"),), (dg.AssetKey("gone"),)])
def test_what_is_not_ours_is_left_alone(workspace, assets):
    assert tags(run_of("__ASSET_JOB", *assets, partition=DATE), workspace) == {}


def test_an_observation_without_a_date_has_no_work_tag(workspace):
    assert tags(run_of("__ASSET_JOB", dg.AssetKey(["source", "shop"])), workspace) == {}


def test_the_queued_run_has_the_tags_and_keeps_its_own(defs: dg.Definitions, workspace, tmp_path):
    coordinator = {"module": "egress_assets.run_queue", "class": "TaggingRunCoordinator"}
    with dg.instance_for_test(overrides={"run_coordinator": coordinator}, temp_dir=str(tmp_path)) as instance:
        assert isinstance(instance.run_coordinator, TaggingRunCoordinator)
        job = defs.resolve_implicit_global_asset_job_def().get_subset(asset_selection=set(DUMP.values()))
        repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("egress"), "__repository__")
        run = instance.create_run_for_job(
            job,
            tags={"dagster/partition": DATE, "mine": "1"},
            asset_selection=frozenset(DUMP.values()),
            remote_job_origin=RemoteJobOrigin(repository, "__ASSET_JOB"),
        )
        submitted = instance.run_coordinator.submit_run(SubmitRunContext(run, workspace))
        assert submitted.tags["egress/work"] == f"shop:{DATE}"
        assert submitted.tags["mine"] == "1"
        assert "egress/whole" not in submitted.tags
