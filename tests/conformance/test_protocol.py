"""The real verbs of the evidence package, interleaved, killed and lied to; and each rule they rest on, removed.

Bounded, so not a proof: `make soak` gives each scenario two minutes.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

HOME = Path(__file__).parents[1] / "unit" / "protocol"
spec = importlib.util.spec_from_file_location(
    "evidence_protocol", HOME / "__init__.py", submodule_search_locations=[str(HOME)]
)
assert spec
sys.modules.setdefault(spec.name, importlib.util.module_from_spec(spec))
from evidence_protocol import guards, scenarios, world  # noqa: E402  # pyright: ignore

SECONDS = 1.2
FOR_A_GUARD = 100.0
"""How long a removal is looked for at the most; the rarest took 3,400 schedules, 4 s on a busy core."""


@pytest.fixture(autouse=True)
def _ticks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for target, ticks in scenarios.TICKS.items():
        monkeypatch.setattr(*scenarios.real(target), ticks)
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("seconds", [SECONDS, pytest.param(120.0, marks=pytest.mark.soak)])
@pytest.mark.parametrize("name", scenarios.SCENARIOS)
def test_a_scenario_holds_whatever_happens(name: str, seconds: float) -> None:
    tally = world.Tally()
    broken = world.explore(partial(scenarios.build, name), seconds, 2, tally)
    assert not broken, str(broken)
    assert tally.schedules > 10
    assert tally.steps > 100


@pytest.mark.parametrize("guard", guards.REMOVALS)
def test_without_a_guard_its_scenario_breaks(guard: str, monkeypatch: pytest.MonkeyPatch) -> None:
    removal, now = guards.REMOVALS[guard], guards.Current()

    def build() -> world.World:
        now.world = scenarios.build(removal.scenario)
        return now.world

    module, name = scenarios.real(removal.target)
    monkeypatch.setattr(module, name, removal.weaker(getattr(module, name), now))
    broken = world.explore(build, FOR_A_GUARD, 1, world.Tally())
    assert broken, f"{removal.scenario} holds without {guard}: the guard, or this test, is idle"
