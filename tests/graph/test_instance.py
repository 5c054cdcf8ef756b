"""Both instance files are what one program renders, Dagster takes every value, and no secret is among them."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._config import process_config, resolve_to_config_type
from dagster._core.instance.ref import InstanceRef

ROOT = Path(__file__).resolve().parents[2]
FILES = {"local": ROOT, "cluster": ROOT / "deploy"}


def said(name: str) -> dict[str, Any]:
    return yaml.safe_load((FILES[name] / "dagster.yaml").read_text())


def accepted_config(kind: type, config: Any) -> dict[str, Any]:
    """The class's own configuration schema, references resolved. Raises AssertionError for what it does not know."""
    processed = process_config(resolve_to_config_type(kind.config_type()), config)  # type: ignore[attr-defined]
    assert processed.success, processed.errors
    assert processed.value is not None
    return dict(processed.value)


def test_the_committed_files_are_what_is_rendered():
    done = subprocess.run([sys.executable, "deploy/instance.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", FILES)
def test_dagster_reads_the_file(name: str):
    settings = InstanceRef.from_dir(str(FILES[name])).settings
    assert settings["telemetry"] == {"enabled": False}
    assert settings["nux"] == {"enabled": False}
    assert settings["python_logs"] == {"managed_python_loggers": ["egress_assets"], "python_log_level": "INFO"}
    assert settings["run_monitoring"]["free_slots_after_run_end_seconds"] == 30
    assert settings["retention"]["sensor"]["purge_after_days"]["skipped"] == 1


@pytest.mark.parametrize("name", FILES)
def test_one_run_at_a_time_works_on_a_date(name: str):
    ref = InstanceRef.from_dir(str(FILES[name]))
    coordinator = ref.run_coordinator
    assert type(coordinator).__name__ == "TaggingRunCoordinator"
    limits = said(name)["concurrency"]["runs"]["tag_concurrency_limits"]
    assert {"key": "egress/work", "value": {"applyLimitPerUniqueValue": True}, "limit": 1} in limits
    assert said(name)["concurrency"]["pools"]["granularity"] == "op"


def test_the_queue_really_reads_the_limits(tmp_path: Path):
    """A subclass of the queue is not the class that Dagster checks by name: does it still get the limits?"""
    overrides = {key: said("local")[key] for key in ("run_coordinator", "concurrency")}
    with dg.instance_for_test(overrides=overrides, temp_dir=str(tmp_path)) as instance:
        config = instance.get_concurrency_config()
        assert config.run_queue_config is not None
        assert [limit["key"] for limit in config.run_queue_config.tag_concurrency_limits] == [
            "egress/work",
            "egress/dataset",
        ]
        assert config.run_queue_config.max_concurrent_runs == 3
        assert config.pool_config.default_pool_limit == 2
        assert instance.run_coordinator.dequeue_interval_seconds == 1  # type: ignore[attr-defined]


def test_everything_that_the_local_instance_writes_lies_in_one_ignored_folder():
    config = said("local")
    places = [
        config["storage"]["sqlite"]["base_dir"],
        config["local_artifact_storage"]["config"]["base_dir"],
        config["compute_logs"]["config"]["base_dir"],
    ]
    assert all(place.startswith(".egress/") for place in places)
    assert ".egress/" in (ROOT / ".gitignore").read_text().splitlines()


def test_the_cluster_reaches_postgres_through_the_driver_that_is_installed(monkeypatch: pytest.MonkeyPatch):
    from dagster_postgres.utils import pg_url_from_config
    from sqlalchemy.engine import make_url

    for name in ("HOST", "DB", "USERNAME", "PASSWORD"):
        monkeypatch.setenv(f"DAGSTER_PG_{name}", f"the-{name.lower()}")
    from dagster_postgres import DagsterPostgresStorage

    url = make_url(pg_url_from_config(accepted_config(DagsterPostgresStorage, said("cluster")["storage"]["postgres"])))
    assert url.drivername == "postgresql+psycopg2"
    assert (url.host, url.database, url.username) == ("the-host", "the-db", "the-username")
    assert url.get_dialect().__name__.startswith("PGDialect")


def test_the_cluster_logs_to_a_bucket(monkeypatch: pytest.MonkeyPatch):
    from dagster_aws.s3.compute_log_manager import S3ComputeLogManager

    monkeypatch.setenv("DAGSTER_LOGS_BUCKET", "logs")
    assert accepted_config(S3ComputeLogManager, said("cluster")["compute_logs"]["config"])["bucket"] == "logs"


def test_a_run_is_a_job_whose_pod_may_do_nothing_but_run(monkeypatch: pytest.MonkeyPatch):
    from dagster_k8s import K8sRunLauncher
    from dagster_k8s.job import UserDefinedDagsterK8sConfig

    for name in ("EGRESS_RUN_SERVICE_ACCOUNT", "EGRESS_NAMESPACE", "EGRESS_IMAGE"):
        monkeypatch.setenv(name, name.lower())
    config = accepted_config(K8sRunLauncher, said("cluster")["run_launcher"]["config"])
    assert config["job_namespace"] == "egress_namespace"
    pod = UserDefinedDagsterK8sConfig.from_dict(config["run_k8s_config"])  # raises for a misspelled field
    assert pod.container_config["security_context"]["capabilities"] == {"drop": ["ALL"]}
    assert pod.container_config["security_context"]["read_only_root_filesystem"] is True
    assert pod.pod_spec_config["automount_service_account_token"] is False


def test_no_value_of_the_cluster_is_a_secret():
    """The instance's configuration is in the arguments of every Job."""

    def walk(value: Any, name: str = "") -> None:
        if isinstance(value, dict):
            for key, each in value.items():
                walk(each, key)
        elif isinstance(value, list):
            for each in value:
                walk(each, name)
        elif any(word in name for word in ("password", "token", "username", "hostname")):
            assert isinstance(value, bool), name

    config = said("cluster")
    assert config["storage"]["postgres"]["postgres_db"]["password"] == {"env": "DAGSTER_PG_PASSWORD"}
    walk(config)


def test_the_workspace_is_the_one_code_location():
    assert yaml.safe_load((ROOT / "workspace.yaml").read_text()) == {
        "load_from": [{"python_module": {"module_name": "egress_assets.definitions", "location_name": "egress"}}]
    }
    assert "[tool.dagster" not in (ROOT / "pyproject.toml").read_text()  # it would win over workspace.yaml
    assert "[tool.dg" not in (ROOT / "pyproject.toml").read_text()
