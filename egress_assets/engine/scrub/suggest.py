"""What an unclassified column probably needs: lines for the catalog, by name and type, and by what a sample looks like.

A suggestion is where a person starts to think, not a classification. It errs on the side of removing: `keep` is only
proposed for keys and for types that can hardly name anybody, never for a name that sounds like a person, and whatever
isn't plain carries `# review:` with its reason. Every suggestion is a mask that the catalog takes; where no value is
known that suits a NOT NULL column, the server refuses the line before the first row.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from egress_assets.engine.dump.tasks import ColumnInfo
from egress_assets.engine.masks import registry
from egress_assets.engine.masks.date_shift import DATES, ENTITIES
from egress_assets.engine.masks.seam import TEXT_TYPES, MaskParams, Site

_SOUNDS_LIKE = (
    (r"e_?mail", "email"),
    (r"(^|_)(sur|first|last|full|middle|maiden|given|family|display|user|payer|contact|customer)?_?name$", "name"),
)
_PERSONAL = re.compile(
    r"name|mail|phone|mobile|tel$|fax|birth|born|dob|ssn|nino|nhs|passport|national|tax|iban|card|account|address|street"
    r"|post_?code|zip|lat$|latitude|lon$|longitude|ip$|salary|gender|sex|age$|note|comment|remark|message|body",
    re.IGNORECASE,
)
_KEYS = re.compile(r"id|.*_id", re.IGNORECASE)
_YAML_WORDS = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})
_PLAIN = frozenset({"bool", "int2", "int4", "int8", "numeric", "float4", "float8", "timestamptz", "timestamp", "date"})
_NUMBERED = frozenset({"int2", "int4", "int8", "uuid"})
_NEUTRAL = {
    **dict.fromkeys(("int2", "int4", "int8", "numeric", "float4", "float8", "money", "interval"), "0"),
    **dict.fromkeys(("date", "timestamp", "timestamptz"), "1970-01-01"),
    **dict.fromkeys(("int4range", "int8range", "numrange", "daterange", "tsrange", "tstzrange"), "empty"),
    "bool": "false", "json": "{}", "jsonb": "{}", "bytea": "\\x", "time": "00:00", "timetz": "00:00+00",
    "inet": "192.0.2.1", "cidr": "192.0.2.0/24", "macaddr": "00:00:00:00:00:00", "point": "(0,0)", "tsvector": "",
}  # fmt: skip
"""A literal of each type that says nothing; 192.0.2.0/24 is for documentation (RFC 5737)."""
_HASHED = frozenset({"phone", "card", "iban", "nino", "nhs", "ssn"})
_MOSTLY = 0.8
"""The share of values that must be such an identifier before the column is taken for that and not for free text."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """What a column's values looked like: how many there were, in how many of them each detector found something, and
    how many were nothing but that.
    """

    values: int
    hits: Mapping[str, int] = field(default_factory=dict)
    whole: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Suggestion:
    """`mask` as the catalog spells it; `review` says why a person should look, empty where it is plain."""

    mask: str
    review: str = ""

    def __str__(self) -> str:
        return f"{self.mask}  # review: {self.review}" if self.review else self.mask


def patch(unclassified: Mapping[str, Sequence[ColumnInfo]]) -> str:
    """YAML for `tables:`, one line a column."""
    lines: list[str] = []
    for table, columns in unclassified.items():
        lines.append(f"  {yaml_key(table)}:")
        lines += [f"    {yaml_key(c.name)}: {suggest(c, columns)}" for c in columns]
    return "\n".join(lines)


def suggest(
    column: ColumnInfo, siblings: Sequence[ColumnInfo], *, sampled: Sampled | None = None, is_enum: bool = False
) -> Suggestion:
    """A mask that the column can take."""
    if sampled and sampled.hits:
        return _detected(column, sampled)
    for pattern, mask in _SOUNDS_LIKE:
        if re.search(pattern, column.name, re.IGNORECASE) and _fits(column, mask):
            return Suggestion(mask)
    if _PERSONAL.search(column.name):
        entity = _entity(siblings) if column.base in DATES else ""
        return Suggestion(f"{{mask: date_shift, by: {yaml_key(entity)}}}") if entity else _removed(column)
    if column.base in _NUMBERED and _KEYS.fullmatch(column.name):
        return Suggestion("keep")
    if column.base in _PLAIN or is_enum:
        return Suggestion("keep", f"{column.type}: keep it if it names nobody")
    return _removed(column, f"{column.type}: removed unless you know what is in it")


def _detected(column: ColumnInfo, sampled: Sampled) -> Suggestion:
    """One kind of identifier in most values has its own mask; anything else is free text with people in it."""
    told = ", ".join(f"{n:,} like {name}" for name, n in sorted(sampled.hits.items()))
    why = f"of {sampled.values:,} sampled values {told}"
    name, *others = sampled.hits
    if not others and sampled.whole.get(name, 0) >= _MOSTLY * sampled.values:
        if name == "email" and _fits(column, "email"):
            return Suggestion("email", why)
        if name in _HASHED and _fits(column, "hash", domain=name, length=24):
            return Suggestion(f"{{mask: hash, domain: {name}, length: 24}}", why)
    return _removed(column, why)


def _removed(column: ColumnInfo, why: str = "") -> Suggestion:
    if column.nullable:
        return Suggestion("null", why)
    if column.base == "uuid":
        return Suggestion("{mask: hash, encoding: uuid}", why)
    if column.base in TEXT_TYPES:
        fits = _fits(column, "constant", value="removed")
        return Suggestion("{mask: constant, value: removed}" if fits else '{mask: constant, value: ""}', why)
    neutral = "{}" if column.base.startswith("_") else _NEUTRAL.get(column.base)
    if neutral is None:
        return Suggestion("{mask: constant, value: removed}", f"NOT NULL {column.type}: say which value")
    return Suggestion(f"{{mask: constant, value: {json.dumps(neutral)}}}", why)


def _fits(column: ColumnInfo, mask: str, **params: object) -> bool:
    known = registry()[mask]
    parsed: MaskParams = known.Params.model_validate(params)
    return not known.check(Site(column, {column.name: column}), parsed)


def _entity(siblings: Sequence[ColumnInfo]) -> str:
    return next((c.name for c in siblings if _KEYS.fullmatch(c.name) and c.base in ENTITIES), "")


def yaml_key(name: str) -> str:
    """A YAML key: plain where nothing can be misread, else in quotes (JSON is YAML)."""
    plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]*", name) and name.lower() not in _YAML_WORDS
    return name if plain else json.dumps(name, ensure_ascii=False)
