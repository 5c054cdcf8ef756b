"""Materialise and deliver hold in every scenario: a taste of what tests/conformance/test_protocol.py explores."""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

HOME = Path(__file__).parent / "protocol"
spec = importlib.util.spec_from_file_location(
    "evidence_protocol", HOME / "__init__.py", submodule_search_locations=[str(HOME)]
)
assert spec
sys.modules.setdefault(spec.name, importlib.util.module_from_spec(spec))
from evidence_protocol import scenarios, world  # noqa: E402  # pyright: ignore


@pytest.fixture(autouse=True)
def _ticks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for target, ticks in scenarios.TICKS.items():
        monkeypatch.setattr(*scenarios.real(target), ticks)
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("name", scenarios.SCENARIOS)
def test_a_scenario_holds_on_its_plain_schedule_and_on_random_ones(name: str) -> None:
    tally = world.Tally()
    assert not world.explore(partial(scenarios.build, name), 0, 0, tally)
    for seed in range(4):
        broken = world.throw(scenarios.build(name), seed, tally)
        assert not broken, str(broken)
    assert tally.schedules == 5
