"""Wiring only: the catalog becomes assets, checks, jobs, schedules, sensors and resources. Starts nothing."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

import egress_assets.bucket_policies as buckets
from egress_assets import automation, deliveries, dumps, housekeeping, mirrors, schedules, scrubs, sources, stages
from egress_assets.engine.catalog.loader import Catalog, load_catalog
from egress_assets.engine.environment import environment
from egress_assets.overview import asset as overview
from egress_assets.ranges import jobs as ranges
from resources.endpoints import resources
from sensors import every

FACTORIES = {"dump": dumps.assets, "scrub": scrubs.assets, "mirror": mirrors.assets, "delivery": deliveries.assets}


@contextmanager
def accepted() -> Iterator[None]:
    """Used knowingly though Dagster may change it: checks by partition, ... The pin and the golden graph guard it."""
    with warnings.catch_warnings():
        for category in (dg.PreviewWarning, dg.BetaWarning):
            warnings.filterwarnings("ignore", category=category)
        yield


def ops(catalog: Catalog) -> list[stages.Stage]:
    """Every op of the graph, parents first."""
    roots = [s for name in catalog.datasets for s in (dumps.stage(catalog, name), scrubs.stage(catalog, name)) if s]
    own = {name: [stage for stage in roots if stage.dataset == name] for name in catalog.datasets}
    copies = [mirrors.stage(catalog, d, n, own[d]) for d, model in catalog.datasets.items() for n in model.mirrors]
    sent = [(name, delivery) for name, model in catalog.datasets.items() for delivery in model.deliveries]
    return roots + copies + [deliveries.stage(catalog, d, name, own[d] + copies) for d, name in sent]


def build(catalog: Catalog, *, engine: stages.Engine = stages.engine) -> dg.Definitions:
    """All definitions of a catalog, resolved, so that a mistake shows here and not at the first tick."""
    with accepted():
        graph = ops(catalog)
        jobs = schedules.jobs(catalog, graph)
        daily = filter(None, (schedules.schedule(catalog, *named) for named in jobs.items()))
        observed = filter(None, [*(sources.asset(catalog, name) for name in catalog.datasets), overview(catalog)])
        built = dg.Definitions(
            assets=[*(FACTORIES[s.unit.stage](s, engine) for s in graph), *observed, *buckets.assets(catalog)],
            asset_checks=buckets.checks(catalog),
            jobs=[*jobs.values(), *ranges(catalog, graph, engine)],
            schedules=[*daily, housekeeping.schedule(catalog), buckets.schedule(catalog)],
            sensors=[automation.sensor(), *every.sensors(catalog, graph, jobs)],
            resources=resources(catalog, environment()),
            executor=dg.in_process_executor,
        )
        built.get_repository_def()
        return built


if environment() != "sandbox":  # messages and stacks of unforeseen errors may quote data: they go to the log alone
    os.environ.setdefault("DAGSTER_REDACT_USER_CODE_ERRORS", "1")
defs = build(load_catalog())
