"""Names that foreign readers expect: `exports/{date:%Y-%m-%d}/{table}.{ext}` becomes an object's key.

Each field has a known form: a date's codes have a fixed number of digits, a part has five. Whether two templates can
ever give one key is therefore decided character by character, for all dates at once. Names stand as they are, not
escaped: that is what fixed names are for. What they would break is told while the catalog is checked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from string import Formatter

from egress_assets.engine.partition import parse_date

OF_OBJECTS = ("dataset", "schema", "table", "date", "part", "ext")
OF_TABLES = ("dataset", "schema", "table", "date")
OF_DATES = ("dataset", "date")
"""Fields of a path, of what lies beside each table, and of what is there once a date."""

DIGIT = "\x00"
"""In a shape: any digit. No key may hold it, so nothing else is meant."""

_CODES = {"Y": 4, "m": 2, "d": 2, "y": 2, "j": 3, "G": 4, "V": 2, "u": 1, "H": 2, "M": 2, "S": 2}
_DAYS = ({"Y", "m", "d"}, {"y", "m", "d"}, {"Y", "j"}, {"y", "j"}, {"G", "V", "u"})  # each tells every date apart
_ISO = "%Y-%m-%d"
_PART = 5


@dataclass(frozen=True, slots=True)
class Named:
    """What the fields of one table stand for; `ext` is the format as it is stored, without a dot at its start."""

    dataset: str
    table: str = ""  # schema.table
    ext: str = ""

    def value(self, field: str) -> str:
        schema, _, name = self.table.partition(".")
        return {"dataset": self.dataset, "schema": schema, "table": name, "ext": self.ext}[field]


@dataclass(frozen=True, slots=True)
class PathTemplate:
    """A parsed template; `pieces` are (literal before, field or '', its date codes)."""

    pieces: tuple[tuple[str, str, str], ...]

    @staticmethod
    def parse(text: str, fields: tuple[str, ...] = OF_OBJECTS) -> PathTemplate:
        """Raises ValueError saying what is wrong with it."""
        try:
            found = list(Formatter().parse(text))
        except ValueError as error:
            raise ValueError(f"is not a template: {error}") from None
        for _, field, spec, conversion in found:
            if field is not None:
                _require_field(field, spec or "", conversion, fields)
        pieces = tuple((literal, field or "", spec or "") for literal, field, spec, _ in found)
        return PathTemplate(tuple((a, b, c or _ISO) if b == "date" else (a, b, "") for a, b, c in pieces))

    @property
    def fields(self) -> frozenset[str]:
        return frozenset(field for _, field, _ in self.pieces if field)

    @property
    def head(self) -> str:
        """The literal before the first field."""
        return self.pieces[0][0] if self.pieces else ""

    def key(self, named: Named, date: str, part: int = 0) -> str:
        """The key of one object."""
        day = datetime.combine(parse_date(date), datetime.min.time())
        return "".join(
            literal + (f"{day:{codes}}" if field == "date" else f"{part:0{_PART}d}" if field == "part" else value)
            for literal, field, codes, value in self._valued(named)
        )

    def shape(self, named: Named) -> str:
        """The key of any date and part, with DIGIT for each digit that they decide."""
        return "".join(
            literal + (_shape(codes) if field == "date" else DIGIT * _PART if field == "part" else value)
            for literal, field, codes, value in self._valued(named)
        )

    def date_of(self, named: Named, key: str) -> str:
        """The date whose object has this key; '' when it is none of this template's."""
        pattern = "".join(
            literal + (f"({_digits(codes)})" if field == "date" else r"\d{5,}" if field == "part" else value)
            for literal, field, codes, value in self._valued(named, re.escape)
        )
        codes = next((codes for _, field, codes in self.pieces if field == "date"), "")
        found = re.fullmatch(pattern, key)
        if not found or not codes:
            return ""
        try:
            date = f"{datetime.strptime(found[1], codes):{_ISO}}"  # noqa: DTZ007 - a calendar's day
        except ValueError:
            return ""
        return date if "part" in self.fields or self.key(named, date) == key else ""

    def _valued(self, named: Named, made: Callable[[str], str] = str) -> Iterator[tuple[str, str, str, str]]:
        """The pieces with what their field stands for, where the name alone decides it."""
        for literal, field, codes in self.pieces:
            own = field not in ("", "date", "part")
            yield made(literal), field, codes, made(named.value(field)) if own else ""


def common_head(keys: Iterable[str]) -> str:
    """The longest text with which all of them begin; '' for none."""
    found = sorted(keys)
    if not found:
        return ""
    pairs = zip(found[0], found[-1], strict=False)
    return found[0][: sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))]


def meet(one: str, other: str) -> bool:
    """Whether two shapes can be one key."""
    return len(one) == len(other) and begins(one, other)


def begins(shape: str, prefix: str) -> bool:
    """Whether a key of this shape can begin like that; `prefix` may be a shape too."""
    return len(shape) >= len(prefix) and all(map(_alike, shape, prefix))


def _alike(one: str, other: str) -> bool:
    return one == other or (one == DIGIT and other.isdecimal()) or (other == DIGIT and one.isdecimal())


def _require_field(field: str, spec: str, conversion: str | None, known: tuple[str, ...]) -> None:
    if field not in known:
        raise ValueError(f"{{{field}}} is not a field; valid: {', '.join(known)}")
    if conversion or (spec and field != "date"):
        raise ValueError(f"{{{field}}} is written without `:` and `!`; only a date has a form, {{date:%Y-%m-%d}}")
    if field == "date":
        _require_codes(spec or _ISO)


def _require_codes(spec: str) -> None:
    codes = re.findall(r"%(.?)", spec)
    if unknown := [code for code in codes if code not in _CODES and code != "%"]:
        raise ValueError(f"%{unknown[0]} is no code of a date here; valid: {', '.join(f'%{code}' for code in _CODES)}")
    if not any(days <= set(codes) for days in _DAYS):
        raise ValueError(f"{{date:{spec}}} is the same for several dates: write year, month and day")


def _shape(codes: str) -> str:
    return "".join(DIGIT * _CODES[code] if code in _CODES else literal for literal, code in _split(codes))


def _digits(codes: str) -> str:
    return "".join(rf"\d{{{_CODES[code]}}}" if code in _CODES else re.escape(lit) for lit, code in _split(codes))


def _split(codes: str) -> Iterator[tuple[str, str]]:
    """(literal, '') and ('', code) in turn; `%%` is a literal."""
    for n, piece in enumerate(re.split(r"%(.)", codes)):
        yield (("%" if n % 2 else piece), "") if n % 2 == 0 or piece == "%" else ("", piece)
