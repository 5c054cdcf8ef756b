"""Names of holds, and who puts them."""

import getpass
import socket

import pytest

from egress_assets.engine import holds
from egress_assets.engine.catalog.models import Catalog
from egress_assets.engine.errors import CatalogError
from egress_assets.engine.evidence.proofs import Event, Hold

DATASET = {"start": "2026-11-01"}
CATALOG = Catalog.model_validate(
    {
        "endpoints": {
            "evidence": {"store": "e"},
            "stores": {"e": {"bucket": "e"}},
            "recipients": {name: {"transfer_type": "folder"} for name in ("acme", "both")},
        },
        "datasets": {"shop": DATASET, "both": DATASET},
    }
)
HOLD = Hold(True, Event("hold", "recipient/acme", "amy@desk", "wrong columns", "n", 1_763_733_600_000_000))


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["acme"], ("recipient", "acme")),
        (["shop"], ("dataset", "shop")),
        (["recipient", "both"], ("recipient", "both")),
        (["dataset", "both"], ("dataset", "both")),
    ],
)
def test_a_kind_is_needed_only_where_both_have_the_name(words: list[str], found: tuple[str, str]) -> None:
    assert holds.named(CATALOG, words) == found


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["both"], "both is a recipient and a dataset", "`dataset both` or `recipient both`"),
        (["acne"], "'acne' is not a recipient or a dataset", "acme, both, shop (did you mean acme?)"),
        (["dataset", "acme"], "'acme' is not a dataset", "both, shop"),
        (["mirror", "shop"], "'mirror' can't be held", "dataset, recipient"),
    ],
)
def test_an_unknown_name_is_refused_with_the_choices(words: list[str], message: str, hint: str) -> None:
    with pytest.raises(CatalogError) as caught:
        holds.named(CATALOG, words)
    assert caught.value.message == message
    assert hint in caught.value.hint


def test_a_hold_can_be_lifted_when_the_catalog_has_lost_the_name() -> None:
    lost = Hold(True, Event("hold", "recipient/gone", "amy", "why", "n"))
    assert holds.named(CATALOG, ["gone"], held=[lost]) == ("recipient", "gone")


def test_who_holds_is_the_operator_or_the_user_at_this_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EGRESS_OPERATOR", " amy (on call) ")
    assert holds.operator() == "amy (on call)"
    monkeypatch.setenv("EGRESS_OPERATOR", "a\x1b[31m")
    with pytest.raises(CatalogError, match="EGRESS_OPERATOR must be a line"):
        holds.operator()
    monkeypatch.delenv("EGRESS_OPERATOR")
    assert holds.operator() == f"{getpass.getuser()}@{socket.gethostname()}"
    monkeypatch.setattr(getpass, "getuser", lambda: (_ for _ in ()).throw(OSError))
    assert holds.operator().startswith("uid ")


def test_a_hold_is_told_in_a_line_with_its_time() -> None:
    assert holds.told(HOLD) == "recipient acme is held by amy@desk since 2025-11-21T14:00:00Z: wrong columns"
    old = Hold(True, Event("hold", "dataset/shop", "amy", "why", "n"))
    assert holds.told(old) == "dataset shop is held by amy: why", "a record from before holds had a time"


def test_the_time_of_a_hold_comes_back_and_a_record_without_one_stays_as_it_is() -> None:
    assert Event.from_json(HOLD.event.to_json()) == HOLD.event
    assert "at" not in Event("hold", "dataset/shop", "amy", "why", "n").to_json()
