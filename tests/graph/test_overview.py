"""The asset that is `egress status` in the UI: the worst in front, counts that plot, a picture, all of it bounded."""

import base64
import re
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree as ET

import dagster as dg
import pytest

from egress_assets import overview
from egress_assets.engine.drift import Drift
from egress_assets.engine.evidence.proofs import Event, Hold
from egress_assets.engine.layout import Unit, mirror_unit
from egress_assets.engine.status import WORST, Row, State

AT = datetime(2026, 11, 20, 7, tzinfo=UTC)
HOLD = Hold(True, Event("hold", "recipient/acme", "amy", "complaint <7>", "n1", 1_795_000_000_000_000))
GONE = Drift(mirror_unit("old"), "", "", 3, "2026-11-01", "2026-11-03")


def row(state: State, date: str = "2026-11-19", unit: str = "m", detail: str = "") -> Row:
    return Row("shop", date, mirror_unit(unit), state, detail, rows=5, bytes=50)


def records(table: Any) -> list[dict[str, Any]]:
    return [dict(record.data) for record in table.records]


def svg(markdown: str) -> ET.Element:
    (first, *_) = re.findall(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)", markdown)
    return ET.fromstring(base64.b64decode(first).decode())


def test_the_worst_comes_first_then_the_newest():
    rows = [row("done"), row("late", "2026-11-18"), row("late"), row("failed", "2026-11-13"), row("missed")]
    shown = records(overview.metadata(rows, [], [], AT)["status"])
    assert [(r["state"], r["date"]) for r in shown] == [
        ("failed", "2026-11-13"), ("missed", "2026-11-19"), ("late", "2026-11-19"), ("late", "2026-11-18"),
        ("done", "2026-11-19"),
    ]  # fmt: skip
    assert (shown[0]["dataset"], shown[0]["unit"], shown[0]["rows"], shown[0]["bytes"]) == ("shop", "mirror/m", 5, 50)


def test_every_state_has_a_number_each_time_so_that_plots_have_no_gaps():
    told = overview.metadata([row("done"), row("done"), row("late")], [], [], AT)
    counts = {name.removeprefix("state/"): n for name, n in told.items() if name.startswith("state/")}
    assert set(counts) == set(WORST) == set(overview.COLOURS)
    assert (counts["done"], counts["late"], counts["failed"], told["rows"]) == (2, 1, 0, 3)


def test_holds_are_told_with_reason_and_who_and_drift_with_its_dates():
    told = overview.metadata([row("held")], [HOLD], [GONE], AT)
    assert records(told["holds"]) == [
        {"held": "recipient/acme", "by": "amy", "since": "2026-11-18T11:06:40Z", "reason": "complaint <7>"}
    ]
    assert records(told["not_in_the_catalog"])[0]["what"] == "mirror/old"
    assert {"holds", "not_in_the_catalog"}.isdisjoint(overview.metadata([row("done")], [], [], AT))


def test_the_table_is_bounded_and_keeps_the_worst():
    rows = [row("done", unit=f"m{n}") for n in range(1000)] + [row("failed", unit="last")]
    told = overview.metadata(rows, [], [], AT)
    assert len(records(told["status"])) == overview.ROWS
    assert records(told["status"])[0]["unit"] == "mirror/last"
    assert told["rows"] == 1001


def test_the_picture_is_an_image_with_a_cell_a_date_and_a_line_a_unit():
    rows = [row(state, f"2026-11-1{n}", unit) for unit in ("a", "b") for n, state in enumerate(("done", "failed"))]
    drawn = svg(overview.picture(rows))
    cells = {e.get("fill"): (e.get("d") or "").count("M") for e in drawn.iter() if e.tag.endswith("path")}
    assert cells == {overview.COLOURS["failed"]: 2, overview.COLOURS["done"]: 2}
    texts = [e.text for e in drawn.iter() if e.tag.endswith("text")]
    assert texts == ["10", "11", "mirror/a", "mirror/b", "failed", "done"]


def test_names_can_break_neither_picture_nor_markdown():
    unit = Unit("mirror", ('</text><script>alert("x")</script>](x)',))
    drawn = svg(overview.picture([Row("shop", "2026-11-19", unit, "failed", "<b>")]))
    assert not [e for e in drawn.iter() if "script" in e.tag]


def test_the_picture_has_the_worst_units_when_there_are_too_many():
    rows = [row("done", unit=f"m{n}") for n in range(200)] + [row("failed", unit="last")]
    titles = [e.text for e in svg(overview.picture(rows)).iter() if e.tag.endswith("text")]
    assert len(titles) == overview.UNITS + 3, "the date above, two states below"
    assert "mirror/last" in titles
    assert len(overview.picture(rows)) < 16_000


def test_nothing_at_all_is_a_picture_too():
    assert overview.summary([]) == "all well: 0 rows"
    assert svg(overview.picture([]) + "![x](data:image/svg+xml;base64,PHN2Zy8+)") is not None


@pytest.mark.parametrize(
    "other",
    [
        ([row("late")], [HOLD], [GONE]),
        ([row("done", detail="x")], [HOLD], [GONE]),
        ([row("done")], [], [GONE]),
        ([row("done")], [HOLD], [GONE.also("2026-11-04")]),
    ],
)
def test_content_changes_with_whatever_is_shown(other: Any):
    assert overview.content(*other) != overview.content([row("done")], [HOLD], [GONE])
    assert overview.content(*other) == overview.content(*other)


def test_the_summary_names_what_is_not_well():
    rows = [row("done"), row("late"), row("late"), row("failed"), row("due")]
    assert overview.summary(rows) == "1 failed, 2 late"
    assert overview.summary([row("done"), row("delivered")]) == "all well: 2 rows"


def test_the_asset_stands_apart_from_the_datasets(defs: dg.Definitions):
    node = defs.resolve_asset_graph().get(overview.KEY)
    assert (node.group_name, node.is_executable, node.partitions_def) == ("egress", False, None)
