"""Memory does not grow with the data: a table goes through every stage within a fixed bound."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = Path(__file__).resolve().parents[3] / "benchmarks" / "memory.py"


def measured(megabytes: int) -> str:
    done = subprocess.run([sys.executable, COMMAND, str(megabytes)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_table_of_a_quarter_gigabyte_needs_less_than_200_mb_in_every_stage():
    said = measured(250)
    assert said.count("\n") >= 8, said
    assert "worst" in said


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_table_of_two_gigabytes_needs_less_than_200_mb_in_every_stage():
    assert "worst" in measured(2000)
