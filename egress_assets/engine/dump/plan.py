"""What a dump would do, table by table. Reads only: the evidence, HEAD of objects, the database's catalog."""

from __future__ import annotations

from collections.abc import Sequence

from egress_assets.engine.dump.absent import placed
from egress_assets.engine.dump.anew import seen_anew
from egress_assets.engine.dump.bounds import refused_now
from egress_assets.engine.dump.chain import Chain
from egress_assets.engine.dump.snapshot import look
from egress_assets.engine.dump.spec import DumpSpec
from egress_assets.engine.dump.tasks import Relation
from egress_assets.engine.errors import (
    CatalogError,
    EgressError,
    HistoryUnavailable,
    OutOfOrder,
    SourceDenied,
    TableMissing,
)
from egress_assets.engine.platform import Platform
from egress_assets.engine.result import PlanLine
from egress_assets.engine.stage import Standing, drift_lines, require_date

_UNSIZED = "size unknown until the server's next ANALYZE"


def plan(platform: Platform, dataset: str, date: str) -> list[PlanLine]:
    """`=` stands, `+` new, `*` made again and why, `!` what would refuse the run.

    Raises CatalogError (no such dataset, no `dump:`), SourceUnavailable, StoreUnavailable, StoreDenied.
    """
    spec = DumpSpec.of(platform, dataset, date, None).chained()
    refused: list[PlanLine] = []
    try:
        require_date(spec.calendar, date, extract=spec.model.extract, relabel=False)
    except (CatalogError, HistoryUnavailable) as error:
        refused.append(refusal(spec.unit.title, error))
    try:
        with placed(platform.catalog, dataset):
            relations = look(spec.settings(), spec.tables)
    except (TableMissing, SourceDenied) as error:
        return [*refused, refusal(spec.unit.title, error)]
    wanted = spec.wanted(relations)
    found = seen_anew(platform.evidence, spec.standing(relations), relations, extract=spec.model.extract)
    if found.reasons:
        refused += [*refused_now(platform, spec.unit, date), *out_of_order(spec.chain, spec.tables)]
        refused += drift_lines(spec, wanted)
    return [*refused, *(_line(table, extent(spec.chain, relations[table]), found) for table in spec.tables)]


def out_of_order(chain: Chain | None, tables: Sequence[str]) -> list[PlanLine]:
    """A plan's line when an incremental date could not be made now."""
    if chain is None:
        return []
    try:
        chain.require_order(tables, frozenset(tables))
    except (HistoryUnavailable, OutOfOrder) as error:
        return [refusal(chain.unit.title, error)]
    return []


def extent(chain: Chain | None, relation: Relation) -> str:
    """How much would be read of a table, as far as that is known before."""
    if chain and relation.table in chain.links:
        return f"what has changed since {chain.before}"
    if not relation.heap_bytes:
        return _UNSIZED
    return f"about {relation.estimated_rows:,} rows, {relation.heap_bytes:,} bytes"


def _line(table: str, size: str, found: Standing) -> PlanLine:
    if not found.reasons:
        return PlanLine("=", table, "stands")
    if found.pointer is None or table not in found.pointer.entries:
        return PlanLine("+", table, size)
    return PlanLine("*", table, f"{found.reasons.get(table, 'another table has changed')}; {size}")


def refusal(what: str, error: EgressError) -> PlanLine:
    """What would refuse a run, with the way out."""
    return PlanLine("!", what, f"{error.message}. {error.hint}")
