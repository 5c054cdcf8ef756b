"""One Dagster and one browser for all of these tests; a page each, which may speak to that Dagster alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.browser.ui import Ui
from tests.live import Live, live

CHROMIUM = "/usr/bin/chromium"  # Debian's; a browser is never downloaded
QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
PATIENCE = 60_000  # ms: a page of a machine that has other work


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def dagster() -> Iterator[Live]:
    """`dagster dev` with nothing that starts by itself: what runs here, a test has started."""
    with live() as made:
        made.begin()
        made.automation(others=False)
        yield made


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    assert Path(CHROMIUM).exists(), f"{CHROMIUM} is missing: `make apt-browser` installs it"
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield browser
        browser.close()


@pytest.fixture
def ui(dagster: Live, browser: Browser, tmp_path: Path) -> Iterator[Ui]:
    """A page. Whatever it asked of another host than this Dagster fails the test."""
    context = browser.new_context(viewport={"width": 1500, "height": 950}, reduced_motion="reduce", locale="en-GB")
    context.set_default_timeout(PATIENCE)
    asked: list[str] = []
    page = context.new_page()
    page.on("request", lambda request: asked.append(request.url))
    yield Ui(page, dagster, tmp_path)
    context.close()
    elsewhere = {url for url in asked if url.startswith(("http", "ws")) and urlsplit(url).netloc != dagster.url[7:]}
    assert not elsewhere, elsewhere
    assert asked


# ------------------------------------------------------------------------ a day of the shop that has its troubles, once
SHOP = ["addresses", "customers", "order_items", "orders", "payments", "products", "reviews", "support_tickets"]
SCRUBS = [f"scrub/shop/shared/public/{table}" for table in SHOP]
DELIVERY = "delivery/acme/orders"


@pytest.fixture(scope="session")
def refused_by_the_gate(dagster: Live) -> str:
    """The run of a day in which somebody wrote an address into a column that is kept; repaired afterwards."""
    with dagster.session("shop") as session:
        session.execute("UPDATE products SET description = 'ask jane.doe@example.com' WHERE id = 1")
        run = dagster.launch("__ASSET_JOB", dagster.dates[-1], SCRUBS)
        assert dagster.ended(run) == "FAILURE"
        session.execute("UPDATE products SET description = '' WHERE id = 1")
    return run


@pytest.fixture(scope="session")
def held(dagster: Live, refused_by_the_gate: str) -> str:
    """The run of the whole day while the recipient is held; the hold stays on for the tests that look at it."""
    put = dagster.command("hold", "recipient", "acme", "--reason", "wrong columns since Monday")
    assert put.returncode == 0, put.stderr
    dagster.automation(evidence=True, others=False)  # tells of it while the run is on its way
    run = dagster.launch("shop", dagster.dates[-1])
    assert dagster.ended(run) == "FAILURE"
    return run


@pytest.fixture(scope="session")
def delivered(dagster: Live, held: str) -> str:
    """The run that delivers when the hold is lifted."""
    lifted = dagster.command("unhold", "recipient", "acme", "--reason", "columns are right again")
    assert lifted.returncode == 0, lifted.stderr
    run = dagster.launch("__ASSET_JOB", dagster.dates[-1], [DELIVERY])
    assert dagster.ended(run) == "SUCCESS"
    return run
