"""What an unclassified column probably needs: lines to paste into the catalog, by name and type.

A suggestion is where a person starts to think, not a classification. It errs on the side of removing: `keep` is only
proposed for types that can hardly name anybody, and never for a name that sounds like a person.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from egress_assets.engine.dump.tasks import ColumnInfo
from egress_assets.engine.masks import registry
from egress_assets.engine.masks.date_shift import DATES, ENTITIES
from egress_assets.engine.masks.seam import TEXT_TYPES, Site

_SOUNDS_LIKE = (
    (r"e_?mail", "email"),
    (r"(^|_)(sur|first|last|full|middle|maiden|given|family|display|user|payer|contact|customer)?_?name$", "name"),
)
_PERSONAL = re.compile(
    r"name|mail|phone|mobile|tel$|fax|birth|born|dob|ssn|nino|nhs|passport|national|tax|iban|card|account|address|street"
    r"|post_?code|zip|lat$|latitude|lon$|longitude|ip$|salary|gender|sex|age$|note|comment|remark|message|body",
    re.IGNORECASE,
)
_YAML_WORDS = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})
_PLAIN = frozenset({"bool", "int2", "int4", "int8", "numeric", "float4", "float8", "timestamptz", "timestamp", "date"})


def patch(unclassified: Mapping[str, Sequence[ColumnInfo]]) -> str:
    """YAML for `tables:`, one line a column."""
    lines: list[str] = []
    for table, columns in unclassified.items():
        lines.append(f"  {_key(table)}:")
        lines += [f"    {_key(c.name)}: {suggest(c, columns)}" for c in columns]
    return "\n".join(lines)


def suggest(column: ColumnInfo, siblings: Sequence[ColumnInfo]) -> str:
    """A mask that the column can take, as the catalog spells it, and why where it isn't plain."""
    for pattern, mask in _SOUNDS_LIKE:
        if re.search(pattern, column.name, re.IGNORECASE) and _fits(column, mask):
            return mask
    personal = _PERSONAL.search(column.name) is not None
    if column.base in DATES and personal and (entity := _entity(siblings)):
        return f"{{mask: date_shift, by: {_key(entity)}}}"
    if column.base in _PLAIN and not personal:
        return f"keep  # {column.type}: keep it if it names nobody"
    if column.nullable:
        return "null"
    if column.base == "uuid":
        return "{mask: hash, encoding: uuid}"
    return _required(column)


def _required(column: ColumnInfo) -> str:
    if column.base in TEXT_TYPES:
        return "{mask: constant, value: removed}" if (Site(column, {}).limit or 7) >= len("removed") else _VALUE
    return '{mask: constant, value: "{}"}' if column.base in ("json", "jsonb") else _VALUE


_VALUE = "{mask: constant, value: }  # NOT NULL: say which value"


def _fits(column: ColumnInfo, mask: str) -> bool:
    known = registry()[mask]
    return not known.check(Site(column, {column.name: column}), known.Params())


def _entity(siblings: Sequence[ColumnInfo]) -> str:
    return next((c.name for c in siblings if re.fullmatch(r"id|.*_id", c.name) and c.base in ENTITIES), "")


def _key(name: str) -> str:
    """A YAML key: plain where nothing can be misread, else in quotes (JSON is YAML)."""
    plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]*", name) and name.lower() not in _YAML_WORDS
    return name if plain else json.dumps(name, ensure_ascii=False)
