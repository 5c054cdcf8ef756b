"""How single values are written in the catalog: names, hours, durations, sizes, references to secrets."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    model_validator,
)

NAME = r"^[a-z][a-z0-9_]*$"
Name = Annotated[str, Field(pattern=NAME, max_length=63)]
Clock = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]


class Strict(BaseModel):
    """No unknown keys anywhere: a misplaced key must never be a silent no-op."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Ref(Strict):
    """A value that lives elsewhere: an environment variable or a mounted file (trailing newlines are stripped)."""

    env: str | None = None
    file: str | None = None

    @model_validator(mode="after")
    def _one(self) -> Ref:
        if (self.env is None) == (self.file is None):
            raise ValueError("give exactly one of `env` and `file`")
        return self


def written_as(value: Any) -> str:
    return "mapping" if isinstance(value, dict | BaseModel) else "text"


# Tagged by how it is written, so that a mistake in one form isn't reported for the other one too.
Value = Annotated[Annotated[str, Tag("text")] | Annotated[Ref, Tag("mapping")], Discriminator(written_as)]


def duration(text: Any) -> Any:
    """`90s`, `30m`, `36h`, `7d` as a timedelta. A bare number is refused: pydantic would read it as seconds."""
    if isinstance(text, str) and (found := re.fullmatch(r"(\d+)\s*([smhd])", text)):
        return timedelta(seconds=int(found[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]])
    if isinstance(text, timedelta):
        return text
    raise ValueError(f"{text!r} is not a duration: write a number and s, m, h or d, for example 36h")


def overlap(value: Any) -> Any:
    """`1h` as a timedelta, or a whole number of values of an integer column; both above zero."""
    found = value if isinstance(value, int) and not isinstance(value, bool) else duration(value)
    if not found or found < type(found)(0):
        raise ValueError(f"{value!r} is no overlap: write a duration such as 1h, or a number of values, above zero")
    return found


Overlap = Annotated[
    timedelta | int,
    BeforeValidator(overlap),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "pattern": r"^\d+\s*[smhd]$"}, {"type": "integer", "exclusiveMinimum": 0}]}
    ),
]
"""How far below its watermark a table is compared with what was read before: a duration, of integers so many values."""

_UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_SIZE = r"^[0-9]+ ?(B|kB|MB|GB|TB|KiB|MiB|GiB)$"


def size(text: Any) -> Any:
    """`20GB`, `500MiB` as bytes. A bare number is bytes already."""
    if isinstance(text, str) and re.match(_SIZE, text):
        number, unit = re.fullmatch(r"(\d+) ?(\D+)", text).groups()  # type: ignore[union-attr]
        return int(number) * _UNITS[unit]
    if isinstance(text, int) and not isinstance(text, bool):
        return text
    raise ValueError(f"{text!r} is not a size: write a number and B, kB, MB, GB, TB, KiB, MiB or GiB, for example 20GB")


Size = Annotated[
    int,
    BeforeValidator(size),
    Field(gt=0),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": _SIZE}, {"type": "integer", "exclusiveMinimum": 0}]}),
]


def condition(text: str) -> str:
    """An SQL expression as far as its text tells; the server says the rest. Comments could hide what follows it."""
    if not text.strip() or not all(c.isprintable() or c in "\n\t" for c in text):
        raise ValueError("a condition is an SQL expression, for example status <> 'draft'")
    if wrong := next((sign for sign in (";", "--", "/*", "*/") if sign in text), ""):
        raise ValueError(f"a condition can't hold `{wrong}`, not even in quotes: it is one SQL expression")
    return text.strip()


Condition = Annotated[str, AfterValidator(condition)]
Hours = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9]$")]
"""`08:00-18:00`, the end not included; `22:00-06:00` goes over midnight. In the catalog's timezone."""
