"""What loading costs, and what must not be loaded at all. Each in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.graph.conftest import ENDPOINTS

ROOT = Path(__file__).resolve().parents[2]


def python(code: str, **environment: str) -> str:
    import os

    env = {**os.environ, **environment}
    for name in ("EGRESS_ENV", "COVERAGE_PROCESS_START"):
        env.pop(name, None)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=env, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_500_tables_load_in_less_than_5_seconds_of_cpu(tmp_path: Path):
    """CPU seconds, since other processes share the machine. Loaded anew by the code server and by every run."""
    (tmp_path / "endpoints.yaml").write_text(ENDPOINTS)
    for n in range(50):
        tables = "".join(f"  public.t{n}_{m}: {{id: keep, email: email, name: name}}\n" for m in range(10))
        (tmp_path / f"set{n}.yaml").write_text(
            f"source: shop_db\nstart: 2026-03-01\nschedule: '02:15'\nscrub: {{key: {{env: K}}}}\ntables:\n{tables}"
            f"mirrors:\n  set{n}: {{to: ceph}}\ndeliveries:\n  acme/set{n}: {{from: public.t{n}_1}}\n"
        )
    code = (
        "import time; from egress_assets.definitions import defs; "
        "keys = defs.resolve_asset_graph().get_all_asset_keys(); print(len(keys), time.process_time())"
    )
    assets, seconds = python(code, EGRESS_CATALOG=str(tmp_path)).split()
    assert int(assets) == 500 + 50 * 3 + 1 + 3  # tables, sources, mirrors, deliveries, the overview, buckets
    assert float(seconds) < 5, f"{seconds} s"


@pytest.mark.parametrize(
    "module",
    [
        "egress_assets.engine.platform",
        "egress_assets.engine.dump.run",
        "egress_assets.engine.scrub.run",
        "egress_assets.engine.mirror.run",
        "egress_assets.engine.delivery.run",
        "egress_assets.cli",
        "egress_assets.cli.serve_trigger",
        "egress_assets.sandbox",
        "egress_assets.sandbox.dev",
        "egress_assets.sandbox.provider",
    ],
)
def test_the_engine_the_cli_and_the_sandbox_load_neither_dagster_nor_pandas(module: str):
    code = f"import sys, {module}; print(*({{'dagster', 'pandas', 'resources', 'sensors'}} & set(sys.modules)))"
    assert python(code).split() == []


def test_loading_definitions_loads_no_pandas_no_cloud_client_and_no_data_plane_and_starts_nothing(tmp_path: Path):
    code = (
        "import sys; import egress_assets.definitions; "
        "heavy = ('pandas', 'numpy', 'pyarrow', 'boto3', 'botocore', 'kubernetes', 'cryptography', 'dagster_aws', "
        "'dagster_k8s', 'dagster_postgres', 'dagster_webserver', 'egress_assets.sandbox', "
        "'egress_assets.engine.dump.run', 'egress_assets.engine.scrub.run', 'egress_assets.engine.mirror.run'); "
        "print(*(set(heavy) & set(sys.modules)))"
    )
    assert python(code, EGRESS_SANDBOX_DIR=str(tmp_path / "sandbox")).split() == []
    assert not (tmp_path / "sandbox").exists()


def test_loading_definitions_prints_no_warning():
    code = "import egress_assets.definitions"
    done = subprocess.run([sys.executable, "-W", "always", "-c", code], capture_output=True, text=True, cwd=ROOT)
    ours = [line for line in done.stderr.splitlines() if "PreviewWarning" in line or "BetaWarning" in line]
    assert done.returncode == 0
    assert ours == []


def test_help_of_the_trigger_loads_no_server():
    code = "import sys, egress_assets.cli.serve_trigger; print(*({'asyncio', 'http.client', 'ssl'} & set(sys.modules)))"
    assert python(code).split() == []


def test_dagsters_own_command_loads_the_location_from_the_repositorys_root():
    """What `dagster dev` would load: workspace.yaml, by its name."""
    binary = Path(sys.executable).with_name("dagster")
    done = subprocess.run([binary, "definitions", "validate"], capture_output=True, text=True, cwd=ROOT, timeout=240)
    assert done.returncode == 0, done.stderr
    assert "egress" in done.stdout + done.stderr
