"""What a right catalog means: words, short forms, overlays, places; and how references become settings."""

from datetime import date, timedelta
from pathlib import Path

import pytest

from egress_assets.engine import masks
from egress_assets.engine.catalog.loader import catalog_folder, load_catalog
from egress_assets.engine.catalog.models import Catalog, MirrorFrom
from egress_assets.engine.endpoints import CatalogProvider, open_platform
from egress_assets.engine.errors import CatalogError, ReleaseRefused

ENDPOINTS = """\
timezone: Europe/London
evidence: {store: evidence}
sources:
  shop_db: {dsn: {env: T_DSN}, ca: {file: /nowhere/ca.pem}, workers: 2}
stores:
  evidence: {kind: s3, bucket: e, zone: trusted}
  lake: {kind: s3, bucket: {env: T_BUCKET}, zone: trusted, secret_key: {file: SECRET}, ca: {file: SECRET}}
  other: {bucket: o}
recipients:
  acme: {transfer_type: sft, url: "https://acme.example/DA", apikey: {env: T_APIKEY}, headers: {X-Team: {env: T_TEAM}}}
  prod: {transfer_type: folder, path: /out, env: prod}
"""
SHOP = """\
source: shop_db
start: 2026-11-01
schedule: 02:15
description: NO
grace: 7d
scrub:
  key: {env: T_KEY}
  epoch: 2026Q4
tables:
  public.a: {id: keep, note: null, born: {mask: date_shift, by: id}}
  public.b:
    columns: {id: keep, "null": null, columns: keep, window: keep}
  public.c: {columns: keep, window: keep}
mirrors:
  in: {to: lake, select: bucket, prefix: in, from: {store: other, prefix: x/}}
deliveries:
  acme/a: {from: public.a, release: {basis: authorised, reason: r, recipients: [acme], purpose: p, legal_basis: l,
    approved_by: a, until: 2026-11-30}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    secret = tmp_path / "secret"
    secret.write_text("hunter2\n")
    (tmp_path / "endpoints.yaml").write_text(ENDPOINTS.replace("SECRET", str(secret)))
    (tmp_path / "shop.yaml").write_text(SHOP)
    return tmp_path


@pytest.fixture
def catalog(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Catalog:
    monkeypatch.setenv("EGRESS_NOW", "2026-11-20T12:00:00+00:00")
    return load_catalog(folder, "sandbox")


def test_words_of_yaml_are_what_they_look_like(catalog: Catalog) -> None:
    """`NO` is no boolean, 02:15 no number of minutes, 2026Q4 no year, and `null` is a mask."""
    shop = catalog.dataset("shop")
    assert (shop.description, shop.schedule, shop.start) == ("NO", "02:15", date(2026, 11, 1))
    assert shop.grace == timedelta(days=7)
    assert shop.scrub is not None
    assert shop.scrub.epoch == "2026Q4"
    assert shop.tables["public.a"].columns["note"].mask == "null"


def test_the_short_and_the_long_form_of_a_table_mean_the_same(catalog: Catalog) -> None:
    tables = catalog.dataset("shop").tables
    assert {n: r.mask for n, r in tables["public.a"].columns.items()} == {
        "id": "keep", "note": "null", "born": "date_shift"
    }  # fmt: skip
    assert tables["public.a"].columns["born"].params == {"by": "id"}
    assert set(tables["public.b"].columns) == {"id", "null", "columns", "window"}
    assert set(tables["public.c"].columns) == {"columns", "window"}, "columns may be called so too"


def test_a_mirror_of_a_bucket_says_from_where(catalog: Catalog) -> None:
    assert catalog.dataset("shop").mirrors["in"].from_ == MirrorFrom(store="other", prefix="x/")


def test_every_key_knows_its_line(catalog: Catalog, folder: Path) -> None:
    assert catalog.lines["shop"] == 1
    assert catalog.lines["shop.tables.public.a.born"] == 10
    assert catalog.lines["shop.deliveries.acme/a"] == 17
    assert catalog.lines["endpoints.stores.lake"] == 7
    assert catalog.place("shop.tables.public.a.born.by.deeper") == f"{folder}/shop.yaml:10"
    assert catalog.place("nobody.knows") == ""


def test_an_authorisation_that_ends_does_not_stop_the_other_datasets(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds on its last day, in the catalog's timezone; afterwards the catalog loads and says so."""
    monkeypatch.setenv("EGRESS_NOW", "2026-11-30T23:59:00+00:00")
    assert load_catalog(folder, "sandbox").lapsed == ()
    monkeypatch.setenv("EGRESS_NOW", "2026-12-01T00:00:00+00:00")
    (lapsed,) = load_catalog(folder, "sandbox").lapsed
    assert lapsed.startswith(f"{folder}/shop.yaml:18: deliveries.acme/a.release.until: 2026-11-30 has passed")


def test_an_overlay_replaces_fields_of_one_environment(folder: Path) -> None:
    (folder / "endpoints.dev.yaml").write_text(
        "timezone: UTC\nsources:\n  shop_db: {dsn: {file: /dev/dsn}}\nstores:\n  more: {bucket: m}\n"
    )
    base, dev = load_catalog(folder, "sandbox"), load_catalog(folder, "dev")
    assert (base.endpoints.timezone, dev.endpoints.timezone) == ("Europe/London", "UTC")
    source = dev.endpoints.sources["shop_db"]
    assert (source.workers, source.dsn) == (2, source.dsn.__class__(file="/dev/dsn"))
    assert "more" in dev.endpoints.stores
    assert "more" not in base.endpoints.stores
    assert dev.place("endpoints.sources.shop_db.dsn") == f"{folder}/endpoints.dev.yaml:3"
    assert dev.place("endpoints.stores.lake") == f"{folder}/endpoints.yaml:7"


def test_a_mistake_in_an_overlay_is_told_there(folder: Path) -> None:
    (folder / "endpoints.dev.yaml").write_text("stores:\n  lake: {zone: safe}\n")
    with pytest.raises(CatalogError) as caught:
        load_catalog(folder, "dev")
    assert caught.value.problems[0].startswith(f"{folder}/endpoints.dev.yaml:2: stores.lake.zone: 'safe' is not valid")


def test_the_folder_is_said_or_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EGRESS_CATALOG", raising=False)
    assert (catalog_folder() / "endpoints.yaml").is_file(), "the project's own"
    monkeypatch.setenv("EGRESS_CATALOG", str(folder))
    assert catalog_folder() == folder


def test_the_catalog_that_is_shipped_classifies_every_column_with_a_mask() -> None:
    shop = load_catalog(Path(__file__).parents[2] / "catalog", "sandbox").dataset("shop")
    assert len(shop.tables) >= 6
    assert {rule.mask for t in shop.tables.values() for rule in t.columns.values()} == set(masks.registry())


# ------------------------------------------------------------------------------------------------------------- settings
@pytest.fixture
def provider(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> CatalogProvider:
    for name, value in {
        "T_DSN": "host=h password=hunter2\n",
        "T_BUCKET": "b\r\n",
        "T_KEY": "k",
        "T_APIKEY": "a",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("T_TEAM", "shop")
    return CatalogProvider(catalog, "dev")


def test_references_are_resolved_when_used_and_lose_their_last_newline(provider: CatalogProvider) -> None:
    lake = provider.store("lake")
    assert (lake.name, lake.bucket, lake.secret_key, lake.zone) == ("lake", "b", "hunter2", "trusted")
    assert Path(lake.ca).name == "secret", "a client wants the path of a bundle"
    settings = provider.recipient("acme")
    assert settings == {"url": "https://acme.example/DA", "apikey": "a", "headers": {"X-Team": "shop"}}
    assert provider.secret(provider.catalog.dataset("shop").scrub.key) == "k"  # type: ignore[union-attr]


def test_a_reference_that_leads_nowhere_is_told_with_its_line(
    provider: CatalogProvider, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        CatalogError, match=f"{folder}/endpoints.yaml:4: .*ca: file /nowhere/ca.pem: No such file"
    ) as caught:
        provider.source("shop_db")
    assert "hunter2" not in str(caught.value)
    monkeypatch.setenv("T_BUCKET", "")
    with pytest.raises(
        CatalogError, match=f"{folder}/endpoints.yaml:7: .*bucket: environment variable T_BUCKET is empty"
    ):
        provider.store("lake")
    monkeypatch.delenv("T_KEY")
    with pytest.raises(CatalogError, match=f"{folder}/shop.yaml:7: scrub.key: environment variable T_KEY is not set"):
        provider.secret(provider.catalog.dataset("shop").scrub.key)  # type: ignore[union-attr]
    with pytest.raises(CatalogError, match="'lak' is not among the stores"):
        provider.store("lak")


def test_an_empty_secret_is_no_secret(provider: CatalogProvider, folder: Path) -> None:
    (folder / "secret").write_text("\n")
    with pytest.raises(CatalogError, match="secret is empty"):
        provider.store("lake")


def test_a_recipient_of_prod_is_refused_elsewhere(catalog: Catalog) -> None:
    with pytest.raises(ReleaseRefused, match="recipient prod is for prod, this is dev"):
        CatalogProvider(catalog, "dev").recipient("prod")
    assert CatalogProvider(catalog, "prod").recipient("prod") == {"path": "/out"}


def test_only_three_environments_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EGRESS_ENV", "production")
    with pytest.raises(CatalogError, match="EGRESS_ENV is 'production'"):
        open_platform()
