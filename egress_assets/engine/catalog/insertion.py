"""Put a table into a dataset's file and leave everything else as it was written: comments, order, quotes, line ends.

The place is found by the parser, the change is made in the text. What comes out is parsed again and must be what was
there and the new table, nothing else. No I/O.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import yaml

from egress_assets.engine.catalog.document import Document, parse_document
from egress_assets.engine.errors import CatalogError

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_STEP = 2  # columns of indentation where the file shows none


@dataclass(frozen=True, slots=True)
class Place:
    """Lines are 0-based; `after` is the last line before the new ones. `heading`, if any, is written first."""

    after: int
    indent: int
    step: int
    heading: str = ""


def insert_table(text: str, name: str, block: Sequence[tuple[int, str]], *, file: str) -> str:
    """`text` with `block` under `tables:`, behind its last table: (depth below `tables`, line) each.

    `name` is the table's key as data. Raises CatalogError when the file's form leaves no place for a line.
    """
    mark, body = ("\ufeff", text[1:]) if text.startswith("\ufeff") else ("", text)
    was = _data(body, file)
    end = "\r\n" if "\r\n" in body else "\n"
    lines = body.split(end)
    place = _place(body, lines, file)
    new = [place.heading] if place.heading else []
    new += [" " * (place.indent + place.step * depth) + line for depth, line in block]
    tail = lines[place.after + 1 :] or [""]  # a file ends with a line's end
    changed = mark + end.join([*lines[: place.after + 1], *new, *tail])
    _require_only(was, _data(changed.removeprefix(mark), file), name, file)
    return changed


def _place(text: str, lines: list[str], file: str) -> Place:
    """Where the new lines go. Raises CatalogError."""
    events = list(yaml.parse(text, Loader=_Loader))
    root = events[2]  # behind the starts of stream and document
    if not isinstance(root, yaml.MappingStartEvent) or root.flow_style:
        raise _no_place(file, "the file")
    margin = root.start_mark.column
    for key, value in _entries(events):
        if key.value != "tables":
            continue
        first = value[0]
        if isinstance(first, yaml.ScalarEvent) and not first.value:
            return Place(key.start_mark.line, margin + _STEP, _STEP)
        if not isinstance(first, yaml.MappingStartEvent) or first.flow_style:
            raise _no_place(file, "`tables`")
        indent = value[1].start_mark.column
        return Place(_last_line(value, lines, indent), indent, _step(value, indent) or (indent - margin) or _STEP)
    last = max(number for number, line in enumerate(lines) if line.strip())
    return Place(last, margin + _STEP, _STEP, heading=" " * margin + "tables:")


def _no_place(file: str, what: str) -> CatalogError:
    hint = "Write it as a block, a key a line and no braces around it; then add the table again."
    return CatalogError(f"{file}: {what} is written in braces, which leaves no place for a line", hint=hint)


def _entries(events: Sequence[Any]) -> Iterator[tuple[Any, list[Any]]]:
    """(key, events of its value) of the document's mapping."""
    at = 3
    while not isinstance(events[at], yaml.MappingEndEvent):
        key, start = events[at], at + 1
        at = start
        depth = 0
        while True:
            depth += isinstance(events[at], yaml.CollectionStartEvent) - isinstance(events[at], yaml.CollectionEndEvent)
            at += 1
            if depth == 0:
                break
        yield key, list(events[start:at])


def _last_line(value: list[Any], lines: list[str], indent: int) -> int:
    """The last line of a block's content, with the comments behind it that are indented as its keys are."""
    marks = [event.end_mark for event in _content(value)]
    last = max(mark.line - (mark.column == 0) for mark in marks)
    while not lines[last].strip():  # a literal's end lies behind its empty lines
        last -= 1
    for number in range(last + 1, len(lines)):
        line = lines[number]
        if re.match(rf"[ ]{{{indent},}}#", line):
            last = number
        elif line.strip():
            break
    return last


def _content(value: list[Any]) -> Iterator[Any]:
    """Events that stand for text; the end of a block stands where the next thing begins."""
    flow: list[bool] = []
    for event in value:
        if isinstance(event, yaml.CollectionStartEvent):
            flow.append(bool(event.flow_style))
        elif isinstance(event, yaml.CollectionEndEvent):
            if flow.pop():
                yield event
        else:
            yield event


def _step(value: list[Any], indent: int) -> int:
    """How much deeper columns are than tables, as the first table written as a block shows."""
    for event, following in pairwise(value[1:]):
        if isinstance(event, yaml.MappingStartEvent) and not event.flow_style:
            return max(following.start_mark.column - indent, 0)
    return 0


def _require_only(was: dict[str, Any], now: dict[str, Any], name: str, file: str) -> None:
    """What is read must be what was there, and the new table."""
    tables: Mapping[str, Any] = now.get("tables") or {}
    rest = {key: each for key, each in tables.items() if key != name}
    same = {**now, "tables": rest} == {**was, "tables": was.get("tables") or {}}
    if not same or name not in tables:
        raise CatalogError(
            f"{file}: {name} can't be put under `tables` without changing more", hint="Write it by hand."
        )


def _data(text: str, file: str) -> dict[str, Any]:
    document = Document(file)
    parse_document(text, document)
    if document.problems:
        problems = tuple(map(str, document.problems))
        raise CatalogError(f"{file} can't be read", hint="Correct it first.", problems=problems)
    if not isinstance(document.data, dict):
        raise CatalogError(f"{file} is no mapping (`key: value` lines)", hint="Correct it first.")
    return document.data
