"""The folders of a Data Pipeline's S3 path as a `publish`: `#{table}/#{format(@scheduledStartTime,'YYYY-MM-dd')}/`.

What is another text each time is a mark in the resolved path, which is looked up here. A layout that can't be said
exactly is none: names that are nearly the same would be found by nobody.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from egress_assets.engine.path_template import PathTemplate

MARK = "\x00"
"""Begins a mark: what is another text each time. The character after it says which."""

_FIRST = 0xE000  # private characters, which no path holds
_FORMAT = re.compile(r"(?i)format\s*\(\s*@\w*time\w*\s*,\s*['\"]([^'\"]*)['\"]\s*\)")
_CODES = {"YYYY": "%Y", "yyyy": "%Y", "yy": "%y", "YY": "%y", "MM": "%m", "dd": "%d", "DDD": "%j", "HH": "%H",
          "mm": "%M", "ss": "%S"}  # fmt: skip
_BUCKET = re.compile(r"(?:s3[an]?://)?([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?", re.DOTALL)


def mark(number: int) -> str:
    """The mark of the expression of that number."""
    return f"{MARK}{chr(_FIRST + number)}"


def parse_place(path: str, tables: Sequence[str]) -> tuple[str, str, tuple[str, ...]] | None:
    """(bucket, folder, the folders of a table or a time at its end) of an S3 path."""
    found = _BUCKET.fullmatch(path.strip())
    if found is None:
        return None
    names = {part.lower() for table in tables for part in (table, table.partition(".")[2])}
    folders = [part for part in (found[2] or "").split("/") if part]
    last: list[str] = []
    while folders and (MARK in folders[-1] or folders[-1].lower() in names):
        last.insert(0, folders.pop())
    if any(MARK in part or not part.isprintable() for part in folders):
        return None
    return found[1], "/".join(folders), tuple(last)


def layout(folders: Sequence[str], expressions: Sequence[str], tables: Sequence[str]) -> str:
    """A template of `publish` for these folders; '' when they hold no date, or what no template says."""
    parts = [_folder(folder, expressions, tables) for folder in folders]
    template = "/".join([*(part or "" for part in parts), "{table}.{ext}"])
    try:
        dated = "date" in PathTemplate.parse(template).fields
    except ValueError:
        return ""
    return template if dated and None not in parts else ""


def _folder(folder: str, expressions: Sequence[str], tables: Sequence[str]) -> str | None:
    for table in tables:
        if folder.lower() in (table.lower(), table.partition(".")[2].lower()):
            exact = {table: "{schema}.{table}", table.partition(".")[2]: "{table}"}
            return exact.get(folder)  # in another case it is not what a table's name gives
    out = folder.replace("{", "{{").replace("}", "}}")
    for number, expression in enumerate(expressions):
        found = _expression(expression)
        if found is None and mark(number) in out:
            return None
        out = out.replace(mark(number), found or "")
    return None if MARK in out else out


def _expression(text: str) -> str | None:
    """`{table}` for the name of one of several, a date with its codes; None for anything else."""
    if text == "{table}":
        return text
    said = _FORMAT.fullmatch(text)
    if said is None:
        return None
    pieces = re.split(r"([A-Za-z]+)", said[1])
    codes = [_CODES.get(piece, "") if n % 2 else piece.replace("%", "%%") for n, piece in enumerate(pieces)]
    if "" in codes[1::2] or any(sign in said[1] for sign in "{}:"):
        return None
    return f"{{date:{''.join(codes)}}}"
