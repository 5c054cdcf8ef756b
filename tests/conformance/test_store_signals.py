"""Signals and forks while a store is used: a wait ends within a slice, and nothing half is published."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

FOREVER = 1_000


class Broke(Exception):
    pass


SCRIPT = """
import signal, sys
from egress_assets.engine.stores import open_store
from egress_assets.engine.stores.settings import StoreSettings
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
store = open_store(StoreSettings(name="s", bucket="egress-test", endpoint=sys.argv[1], access_key="a", secret_key="s",
                                 part_bytes=5 * 2**20))
if sys.argv[2] == "upload":
    store.upload("big", (bytes(2**20) for _ in range(40)))
elif sys.argv[2] == "small":
    store.upload("small", [b"x"])
else:
    list(store.get("there"))
"""


@pytest.mark.parametrize(
    ("op", "verb"),
    [
        ("UploadPart", "upload"),
        ("CompleteMultipartUpload", "upload"),
        ("CreateMultipartUpload", "upload"),
        ("PutObject", "small"),
        ("GetObject", "there"),
    ],
)
def test_sigterm_while_the_server_hangs_ends_the_process_and_publishes_nothing(s3mem, op: str, verb: str):
    s3mem.open().put("there", b"x")
    before = s3mem.bucket()
    s3mem.control("clear?log=1")
    s3mem.fault(op, "hang", times=FOREVER)
    with subprocess.Popen([sys.executable, "-c", SCRIPT, s3mem.endpoint, verb]) as process:
        _wait_until(lambda: s3mem.control("counts").get(op))
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        assert process.wait(timeout=10) == 143
        assert time.monotonic() - started < 5
    assert s3mem.bucket() == before


def _wait_until(condition, seconds: float = 15) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.02)


def test_a_signal_that_another_thread_received_still_ends_the_wait(s3mem):
    """The kernel may hand a signal to any thread; the main thread's wait must not outlast a slice."""
    store = s3mem.open()
    store.put("a", b"x")
    s3mem.fault("GetObject", "hang")
    previous = signal.signal(signal.SIGUSR1, _raise_broke)
    worker = threading.Thread(target=_signal_myself)
    try:
        worker.start()
        started = time.monotonic()
        with pytest.raises(Broke):
            list(store.get("a"))
        assert time.monotonic() - started < 3
    finally:
        worker.join()
        signal.signal(signal.SIGUSR1, previous)


def _raise_broke(*_: object) -> None:
    raise Broke


def _signal_myself() -> None:
    time.sleep(0.5)
    signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)


def test_a_child_after_fork_uses_no_connection_of_its_parent(s3mem):
    store = s3mem.open()
    store.put("a", b"1")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if store.read("a")[0] == b"1" else 1
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert store.read("a")[0] == b"1"
