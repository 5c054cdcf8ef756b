"""Scrubbed dumps: one op a dataset and audience, one asset a table with the gate's check.

Masked in the source's own SELECT, they stand beside raw dumps and like them have no condition: what changes in a
database can't say for which date, so schedules, people and arrivals start them.
"""

from collections.abc import Iterator

import dagster as dg

from egress_assets import checks
from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.layout import scrub_unit, source_key
from egress_assets.running import Event, perform
from egress_assets.specs import specs
from egress_assets.stages import Engine, Stage, certifying


def stage(catalog: Catalog, dataset: str) -> Stage | None:
    """The scrub of a dataset, where its catalog file asks for one."""
    model = catalog.dataset(dataset)
    if model.scrub is None or model.source is None:
        return None
    store = model.scrub.store or model.store
    stores = {store, model.scrub.quarantine or store, catalog.endpoints.evidence.store}
    tables = tuple(model.tables)
    return Stage(
        catalog=catalog,
        dataset=dataset,
        unit=scrub_unit(dataset, model.scrub.audience),
        endpoints=frozenset({f"source_{model.source}", f"key_{dataset}", *(f"store_{name}" for name in stores)})
        | certifying(catalog),
        kinds=frozenset({"postgres", "csv", "scrub"}),
        declared=f"{dataset}.tables",
        said=(model.scrub and model.scrub.model_copy(update={"publish": {}}), model.extract),
        tables=tables,
        parents=dict.fromkeys(tables, (dg.AssetKey(source_key(dataset)),)),
        store=store,
        pool=f"source_{model.source}",
        gated=True,
    )


def assets(scrub: Stage, engine: Engine) -> dg.AssetsDefinition:
    """All tables of one date, masked in one snapshot; published whole, or not at all when the gate finds something."""

    @dg.multi_asset(
        **scrub.op,
        specs=specs(scrub, "`{table}` with every column masked or kept on purpose; nothing raw is written."),
        check_specs=checks.specs(scrub),
        can_subset=True,
    )
    def materialise(context: dg.AssetExecutionContext) -> Iterator[Event]:
        run = engine("scrub")
        yield from perform(
            context, scrub, lambda work: run(work.platform, scrub.dataset, work.date, tables=work.tables, on=work.on)
        )

    return materialise
