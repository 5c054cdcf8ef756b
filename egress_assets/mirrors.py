"""Mirrors: one op, one asset each."""

from collections.abc import Iterator, Sequence

import dagster as dg

from egress_assets import automation
from egress_assets.engine.catalog.layouts import layout_of
from egress_assets.engine.catalog.models import Catalog, MirrorFrom, MirrorModel, Published
from egress_assets.engine.layout import mirror_unit
from egress_assets.running import Event, perform
from egress_assets.specs import specs
from egress_assets.stages import Engine, Stage, certifying


def stage(catalog: Catalog, dataset: str, name: str, upstream: Sequence[Stage]) -> Stage:
    """One mirror; `upstream` are the dataset's dump and scrub."""
    mirror = catalog.dataset(dataset).mirrors[name]
    parent = _parent(mirror, upstream)
    origin = mirror.from_.store if isinstance(mirror.from_, MirrorFrom) else parent.store if parent else ""
    stores = {origin, mirror.to, catalog.endpoints.evidence.store} - {""}
    return Stage(
        catalog=catalog,
        dataset=dataset,
        unit=mirror_unit(name),
        endpoints=frozenset(f"store_{store}" for store in stores) | certifying(catalog),
        kinds=frozenset({catalog.endpoints.stores[mirror.to].kind, "mirror"}),
        declared=f"{dataset}.mirrors.{name}",
        said=(mirror,),
        parents={"": tuple(parent.keys.values())} if parent else {},
        store=mirror.to,
    )


def _parent(mirror: MirrorModel, upstream: Sequence[Stage]) -> Stage | None:
    """What it copies of this dataset: what it says, else the scrubbed dump, else the raw one."""
    if isinstance(mirror.from_, MirrorFrom):
        return None
    stages = {stage.unit.stage: stage for stage in upstream}
    return stages[mirror.from_] if mirror.from_ else stages.get("scrub") or stages["dump"]


def assets(mirror: Stage, engine: Engine) -> dg.AssetsDefinition:
    """The objects of one date at another endpoint."""
    name = mirror.unit.names[0]

    @dg.multi_asset(
        **mirror.op,
        specs=specs(
            mirror,
            _description(mirror, name),
            condition=automation.downstream() if mirror.parents else None,
        ),
    )
    def materialise(context: dg.AssetExecutionContext) -> Iterator[Event]:
        run = engine("mirror")
        yield from perform(context, mirror, lambda work: run(work.platform, name, work.date, on=work.on))

    return materialise


def _description(mirror: Stage, name: str) -> str:
    """With what it copies and whereto, by their real names."""
    model = mirror.catalog.dataset(mirror.dataset).mirrors[name]
    if isinstance(model.from_, MirrorFrom):
        copied = f"Everything below `{model.from_.prefix}` of the foreign store `{model.from_.store}`"
    elif isinstance(model, Published):
        flag = ", the flag last" if model.publish.flag else ""
        names = layout_of(mirror.dataset, mirror.catalog.dataset(mirror.dataset), model)
        example = names.key(names.tables[0], mirror.calendar.start.isoformat())
        return f"The tables of a date of `{mirror.dataset}` under fixed names in `{mirror.store}`: `{example}`{flag}."
    else:
        copied = f"The objects of a date of `{mirror.dataset}`"
    return f"{copied}, copied to `{mirror.store}` and verified there."
