"""What a scrub would do, table by table and column by column. Reads only: evidence, HEAD of objects, the catalogs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from egress_assets.engine.dump.absent import placed
from egress_assets.engine.dump.anew import seen_anew
from egress_assets.engine.dump.bounds import refused_now
from egress_assets.engine.dump.plan import extent, out_of_order, refusal
from egress_assets.engine.dump.snapshot import look
from egress_assets.engine.errors import (
    CatalogError,
    HistoryUnavailable,
    PolicyError,
    SourceDenied,
    TableMissing,
)
from egress_assets.engine.platform import Platform
from egress_assets.engine.result import PlanLine
from egress_assets.engine.scrub.policy import TablePolicy
from egress_assets.engine.scrub.spec import ScrubSpec
from egress_assets.engine.stage import Standing, drift_lines, require_date

Sign = Literal["=", "+", "*"]


def plan(platform: Platform, dataset: str, date: str) -> list[PlanLine]:
    """`=` stands, `+` new, `*` made again and why, `!` what would refuse the run; each table's columns follow it.

    Raises CatalogError (no such dataset, no `scrub:`), KeyMissing, SourceUnavailable, StoreUnavailable, StoreDenied.
    """
    spec = ScrubSpec.of(platform, dataset, date, None).chained()
    refused: list[PlanLine] = []
    try:
        require_date(spec.calendar, date, extract=spec.model.extract, relabel=False)
    except (CatalogError, HistoryUnavailable) as error:
        refused.append(refusal(spec.unit.title, error))
    try:
        with placed(platform.catalog, dataset):
            relations = look(spec.settings(), spec.tables)
        policies = spec.policies(relations)
    except (TableMissing, SourceDenied, PolicyError, CatalogError) as error:
        return [*refused, refusal(spec.unit.title, error)]
    wanted = spec.wanted(policies)
    found = spec.standing(wanted)
    found = seen_anew(platform.evidence, found, relations, extract=spec.model.extract)
    if found.reasons:
        refused += [*refused_now(platform, spec.unit, date), *out_of_order(spec.chain, spec.tables)]
        refused += drift_lines(spec, wanted)
    sizes = {table: extent(spec.chain, relations[table]) for table in spec.tables}
    lines = (line for table in spec.tables for line in _lines(policies[table], sizes[table], found))
    return [*refused, *lines]


def _lines(policy: TablePolicy, size: str, found: Standing) -> Iterator[PlanLine]:
    sign, detail = _what(policy.table, size, found)
    yield PlanLine(sign, policy.table, detail)
    for column in policy.columns:
        yield PlanLine(sign, f"{policy.table}.{column.info.name}", f"{column.rule}: {column.info.type}")


def _what(table: str, size: str, found: Standing) -> tuple[Sign, str]:
    if not found.reasons:
        return "=", "stands"
    if found.pointer is None or table not in found.pointer.entries:
        return "+", size
    return "*", f"{found.reasons.get(table, 'another table has changed')}; {size}"
