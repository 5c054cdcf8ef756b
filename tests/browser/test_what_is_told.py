"""What a materialisation tells: plots over dates, pictures, rows as they leave, and the evidence to go on from."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import DELIVERY
from tests.browser.ui import Ui
from tests.live import Live

CUSTOMERS, MIRROR = "scrub/shop/shared/public/customers", "mirror/events"


@pytest.fixture(scope="module")
def three_days(dagster: Live) -> list[str]:
    """Dates of events that are done, by whomever."""
    dates = dagster.dates[:3]
    runs = [dagster.launch("events", date) for date in dates if date not in dagster.materialised(MIRROR)]
    assert [dagster.ended(run) for run in runs] == ["SUCCESS"] * len(runs)
    return dates


def test_numbers_are_plotted_over_dates(ui: Ui, three_days: list[str]):
    ui.asset(MIRROR)
    ui.page.get_by_text("Plots", exact=True).click()
    for number in ("bytes", "rows", "seconds", "compression_ratio"):
        expect(ui.page.get_by_text(number, exact=True).first).to_be_attached()
    ui.page.get_by_text("bytes", exact=True).first.scroll_into_view_if_needed()
    expect(ui.page.locator("canvas").first).to_be_visible()
    ui.picture("plots")


def test_a_picture_shows_bytes_a_day(ui: Ui, three_days: list[str]):
    ui.asset(MIRROR, "events", partition=three_days[-1])
    picture = ui.page.locator("img[src^='data:image/svg']").first
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.complete && image.naturalWidth > 100"), "the picture is not drawn"
    ui.picture("materialisation")


def test_rows_are_previewed_as_they_leave_and_never_as_they_are(ui: Ui, delivered: str):
    """S1-3: what a person may look at in the UI is scrubbed."""
    with ui.dagster.session("shop") as session:
        raw = list(session.execute("SELECT email, name, phone FROM customers ORDER BY id LIMIT 20"))
    ui.asset(CUSTOMERS, "events", partition=ui.dagster.dates[-1])
    ui.sees("preview", re.compile("^[0-9a-f]{22}@example.invalid$"))
    said = ui.text
    assert not [value for row in raw for value in row if value and value in said]
    ui.page.get_by_text("preview", exact=True).first.scroll_into_view_if_needed()
    ui.picture("preview")


def test_columns_say_what_their_mask_makes_of_them(ui: Ui, delivered: str):
    ui.asset(CUSTOMERS)
    ui.sees("mask: email", "the same for the same address", "20,000")
    ui.picture("columns")


def test_a_delivery_points_at_its_manifest_and_receipts(ui: Ui, delivered: str):
    date = ui.dagster.dates[-1]
    (receipt,) = ui.dagster.platform.evidence.receipts(date)
    ui.asset(DELIVERY, "events", partition=date)
    ui.sees(re.compile(f"manifests/{DELIVERY}/date={date}/"), re.compile(f"receipts/{date}/{receipt.identity}"))
