"""The catalog's picture is what the UI draws."""

from __future__ import annotations

from tests.browser.ui import Node, Ui

SHOP = (
    "addresses", "customers", "order_items", "orders", "payments", "products", "reviews", "support_tickets",
)  # fmt: skip


def named(children: dict[Node, set[Node]]) -> dict[str, set[str]]:
    return {label(node): {label(child) for child in found} for node, found in children.items()}


def label(node: Node) -> str:
    """The asset's key; a source that was never observed links nowhere, and is told by its kind."""
    if node.key:
        return node.key
    assert "Source" in node.text, node
    return f"source/{node.name}"


def test_the_shop_goes_from_its_source_through_scrubs_into_mirror_and_delivery(ui: Ui):
    found = named(ui.lineage("shop", nodes=len(SHOP) + 3))
    scrubs = {f"scrub/shop/shared/public/{table}" for table in SHOP}
    expected = {scrub: {"mirror/shop"} for scrub in scrubs}
    expected["scrub/shop/shared/public/orders"] = {"mirror/shop", "delivery/acme/orders"}
    assert found == expected | {"source/shop": scrubs, "mirror/shop": set(), "delivery/acme/orders": set()}
    ui.all_in_view(len(SHOP) + 3)
    ui.picture("lineage-shop")


def test_events_go_from_their_source_through_dumps_into_the_mirrors(ui: Ui):
    found = named(ui.lineage("events", nodes=5))
    dumps = {f"dump/events/public/{table}" for table in ("clicks", "page_views")}
    mirrors = {"mirror/events", "mirror/events_files"}
    assert found == {**dict.fromkeys(dumps, mirrors), "source/events": dumps, **{each: set() for each in mirrors}}
    ui.picture("lineage-events")


def test_a_box_says_what_an_asset_is(ui: Ui):
    """Kinds and the check that it carries are read without a click."""
    nodes = {label(node): node.text for node in ui.lineage("shop", nodes=len(SHOP) + 3)}
    assert {"Postgres", "scrub"} <= set(nodes["scrub/shop/shared/public/orders"].split("\n"))
    assert "Asset checks" in nodes["scrub/shop/shared/public/orders"]
    assert {"ceph", "mirror"} <= set(nodes["mirror/shop"].split("\n"))
    assert {"sft", "delivery"} <= set(nodes["delivery/acme/orders"].split("\n"))
