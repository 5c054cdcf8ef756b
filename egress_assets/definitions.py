"""Wiring only: the catalog becomes assets, checks, jobs, schedules, sensors and resources. Starts nothing."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

import egress_assets.bucket_policies as buckets
from egress_assets import automation, graph, housekeeping, schedules, sources, stages
from egress_assets.engine.catalog.loader import load_catalog
from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.environment import environment
from egress_assets.overview import asset as overview
from egress_assets.ranges import jobs as ranges
from resources.endpoints import resources
from sensors import every


@contextmanager
def accepted() -> Iterator[None]:
    """Used knowingly though Dagster may change it: checks by partition, ... The pin and the golden graph guard it."""
    with warnings.catch_warnings():
        for category in (dg.PreviewWarning, dg.BetaWarning):
            warnings.filterwarnings("ignore", category=category)
        yield


def build(catalog: Catalog, *, engine: stages.Engine = stages.engine) -> dg.Definitions:
    """All definitions of a catalog, resolved, so that a mistake shows here and not at the first tick."""
    with accepted():
        ops = graph.ops(catalog)
        jobs = schedules.jobs(catalog, ops)
        daily = filter(None, (schedules.schedule(catalog, *named) for named in jobs.items()))
        observed = filter(None, [*(sources.asset(catalog, name) for name in catalog.datasets), overview(catalog)])
        built = dg.Definitions(
            assets=[*graph.assets(ops, engine), *observed, *buckets.assets(catalog)],
            asset_checks=buckets.checks(catalog),
            jobs=[*jobs.values(), *ranges(catalog, ops, engine)],
            schedules=[*daily, housekeeping.schedule(catalog), buckets.schedule(catalog)],
            sensors=[automation.sensor(), *every.sensors(catalog, ops, jobs)],
            resources=resources(catalog, environment()),
            executor=dg.in_process_executor,
        )
        built.get_repository_def()
        return built


if environment() != "sandbox":  # messages and stacks of unforeseen errors may quote data: they go to the log alone
    os.environ.setdefault("DAGSTER_REDACT_USER_CODE_ERRORS", "1")
defs = build(load_catalog())
