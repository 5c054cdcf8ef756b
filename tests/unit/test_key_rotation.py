"""Which dates stand under which scrub key, and what another epoch means."""

from __future__ import annotations

import pytest

from egress_assets.engine.catalog.values import Ref
from egress_assets.engine.errors import CatalogError, KeyMissing
from egress_assets.engine.evidence.records import Draft, Pointer, Position
from egress_assets.engine.platform import Platform
from egress_assets.engine.scrub.keys import SHORTEST, MasterKey
from egress_assets.engine.scrub.rotation import key_use, new_secret, next_epoch, plan_rotation
from tests.platforms import DATE, NOW, SCRUB, Provider, memory, platform

OLD, NEW = "ab" * 32, "cd" * 32


class Secrets(Provider):
    key = NEW

    def secret(self, value: object) -> str:
        return self.key


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setenv("EGRESS_NOW", NOW)


def keyed(base: Platform, secret: str = NEW, /, **scrub: object) -> Platform:
    shop = base.catalog.dataset("shop")
    changed = shop.model_copy(update={"scrub": shop.scrub and shop.scrub.model_copy(update=dict(scrub))})
    provider = Secrets()
    provider.key = secret
    datasets = {**base.catalog.datasets, "shop": changed}
    return Platform(base.catalog.model_copy(update={"datasets": datasets}), provider, "prod", base._stores)


def made(base: Platform, date: str, key: str, epoch: str) -> None:
    def work(_base: Pointer | None, me: str) -> Draft:
        key_id = MasterKey.parse(key).key_id
        return Draft({}, Position("as_of", 1), me, f"{date}T01:00:00Z", "lake", key_id=key_id, facts={"epoch": epoch})

    base.evidence.materialise(SCRUB, date, work)


@pytest.fixture
def p() -> Platform:
    base = platform()
    for date, key, epoch in (
        ("2026-11-01", OLD, "1"), ("2026-11-02", OLD, "1"), ("2026-11-18", NEW, "1"), (DATE, NEW, "2"),
    ):  # fmt: skip
        made(base, date, key, epoch)
    return keyed(base, epoch="2", key=Ref(env="SHOP_KEY"))


def test_dates_are_told_by_the_key_and_the_epoch_that_they_stand_under(p):
    use = key_use(p, "shop")
    assert (use.key_id, use.bytes, use.epoch, use.reference) == (MasterKey.parse(NEW).key_id, 32, "2", "env SHOP_KEY")
    assert use.current == (DATE,)
    assert use.others == {
        (MasterKey.parse(OLD).key_id, "1"): ("2026-11-01", "2026-11-02"),
        (MasterKey.parse(NEW).key_id, "1"): ("2026-11-18",),
    }
    assert NEW not in repr(use)


@pytest.mark.parametrize(
    ("key", "said"), [("literal", "literal"), (Ref(file="/run/k"), "file /run/k"), (Ref(env="K"), "env K")]
)
def test_where_a_key_comes_from_is_told(p, key, said):
    assert key_use(keyed(p, key=key), "shop").reference == said


def test_a_key_that_is_too_short_or_a_dataset_without_one_is_refused(p):
    with pytest.raises(KeyMissing, match="has 5 bytes, 32"):
        key_use(keyed(p, "short"), "shop")
    with pytest.raises(CatalogError, match="'nowhere'"):
        key_use(p, "nowhere")


@pytest.mark.parametrize(
    ("epoch", "quarter", "following"),
    [
        ("2026Q3", "2026Q3", "2026Q4"), ("2026Q4", "2026Q4", "2027Q1"), ("2025Q1", "2026Q4", "2026Q4"),
        ("2027Q2", "2026Q4", "2027Q3"), ("1", "2026Q4", "2"), ("09", "2026Q4", "10"),
    ],
)  # fmt: skip
def test_the_next_epoch_follows_from_how_the_present_one_is_written(epoch, quarter, following):
    assert next_epoch(epoch, quarter) == following


@pytest.mark.parametrize("epoch", ["autumn", "2026Q5", "²", "-1"])
def test_an_epoch_that_nobody_can_count_on_from_has_to_be_said(epoch):
    with pytest.raises(CatalogError, match="nobody knows what comes after"):
        next_epoch(epoch, "2026Q4")


def test_a_rotation_says_what_is_made_again_what_never_who_gets_it_and_which_joins_are_lost(p):
    made(p, "2026-11-10", NEW, "2")
    shop = p.catalog.dataset("shop")
    other = shop.model_copy(update={"mirrors": {}, "deliveries": {}})
    apart = other.model_copy(update={"scrub": other.scrub and other.scrub.model_copy(update={"audience": "acme"})})
    datasets = {**p.catalog.datasets, "events": other, "apart": apart}
    several = Platform(p.catalog.model_copy(update={"datasets": datasets}), p.provider, "prod", p._stores)
    plan = plan_rotation(several, "shop")
    assert (plan.epoch, plan.again, plan.never) == ("3", (DATE,), ("2026-11-10",))
    assert plan.ways_out == ("mirror/shop",)
    assert plan.joined == ("events",)


def test_the_present_epochs_own_name_is_no_new_epoch(p):
    with pytest.raises(CatalogError, match="in epoch 2 already"):
        plan_rotation(p, "shop", "2")
    assert plan_rotation(p, "shop", "spring").epoch == "spring"


def test_a_new_secret_is_as_long_as_a_key_has_to_be_and_never_the_same():
    assert len(bytes.fromhex(new_secret())) == SHORTEST
    assert new_secret() != new_secret()


def test_looking_writes_nothing(p):
    before = dict(memory(p, "evidence").objects)
    key_use(p, "shop")
    plan_rotation(p, "shop")
    assert memory(p, "evidence").objects == before
