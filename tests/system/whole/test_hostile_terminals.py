"""Where the command runs: signals while it waits, streams that are closed or full, encodings, folders that are gone.

None of these may change what a run does, end in a traceback, or tell a success that was none.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

ODD = "uni.é🦆"


@pytest.fixture(scope="module")
def dumped(servers, make_hostile, tmp_path_factory):
    """A dump of a table whose name no ASCII terminal can show."""
    made = make_hostile(servers, tmp_path_factory.mktemp("terminals"))
    made.execute(
        "CREATE SCHEMA uni",
        'CREATE TABLE uni."é🦆" (id int)',
        "GRANT USAGE ON SCHEMA uni TO egress_reader",
        'GRANT SELECT ON uni."é🦆" TO egress_reader',
    )
    made.dataset("uni", {ODD: {}}, dump={"format": "csv"})
    made.done("dump", "uni")
    return made


@pytest.mark.parametrize(("verb", "number"), [("verify", signal.SIGINT), ("status", signal.SIGTERM)])
def test_a_signal_ends_a_verb_that_waits_for_a_silent_store(dumped, hostile, fault, verb, number):
    hostile.overlay(stores={"evidence": {**fault.settings, "prefix": ""}})
    hostile.write("uni", (dumped.catalog / "uni.yaml").read_text())
    fault.fault("ListObjects", "GetObject", action="hang", ms=30_000)
    with hostile.begin(verb, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as waiting:
        ends = time.monotonic() + 20
        while not fault.control("counts") and time.monotonic() < ends:
            time.sleep(0.05)
        began = time.monotonic()
        waiting.send_signal(number)
        out, err = waiting.communicate(timeout=20)
    assert (waiting.returncode, out, err.strip()) == (128 + number, b"", b"")
    assert time.monotonic() - began < 5


def test_who_reads_no_further_ends_the_telling_and_not_the_work(dumped):
    for verb in (["status"], ["verify", "--json"], ["--help"]):
        with dumped.begin(*verb, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as telling:
            telling.stdout.close()
            said = telling.stderr.read().decode()
        assert telling.returncode == 141, verb
        assert "error" not in said
    with dumped.begin("dump", "uni", "--again", "--json", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as telling:
        telling.stderr.close()
        assert json.loads(telling.stdout.read())["how"] == "unchanged"
    assert telling.returncode == 0, "nobody listens to progress: the run goes on"


def test_a_result_that_can_not_be_written_is_an_error(dumped):
    with Path("/dev/full").open("wb") as full:
        for verb in (["verify"], ["status", "--json"], ["--help"]):
            with dumped.begin(*verb, stdout=full, stderr=subprocess.PIPE) as telling:
                said = telling.stderr.read().decode()
            assert telling.returncode == 1, verb
            assert "error: the result can't be written to stdout: No space left on device\nHINT: " in said
            assert "Traceback" not in said
        for verb, code in ((["dump", "uni", "--again"], 0), (["dump", "nowhere"], 10)):
            with dumped.begin(*verb, stdout=subprocess.DEVNULL, stderr=full) as telling:
                telling.wait(60)
            assert telling.returncode == code, verb
        with dumped.begin("dump", "nowhere", "--json", stdout=full, stderr=subprocess.PIPE) as telling:
            assert "error: 'nowhere' is not a dataset" in telling.stderr.read().decode()
        assert telling.returncode == 10, "the error itself counts, not that it was hard to tell"


def test_closed_streams_are_no_matter_and_no_socket_takes_their_place(dumped):
    """What is printed must not reach a store that got the number of a closed stream."""
    for closed in ((0, 1, 2), (2,)):
        with dumped.begin(
            "dump", "uni", "--again", preexec_fn=lambda closed=closed: [os.close(n) for n in closed]
        ) as it:
            it.wait(60)
        assert it.returncode == 0, closed
    assert dumped.done("verify")["ok"]


@pytest.mark.parametrize(
    "variables",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
)
def test_names_that_the_encoding_lacks_are_told_by_their_escapes(dumped, variables):
    said = dumped.run("dump", "uni", "--again", **variables)
    assert said.code == 0, said.all
    assert "\\U0001f986" in said.out
    assert ODD in json.loads(dumped.run("dump", "uni", "--json", **variables).out)["tables"]
    assert dumped.refused(dumped.run("dump", "🦆", **variables), 10, "is not a dataset").err.isascii()


def test_bytes_that_are_no_text_are_told_by_their_escapes(dumped):
    said = dumped.run("dump", os.fsdecode(b"\xff\xfe"))
    dumped.refused(said, 10, "is not a dataset")
    assert "error" in json.loads(dumped.run("dump", os.fsdecode(b"\xff\xfe"), "--json").out)


def test_the_working_folder_and_home_don_t_matter(dumped, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    homeless = {name: value for name, value in dumped.environment.items() if name != "HOME"}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    for where, environment in (("/proc", homeless), (gone, dumped.environment)):
        command = ["dump", "uni", "--again"]
        leave = gone.rmdir if where == gone else None
        with dumped.begin(*command, cwd=where, env=environment, preexec_fn=leave, **streams) as run:
            said = run.stdout.read().decode()
        assert run.returncode == 0, said
    without = {**dumped.environment, "EGRESS_CATALOG": "catalog"}
    gone.mkdir()
    with dumped.begin("check", cwd=gone, env=without, preexec_fn=gone.rmdir, **streams) as run:
        said = run.stdout.read().decode()
    assert (run.returncode, "error: catalog folder catalog is not there\nHINT: " in said) == (10, True), said


def test_narrow_terminals_and_colours_lose_nothing(dumped):
    narrow = dumped.run("status", COLUMNS="20").out
    assert narrow == dumped.run("status", COLUMNS="200").out
    assert "dump/uni  done" in narrow
    assert dumped.run("--help", COLUMNS="1").code == 0
    assert "\x1b[3" in dumped.run("status", FORCE_COLOR="1").out
    assert "\x1b[3" not in dumped.run("status", FORCE_COLOR="1", NO_COLOR="1").out


def test_a_clock_that_can_not_be_read_is_told(dumped):
    variables = {"EGRESS_ENV": "sandbox", "EGRESS_SANDBOX_DIR": str(dumped.sandbox.state.folder)}
    dumped.refused(dumped.run("status", EGRESS_NOW="yesterday", **variables), 10, "EGRESS_NOW is 'yesterday'")
    dumped.refused(dumped.run("status", EGRESS_ENV="produktion"), 10, "EGRESS_ENV is 'produktion'")
