"""All sensors of a catalog that look at something outside of Dagster."""

from collections.abc import Iterator, Mapping, Sequence

import dagster as dg

from egress_assets.engine.catalog.models import Catalog
from egress_assets.schedules import Job
from egress_assets.stages import Stage
from sensors import arrivals, evidence, failures, reconcile


def sensors(catalog: Catalog, graph: Sequence[Stage], jobs: Mapping[str, Job]) -> Iterator[dg.SensorDefinition]:
    """`graph` has every op, parents first; `jobs` are by dataset."""
    yield from arrivals.sensors(catalog, jobs)
    yield evidence.sensor(catalog, graph)
    yield reconcile.sensor(catalog, graph, jobs)
    yield from failures.sensors(catalog)
