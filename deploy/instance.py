"""The Dagster instance, said once and rendered twice: dagster.yaml for a laptop, deploy/dagster.yaml for a cluster.

    python deploy/instance.py          write both files
    python deploy/instance.py --check  exit 1 when a committed file is not what this renders

No value here is a secret: with K8sRunLauncher the instance's configuration is in the arguments of every Job, with
`env:` references left as references.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
HEAD = "# Written by `python deploy/instance.py`, which says why each value is what it is. Don't edit here.\n"

DAY = 86_400  # seconds


def shared() -> dict[str, Any]:
    """What both instances have in common."""
    return {
        "telemetry": {"enabled": False},
        "nux": {"enabled": False},  # else a newsletter form covers the first page
        "python_logs": {"managed_python_loggers": ["egress_assets"], "python_log_level": "INFO"},  # into the UI
        "run_coordinator": {
            "module": "egress_assets.run_queue",
            "class": "TaggingRunCoordinator",
            # the default of 5 s is most of the time that a small run waits
            "config": {"dequeue_interval_seconds": 1, "dequeue_use_threads": True, "dequeue_num_workers": 4},
        },
        # a sensor that requests many runs submits 3 a second with 8 threads
        "sensors": {"use_threads": True, "num_workers": 4, "num_submit_workers": 8},
        "schedules": {"use_threads": True, "num_workers": 4, "num_submit_workers": 4},
        # Ticks only: Dagster has no retention of events, those are pruned by the job `housekeeping`.
        "retention": {
            "schedule": {"purge_after_days": 90},
            "sensor": {"purge_after_days": {"skipped": 1, "started": 30, "failure": 30, "success": 30}},
        },
    }


def concurrency(runs: int, a_dataset: int) -> dict[str, Any]:
    """One run a dataset and date; two ops a source or recipient, each parallel in itself; `runs` in all.

    `a_dataset` is below `runs`: a dataset that hangs, fails and is retried, or is backfilled, leaves slots for others.
    """
    limits = {"egress/work": 1, "egress/dataset": a_dataset}
    each = [{"key": key, "value": {"applyLimitPerUniqueValue": True}, "limit": n} for key, n in limits.items()]
    return {
        "runs": {"max_concurrent_runs": runs, "tag_concurrency_limits": each},
        "pools": {"default_limit": 2, "granularity": "op"},  # `run` would hold a source while its mirror copies
    }


def monitoring(start: int) -> dict[str, Any]:
    """A run that died is noticed and its slots are freed. The longest run is a day, below the readers' limit of two."""
    return {
        "enabled": True,
        "start_timeout_seconds": start,
        "cancel_timeout_seconds": 60,
        "max_runtime_seconds": DAY,
        "poll_interval_seconds": 30,
        "free_slots_after_run_end_seconds": 30,
    }


def local() -> dict[str, Any]:
    """Used when dagster starts in the repository's root: everything it writes lies under .egress."""
    return {
        "storage": {"sqlite": {"base_dir": ".egress/dagster/storage"}},
        "local_artifact_storage": _part(
            "dagster._core.storage.root", "LocalArtifactStorage", base_dir=".egress/dagster/artifacts"
        ),
        "compute_logs": _part(
            "dagster._core.storage.local_compute_log_manager", "LocalComputeLogManager", base_dir=".egress/dagster/logs"
        ),
        "concurrency": concurrency(runs=3, a_dataset=2),  # a laptop: each run has worker processes of its own
        "run_monitoring": monitoring(start=180),
        "run_retries": {"enabled": True, "max_retries": 0},  # a person is looking
        **shared(),
    }


def cluster() -> dict[str, Any]:
    """Postgres for the records, S3 for the logs, a Kubernetes Job a run."""
    return {
        # The scheme is spelled out: SQLAlchemy 2.1 takes a bare postgresql:// for psycopg 3, which dagster-postgres
        # can't use. TLS as libpq's PGSSLMODE and PGSSLROOTCERT say.
        "storage": {
            "postgres": {
                "postgres_db": {
                    "scheme": "postgresql+psycopg2",
                    "hostname": _env("DAGSTER_PG_HOST"),
                    "port": 5432,
                    "db_name": _env("DAGSTER_PG_DB"),
                    "username": _env("DAGSTER_PG_USERNAME"),
                    "password": _env("DAGSTER_PG_PASSWORD"),
                }
            }
        },
        # the root file system is read-only and the user has no home
        "local_artifact_storage": _part("dagster._core.storage.root", "LocalArtifactStorage", base_dir="/tmp/dagster"),  # noqa: S108
        "compute_logs": _part(
            "dagster_aws.s3.compute_log_manager",
            "S3ComputeLogManager",
            bucket=_env("DAGSTER_LOGS_BUCKET"),
            prefix="dagster",
            local_dir="/tmp/dagster/logs",  # noqa: S108 - an emptyDir of the pod
            upload_interval=30,
        ),
        "run_launcher": _part("dagster_k8s", "K8sRunLauncher", **launcher()),
        "concurrency": concurrency(runs=10, a_dataset=5),
        "run_monitoring": monitoring(start=600),  # a node may have to be added first
        # Permanent errors switch their run's retries off (egress_assets/failures.py).
        "run_retries": {"enabled": True, "max_retries": 2},
        **shared(),
    }


def launcher() -> dict[str, Any]:
    """A run is a Job whose pod may do nothing but run."""
    return {
        "service_account_name": _env("EGRESS_RUN_SERVICE_ACCOUNT"),
        "job_namespace": _env("EGRESS_NAMESPACE"),
        "job_image": _env("EGRESS_IMAGE"),
        "image_pull_policy": "IfNotPresent",  # images are named by digest
        "fail_pod_on_run_failure": True,
        "dagster_home": "/tmp/dagster",  # noqa: S108
        "instance_config_map": "egress-instance",
        "env_config_maps": ["egress"],  # EGRESS_ENV, EGRESS_CATALOG, DAGSTER_PG_HOST, ...
        "env_secrets": ["egress"],  # by reference: `env_vars` would copy values into every Job
        "run_k8s_config": {
            "container_config": {
                "security_context": {
                    "allow_privilege_escalation": False,
                    "read_only_root_filesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "resources": {"requests": {"cpu": "500m", "memory": "512Mi"}, "limits": {"memory": "2Gi"}},
                "volume_mounts": [{"name": "tmp", "mount_path": "/tmp"}],  # noqa: S108
            },
            "pod_spec_config": {
                "automount_service_account_token": False,  # Dagster's Jobs have it on otherwise
                "security_context": {"run_as_non_root": True, "seccomp_profile": {"type": "RuntimeDefault"}},
                "volumes": [{"name": "tmp", "empty_dir": {"size_limit": "10Gi"}}],
            },
            "job_spec_config": {"ttl_seconds_after_finished": 3600},  # the default of a day piles up pods
        },
    }


def _env(name: str) -> dict[str, str]:
    return {"env": name}


def _part(module: str, name: str, **config: Any) -> dict[str, Any]:
    return {"module": module, "class": name, "config": config}


def rendered() -> dict[Path, str]:
    """The files' text by path."""
    files = {ROOT / "dagster.yaml": local(), ROOT / "deploy" / "dagster.yaml": cluster()}
    return {path: HEAD + yaml.safe_dump(value, sort_keys=False, width=120) for path, value in files.items()}


def main(arguments: list[str]) -> int:
    files = rendered()
    if "--check" not in arguments:
        for path, text in files.items():
            path.write_text(text)
        return 0
    stale = [path for path, text in files.items() if not path.is_file() or path.read_text() != text]
    for path in stale:
        print(f"{path.relative_to(ROOT)} is not what deploy/instance.py renders", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
