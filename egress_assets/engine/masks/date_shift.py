"""Move a date by a keyed number of days, the same for all dates of one entity: intervals survive, birthdays don't."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, ClassVar

from psycopg import sql
from pydantic import Field

from egress_assets.engine.masks.seam import TEXT_TYPES, Domain, Keys, MaskParams, Site, as_text, wrong_type

DATES = frozenset({"date", "timestamp", "timestamptz"})
ENTITIES = TEXT_TYPES | {"int2", "int4", "int8", "uuid"}
"""Types whose text is the same under every session setting; a float's or a timestamp's is not."""


class DateShiftParams(MaskParams):
    by: str = Field(min_length=1, description="the column that names the entity; its raw value picks the shift")
    days: int = Field(default=180, ge=1, le=3650, description="the largest shift in days, either way; never zero")
    domain: Domain = Field(default="date_shift", description="tables of one domain shift one entity alike")


class DateShift:
    name: ClassVar[str] = "date_shift"
    help: ClassVar[str] = "the date moved by 1..days, earlier or later, the same way for all dates of one entity"
    version: ClassVar[int] = 1
    removes: ClassVar[bool] = True
    Params: ClassVar[type[MaskParams]] = DateShiftParams
    examples: ClassVar[Sequence[Mapping[str, Any]]] = ({"by": "id"}, {"by": "id", "days": 7, "domain": "patient"})

    def check(self, site: Site, params: DateShiftParams) -> Sequence[str]:
        problems = wrong_type(site, DATES, self.name)
        by = site.columns.get(params.by)
        if by is None:
            return [*problems, f"date_shift.by names column {params.by!r}, the table has {', '.join(site.columns)}"]
        if by.base not in ENTITIES:
            problems.append(f"date_shift.by takes {' | '.join(sorted(ENTITIES))}, {params.by} is {by.type}")
        return problems

    def domains(self, params: DateShiftParams) -> frozenset[str]:
        return frozenset({params.domain})

    def compile(self, site: Site, params: DateShiftParams, keys: Keys) -> sql.Composable:
        # Rows without an entity share one shift: a NULL here would empty a column that may be NOT NULL.
        entity = sql.SQL("coalesce({}, '')").format(as_text(params.by))
        digest = keys.expression(params.domain, entity)
        slot = sql.SQL("mod(('x' || left(encode({}, 'hex'), 7))::bit(28)::int, {})").format(digest, 2 * params.days)
        # 0 .. 2d-1 become -d .. -1, 1 .. d: the quotient is 1 from slot d on. OFFSET 0 has the digest computed once.
        shift = sql.SQL("(SELECT k.n - {d} + k.n / {d} FROM (SELECT {slot} AS n OFFSET 0) k)")
        return _moved(site, shift.format(d=params.days, slot=slot))

    def reference(
        self, value: str | None, params: DateShiftParams, keys: Keys, *, row: Mapping[str, str | None]
    ) -> str | None:
        if value is None or value in ("infinity", "-infinity"):
            return value
        slot = int(keys.digest(params.domain, row[params.by] or "").hex()[:7], 16) % (2 * params.days)
        shift = timedelta(days=slot - params.days + (slot >= params.days))
        if len(value) == len("2026-11-20"):
            return (date.fromisoformat(value) + shift).isoformat()
        return _print(datetime.fromisoformat(value) + shift)


def _moved(site: Site, shift: sql.Composable) -> sql.Composable:
    """A timestamptz moves by hours: its day has 23 to 25 of them, as the session's timezone says."""
    if site.column.base == "date":
        return sql.SQL("{} + {}").format(site.identifier, shift)
    unit = sql.SQL("hours => 24 *") if site.column.base == "timestamptz" else sql.SQL("days =>")
    return sql.SQL("{} + make_interval({} {})").format(site.identifier, unit, shift)


def _print(moment: datetime) -> str:
    """As COPY writes it with DateStyle ISO in UTC: no trailing zeros, offset `+00`."""
    text = moment.replace(tzinfo=None).isoformat(sep=" ")
    text = text.rstrip("0") if moment.microsecond else text
    return text + "+00" if moment.tzinfo else text


MASK = DateShift()
