"""Runs started by clicking: one date, several dates; what the pages then say."""

from __future__ import annotations

import re

from tests.browser.ui import Ui
from tests.live import until

ASSETS = ("dump/events/public/clicks", "dump/events/public/page_views", "mirror/events")


def test_one_date_materialised_by_clicking_is_green(ui: Ui):
    """S0-9: the whole chain of the newest date from the lineage's button, its progress on the run's page."""
    date = ui.dagster.dates[-1]
    ui.open("/locations/egress/asset-groups/events/lineage")
    run = ui.materialise(button="Materialize all")
    ui.ends("Success")
    ui.sees(date, "Succeeded (3)")
    ui.picture("run")
    ui.run(run, "read public")
    ui.sees(re.compile("read public.clicks: 500 rows"), re.compile("read public.page_views: 1500 rows"))
    for key in ASSETS:
        ui.asset(key, "partitions", partition=date)
        ui.sees(re.compile(r"Materialized \([1-9]"), "Failed (0)")
        assert ui.dagster.materialised(key)[date] == [run]


def test_three_days_of_events_are_backfilled_by_the_dialog(ui: Ui):
    dates = ui.dagster.dates[:3]
    ui.open("/locations/egress/asset-groups/events/lineage")
    ui.materialise(button="Materialize all", dates=f"[{dates[0]}...{dates[-1]}]")
    ui.sees(f"{dates[0]}...{dates[-1]}")
    until(lambda: set(dates) <= set(ui.dagster.materialised("mirror/events")), "the backfill ends", 240, every=1)
    for key in ASSETS:
        found = ui.dagster.materialised(key)
        assert {date: len(runs) for date, runs in found.items() if date in dates} == dict.fromkeys(dates, 1), key
    ui.asset("mirror/events", "partitions")
    ui.sees(re.compile(r"Materialized \([3-9]"), "Failed (0)")
    ui.picture("partitions")
