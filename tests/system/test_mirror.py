"""Mirrors between real S3 servers: what arrives, what is not sent again, and what a kill leaves."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import secrets
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from egress_assets.engine.errors import ObjectConflict, ReleaseRefused, Superseded
from egress_assets.engine.layout import mirror_unit
from egress_assets.engine.mirror.plan import plan
from egress_assets.engine.mirror.run import run
from egress_assets.engine.release import OBJECTS
from egress_assets.sandbox import Sandbox
from tests.platforms import DATE, DUMP, NOW, ROWS, SCRUB, A, Made, child, materialise, over, sandboxed

RUN_DAY = "2026-11-21"
ALL = {
    "from": {"store": "foreign", "prefix": "in/"}, "select": "bucket", "to": "ceph", "prefix": "copy",
    "release": {"basis": "internal", "reason": "ours"},
}  # fmt: skip
MIRRORS = {"shop": {"to": "ceph"}, "all": ALL}
MIB = 2**20


@pytest.fixture(scope="module")
def servers() -> Iterator[Sandbox]:
    with sandboxed() as made:
        yield made


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setenv("EGRESS_NOW", NOW)


@pytest.fixture
def token() -> str:
    return secrets.token_hex(6)


@pytest.fixture
def p(servers, token):
    return over(servers, token, mirrors=MIRRORS)


def content(store, prefix: str = "") -> dict[str, str]:
    """sha256 by key."""
    return {x.key: hashlib.sha256(b"".join(store.get(x.key))).hexdigest() for x in store.list(prefix)}


def copies(p) -> dict[str, str]:
    return {key.removeprefix("copy/"): digest for key, digest in content(p.store("ceph"), "copy/").items()}


# ------------------------------------------------------------------------------------------------------- what arrives
def test_nested_objects_arrive_with_their_metadata_and_a_second_run_transfers_nothing(p):
    """S0-7."""
    foreign, ceph = p.store("foreign"), p.store("ceph")
    headers = {"content-type": "text/csv", "cache-control": "max-age=60", "content-encoding": "gzip"}
    for name in ("in/a.csv", "in/folder/b.csv", "in/folder/sub/c.csv"):
        foreign.put(name, os.urandom(1000), metadata={"owner": "ann"}, headers=headers)
    foreign.upload("in/large", (os.urandom(MIB) for _ in range(11)), metadata={"owner": "bob"})
    result = run(p, "all", RUN_DAY)
    assert (result.how, result.facts["sent_objects"]) == ("moved", 4)
    assert copies(p) == content(foreign, "in/")
    for listed in foreign.list("in/"):
        source, there = foreign.head(listed.key), ceph.head(f"copy/{listed.key}")
        assert source
        assert there
        assert source.metadata.items() <= there.metadata.items()
        assert {n: there.headers.get(n) for n in headers} == {n: source.headers.get(n) for n in headers}
    before = {x.key: (x.etag, x.modified) for x in ceph.list()}
    second = run(p, "all", RUN_DAY)
    assert (second.how, second.sent_bytes, second.facts["sent_objects"]) == ("unchanged", 0, 0)
    assert {x.key: (x.etag, x.modified) for x in ceph.list()} == before


def test_the_scrubbed_dump_arrives_under_its_own_keys_and_a_second_run_transfers_nothing(p):
    """S0-7."""
    materialise(p, SCRUB, Made(parts=2))
    result = run(p, "shop", DATE)
    parts = {key: digest for key, digest in content(p.store("lake")).items() if "/part-" in key}
    there = content(p.store("ceph"))
    assert {key: digest for key, digest in there.items() if "/part-" in key} == parts
    assert f"scrub/shop/shared/date={DATE}/manifest.json" in there
    assert (result.how, result.tables[OBJECTS].objects) == ("moved", 4)
    second = run(p, "shop", DATE)
    assert (second.how, second.sent_bytes) == ("nothing", 0)
    assert {line.sign for line in plan(p, "shop", DATE)} == {"="}


def test_a_changed_object_of_the_same_size_is_copied_and_what_only_the_destination_has_is_kept(p):
    """S0-8."""
    foreign, ceph = p.store("foreign"), p.store("ceph")
    for name in ("in/a", "in/b", "in/gone"):
        foreign.put(name, b"before")
    foreign.upload("in/large", (bytes(MIB) for _ in range(11)))
    run(p, "all", RUN_DAY)
    ceph.put("copy/in/theirs", b"theirs")
    foreign.put("in/b", b"behind")
    foreign.upload("in/large", (b"\1" * MIB for _ in range(11)))
    foreign.delete("in/gone")
    assert {line.what for line in plan(p, "all", RUN_DAY) if line.sign == "*"} == {"copy/in/b", "copy/in/large"}
    assert run(p, "all", RUN_DAY).facts["sent_objects"] == 2
    there = copies(p)
    assert content(foreign, "in/").items() <= there.items()
    assert set(there) - set(content(foreign, "in/")) == {"in/theirs", "in/gone"}


HOSTILE = [
    "in/sp ace", "in/plus+", "in/per%cent", "in/per%20cent", "in/ünïcøde/日本", "in/\U0001f600",
    "in/a", "in/a/b", "in/a-b",
    "in/quote'\"", "in/<&>;", "in/q?x=1#f", "in/tab\tkey", "in/~", "in/dir/", "in/" + "x" * 200, "in/trail.", "in/*",
]  # fmt: skip


def test_hostile_keys_and_more_than_one_page_arrive_as_they_are(p):
    """S1-7."""
    foreign = p.store("foreign")
    plain = [f"in/many/{n:05d}" for n in range(1100)]
    names = [*HOSTILE, *plain]
    for key in HOSTILE:  # one by one: two of them share a folder entry
        foreign.put(key, b"" if key.endswith("/") else key.encode())
    fill(foreign, plain)
    foreign.put("in/zero", b"")
    result = run(p, "all", RUN_DAY)
    assert result.tables[OBJECTS].objects == len(names) + 1
    assert copies(p) == content(foreign, "in/")
    assert run(p, "all", RUN_DAY).sent_bytes == 0


def fill(store, names: Iterable[str]) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda key: store.put(key, key.encode()), names))


def test_an_object_and_those_beneath_it_all_arrive_where_folders_are_real(p):
    """The embedded store loses one of them when both are written at the same moment."""
    foreign = p.store("foreign")
    fill(foreign, [f"in/{n:03d}" for n in range(300)])
    fill(foreign, [f"in/{n:03d}/{m}" for n in range(300) for m in "ab"])
    run(p, "all", RUN_DAY)
    assert copies(p) == content(foreign, "in/")
    assert len(copies(p)) == 900


def test_a_source_that_is_replaced_while_it_is_copied_never_arrives_mixed(p):
    """S1-8."""
    foreign, ceph = p.store("foreign"), p.store("ceph")
    letters = itertools.cycle(b"ab")
    size = 12 * MIB

    def replace() -> None:
        foreign.put("in/large", bytes([next(letters)]) * size)

    replace()
    stop = threading.Event()

    def keep_replacing() -> None:
        while not stop.is_set():
            replace()

    restless = threading.Thread(target=keep_replacing)
    restless.start()
    try:
        for _ in range(4):
            with contextlib.suppress(ObjectConflict):  # it changed at each of three tries
                run(p, "all", RUN_DAY, again=True)
            if ceph.head("copy/in/large"):
                assert len(set(b"".join(ceph.get("copy/in/large")))) == 1
    finally:
        stop.set()
        restless.join()
    run(p, "all", RUN_DAY)
    assert copies(p) == content(foreign, "in/")


def test_raw_rows_do_not_reach_an_external_store(servers, token):
    raw = over(servers, token, scrub=None)
    materialise(raw, DUMP, Made(passed=None))
    with pytest.raises(ReleaseRefused):
        run(raw, "shop", DATE)
    assert content(raw.store("ceph")) == {}


# ----------------------------------------------------------------------------------------------------- two, and killed
def test_two_runs_at_once_agree_on_one_truth(p, servers, token):
    foreign = p.store("foreign")
    for n in range(60):
        foreign.put(f"in/{n:03d}", os.urandom(500))

    def one(_n: int) -> str:
        try:
            return run(over(servers, token, mirrors=MIRRORS), "all", RUN_DAY).how
        except Superseded:
            return "superseded"

    with ThreadPoolExecutor(2) as threads:
        ended = list(threads.map(one, range(2)))
    assert set(ended) <= {"moved", "unchanged", "superseded"}
    assert copies(p) == content(foreign, "in/")
    pointer = p.evidence.pointer(mirror_unit("all"), RUN_DAY)
    assert pointer
    assert p.evidence.tables(pointer)[OBJECTS][1].rows == 60


def test_two_runs_of_one_date_at_once_are_both_content(p, servers, token):
    materialise(p, SCRUB)
    with ThreadPoolExecutor(4) as threads:
        runs = threads.map(lambda _: run(over(servers, token, mirrors=MIRRORS), "shop", DATE), range(4))
        ended = [result.how for result in runs]
    assert ended.count("moved") == 1
    assert set(ended) <= {"moved", "unchanged", "nothing"}


SLOW_SOURCE = """
from egress_assets.engine.mirror.copy import Copier
from egress_assets.engine.mirror.run import run
original = Copier._until_stopped
def slow(self, chunks):
    for n, chunk in enumerate(original(self, chunks)):
        if n == 36:
            print("copying", flush=True)
        if n >= 36:
            time.sleep(0.2)
        yield chunk
Copier._until_stopped = slow
run(p, "all", "2026-11-21")
"""


def test_a_kill_leaves_no_half_object_and_the_next_run_sweeps_its_upload(p, servers, token):
    foreign, ceph = p.store("foreign"), p.store("ceph")
    for n in range(3):
        foreign.put(f"in/{n}", b"small")
    foreign.upload("in/large", (os.urandom(MIB) for _ in range(20)))
    running = child(servers, token, SLOW_SOURCE, mirrors=MIRRORS)
    assert running.stdout
    assert running.stdout.readline() == "copying\n"
    _until(lambda: list(ceph.uploads()))
    running.kill()
    running.communicate()
    assert ceph.head("copy/in/large") is None
    assert list(ceph.uploads())
    assert p.evidence.pointer(mirror_unit("all"), RUN_DAY) is None
    result = run(p, "all", RUN_DAY)
    assert result.facts["swept_uploads"] >= 1
    assert list(ceph.uploads()) == []
    assert copies(p) == content(foreign, "in/")


def _until(condition, seconds: float = 20) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.05)


# ------------------------------------------------------------------------------------------------------------- memory
def test_memory_is_of_parts_and_not_of_objects(p, servers, token):
    """Four objects of 48 MiB: three times what a run may hold at once."""
    foreign = p.store("foreign")
    piece = os.urandom(MIB)
    for n in range(4):
        foreign.upload(f"in/{n}", itertools.repeat(piece, 48))
    body = """
    from egress_assets.engine.mirror.run import run
    def most():  # not ru_maxrss, which a process inherits from the one that started it
        return int(next(x for x in open("/proc/self/status") if x.startswith("VmHWM")).split()[1])
    before = most()
    run(p, "all", "2026-11-21")
    print(most() - before)
    """
    out, _ = child(servers, token, body, mirrors=MIRRORS).communicate(timeout=120)
    grown = int(out.strip().splitlines()[-1]) * 1024
    assert grown < 110 * MIB, f"{grown / MIB:.0f} MiB"


def test_moved_rows_replace_their_copy_and_the_rest_stays(p):
    materialise(p, SCRUB)
    run(p, "shop", DATE)
    before = content(p.store("ceph"))
    materialise(p, SCRUB, Made(rows={**ROWS, A: b"5,eve\n"}))
    result = run(p, "shop", DATE)
    after = content(p.store("ceph"))
    assert result.facts["sent_objects"] == 1
    manifest = f"scrub/shop/shared/date={DATE}/manifest.json"
    assert {k: v for k, v in before.items() if k != manifest}.items() <= after.items()
    assert before[manifest] != after[manifest]
