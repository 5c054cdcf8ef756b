"""The README's first screen is kept true: the demo's output, the commands, the links, the tests it names."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def shape(line: str) -> str:
    """A line without what differs from run to run: digits, digests, sizes, times, padding."""
    line = re.sub(r"[0-9]{8}T[0-9]{9}-[0-9a-f]{8}", "ATTEMPT", line)
    line = re.sub(r"[0-9][0-9.,:]*( [kMG]?B)?", "9", line)
    return re.sub(r"\s+", " ", line).strip()


def shown() -> list[str]:
    """The lines of the README's excerpt, without those that say that something was left out."""
    block = README.split("<!-- demo:")[1].split("```")[1]
    return [line for line in block.splitlines() if line.strip() and line.strip() != "..."]


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """A sandbox and a Dagster instance of its own, as on a fresh machine."""
    home = tempfile.mkdtemp(prefix="egress-r-", dir="/var/tmp")
    Path(home).chmod(0o711)
    dagster = Path(home, "dagster")
    dagster.mkdir()
    (dagster / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text().replace(".egress", str(dagster)))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EGRESS_")}
    yield kept | {"EGRESS_SANDBOX_DIR": f"{home}/s", "DAGSTER_HOME": str(dagster)}
    subprocess.run(
        [sys.executable, "-c", "from egress_assets.sandbox import remove; remove()"],
        env={**kept, "EGRESS_SANDBOX_DIR": f"{home}/s"}, check=True,
    )  # fmt: skip
    shutil.rmtree(home)


@pytest.fixture(scope="module")
def demos(environment: dict[str, str]) -> list[str]:
    """What two demos in a row print."""
    said = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-m", "egress_assets.cli", "demo"], env=environment, capture_output=True, text=True,
            timeout=240, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        said.append(done.stdout)
    return said


def test_the_demo_prints_what_the_readme_shows(demos: list[str]) -> None:
    printed = {shape(line) for line in demos[0].splitlines()}
    assert len(shown()) > 15
    assert [line for line in shown() if shape(line) not in printed] == []


def test_the_second_demo_transfers_nothing_and_says_so(demos: list[str]) -> None:
    assert "nothing was transferred" not in demos[0]
    assert "nothing was transferred" in demos[1]


def test_every_command_of_the_readme_exists(environment: dict[str, str]) -> None:
    verbs = set(re.findall(r"`?egress ([a-z][a-z-]+)", README))
    assert {"scrub", "mirror", "deliver", "verify", "status", "plan", "check"} <= verbs
    for verb in verbs:
        done = subprocess.run(
            [sys.executable, "-m", "egress_assets.cli", verb, "--help"], capture_output=True, check=False
        )
        assert done.returncode == 0, verb
    for target in set(re.findall(r"`?make ([a-z-]+)", README)):
        assert f"\n{target}:" in (ROOT / "Makefile").read_text(), target


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "SECURITY.md", *sorted(
    str(p.relative_to(ROOT)) for p in (ROOT / "docs").glob("*.md"))])  # fmt: skip
def test_every_link_leads_somewhere(document: str) -> None:
    text = (ROOT / document).read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith("http"):
            assert (ROOT / document).parent.joinpath(target).exists(), f"{document} links to {target}"
