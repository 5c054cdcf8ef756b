"""Pictures: small, well-formed whatever they are given, and safe to show."""

from __future__ import annotations

import base64
from datetime import date, timedelta
from xml.etree import ElementTree

import pytest

from egress_assets import pictures

SVG = "{http://www.w3.org/2000/svg}"
MONTH = {(date(2026, 11, 1) + timedelta(days=n)).isoformat(): (n + 1) * 10**9 for n in range(30)}
HOSTILE = ["<script>alert(1)</script>", '"/><x y="', "a & b", "😀 Ü\n|`", "]]>", "x" * 10_000]


def texts(svg: str) -> list[str]:
    return [node.text or "" for node in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_a_month_has_a_column_a_day_and_the_last_one_stands_out():
    svg = pictures.days(MONTH)
    before, own = [node.attrib for node in ElementTree.fromstring(svg).iter(f"{SVG}path")]
    assert (before["d"].count("M"), own["d"].count("M")) == (29, 1)
    assert before["fill"] != own["fill"]
    assert texts(svg) == ["bytes a day, 2026-11-01 .. 2026-11-30, at most 30.0 GB"]
    assert len(pictures.markdown(svg, "bytes a day")) < 4096


def test_columns_are_as_high_as_their_bytes_and_stay_within_the_picture():
    svg = pictures.days({"2026-11-01": 50, "2026-11-02": 100, "2026-11-03": 0})
    heights = [int(part.split("v")[1].split("h")[0]) for part in svg.split("M")[1:]]
    assert heights[1] == 2 * heights[0] == pictures._TOP - pictures.HEIGHT
    assert heights[2] == -1  # a day without bytes is still a day


@pytest.mark.parametrize(("values", "text"), [({}, "no date, at most 0 B"), ({"2026-11-01": 0}, "2026-11-01, at most")])
def test_nothing_to_draw_is_a_picture_too(values: dict[str, int], text: str):
    assert text in texts(pictures.days(values))[0]


def test_the_bar_is_divided_as_the_time_was_and_names_every_part():
    svg = pictures.parts({"lock": 1.0, "scrub": 2.0, "gate": 1.0})
    bars = [float(n.attrib["width"]) for n in ElementTree.fromstring(svg).iter(f"{SVG}rect") if n.attrib["y"] == "18"]
    assert bars == [pictures.WIDTH / 4, pictures.WIDTH / 2, pictures.WIDTH / 4]
    assert texts(svg) == ["where 4.00 s went", "lock 1.00 s", "scrub 2.00 s", "gate 1.00 s"]


def test_many_parts_become_the_longest_and_the_rest():
    shown = texts(pictures.parts({f"phase{n}": float(n) for n in range(20)}))
    assert len(shown) == 1 + 7
    assert shown[-1] == f"other {sum(range(14)):.2f} s"
    assert shown[0] == f"where {sum(range(20)):.2f} s went"


def test_a_run_that_took_no_time_has_a_bar():
    assert ElementTree.fromstring(pictures.parts({"compare": 0.0})) is not None
    assert ElementTree.fromstring(pictures.parts({})) is not None


@pytest.mark.parametrize("text", HOSTILE)
def test_text_from_outside_stays_text(text: str):
    for svg in (pictures.days({text: 5, "2026-11-02": 6}), pictures.parts({text: 1.0})):
        root = ElementTree.fromstring(svg)
        assert {node.tag for node in root.iter()} <= {f"{SVG}{tag}" for tag in ("svg", "text", "rect", "path")}
        assert not any(name.startswith("on") for node in root.iter() for name in node.attrib)
        assert len(svg) < 12_000


def test_markdown_is_one_image_whose_alternative_text_can_not_end_it():
    svg = pictures.days(MONTH)
    found = pictures.markdown(svg, "](javascript:x)![")
    assert found.count("](") == 1
    head, _, encoded = found.partition("base64,")
    assert head == "![  javascript:x   ](data:image/svg+xml;"
    assert base64.b64decode(encoded.removesuffix(")")).decode() == svg


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (2_500_000, "2.5 MB"), (10**19, "10000.0 PB")]
)
def test_sizes_are_for_people(number: int, text: str):
    assert pictures.size(number) == text
