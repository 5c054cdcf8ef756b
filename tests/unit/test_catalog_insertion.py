"""A table comes into a dataset's file, and not a character of the rest changes."""

from __future__ import annotations

import pytest

from egress_assets.engine.catalog.document import Document, parse_document
from egress_assets.engine.catalog.insertion import insert_table
from egress_assets.engine.errors import CatalogError

BLOCK = [(0, "public.new:"), (1, "id: keep"), (1, "note: null  # review: text")]
NEW = "  public.new:\n    id: keep\n    note: null  # review: text\n"


def inserted(text: str) -> str:
    return insert_table(text, "public.new", BLOCK, file="shop.yaml")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("tables:\n  public.a: {id: keep}\n", ""),
        ("source: x\ntables:\n  public.a:\n    id: keep   # why\n", "mirrors:\n  m: {to: ceph}\n"),
        ("tables:\n  public.a: {id: keep}\n", "\n\n# of the scrubbed dump\nmirrors: {}\n"),
        ("tables:\n  public.a: {id: keep}\n  # public.b is not ours to send\n", "# about mirrors\nmirrors: {}\n"),
        ("tables:\n  public.a:\n    id: keep\n    # the rest is dropped\n\n  # and b\n", "mirrors: {}\n"),
        ("tables:\n  public.a:\n    id: {mask: hash,\n      length: 24}\n", "mirrors: {}\n"),
        ("tables:\n  public.a:\n    id:\n", "mirrors: {}\n"),
        ("tables:\n  public.a: &a {id: keep}\n  public.b: *a\n", "mirrors: {}\n"),
        ('tables:\n  "public.odd: \\u00e4":\n    "on": keep\n', "start: 2026-11-01\n"),
        ("tables:\n", "mirrors: {}\n"),
        ("tables:   # none yet\n", ""),
        ("tables:\n  public.a:\n    c: {mask: constant, value: |\n      }\n", None),
    ],
)
def test_the_new_lines_come_behind_the_last_table_and_its_comments(before: str, after: str | None) -> None:
    if after is None:
        with pytest.raises(CatalogError):
            inserted(before)
        return
    assert inserted(before + after) == before + NEW + after


def test_a_literal_keeps_its_lines() -> None:
    before = "tables:\n  public.a:\n    c:\n      mask: constant\n      value: |\n        two\n\n        lines\n"
    assert inserted(before + "\nmirrors: {}\n") == before + NEW + "\nmirrors: {}\n"


def test_the_files_own_indentation_is_followed() -> None:
    before = "tables:\n    public.a:\n          id: keep\n"
    lines = "    public.new:\n          id: keep\n          note: null  # review: text\n"
    assert inserted(before) == before + lines


def test_a_file_without_tables_gets_them_at_its_end() -> None:
    assert (
        inserted("source: x\nstart: 2026-11-01\n# end\n\n") == f"source: x\nstart: 2026-11-01\n# end\ntables:\n{NEW}\n"
    )


@pytest.mark.parametrize(("mark", "end"), [("", "\r\n"), ("\ufeff", "\n"), ("\ufeff", "\r\n")])
def test_line_ends_and_a_byte_order_mark_stay(mark: str, end: str) -> None:
    before, after = f"{mark}tables:\n  public.a: {{id: keep}}\n", "mirrors: {}\n"
    assert inserted((before + after).replace("\n", end)) == (before + NEW + after).replace("\n", end)


def test_a_last_line_without_an_end_gets_one() -> None:
    assert inserted("tables:\n  public.a: {id: keep}") == f"tables:\n  public.a: {{id: keep}}\n{NEW}"


@pytest.mark.parametrize(
    "text", ["{tables: {a.b: {id: keep}}}\n", "tables: {a.b: {id: keep}}\n", "tables: {\n  a.b: {id: keep}}\n"]
)
def test_braces_leave_no_place_and_say_so(text: str) -> None:
    with pytest.raises(CatalogError, match="written in braces") as caught:
        inserted(text)
    assert "Write it as a block" in caught.value.hint


@pytest.mark.parametrize("text", ["tables:\n  a.b: {id: keep}\n a: 1\n", "tables:\n  a.b: 1\n  a.b: 2\n"])
def test_a_file_with_a_mistake_is_left_alone(text: str) -> None:
    with pytest.raises(CatalogError):
        inserted(text)


def test_what_is_read_afterwards_is_the_table_as_said() -> None:
    document = Document("shop.yaml")
    parse_document(inserted("tables:\n  public.a: {id: keep}\n"), document)
    assert document.data["tables"]["public.new"] == {"id": "keep", "note": "null"}
