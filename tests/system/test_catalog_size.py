"""Long: what 1,000 assets of 1,000 dates cost is not beyond use. The figures are in docs/benchmarks.md."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.soak
def test_1000_assets_of_1000_dates_are_not_beyond_use():
    command = [sys.executable, str(ROOT / "benchmarks" / "catalog_size.py")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=3600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
