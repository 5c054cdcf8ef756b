"""What a person sees of a run that takes long, and how errors look to Dagster."""

import logging

import pytest

from egress_assets.engine.errors import CatalogError, EgressError, GateFailed, StoreUnavailable
from egress_assets.engine.progress import Tick
from egress_assets.failures import failure
from egress_assets.running import Progress


def test_what_is_on_its_way_is_told_now_and_then(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, logger="egress_assets")
    often, seldom = Progress("dump/shop", every=0), Progress("dump/shop", every=60)
    for listener in (often, seldom):
        listener(Tick("read", "public.orders", done=5, total=10))
    assert [record.getMessage() for record in caplog.records] == ["dump/shop: read public.orders, 5 of 10 bytes so far"]


def test_what_is_finished_is_left_to_the_engine(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, logger="egress_assets")
    Progress("dump/shop", every=0)(Tick("read", "public.orders", done=10, finished=True))
    assert caplog.records == []


@pytest.mark.parametrize("error", [GateFailed("it did not pass"), StoreUnavailable("it does not answer", hint="Wait.")])
def test_a_failure_has_the_errors_name_text_code_and_retryability(error: EgressError):
    found = failure(error)
    assert (type(found).__name__, type(found).__module__) == (type(error).__name__, "builtins")
    assert found.description == error.message
    assert found.allow_retries is error.retryable
    assert found.metadata["code"].value == error.code
    assert ("hint" in found.metadata) is bool(error.hint)


def test_a_wrong_catalog_lists_its_problems():
    found = failure(CatalogError("catalog has 2 problems", problems=("shop.yaml:3: a", "shop.yaml:9: b")))
    assert found.metadata["problems"].value == "- `shop.yaml:3: a`\n- `shop.yaml:9: b`"
