"""What a person does in Dagster's UI, in words that the tests share. Things are found by what is written on them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from tests.live import ROOT, Live

PICTURES = ROOT / "docs" / "images"
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
WRITE = os.environ.get("EGRESS_SCREENSHOTS") == "write"
"""A plain run leaves the tree alone; with it, the pictures of README and docs are made anew."""
LARGEST = 300_000  # bytes of a picture
RUN = 180_000  # ms that a run may take on a machine that has other work

GRAPH = """() => {
  const box = f => ({x: f.x.baseVal.value, y: f.y.baseVal.value, w: f.width.baseVal.value,
    text: f.firstElementChild.innerText, links: [...f.querySelectorAll('a')].map(a => a.getAttribute('href'))});
  return {nodes: [...document.querySelectorAll('foreignObject')].map(box),
          edges: [...document.querySelectorAll('path[marker-end]')].map(p => p.getAttribute('d'))};
}"""
"""Nodes and edges as drawn: an edge starts at its parent's right side and ends left of its child."""
WITHIN = """nodes => {
  const boxes = [...document.querySelectorAll('foreignObject')].map(f => f.getBoundingClientRect());
  return boxes.length === nodes && boxes.every(b => b.top > 160 && b.bottom < innerHeight);
}"""


@dataclass(frozen=True, slots=True)
class Node:
    """One box of the lineage: its title, the rest of its text, the asset key that it links to."""

    name: str
    text: str
    key: str


@dataclass(frozen=True, slots=True)
class Ui:
    page: Page
    dagster: Live
    folder: Path

    def open(self, path: str) -> None:
        self.page.goto(f"{self.dagster.url}{path}")

    def asset(self, key: str, view: str = "overview", **query: str) -> None:
        more = "".join(f"&{name}={value}" for name, value in query.items())
        self.open(f"/assets/{key}?view={view}{more}")

    def sees(self, *texts: str | re.Pattern[str]) -> None:
        for text in texts:
            expect(self.page.get_by_text(text).first).to_be_visible()

    @property
    def text(self) -> str:
        return self.page.inner_text("body")

    @property
    def dialog(self) -> Locator:
        return self.page.get_by_role("dialog")

    def picture(self, name: str, above: str = "") -> None:
        """The page as a file, down to the text `above`: of the docs when they show it and are to be written, else of
        this test."""
        shown = WRITE and any(f"images/{name}.png" in page.read_text() for page in DOCUMENTS)
        file = (PICTURES if shown else self.folder) / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        self.page.mouse.move(0, 0)
        end = self.page.get_by_text(above).first.bounding_box() if above else None
        height = end["y"] if end else 950
        self.page.screenshot(path=file, animations="disabled", clip={"x": 0, "y": 0, "width": 1500, "height": height})
        assert file.stat().st_size < LARGEST, f"{file} has {file.stat().st_size} bytes"

    # -------------------------------------------------------------------------------------------------------- lineage
    def lineage(self, group: str, nodes: int) -> Mapping[Node, set[Node]]:
        """Children by node of a group's picture, zoomed out until all `nodes` of it are drawn."""
        self.open(f"/locations/egress/asset-groups/{group}/lineage")
        self.page.locator("foreignObject").first.wait_for()
        self._zoom_out(lambda: self.page.locator("foreignObject").count() >= nodes)
        expect(self.page.locator("foreignObject")).to_have_count(nodes)
        expect(self.page.get_by_text("Loading...")).to_have_count(0)
        return _edges(self.page.evaluate(GRAPH))

    def all_in_view(self, nodes: int) -> None:
        """The open lineage, as far away as it takes to see each box whole."""
        self._zoom_out(lambda: self.page.evaluate(WITHIN, nodes))

    def _zoom_out(self, enough: Callable[[], bool]) -> None:
        for _ in range(40):
            if enough():
                return
            self.page.get_by_role("img", name="zoom_out").click()
            self.page.wait_for_timeout(300)  # the zoom's animation
        raise AssertionError("zoomed out as far as it goes")

    # ----------------------------------------------------------------------------------------------------------- runs
    def materialise(self, *, dates: str = "", button: str = "Materialize") -> str:
        """By the button and its dialog: the newest date, or `dates` as the dialog's field takes them. The run's id,
        or the backfill's."""
        self.page.get_by_role("button", name=re.compile(button)).first.click()
        if dates:
            self.dialog.get_by_role("textbox").first.fill(dates)
            self.dialog.get_by_role("textbox").first.press("Enter")
        else:
            self.dialog.get_by_role("button", name="Latest", exact=True).click()
        self.dialog.get_by_role("button", name=re.compile("^Launch ")).click()
        view = self.page.get_by_role("link", name="View", exact=True)
        where = view.get_attribute("href") or ""
        view.click()
        self.page.wait_for_url(f"**{where}*")
        return where.rpartition("/")[2]

    def run(self, run_id: str, logs: str = "") -> None:
        """The run's page; of its log, which only draws what is in view, the lines with `logs` in them."""
        self.open(f"/runs/{run_id}" + (f"?logs={logs}" if logs else ""))

    def failure(self, run_id: str) -> str:
        """What the page of a failed run says of the step that failed, from its first line on."""
        self.run(run_id, "type:STEP_FAILURE")
        self.ends("Failure")
        row = self.page.get_by_text("STEP_FAILURE").first
        row.wait_for()
        return self.text.split("STEP_FAILURE", 1)[1].strip()

    def ends(self, status: str) -> None:
        """The open run's page says so by itself, without a reload."""
        expect(self.page.get_by_text(status, exact=True).first).to_be_visible(timeout=RUN)


def _edges(drawn: dict) -> Mapping[Node, set[Node]]:
    boxes = [(box, _node(box)) for box in drawn["nodes"]]
    children: dict[Node, set[Node]] = {node: set() for _, node in boxes}
    for path in drawn["edges"]:
        numbers = [float(number) for number in re.findall(r"-?[0-9.]+", path)]
        (x, y), (to_x, to_y) = numbers[:2], numbers[-2:]
        parent = _at(boxes, lambda box, x=x: abs(box["x"] + box["w"] - x) < 20, y)
        child = _at(boxes, lambda box, x=to_x: abs(box["x"] - x) < 20, to_y)
        children[parent].add(child)
    return children


def _at(boxes: list, beside, y: float) -> Node:
    """The box whose side is there; heights overlap a little, so the nearest middle counts."""
    near = [(abs(box["y"] + 110 - y), node) for box, node in boxes if beside(box)]
    assert near, "an edge ends nowhere"
    return min(near, key=lambda pair: pair[0])[1]


def _node(box: dict) -> Node:
    keys = [link.removeprefix("/assets/").split("?")[0] for link in box["links"] if link.startswith("/assets/")]
    return Node(box["text"].split("\n")[0], box["text"], keys[0] if keys else "")
