"""What a run leaves that nobody starts again: `egress sweep` takes it away, and nothing that is true or alive."""

from __future__ import annotations

import json
import os
import signal
import time

from egress_assets.engine.layout import attempt_of, date_prefix


def attempts(whole, store: str) -> set[str]:
    prefix = date_prefix(whole.units["dump"], whole.date)
    bytes_store = whole.platform.store(store)
    found = {attempt_of(listed.key) for listed in bytes_store.list(prefix)}
    return (found | {attempt_of(upload.key) for upload in bytes_store.uploads(prefix)}) - {""}


def begin_until_bytes_lie_there(whole, before: set[str]):
    process = whole.begin("dump", "whole", "--date", whole.date, "--again")
    ends = time.monotonic() + 60
    while not attempts(whole, "lake") - before:
        assert time.monotonic() < ends, "the run never wrote a byte"
        assert process.poll() is None, "the run ended first"
        time.sleep(0.02)
    return process


def sweep(whole) -> dict:
    code, said = whole.run("sweep", "--json")
    assert code == 0, said
    return json.loads(said[said.index('{"') :])


def test_a_dead_runs_bytes_are_swept_and_the_truth_stays(whole):
    whole.chain()
    before = attempts(whole, "lake")
    whole.next_version()
    process = begin_until_bytes_lie_there(whole, before)
    for pid in (process.pid, *whole.workers()):  # workers that outlive their parent would clean up after themselves
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    whole.wait_for_workers()
    assert attempts(whole, "lake") > before
    kept = sweep(whole)
    assert kept["looked_at"] == 4
    assert kept["attempts"] == 1
    assert attempts(whole, "lake") == before
    assert whole.run("verify")[0] == 0
    assert sweep(whole)["attempts"] == 0


def test_a_living_run_is_left_alone(whole):
    whole.chain()
    whole.next_version()
    process = begin_until_bytes_lie_there(whole, attempts(whole, "lake"))
    os.killpg(process.pid, signal.SIGSTOP)  # alive, and slower than any sweep
    try:
        assert sweep(whole)["attempts"] == 0
    finally:
        os.killpg(process.pid, signal.SIGCONT)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said


def test_receipts_of_a_sender_that_died_get_into_the_ledger(whole):
    whole.chain()
    ledger = whole.platform.evidence.verify_ledger()
    body = next(iter(whole.platform.evidence.store.list(f"receipts/{whole.date}/")))
    raw = json.loads(whole.platform.evidence.store.read(body.key)[0])
    died = raw | {"identity": "0" * 64}
    answer = whole.platform.evidence.store.put_if(
        f"receipts/{whole.date}/{'0' * 64}", json.dumps(died, sort_keys=True, separators=(",", ":")).encode(), etag=None
    )
    assert answer == "ok"
    assert len(whole.platform.evidence.verify_ledger().pending) == len(ledger.pending) + 1
    assert sweep(whole)["ledger_entry"] is not None
    assert whole.platform.evidence.verify_ledger().pending == ()
