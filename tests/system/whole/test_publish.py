"""Fixed names on a real S3 server: the order of its own log, lost replies, and kill -9 at every write."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from egress_assets.engine.mirror.run import run
from egress_assets.engine.platform import Platform
from tests.platforms import DATE, DUMP, NOW, A, B, Made, materialise
from tests.publishes import (
    CHANGED,
    CUSTOMERS,
    DESCRIBED,
    FLAG,
    ORDERS,
    SCHEMA,
    UNIT,
    found,
    require_no_mixture,
    served,
)

CHILD = """
import sys
from egress_assets.engine.mirror.run import run
from tests.platforms import DATE
from tests.publishes import served
run(served(*sys.argv[1:]), "shop_files", DATE)
"""
PUTS = 7  # the attempt's note, the turn, two objects, the flag, the manifest, the pointer


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EGRESS_NOW", NOW)


@pytest.fixture
def p(fault: Any) -> Iterator[Platform]:
    """Published once; the dump then has other rows."""
    made = served(fault.endpoint, fault.bucket)
    made.store("inside").ensure_bucket()
    materialise(made, DUMP)
    run(made, "shop_files", DATE)
    materialise(made, DUMP, Made(CHANGED))
    fault.control("clear?log=1")
    yield made
    for name in made.catalog.endpoints.stores:
        made.store(name).close()


def require_changed(p: Platform) -> None:
    files = found(p)
    rows = {A: gzip.decompress(files[CUSTOMERS]), B: gzip.decompress(files[ORDERS])}
    assert rows == CHANGED
    assert FLAG in files
    require_no_mixture(files)


def test_the_server_saw_the_flag_go_first_and_come_back_last(p: Platform, fault: Any) -> None:
    run(p, "shop_files", DATE)
    require_changed(p)
    below = f"{fault.bucket}/inside/"
    log = [(entry["op"], entry["path"].removeprefix(below)) for entry in fault.control("log")]
    writes = [each for each in log if each[0] in ("PutObject", "DeleteObject") and each[1].startswith("exports/")]
    assert (writes[0], writes[-1]) == (("DeleteObject", FLAG), ("PutObject", FLAG))
    assert sorted(writes[1:-1]) == [("PutObject", CUSTOMERS), ("PutObject", ORDERS)]
    pointer = next(n for n, (op, path) in enumerate(log) if op == "PutObject" and "/current/mirror/" in path)
    assert log.index(("PutObject", FLAG)) < pointer
    last = max(n for n, (op, path) in enumerate(log) if op == "HeadObject" and path in (CUSTOMERS, ORDERS))
    assert log.index(("PutObject", FLAG)) > last, "each object was read back before the flag"


def test_the_server_saw_schemas_between_the_two_and_each_was_read_back(p: Platform, fault: Any) -> None:
    described = served(fault.endpoint, fault.bucket, **DESCRIBED)
    materialise(described, DUMP, Made(sidecars=True))
    fault.control("clear?log=1")
    try:
        run(described, "shop_files", DATE)
        below = f"{fault.bucket}/inside/"
        log = [(entry["op"], entry["path"].removeprefix(below)) for entry in fault.control("log")]
        schemas = {SCHEMA.format(table) for table in ("customers", "orders")}
        flag = log.index(("PutObject", FLAG))
        for schema in schemas:
            assert log.index(("DeleteObject", FLAG)) < log.index(("PutObject", schema)) < flag
            assert max(n for n, each in enumerate(log) if each == ("HeadObject", schema)) < flag
        require_no_mixture(found(described))
        assert schemas < found(described).keys()
        verified = described.evidence.verify(UNIT, DATE, described.store("inside"))
        assert {v.key: v.status for v in verified} == dict.fromkeys(found(described), "ok")
        assert run(described, "shop_files", DATE).how == "nothing"
    finally:
        for name in described.catalog.endpoints.stores:
            described.store(name).close()


@pytest.mark.parametrize("at", range(PUTS))
@pytest.mark.parametrize("action", ["storedlost", "resetafter"])
def test_a_lost_reply_or_request_changes_nothing_that_is_seen(p: Platform, fault: Any, action: str, at: int) -> None:
    fault.fault("PutObject", action=action, skip=at, times=1)
    run(p, "shop_files", DATE)
    require_changed(p)
    assert run(p, "shop_files", DATE).how == "nothing"


@pytest.mark.parametrize(("operation", "at"), [("DeleteObject", 0), *(("PutObject", n) for n in range(PUTS))])
def test_a_kill_at_any_write_leaves_no_flag_or_a_true_one_and_the_next_start_completes(
    p: Platform, fault: Any, operation: str, at: int
) -> None:
    fault.fault(operation, action="hang", skip=at, times=1, ms=120_000)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "EGRESS_NOW": NOW}
    child = subprocess.Popen([sys.executable, "-c", CHILD, fault.endpoint, fault.bucket], env=environment)
    try:
        ends = time.monotonic() + 60
        while fault.control("counts").get(operation, 0) <= at:
            assert child.poll() is None, "it ended before its write"
            assert time.monotonic() < ends, "its write does not come"
            time.sleep(0.01)
    finally:
        child.kill()
        child.wait()
    fault.fault()
    require_no_mixture(found(p))
    run(p, "shop_files", DATE)
    require_changed(p)
    assert fault.control("state")[fault.bucket]["uploads"] == {}
    assert run(p, "shop_files", DATE).how == "nothing"
