"""The benchmark of the dump runs, measures what it says, and its limits bind."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture
def report(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from dumping import report

    return report


def rounds(*seconds, own=50.0, child=70.0):
    from dumping.measuring import Measured

    return {n: Measured(s, s / 2, own, child) for n, s in enumerate(seconds)}


def table(report, name, taken, **fields):
    """One contender over a floor of 4 s, a start of 0.5 s and our two workers' 3 s."""
    from dumping.contenders import Contender

    contender = Contender(name, "does", command=None, **fields)  # type: ignore[arg-type]
    line = report.Line(contender, taken, rounds(4, 4, 4), rounds(0.5, 0.5, 0.5), rounds(3, 3, 3))
    return report.Table("here", "mixed", [line])


@pytest.mark.parametrize(("seconds", "verdicts"), [(5.0, []), (5.4, [False]), (5.8, [True])])
def test_one_worker_has_a_target_and_a_limit_over_the_floor_less_start(report, seconds, verdicts):
    found = table(report, report.ONE, rounds(seconds, seconds, 99), workers=1)
    assert [verdict.is_failure for verdict in found.verdicts()] == verdicts
    assert f"**{seconds:.2f}** ({seconds:.2f} to 99.00)" in str(found)


def test_a_process_above_its_memory_fails(report):
    (verdict,) = table(report, report.ONE, rounds(4, 4, 4, child=90.0), workers=1).verdicts()
    assert verdict.is_failure
    assert "90 MB; 84 is the most" in verdict.said
    assert not list(table(report, report.OWN_PARQUET, rounds(4, 4, 4, child=200.0), workers=1).verdicts())
    (verdict,) = table(report, report.OWN_PARQUET, rounds(4, 4, 4, child=250.0), workers=1).verdicts()
    assert "250 MB; 234 is the most" in verdict.said


def test_a_peer_must_take_its_multiple_of_our_time_and_may_be_missing(report):
    assert not list(table(report, "psql, gzip, aws 1", rounds(8, 8, 8)).verdicts())
    (verdict,) = table(report, "psql, gzip, aws 1", rounds(7, 7, 7)).verdicts()
    assert (verdict.is_failure, "2.33 x our two workers; 2.5" in verdict.said) == (True, True)
    missing = table(report, "sling", {})
    assert not list(missing.verdicts())


def test_what_we_could_not_do_ourselves_is_a_failure(report):
    (verdict,) = table(report, report.TWO, {}, workers=2).verdicts()
    assert verdict.is_failure


def test_the_page_is_changed_between_its_markers_only(report, tmp_path):
    page = tmp_path / "benchmarks.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.written(page, [table(report, report.ONE, rounds(4, 4, 4), workers=1)], "told")
    text = page.read_text()
    assert text.startswith(f"before\n{report.BEGIN}\ntold\n")
    assert text.endswith(f"|\n{report.END}\nafter\n")
    assert "old\n" not in text.replace("told\n", "")


def test_it_dumps_both_tables_of_a_server_beside_psql():
    """Small tables are all start, so its verdict may be either; a wrong number of rows would be told."""
    command = [sys.executable, str(BENCHMARKS / "dump.py"), "--rows", "3000", "--rounds", "1"]
    command += ["--servers", "embedded", "--peers", "none"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=os.environ.copy(), check=False)
    assert done.returncode in (0, 1), done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("| egress, ")]
    assert len(lines) >= 6, done.stdout
    assert not [line for line in lines if "failed" in line]


def test_the_sink_keeps_small_notes_and_throws_rows_away(report):
    from dumping import servers

    with servers.s3("-null") as sink:
        for name, size in (("note", 1024), ("rows", 1025)):
            urllib.request.urlopen(urllib.request.Request(f"{sink}/b/{name}", b"x" * size, method="PUT")).close()
        with urllib.request.urlopen(f"{sink}/b/note") as answer:
            assert answer.read() == b"x" * 1024
        with urllib.request.urlopen(urllib.request.Request(f"{sink}/b/rows", method="HEAD")) as answer:
            assert answer.headers["Content-Length"] == "1025"
        with pytest.raises(urllib.error.HTTPError, match="410"):
            urllib.request.urlopen(f"{sink}/b/rows")
