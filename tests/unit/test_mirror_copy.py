"""Many objects at once: in order, each of one version, failures listed, nothing half."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator
from functools import partialmethod
from hashlib import sha256

import pytest

from egress_assets.engine import failures
from egress_assets.engine.errors import (
    ChecksumMismatch,
    EgressError,
    ObjectConflict,
    ObjectMissing,
    ReleaseRefused,
    StoreDenied,
    StoreUnavailable,
)
from egress_assets.engine.evidence.driver import Evidence
from egress_assets.engine.evidence.records import ObjectRecord
from egress_assets.engine.failures import Failures
from egress_assets.engine.holds import Watch
from egress_assets.engine.mirror import copy
from egress_assets.engine.mirror.copy import Copier, Task, each
from egress_assets.engine.mirror.odd_keys import Nesting
from egress_assets.engine.mirror.outlet import Outlet
from egress_assets.engine.release import ReleasedObject
from tests.platforms import MemoryStore

MIB = 4096  # stands for 1 MiB, up to which one GET does


@pytest.fixture(autouse=True)
def small_sizes(monkeypatch):
    monkeypatch.setattr(copy, "SMALL", MIB)
    monkeypatch.setattr(copy, "_LARGE", 8 * MIB)
    monkeypatch.setattr(MemoryStore, "__init__", partialmethod(MemoryStore.__init__, chunk=MIB // 4))


def doubled(n: int) -> int:
    time.sleep(0.0001 * (n % 3))
    if n % 10 == 7:
        raise StoreDenied(f"no {n}")
    return 2 * n


def all_of(jobs, work, *, idle=lambda _n: False, stop=None):
    return list(each(jobs, work, idle=idle, stop=stop or threading.Event()))


# ------------------------------------------------------------------------------------------------------------- each
def test_jobs_end_in_their_order_and_one_that_fails_stops_no_other():
    ended = all_of(range(50), doubled)
    assert [e.job for e in ended] == list(range(50))
    assert [e.result for e in ended if e.error is None] == [2 * n for n in range(50) if n % 10 != 7]
    assert [str(e.error) for e in ended if e.error] == [f"no {n}" for n in range(50) if n % 10 == 7]


def test_idle_jobs_keep_their_place_and_are_not_worked_on():
    ended = all_of(range(40), lambda n: n, idle=lambda n: n % 2 == 0)
    assert [(e.job, e.result) for e in ended] == [(n, None if n % 2 == 0 else n) for n in range(40)]


def test_a_job_that_waits_begins_when_all_before_it_have_ended():
    under_way: set[int] = set()
    met: dict[int, set[int]] = {}

    def work(n: int) -> None:
        met[n] = {other for other in under_way if other < n}
        under_way.add(n)
        time.sleep(0.002)
        under_way.discard(n)

    list(each(range(24), work, idle=lambda _n: False, waits=lambda n: n % 8 == 5, stop=threading.Event()))
    assert not met[5] | met[13] | met[21]
    assert met[1] | met[2] | met[3]


def test_keys_beneath_an_object_wait_for_it_once():
    nesting = Nesting()
    keys = ["a", "a-b", "a/b", "a/b/c", "a/c", "a0", "b/", "b/x", "b/y", "c", "ca/b", "cc", "cc/d"]
    assert keys == sorted(keys)
    assert [key for key in keys if nesting.waits(key)] == ["a/b", "a/b/c", "b/x", "cc/d"]


def test_no_more_than_a_window_of_results_waits_for_the_first(monkeypatch):
    monkeypatch.setattr(copy, "WINDOW", 20)
    gate, taken = threading.Event(), []

    def jobs() -> Iterator[int]:
        for n in range(100):
            taken.append(n)
            if n == 19:
                gate.set()
            yield n

    def work(n: int) -> int:
        if n == 0:
            assert gate.wait(10)
            time.sleep(0.02)
            assert len(taken) <= 20
        return n

    assert len(all_of(jobs(), work)) == 100


def test_a_refusal_of_policy_ends_the_run():
    def work(n: int) -> int:
        if n == 3:
            raise ReleaseRefused("raw")
        return n

    with pytest.raises(ReleaseRefused):
        all_of(range(1000), work)


def test_a_listing_that_breaks_off_ends_the_run_and_stops_what_is_under_way():
    stop, seen = threading.Event(), threading.Event()

    def jobs() -> Iterator[int]:
        yield 1
        raise StoreUnavailable("page 2")

    def work(_n: int) -> None:
        seen.set()
        assert stop.wait(10)

    with pytest.raises(StoreUnavailable, match="page 2"):
        all_of(jobs(), work, stop=stop)


# ------------------------------------------------------------------------------------------------------------ copying
def task(source: MemoryStore, key: str, *, record: ObjectRecord | None = None) -> Task:
    size = len(source.objects[key].body)
    return Task(source, key, f"copy/{key}", size, ReleasedObject("objects", source.name, key, size, ""), record)


def copier(there: MemoryStore, *holds: tuple[str, str]) -> Copier:
    watch = Watch(Evidence(there), "mirror m", holds)
    return Copier(Outlet(there, None), lambda _task, head: {"egress-source-etag": head.etag}, watch)


@pytest.mark.parametrize("size", [0, 1, MIB, MIB + 1, 9 * MIB])
def test_bytes_metadata_and_headers_arrive_as_they_are(size):
    """S0-7."""
    source, there = MemoryStore("foreign"), MemoryStore("inside")
    headers = {"content-type": "text/csv", "cache-control": "no-store", "content-encoding": "gzip"}
    source.put("k", b"x" * size, metadata={"owner": "ann"}, headers=headers)
    copied = copier(there).copy(task(source, "k"))
    kept = there.objects["copy/k"]
    assert kept.body == b"x" * size
    assert kept.headers == headers
    assert kept.metadata == {"owner": "ann", "egress-source-etag": source.objects["k"].etag}
    assert (copied.bytes, copied.sha256, copied.etag) == (size, sha256(b"x" * size).hexdigest(), kept.etag)


@pytest.mark.parametrize("size", [1000, 3 * MIB])
def test_a_source_that_changes_while_it_is_copied_is_copied_again_and_never_mixed(size):
    """S1-8."""
    source, there = MemoryStore("foreign"), MemoryStore("inside")
    source.put("k", b"a" * size)
    reads = []

    def before(method: str, key: str) -> None:
        reads.append(method)
        if len(reads) == 3:
            source.put(key, b"b" * size)

    job = task(source, "k")
    source.before = before
    copied = copier(there).copy(job)
    body = there.objects["copy/k"].body
    assert set(body) in ({ord("a")}, {ord("b")})
    assert len(body) == size
    assert copied.source_etag == there.objects["copy/k"].metadata["egress-source-etag"]
    if size > MIB:
        assert set(body) == {ord("b")}


def test_a_source_that_never_rests_is_given_up_and_nothing_is_left():
    """S1-8."""
    source, there = MemoryStore("foreign"), MemoryStore("inside")
    source.put("k", b"a" * 3 * MIB)
    job = task(source, "k")
    versions = iter(range(10**6))
    source.before = lambda _m, key: source.put(key, b"%d" % next(versions) + b"a" * 3 * MIB) and None
    with pytest.raises(ObjectConflict):
        copier(there).copy(job)
    assert there.objects == {}
    assert source.times("get") == 3


@pytest.mark.parametrize("size", [1000, 3 * MIB])
def test_bytes_that_are_not_the_manifests_leave_nothing(size):
    source, there = MemoryStore("lake"), MemoryStore("inside")
    source.put("k", b"rot" + b"a" * size)
    record = ObjectRecord("k", size + 3, sha256(b"tor" + b"a" * size).hexdigest())
    with pytest.raises(ChecksumMismatch):
        copier(there).copy(task(source, "k", record=record))
    assert there.objects == {}


def test_an_object_that_is_gone_says_so():
    source = MemoryStore("foreign")
    for size in (10, 3 * MIB):
        source.put("k", b"a" * size)
        job = task(source, "k")
        source.delete("k")
        with pytest.raises(ObjectMissing):
            copier(MemoryStore("inside")).copy(job)


def test_a_stopped_run_leaves_nothing_of_an_upload():
    source, there = MemoryStore("foreign"), MemoryStore("inside")
    source.put("k", b"a" * 3 * MIB)
    working = copier(there)
    working.stop.set()
    with pytest.raises(copy._GivenUp):
        working.copy(task(source, "k"))
    assert there.objects == {}


class Bending(MemoryStore):
    """Stores `a//b` as `a/b`, as SeaweedFS does."""

    def put(self, key, body, *, metadata=None, headers=None):
        done = MemoryStore.put(self, key.replace("//", "/"), body, metadata=metadata, headers=headers)
        return type(done)(key, done.bytes, done.sha256, done.etag)

    def head(self, key):
        return MemoryStore.head(self, key.replace("//", "/"))


def test_a_store_that_bends_a_key_is_found_out_before_another_object_is_replaced():
    """S1-7."""
    source, there = MemoryStore("foreign"), Bending("inside")
    source.put("a//b", b"x")
    there.put("copy/a/b", b"y")
    with pytest.raises(ObjectConflict, match="does not keep 'copy/a//b': it refuses or renames a key with two slashes"):
        copier(there).copy(task(source, "a//b"))
    assert set(there.objects) == {"copy/a/b"}
    assert there.read("copy/a/b")[0] == b"y"


@pytest.mark.parametrize("key", ["/a", "a//b", "a/", "a\\b", "a\nb", "a/../b", "..", "./a"])
def test_a_store_that_keeps_every_key_gets_them_all_and_keeps_no_probe(key):
    source, there = MemoryStore("foreign"), MemoryStore("inside")
    source.put(key, b"x")
    copied = copier(there).copy(dataclasses.replace(task(source, key), key=key))
    assert {copied.key} == set(there.objects) == {key}


# ----------------------------------------------------------------------------------------------------------- failures
def test_a_run_fails_with_the_list_of_what_failed():
    failing = Failures("mirrored")
    failing.add("a", StoreUnavailable("slow"))
    failing.add("b", None)
    failing.add("c", StoreDenied("no", hint="Ask its owner."))
    with pytest.raises(StoreDenied, match=r"not mirrored \(2\): 'a': slow; 'c': no") as caught:
        failing.check()
    assert caught.value.hint == "Ask its owner."


def test_a_run_of_failures_that_a_retry_can_help_is_retryable():
    failing = Failures("mirrored")
    failing.add("a", StoreUnavailable("slow"))
    with pytest.raises(StoreUnavailable) as caught:
        failing.check()
    assert caught.value.retryable


def test_nothing_failed_is_no_error():
    Failures("mirrored").check()


def test_an_endpoint_that_is_down_ends_the_run_early_and_the_message_stays_short():
    failing = Failures("mirrored")
    for n in range(failures._HOPELESS - 1):
        failing.add(str(n), StoreUnavailable("down"))
    with pytest.raises(StoreUnavailable, match="and 40 more"):
        failing.add("last", StoreUnavailable("down"))
    assert failing.count == failures._HOPELESS


def test_hundreds_of_keys_that_a_store_can_not_hold_do_not_stop_the_others():
    failing = Failures("mirrored")
    for n in range(300):
        failing.add(f"{n}/", ObjectConflict("not kept"))
    with pytest.raises(ObjectConflict, match=r"not mirrored \(300\)"):
        failing.check()


def test_single_failures_far_apart_do_not_end_the_run():
    failing = Failures("mirrored")
    for n in range(200):
        failing.add(str(n), StoreUnavailable("slow") if n % 2 else None)
    assert failing.count == 100
    with pytest.raises(EgressError):
        failing.check()
