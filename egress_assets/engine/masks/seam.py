"""What a mask is: one column function that exists twice, as inlined SQL and as a Python reference with equal bytes.

The SQL runs inside the source's own COPY, so raw values never leave the server. It uses built-ins of PostgreSQL 11 and
later only, no extension, no function of ours: a wrapper function is not inlined there and costs 2.3 times as much.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, LiteralString, Protocol, cast

from psycopg import sql
from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from egress_assets.engine.dump.tasks import ColumnInfo

TEXT_TYPES = frozenset({"text", "varchar", "bpchar", "citext", "name"})
"""pg_type names whose values are characters; `name` is limited to 63 bytes, which every mask's output keeps."""

Domain = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
"""Names a family of pseudonyms. It is part of a session setting's name, hence the narrow alphabet."""


class MaskParams(BaseModel):
    """Parameters as the catalog gives them: no unknown names, no coercion."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Keys(Protocol):
    """Keyed digests of one audience and epoch, in both worlds."""

    def digest(self, domain: str, value: str) -> bytes:
        """HMAC-SHA256 (32 bytes) of `domain`, 0x1f, `value` under the domain's sub-key."""
        ...

    def expression(self, domain: str, text: sql.Composable) -> sql.Composable:
        """SQL of type bytea with the same 32 bytes; NULL where `text` is NULL. Names no key, only a session setting."""
        ...


@dataclass(frozen=True, slots=True)
class Site:
    """Where a mask is applied: one column, and the columns of its table by name."""

    column: ColumnInfo
    columns: Mapping[str, ColumnInfo]

    @property
    def identifier(self) -> sql.Composable:
        return sql.Identifier(self.column.name)

    @property
    def text(self) -> sql.Composable:
        """The column as text, the form that keyed masks digest."""
        return as_text(self.column.name)

    @property
    def limit(self) -> int | None:
        """The most characters that the column holds; None when unlimited or not a text type."""
        if self.column.base == "name":
            return 63
        found = re.search(r"\((\d+)\)$", self.column.type)
        return int(found[1]) if found and self.column.base in TEXT_TYPES else None


class Mask(Protocol):
    """One file of this package defines one, as `MASK`.

    `version` is part of the policy digest: raise it when the same input would give other bytes than before.
    `removes` says that no output may equal its input. `examples` are parameters, the shortest first: people are shown
    them, and the conformance suite runs each of them on every type of column that the mask takes.
    """

    name: ClassVar[str]
    help: ClassVar[str]
    version: ClassVar[int]
    removes: ClassVar[bool]
    Params: ClassVar[type[MaskParams]]
    examples: ClassVar[Sequence[Mapping[str, Any]]]

    def check(self, site: Site, params: Any) -> Sequence[str]:
        """Why this column can't take this mask, a sentence a problem; found at plan time, before the first row."""
        ...

    def domains(self, params: Any) -> frozenset[str]:
        """Domains whose sub-keys the expression reads; empty for unkeyed masks."""
        ...

    def compile(self, site: Site, params: Any, keys: Keys) -> sql.Composable:
        """An expression over the table's columns. NULL stays NULL."""
        ...

    def reference(self, value: str | None, params: Any, keys: Keys, *, row: Mapping[str, str | None]) -> str | None:
        """What `compile` gives, in Python. Values are as COPY writes them (ISO, UTC), `row` has the others."""
        ...


def raw(text: str) -> sql.SQL:
    """SQL that was composed from constants or by the server itself (format_type), never from data or the catalog."""
    return sql.SQL(cast(LiteralString, text))


def as_text(column: str) -> sql.Composable:
    return sql.SQL("{}::text").format(sql.Identifier(column))


def wrong_type(site: Site, accepted: frozenset[str], mask: str) -> list[str]:
    if site.column.base in accepted:
        return []
    return [f"mask {mask} takes {' | '.join(sorted(accepted))}, the column is {site.column.type}"]


def too_long(site: Site, length: int, mask: str) -> list[str]:
    """A varchar(n) that is shorter than what the mask writes would stop the load at the other end."""
    if site.limit is None or length <= site.limit:
        return []
    return [f"mask {mask} writes up to {length} characters, the column is {site.column.type}"]
