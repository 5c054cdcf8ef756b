"""The catalog as a graph of ops: dumps and scrubs, mirrors of them, deliveries of them all."""

from collections.abc import Iterator, Sequence

import dagster as dg

from egress_assets import deliveries, dumps, mirrors, scrubs
from egress_assets.engine.catalog.models import Catalog
from egress_assets.stages import Engine, Stage

FACTORIES = {"dump": dumps.assets, "scrub": scrubs.assets, "mirror": mirrors.assets, "delivery": deliveries.assets}


def ops(catalog: Catalog) -> list[Stage]:
    """Every op of the graph, parents first."""
    roots = [s for name in catalog.datasets for s in (dumps.stage(catalog, name), scrubs.stage(catalog, name)) if s]
    own = {name: [stage for stage in roots if stage.dataset == name] for name in catalog.datasets}
    copies = [mirrors.stage(catalog, d, n, own[d]) for d, model in catalog.datasets.items() for n in model.mirrors]
    sent = [(name, delivery) for name, model in catalog.datasets.items() for delivery in model.deliveries]
    return roots + copies + [deliveries.stage(catalog, d, name, own[d] + copies) for d, name in sent]


def assets(ops: Sequence[Stage], engine: Engine) -> Iterator[dg.AssetsDefinition]:
    """The assets of each op; `engine` finds what does the work."""
    return (FACTORIES[op.unit.stage](op, engine) for op in ops)
