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
    """What is written: the line above, then each name in the legend."""
    root = ElementTree.fromstring(svg)
    return [node.text for name in ("text", "tspan") for node in root.iter(f"{SVG}{name}") if node.text]


def drawn(svg: str) -> list[dict[str, str]]:
    return [dict(node.attrib) for node in ElementTree.fromstring(svg).iter(f"{SVG}path")]


def test_a_month_has_a_column_a_day_and_the_last_one_stands_out():
    svg = pictures.days(MONTH)
    before, own = drawn(svg)
    assert (before["d"].count("v"), own["d"].count("v")) == (29, 1)
    assert before["stroke"] != own["stroke"]
    assert own["d"].startswith(f"M{pictures.WIDTH - 8} ")
    assert texts(svg) == ["bytes a day, 2026-11-01 .. 2026-11-30, at most 30.0 GB"]


def test_columns_are_as_high_as_their_bytes_and_stay_within_the_picture():
    before, own = drawn(pictures.days({"2026-11-01": 50, "2026-11-02": 100, "2026-11-03": 0}))
    assert before["d"] == "M8 80v-31m16 31v-62m16 62"
    assert own["d"] == "M40 80v-1"  # a day without bytes is still a day


@pytest.mark.parametrize(("values", "text"), [({}, "no date, at most 0 B"), ({"2026-11-01": 0}, "2026-11-01, at most")])
def test_nothing_to_draw_is_a_picture_too(values: dict[str, int], text: str):
    assert text in texts(pictures.days(values))[0]


def test_the_bar_is_divided_as_the_time_was_and_names_every_part_in_its_colour():
    svg = pictures.parts({"lock": 1.0, "scrub": 2.0, "gate": 1.0})
    assert [part["d"] for part in drawn(svg)] == ["M0 27h120", "M120 27h240", "M360 27h120"]
    assert texts(svg) == ["where 4.00 s went", "lock 1.00", "scrub 2.00", "gate 1.00"]
    legend = [node.attrib["fill"] for node in ElementTree.fromstring(svg).iter(f"{SVG}tspan")]
    assert legend == [part["stroke"] for part in drawn(svg)]


def test_many_parts_become_the_longest_and_the_rest():
    shown = texts(pictures.parts({f"phase{n}": float(n) for n in range(20)}))
    assert shown[1:] == [
        "phase16 16.00",
        "phase17 17.00",
        "phase18 18.00",
        "phase19 19.00",
        f"other {sum(range(16))}.00",
    ]


def test_pictures_are_short_enough_to_be_shown_at_once():
    month = {day: 10**18 + n * 10**15 for n, day in enumerate(MONTH)}
    hours = {f"phase{n}{n}{n}": 86_400.0 + n for n in range(5)}
    for svg in (pictures.days(month), pictures.parts(hours)):
        assert len(pictures.markdown(svg, "where the time went")) < pictures.SHOWN


def test_a_run_that_took_no_time_has_a_bar():
    assert ElementTree.fromstring(pictures.parts({"compare": 0.0})) is not None
    assert ElementTree.fromstring(pictures.parts({})) is not None


@pytest.mark.parametrize("text", HOSTILE)
def test_text_from_outside_stays_text(text: str):
    for svg in (pictures.days({text: 5, "2026-11-02": 6}), pictures.parts({text: 1.0})):
        root = ElementTree.fromstring(svg)
        assert {node.tag for node in root.iter()} <= {f"{SVG}{tag}" for tag in ("svg", "g", "text", "tspan", "path")}
        assert not any(name.startswith("on") for node in root.iter() for name in node.attrib)
        assert len(svg) < pictures.SHOWN


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
