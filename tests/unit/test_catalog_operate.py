"""What a catalog may say of hours and limits, and what would never work or never count (S1-2)."""

from __future__ import annotations

from pathlib import Path

import pytest

from egress_assets.engine.catalog.loader import load_catalog
from egress_assets.engine.errors import CatalogError

SHOP = """\
source: db
start: 2026-11-01
schedule: "02:15"
limits: {rows: 10, bytes: 20GB}
scrub: {key: k}
tables:
  public.orders: {id: keep}
deliveries:
  acme/orders: {from: public.orders}
"""
FOREIGN = """\
start: 2026-11-01
mirrors:
  theirs: {from: {store: ceph}, select: bucket, to: inside}
deliveries:
  acme/theirs: {from: mirror/theirs, destination_prefix: theirs/, release: {basis: public, reason: r}}
"""


def problems(folder: Path, *, source: str = "", limits: str = "bytes: 1GB", **files: str) -> list[str]:
    endpoints = f"""\
evidence: {{store: evidence}}
sources:
  db:
    dsn: postgresql:///x
    {source}
stores:
  evidence: {{bucket: e, zone: trusted}}
  inside: {{bucket: i, zone: trusted}}
  lake: {{bucket: l, zone: trusted}}
  ceph: {{bucket: c}}
recipients:
  acme: {{transfer_type: folder, path: /srv/x, limits: {{{limits}}}}}
"""
    for name, text in {"endpoints": endpoints, "shop": SHOP, **files}.items():
        (folder / f"{name}.yaml").write_text(text)
    try:
        load_catalog(folder, "sandbox")
    except CatalogError as error:
        return [problem.removeprefix(f"{folder}/") for problem in error.problems]
    return []


@pytest.mark.parametrize(
    "source",
    [
        "",
        'quiet_hours: ["08:00-18:00"]',
        'quiet_hours: ["22:00-02:15", "02:16-06:00"]',
        'throttle: {rows_per_second: 1, hours: ["00:00-12:00", "12:00-00:00"]}',
    ],
)
def test_hours_beside_the_schedule_are_right(tmp_path: Path, source: str) -> None:
    assert problems(tmp_path, source=source) == []


@pytest.mark.parametrize("span", ["02:15-02:16", "00:00-12:00", "22:00-06:00"])
def test_a_schedule_in_quiet_hours_could_never_begin(tmp_path: Path, span: str) -> None:
    (found,) = problems(tmp_path, source=f'quiet_hours: ["08:00-09:00", "{span}"]')
    assert found == f"shop.yaml:3: schedule: source db is quiet {span}: no run could begin at 02:15"


def test_a_source_is_not_quiet_all_day(tmp_path: Path) -> None:
    found = problems(tmp_path, source='quiet_hours: ["03:00-15:00", "15:00-03:00"]')
    assert any("endpoints.yaml:5: sources.db.quiet_hours: the whole day is quiet" in line for line in found)


@pytest.mark.parametrize(
    "key", ['quiet_hours: ["08:00-08:00"]', 'throttle: {rows_per_second: 1, hours: ["08:00-08:00"]}']
)
def test_hours_have_a_length(tmp_path: Path, key: str) -> None:
    assert any("'08:00-08:00' has no length" in line for line in problems(tmp_path, source=key))


def test_limits_of_a_dataset_without_a_source_count_nothing(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, foreign="limits: {rows: 5}\n" + FOREIGN)
    assert found.startswith("foreign.yaml:1: limits: counts rows that are read, but there is no `source`")


def test_rows_of_a_foreign_bucket_can_t_be_limited(tmp_path: Path) -> None:
    assert problems(tmp_path, foreign=FOREIGN) == []
    (found,) = problems(tmp_path, limits="rows: 5", foreign=FOREIGN)
    assert found.startswith("foreign.yaml:5: deliveries.acme/theirs.from: recipient acme has `limits` of rows")


def test_a_delivery_from_a_table_that_left_the_catalog_is_a_problem(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, shop=SHOP.replace("public.orders: {id: keep}", "public.invoices: {id: keep}"))
    assert found.startswith("shop.yaml:9: deliveries.acme/orders.from: 'public.orders' is not a table of shop; valid: ")
