"""What holds for every file here: none leaves variables or log levels behind for the next one of the same process."""

import logging
import os
from collections.abc import Iterator

import pytest


def variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(("EGRESS_", "DAGSTER_"))}


def levels() -> dict[str, int]:
    """Loggers of ours that don't take their parent's level."""
    known = {name: logger for name, logger in logging.root.manager.loggerDict.items() if name.startswith("egress_")}
    return {name: logger.level for name, logger in known.items() if isinstance(logger, logging.Logger) and logger.level}


@pytest.fixture(scope="module", autouse=True)
def _nothing_stays() -> Iterator[None]:
    before = variables(), levels()
    yield
    assert (variables(), levels()) == before
