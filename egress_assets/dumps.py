"""Raw dumps: one op a dataset, one asset a table. No condition: only schedules, people and arrivals start them."""

from collections.abc import Iterator

import dagster as dg

from egress_assets import checks
from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.layout import dump_unit, source_key
from egress_assets.running import Event, perform
from egress_assets.specs import specs
from egress_assets.stages import Engine, Stage

_HELD = "`{table}` as the source held it, in one snapshot with the dataset's other tables."
_ROWS = {
    "full": f"Every row of {_HELD}",
    "window": f"The date's rows of {_HELD}",
    "incremental": f"What is new or changed since the date before in {_HELD}",
}


def stage(catalog: Catalog, dataset: str) -> Stage | None:
    """The dump of a dataset, where its catalog file asks for one."""
    model = catalog.dataset(dataset)
    if model.dump is None or model.source is None:
        return None
    store = model.dump.store or model.store
    tables = tuple(model.tables)
    return Stage(
        catalog=catalog,
        dataset=dataset,
        unit=dump_unit(dataset),
        endpoints=frozenset({f"source_{model.source}", f"store_{store}", f"store_{catalog.endpoints.evidence.store}"}),
        kinds=frozenset({"postgres", "csv"}),
        declared=f"{dataset}.tables",
        said=(model.dump and model.dump.model_copy(update={"publish": {}}), model.extract),
        tables=tables,
        parents=dict.fromkeys(tables, (dg.AssetKey(source_key(dataset)),)),
        store=store,
        pool=f"source_{model.source}",
    )


def assets(dump: Stage, engine: Engine) -> dg.AssetsDefinition:
    """All tables of one date in one snapshot."""

    @dg.multi_asset(
        **dump.op,
        specs=specs(dump, _ROWS[dump.catalog.dataset(dump.dataset).extract]),
        check_specs=checks.specs(dump),
        can_subset=True,
    )
    def materialise(context: dg.AssetExecutionContext) -> Iterator[Event]:
        run = engine("dump")
        yield from perform(
            context, dump, lambda work: run(work.platform, dump.dataset, work.date, tables=work.tables, on=work.on)
        )

    return materialise
