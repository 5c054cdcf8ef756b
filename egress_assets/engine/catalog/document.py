"""One YAML file as plain data with the line of every key. Built on parser events, so that every bound is ours.

YAML 1.2 words only: `NO`, `on` and `02:15` are text, dates stay text for the models to read. Refused: duplicate keys,
tags, merge keys, a second document, nesting deeper than 32, aliases that expand to more than 100,000 nodes, files
above 4 MB. (PyYAML's own composer recurses in C: 200 kB of `[` end the process with a segmentation fault.)

Memory: some 20 x the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

import yaml

from egress_assets.engine.catalog.problems import Path, Problem

LARGEST_FILE = 4 * 10**6
DEEPEST = 32
MOST_NODES = 100_000

_INT = re.compile(r"[-+]?[0-9]+|0x[0-9a-fA-F]+|0o[0-7]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS = {"": None, "~": None, "null": None, "Null": None, "NULL": None}
_WORDS |= dict.fromkeys(("true", "True", "TRUE"), True) | dict.fromkeys(("false", "False", "FALSE"), False)
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C parser is 10 x faster; the same events


@dataclass(slots=True)
class Document:
    """`places` maps a path of keys to (file, 1-based line); `meant` a path that nobody wrote to the one that was."""

    file: str
    data: Any = None
    places: dict[Path, tuple[str, int]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    meant: dict[Path, Path] = field(default_factory=dict)

    def written(self, path: Path) -> Path:
        """The path as a person wrote it."""
        return next((to + path[len(at) :] for at, to in self.meant.items() if path[: len(at)] == at), path)

    def says(self, path: Path) -> bool:
        """Whether a key is written, be it right or wrong."""
        return self.written(path) in self.places

    def place(self, path: Path) -> tuple[str, int]:
        """Where a key is written, or the nearest key above it."""
        path = self.written(path)
        for end in range(len(path), 0, -1):
            if path[:end] in self.places:
                return self.places[path[:end]]
        return self.file, 0

    def problem(self, path: Path, text: str) -> Problem:
        path = self.written(path)
        file, line = self.place(path)
        return Problem(file, line, ".".join(path), text)

    def names(self, *path: str) -> set[str]:
        """The keys written below a path, whether or not what they hold is valid."""
        value = self.data
        for part in path:
            value = value.get(part) if isinstance(value, Mapping) else None
        meant = {at[-1] for at in self.meant if at[:-1] == path}
        return meant | set(value) if isinstance(value, Mapping) else meant


def read_document(path: FilePath, file: str) -> Document:
    """Parse a file; what is wrong with it is in `problems`, never raised."""
    document = Document(file)
    try:
        if path.exists() and not path.is_file():
            raise _Refused(0, "is no file")  # a pipe would be waited for
        with path.open("rb") as stream:
            body = stream.read(LARGEST_FILE + 1)
        if len(body) > LARGEST_FILE:
            raise _Refused(0, f"larger than {LARGEST_FILE:,} bytes: not a catalog file")
        parse_document(body.decode("utf-8-sig"), document)
    except OSError as error:
        document.problems.append(Problem(file, 0, "", f"can't be read: {error.strerror or error}"))
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        document.problems.append(Problem(file, line, "", "is not UTF-8"))
    except _Refused as refusal:
        document.problems.append(Problem(file, refusal.line, "", str(refusal)))
    return document


def parse_document(text: str, document: Document) -> None:
    """Fill a document from text."""
    try:
        reader = _Reader(yaml.parse(text, Loader=_Loader), document)
        document.data = reader.document()
    except _Refused as refusal:
        document.problems.append(Problem(document.file, refusal.line, "", str(refusal)))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 0
        document.problems.append(Problem(document.file, line, "", f"is not YAML: {error.problem or error.context}"))
    except yaml.YAMLError as error:
        document.problems.append(Problem(document.file, 0, "", f"is not YAML: {type(error).__name__}"))


class _Refused(Exception):
    """The rest of the file can't be read sensibly."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line


@dataclass(slots=True)
class _Reader:
    """Events to data. An alias shares its anchor's data and counts as much as it stands for."""

    events: Iterator[Any]
    target: Document
    anchors: dict[str, tuple[Any, int]] = field(default_factory=dict)
    nodes: int = 0

    def document(self) -> Any:
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                break
        else:
            raise _Refused(0, "is empty")
        value = self.node(next(self.events), ())
        next(self.events)  # the document's end
        if isinstance(extra := next(self.events), yaml.DocumentStartEvent):
            raise _Refused(extra.start_mark.line + 1, "a second document (`---`) begins: one file is one document")
        return value

    def node(self, event: Any, path: Path) -> Any:
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, line)
        before = self.nodes
        self._count(1, line)
        if len(path) > DEEPEST:
            raise _Refused(line, f"nested deeper than {DEEPEST} levels")
        if event.tag is not None and event.tag != "!":
            raise _Refused(line, f"tag {event.tag!r} is not allowed: the catalog is plain data")
        value = self._content(event, path)
        if event.anchor is not None:
            self.anchors[event.anchor] = (value, self.nodes - before)
        return value

    def _content(self, event: Any, path: Path) -> Any:
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path)
        return _scalar(event, path)

    def _count(self, nodes: int, line: int) -> None:
        self.nodes += nodes
        if self.nodes > MOST_NODES:
            raise _Refused(line, f"stands for more than {MOST_NODES:,} values")

    def _alias(self, event: Any, line: int) -> Any:
        if event.anchor not in self.anchors:
            raise _Refused(line, f"alias *{event.anchor} names no anchor before it")
        value, nodes = self.anchors[event.anchor]
        self._count(nodes, line)
        return value

    def _mapping(self, path: Path) -> dict[str, Any]:
        out: dict[str, Any] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            line = event.start_mark.line + 1
            if not isinstance(event, yaml.ScalarEvent):
                raise _Refused(line, "a key must be a word")
            key, here = event.value, (*path, event.value)
            if key in out:
                first = self.target.places[here][1]
                text = f"duplicate key, first written in line {first}"
                self.target.problems.append(Problem(self.target.file, line, ".".join(here), text))
            else:
                self.target.places[here] = (self.target.file, line)
            value = self.node(next(self.events), here)
            out.setdefault(key, value)
        return out

    def _sequence(self, path: Path) -> list[Any]:
        out: list[Any] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            here = (*path, str(len(out)))
            self.target.places[here] = (self.target.file, event.start_mark.line + 1)
            out.append(self.node(event, here))
        return out


def _scalar(event: Any, path: Path) -> Any:
    text = event.value
    if not event.implicit[0] or (text == "null" and _names_a_mask(path)):
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text) and len(text) <= 20:
        return int(text, 0) if text[1:2] in ("x", "o") else int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _names_a_mask(path: Path) -> bool:
    """`null` is a mask: `notes: null` means it, an empty value doesn't."""
    column = len(path) == 3 or (len(path) == 4 and path[2] == "columns")
    return path[:1] == ("tables",) and (column or path[-1] == "mask")
