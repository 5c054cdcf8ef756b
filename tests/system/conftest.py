"""What holds for every file here: none leaves variables behind for the next one of the same process."""

import os
from collections.abc import Iterator

import pytest


def variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(("EGRESS_", "DAGSTER_"))}


@pytest.fixture(scope="module", autouse=True)
def _no_variable_stays() -> Iterator[None]:
    before = variables()
    yield
    assert variables() == before
