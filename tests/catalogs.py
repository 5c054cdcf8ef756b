"""A right catalog of two files to begin with, and what the loader says against another."""

from pathlib import Path

from egress_assets.engine.catalog.loader import load_catalog
from egress_assets.engine.errors import CatalogError

ENDPOINTS = """\
timezone: Europe/London
evidence: {store: evidence}
sources:
  shop_db: {dsn: {env: SHOP_DSN}}
stores:
  evidence: {kind: s3, bucket: e, zone: trusted}
  lake: {kind: s3, bucket: l, zone: trusted}
  ceph: {kind: ceph, bucket: c}
recipients:
  acme: {transfer_type: sft, url: "https://acme.example/DA"}
  beta: {transfer_type: sft, url: "https://beta.example/DA", audience: research}
"""
SHOP = """\
source: shop_db
start: 2026-11-01
scrub: {key: {env: K}}
tables:
  public.orders: {id: keep, email: email}
"""


def problems(folder: Path, shop: str = SHOP, endpoints: str = ENDPOINTS, **files: str) -> list[str]:
    """Problems of a catalog, their files without the folder."""
    for name, text in {"endpoints": endpoints, "shop": shop, **files}.items():
        (folder / f"{name}.yaml").write_text(text)
    try:
        load_catalog(folder, "sandbox")
    except CatalogError as error:
        return [problem.removeprefix(f"{folder}/") for problem in error.problems]
    return []
