"""What a person sees when something is wrong: one sentence, the way out below it, and nothing left half done."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import DELIVERY
from tests.browser.ui import Ui
from tests.live import Live, until

REASON = "wrong columns since Monday"
PRODUCTS = "scrub/shop/shared/public/products"


def test_a_failed_gate_tells_on_the_checks_page_what_it_found(ui: Ui, refused_by_the_gate: str):
    ui.asset(PRODUCTS, "checks")
    ui.sees("Failed", ui.dagster.dates[-1], re.compile("did not pass its gate: .* 1 x email in description"))
    cells = ui.page.get_by_role("row").filter(has_text="no_direct_identifiers")
    expect(cells.first).to_contain_text(re.compile("public.products.*description.*no_direct_identifiers.*email.*1"))
    assert "jane.doe" not in ui.text
    ui.picture("gate")


def test_a_run_that_the_gate_refused_says_what_to_do(ui: Ui, refused_by_the_gate: str):
    said = ui.failure(refused_by_the_gate)
    assert said.startswith("GateFailed: scrub/shop/shared "), said
    assert "egress list-masks" in said
    assert "jane.doe" not in said
    ui.picture("gate-run", above="Stack Trace")


def test_a_held_recipient_fails_its_delivery_alone_and_says_who_why_and_the_way_out(ui: Ui, held: str):
    said = ui.failure(held)
    assert said.startswith("Held: "), said
    for word in ("acme is held by kim since ", REASON, "egress unhold recipient acme"):
        assert word in said, said
    ui.picture("held", above="Stack Trace")
    ui.run(held)
    ui.sees("Succeeded (2)", "Errored (1)")
    assert ui.dagster.materialised(DELIVERY) == {}


def test_a_hold_is_seen_on_what_it_stops_and_on_the_overview(ui: Ui, held: str):
    until(lambda: ui.dagster.observed(DELIVERY), "the hold is told", 180, every=1)
    ui.asset(DELIVERY, "events")
    ui.sees(re.compile("recipient/acme"), REASON)
    until(lambda: REASON in ui.dagster.latest("overview"), "the overview tells the hold", 240, every=1)
    ui.asset("overview", "events")
    ui.sees("holds", "recipient/acme", REASON)
    ui.picture("overview")
    ui.page.get_by_text("[Show Markdown]").first.click()
    expect(ui.dialog.locator("img[src^='data:image/svg']").first).to_be_visible()
    ui.picture("heat-map")


def test_a_lifted_hold_lets_the_delivery_pass(ui: Ui, delivered: str):
    ui.asset(DELIVERY, "partitions", partition=ui.dagster.dates[-1])
    ui.sees("Materialized (1)", "Failed (0)")
    assert ui.dagster.materialised(DELIVERY) == {ui.dagster.dates[-1]: [delivered]}


@pytest.fixture(scope="module")
def mistaken(dagster: Live) -> dict[str, str]:
    """Runs with a mistake of a user's in each, by what is wrong."""
    with dagster.session("postgres") as session:
        session.execute("ALTER ROLE egress_reader CONNECTION LIMIT 0")  # answers, but lets nobody in
        runs = {
            "down": dagster.launch("events", dagster.dates[4]),
            "unknown": dagster.launch("events", "2020-01-01"),
            "past": dagster.launch("shop", dagster.dates[0]),
        }
        assert {what: dagster.ended(run) for what, run in runs.items()} == dict.fromkeys(runs, "FAILURE")
        session.execute("ALTER ROLE egress_reader CONNECTION LIMIT -1")
    return runs


@pytest.mark.parametrize(
    ("what", "sentence", "way_out"),
    [
        ("down", r"SourceUnavailable: source events_db", "Lower `workers`"),
        ("unknown", r"CatalogError: date 2020-01-01 is outside", "Dates run from"),
        ("past", r"HistoryUnavailable: a full extract of", "--relabel"),
    ],
)
def test_a_users_mistake_ends_in_a_sentence_with_its_way_out(
    ui: Ui, mistaken: dict[str, str], what: str, sentence: str, way_out: str
):
    said = ui.failure(mistaken[what])
    assert re.match(sentence, said), said
    assert way_out in said.split("Stack Trace")[0], said
    ui.picture(f"failure-{what}", above="Stack Trace")
