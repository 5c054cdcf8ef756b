"""Kill runs at random moments: the previous truth stays whole, the next start cleans up, nothing arrives twice.

S0-3 and the invariants 1, 2, 4 and 7 of docs/design.md. `make soak` does 500 kills, `make test` 24.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import random
import signal
import time
from hashlib import sha256
from pathlib import Path

import pytest

from egress_assets.engine.evidence.records import Pointer
from egress_assets.engine.layout import attempt_of, date_prefix

STORES = {"dump": ("lake",), "scrub": ("lake", "quarantine"), "mirror": ("ceph",), "delivery": ("lake",)}


class Watch:
    """What was true before a kill, and whether it still is."""

    def __init__(self, whole) -> None:
        self.whole = whole

    def pointer(self, stage: str) -> Pointer | None:
        return self.whole.platform.evidence.pointer(self.whole.units[stage], self.whole.date)

    def objects_are_whole(self, stage: str) -> None:
        """The pointer's objects re-read with their digests; all entries of one snapshot, all rows of one version."""
        pointer = self.pointer(stage)
        if pointer is None:
            return
        store = self.whole.platform.store(STORES[stage][0])
        results = list(self.whole.platform.evidence.verify(self.whole.units[stage], self.whole.date, store))
        assert results
        assert {found.status for found in results} == {"ok"}, f"{stage}: {results}"
        if stage in ("dump", "scrub"):
            assert pointer.consistent(frozenset({"whole.people", "whole.deeds"}))
            assert len(self.versions(stage)) == 1, f"{stage} mixes versions {self.versions(stage)}"

    def versions(self, stage: str) -> set[int]:
        """The version marks of both tables, read from the stored bytes."""
        pointer = self.pointer(stage)
        store, found = self.whole.platform.store("lake"), set()
        for _, record in self.whole.platform.evidence.tables(pointer).values():
            rows = b"".join(b"".join(store.get(o.key)) for o in record.objects).decode().splitlines()
            found |= {int(row.split(",")[1]) for row in rows if int(row.split(",")[0]) <= 10}
        return found

    def the_inbox_is_whole(self) -> None:
        """Every visible file is a complete one of a Release: its digest is in the evidence of the delivery."""
        for name, body in self.whole.inbox().items():
            assert gzip.decompress(body), name
            assert sha256(body).hexdigest() in self.released(), f"{name} is not what any release names"

    def released(self) -> set[str]:
        store = self.whole.platform.evidence.store
        bodies = [
            store.read(each.key)
            for each in store.list(f"manifests/{self.whole.units['delivery']}/date={self.whole.date}/")
        ]
        return {word for found in bodies if found for word in found[0].decode().split('"') if len(word) == 64}

    def nothing_is_left_over(self, stage: str) -> None:
        """After the next start: no open upload, and no bytes of an attempt that was never sealed."""
        for name in STORES[stage]:
            store = self.whole.platform.store(name)
            prefix = date_prefix(self.whole.units[stage], self.whole.date)
            assert [u.key for u in store.uploads(prefix)] == [], f"open uploads in {name}"
            attempts = {attempt_of(listed.key) for listed in store.list(prefix)} - {""}
            sealed = {a for a in attempts if self.is_sealed(stage, a)}
            assert attempts == sealed, f"unsealed attempts in {name}: {attempts - sealed}"

    def is_sealed(self, stage: str, attempt: str) -> bool:
        unit = self.whole.units["scrub"] if stage == "mirror" else self.whole.units[stage]
        there = self.whole.platform.evidence.store.read(f"manifests/{unit}/date={self.whole.date}/{attempt}")
        return there is not None and b'"kind":"manifest"' in there[0]


def kill_at_random(whole, stage: str, dice: random.Random, longest: float) -> str:
    """Start the stage on changed rows, SIGKILL it (or one of its workers) somewhere in its life; says where."""
    process = whole.begin(*whole.stages[stage], "--date", whole.date, *again(stage))
    time.sleep(dice.uniform(0.1, longest))
    victim = process.pid
    if dice.random() < 0.25 and (found := sorted(whole.workers())):
        victim = dice.choice(found)
    with contextlib.suppress(ProcessLookupError):
        os.kill(victim, signal.SIGKILL)
    said, _ = process.communicate(timeout=120)
    whole.wait_for_workers()
    return f"{stage} pid {victim} code {process.returncode}: {said[-400:]}"


def again(stage: str) -> list[str]:
    """Source roots don't look at rows by themselves."""
    return ["--again"] if stage in ("dump", "scrub") else []


def how_long(whole, stage: str) -> float:
    began = time.monotonic()
    code, said = whole.stage(stage, *again(stage))
    assert code == 0, said
    return time.monotonic() - began


def rounds(whole, kills: int, seed: int) -> None:
    dice = random.Random(seed)
    whole.chain()
    whole.next_version()
    longest = {stage: how_long(whole, stage) for stage in whole.stages}
    watch, stages = Watch(whole), list(whole.stages)
    for n in range(kills):
        stage = stages[n % len(stages)]
        if stage in ("dump", "scrub") or n % 8 == 6:
            whole.next_version()
        if stage in ("mirror", "delivery"):
            assert whole.stage("scrub", "--again")[0] == 0  # something to copy and to send
        where = kill_at_random(whole, stage, dice, longest[stage])
        try:
            for each in stages:
                watch.objects_are_whole(each)
            watch.the_inbox_is_whole()
            finish(whole, stage)
            watch.objects_are_whole(stage)
            watch.nothing_is_left_over(stage)
        except AssertionError as error:
            raise AssertionError(f"kill {n}: {where}\n{error}") from error
    whole.next_version()
    for stage in stages:
        finish(whole, stage)
    assert watch.versions("scrub") == {whole.version}, "a rerun must bring the newest rows"
    nothing_twice(whole)
    assert whole.run("verify")[0] == 0


def finish(whole, stage: str) -> None:
    """The next start completes."""
    whole.complete(stage, *again(stage))


def nothing_twice(whole) -> None:
    """One receipt a delivery's identity, each in the ledger once; the recipient stored each identity once."""
    evidence = whole.platform.evidence
    identities = [r.identity for r in evidence.receipts(whole.date)]
    assert len(identities) == len(set(identities)) >= 1
    ledger = evidence.verify_ledger()
    assert ledger.unbroken, ledger.problems
    log = (Path(whole.environment["EGRESS_SANDBOX_DIR"]) / "logs" / "receiver.log").read_text()
    stored = [
        line.split("identity=")[1].split()[0] for line in log.splitlines() if "stored" in line and "identity=" in line
    ]
    assert stored, "the receiver says nothing of what it stored"
    assert len(stored) == len(set(stored)), "the recipient stored a delivery twice"


@pytest.mark.timeout(900)
def test_kill_9_at_any_moment_leaves_the_previous_truth_and_the_rerun_completes_s0_3(whole):
    rounds(whole, kills=24, seed=11)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("seed", [7, 8])
def test_five_hundred_kills(whole, seed):
    rounds(whole, kills=250, seed=seed)


@pytest.mark.parametrize("stage", ["dump", "scrub", "mirror", "delivery"])
def test_sigterm_ends_within_five_seconds_and_publishes_nothing(whole, stage):
    whole.chain()
    changed(whole, stage)
    took, watch = how_long(whole, stage), Watch(whole)
    for share in (0.55, 0.4, 0.25):  # of what it takes at that load; a run that is faster this time says nothing
        changed(whole, stage)
        before, inbox = watch.pointer(stage).body, whole.inbox()
        code, said = terminated(whole, stage, took * share)
        if code != 0:
            break
    assert code == 143, said
    assert "Traceback" not in said
    whole.wait_for_workers()
    if stage == "delivery":  # its one file may have arrived whole, or been sealed, before the signal
        watch.the_inbox_is_whole()
    else:
        assert whole.inbox() == inbox
        assert watch.pointer(stage).body == before
    watch.objects_are_whole(stage)
    finish(whole, stage)
    watch.nothing_is_left_over(stage)
    nothing_twice(whole)


def changed(whole, stage: str) -> None:
    """Rows for the stage to move."""
    whole.next_version()
    if stage in ("mirror", "delivery"):
        assert whole.stage("scrub", "--again")[0] == 0


def terminated(whole, stage: str, after: float) -> tuple[int, str]:
    """Start the stage, SIGTERM it `after` seconds; it has five to end."""
    process = whole.begin(*whole.stages[stage], "--date", whole.date, *again(stage))
    time.sleep(after)
    process.terminate()
    began = time.monotonic()
    said, _ = process.communicate(timeout=20)
    assert time.monotonic() - began < 5, said
    return process.returncode, said
