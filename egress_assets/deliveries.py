"""Deliveries: one op, one asset each; the recipient's receipt is in the evidence."""

from collections.abc import Iterator, Sequence

import dagster as dg

from egress_assets import automation
from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.layout import delivery_unit
from egress_assets.running import Event, perform
from egress_assets.specs import specs
from egress_assets.stages import Engine, Stage, certifying


def stage(catalog: Catalog, dataset: str, name: str, upstream: Sequence[Stage]) -> Stage:
    """One delivery, `name` as in the catalog; `upstream` are the dataset's dump and scrub, and all mirrors."""
    model = catalog.dataset(dataset)
    delivery = model.deliveries[name]
    recipient, _, pipeline = name.partition("/")
    parent, table = _parent(delivery.from_, upstream)
    stores = {parent.store, model.store, catalog.endpoints.evidence.store}
    return Stage(
        catalog=catalog,
        dataset=dataset,
        unit=delivery_unit(recipient, pipeline),
        endpoints=frozenset({f"recipient_{recipient}", *(f"store_{store}" for store in stores)}) | certifying(catalog),
        kinds=frozenset({catalog.endpoints.recipients[recipient].transfer_type, "delivery"}),
        declared=f"{dataset}.deliveries.{name}",
        said=(delivery,),
        parents={"": (parent.key(table),)},
        pool=f"recipient_{recipient}",
    )


def _parent(said: str, upstream: Sequence[Stage]) -> tuple[Stage, str]:
    """(stage, table): `schema.table` is the scrub's, `dump/schema.table` the raw dump's, `mirror/<name>` a mirror."""
    kind, _, rest = said.partition("/")
    if kind == "mirror":
        return next(stage for stage in upstream if stage.unit.stage == "mirror" and stage.unit.names == (rest,)), ""
    wanted, table = ("dump", rest) if kind == "dump" else ("scrub", said)
    return next(stage for stage in upstream if stage.unit.stage == wanted and table in stage.tables), table


def assets(delivery: Stage, engine: Engine) -> dg.AssetsDefinition:
    """One date's file at the recipient, sent once."""
    recipient, pipeline = delivery.unit.names

    @dg.multi_asset(
        **delivery.op,
        specs=specs(
            delivery,
            _description(delivery, recipient, pipeline),
            condition=automation.downstream(),
        ),
    )
    def materialise(context: dg.AssetExecutionContext) -> Iterator[Event]:
        run = engine("delivery")
        yield from perform(
            context, delivery, lambda work: run(work.platform, recipient, pipeline, work.date, on=work.on)
        )

    return materialise


def _description(delivery: Stage, recipient: str, pipeline: str) -> str:
    """With what it is made of, by its real name: keys are escaped."""
    model = delivery.catalog.dataset(delivery.dataset).deliveries[f"{recipient}/{pipeline}"]
    where = f" under `{model.destination_prefix}`" if model.destination_prefix else ""
    return f"`{pipeline}` for `{recipient}`: `{model.from_}` as `{model.format}`{where}, sent once, with a receipt."
