"""A dump whose network fails: a real proxy lies between it and Postgres, and another between it and the store. S0-3.

Every case ends with the table's exact rows, or with an error that names what was lost and with the previous truth.
Whatever happened, the objects of every sealed manifest are read back, and the rows are compared with the server's own.
"""

from __future__ import annotations

import ctypes
import random
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import pytest

from egress_assets.engine import workers
from egress_assets.engine.dump import source as source_module
from egress_assets.engine.dump.run import run
from egress_assets.engine.dump.source import connect
from egress_assets.engine.errors import EgressError, SourceUnavailable, StoreUnavailable
from egress_assets.engine.evidence.records import Manifest
from egress_assets.engine.evidence.verify import status_of
from egress_assets.engine.layout import dump_unit
from egress_assets.engine.stream import decompressed

DAY = "2026-11-19"
UNIT = dump_unit("shop")
BIG = "public.big"
MIB = 2**20
PART = 5 * MIB
KINDS = ["reset", "end", "freeze", "vanish"]
STORM = ("PutObject", "UploadPart", "CreateMultipartUpload", "CompleteMultipartUpload", "GetObject", "HeadObject")
SILENCE = {"keepalives": 1, "keepalives_idle": 1, "keepalives_interval": 1, "keepalives_count": 2}
IMPATIENT_WORKER = f"""
from egress_assets.engine.dump import source
source._KEEPALIVES = {SILENCE}
from egress_assets.engine.worker import main
raise SystemExit(main())
"""
SO_ATTACH_FILTER = 26


# ------------------------------------------------------------------------------------------------------------ the proxy
@dataclass(slots=True)
class Fault:
    """What happens to a connection once more than `after` bytes have gone one way, or once `now` is set.

    reset: RST to both. end: FIN to both. freeze: it stays open, and no byte comes any more. vanish: as if both hosts
    had lost their power; not even keepalives are answered.
    """

    how: Literal["reset", "end", "freeze", "vanish"]
    after: int = 2**60
    way: Literal["up", "down"] = "down"  # towards the server, towards the client
    only: bytes = b""  # connections whose first bytes hold this
    times: int = 1  # connections that suffer it
    now: threading.Event = field(default_factory=threading.Event)


class Proxy:
    """TCP to one port of this machine, one thread a connection."""

    def __init__(self, target: int) -> None:
        self.faults: list[Fault] = []
        self.struck: list[str] = []
        self.pause, self.piece = 0.0, 2**16  # each piece of so many bytes waits so many seconds
        self._target, self._closed, self._choosing = target, threading.Event(), threading.Lock()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.1)
        self.port: int = self._listener.getsockname()[1]
        self._begin(self._accept)

    def strike(self, how: Any, after: int = 2**60, **fields: Any) -> Fault:
        self.faults.append(Fault(how, after, **fields))
        return self.faults[-1]

    def heal(self) -> None:
        self.faults, self.pause = [], 0.0

    def close(self) -> None:
        self._closed.set()
        for thread in self._threads:
            thread.join(timeout=30)
        self._listener.close()

    def _begin(self, work: Callable[..., None], *arguments: object) -> None:
        self._threads.append(threading.Thread(target=work, args=arguments, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        while not self._closed.is_set():
            with suppress(TimeoutError):
                self._begin(self._carry, self._listener.accept()[0])

    def _carry(self, client: socket.socket) -> None:
        with client, suppress(OSError), socket.create_connection(("127.0.0.1", self._target)) as server:
            for sock in (client, server):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.settimeout(20)
            self._between(client, server)

    def _between(self, client: socket.socket, server: socket.socket) -> None:
        passed, first, open_ends = {"up": 0, "down": 0}, b"", [client, server]
        while open_ends and not self._closed.is_set():
            for source in select.select(open_ends, [], [], 0.1)[0]:
                way, sink = ("up", server) if source is client else ("down", client)
                data = source.recv(self.piece)
                if not data:
                    sink.shutdown(socket.SHUT_WR)
                    open_ends.remove(source)
                    continue
                first = first or data
                time.sleep(self.pause)
                fault = self._due(first, way, passed[way] + len(data))
                sink.sendall(data[: max(0, fault.after - passed[way])] if fault else data)
                passed[way] += len(data)
                if fault:
                    return self._end(fault, client, server)
            if fault := self._due(first):
                return self._end(fault, client, server)
        return None

    def _due(self, first: bytes, way: str = "", passed: int = 0) -> Fault | None:
        with self._choosing:
            for fault in self.faults:
                is_due = fault.now.is_set() or (fault.way == way and passed > fault.after)
                if fault.times and is_due and fault.only in first:
                    fault.times -= 1
                    self.struck.append(fault.how)
                    return fault
        return None

    def _end(self, fault: Fault, *sockets: socket.socket) -> None:
        for sock in sockets:
            if fault.how == "reset":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif fault.how == "vanish":
                deafen(sock)
        if fault.how in ("freeze", "vanish"):
            self._closed.wait()


def deafen(sock: socket.socket) -> None:
    """The kernel drops whatever arrives for it, so nothing is acknowledged: a packet filter of one `return 0`."""
    instruction = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", 1, ctypes.addressof(instruction)))


# ------------------------------------------------------------------------------------------------------- the far places
@dataclass(slots=True)
class Far:
    """A dataset of one table of 14 MB whose source and store are reached through proxies, and the direct way."""

    place: Any
    near: Any  # the same place without proxies
    source: Proxy
    store: Proxy

    def dump(self) -> str:
        return run(self.place.platform, "shop", DAY, again=True).how

    def heal(self) -> None:
        self.source.heal()
        self.store.heal()
        self.place.lake.control("clear")

    def rows(self) -> bytes:
        return self.place.db.psql("COPY public.big TO STDOUT (FORMAT csv)")

    def truth(self) -> bytes | None:
        """What the pointer names, each object verified; every other sealed manifest's objects are verified too."""
        evidence, data = self.near.platform.evidence, self.near.data
        for listed in evidence.store.list(f"manifests/{UNIT}/"):
            body, _ = evidence.store.read(listed.key)
            manifest = Manifest.parse(body)  # None: a sweeper's tombstone
            records = [obj for table in manifest.draft.tables.values() for obj in table.objects] if manifest else []
            assert {status_of(data, obj) for obj in records} <= {("ok", "")}
        pointer = evidence.pointer(UNIT, DAY)
        if pointer is None:
            return None
        assert {result.status for result in evidence.verify(UNIT, DAY, data)} == {"ok"}
        _, record = evidence.tables(pointer)[BIG]
        found = b"".join(b"".join(decompressed(data.get(obj.key), record.format)) for obj in record.objects)
        assert (record.rows, len(found)) == (found.count(b"\n"), sum(obj.raw_bytes for obj in record.objects))
        return found

    def fails(self, kind: type[EgressError], what: str) -> None:
        """The dump fails with that error, and the previous truth stands."""
        before = self.truth()
        with pytest.raises(kind, match=what) as caught:
            self.dump()
        assert caught.value.hint
        assert self.truth() == before

    def is_right_once_healed(self) -> None:
        self.heal()
        assert self.dump() == "moved"
        assert self.truth() == self.rows()


@pytest.fixture
def far(place: Any) -> Iterator[Far]:
    place.db.run(
        "CREATE TABLE big (id int, body text)",
        "INSERT INTO big SELECT g, repeat(md5(g::text), 7) FROM generate_series(1, 60000) g",
    )
    place.tables, place.dataset = {BIG: {}}, {"dump": {"format": "csv"}}
    near = type(place)(place.db, place.lake, place.tables, place.dataset)
    source, store = Proxy(place.db.cluster.port), Proxy(int(place.lake.endpoint.rpartition(":")[2]))
    place.source |= {"port": source.port, "workers": 1}
    place.stored |= {"endpoint": f"http://127.0.0.1:{store.port}", "part_bytes": PART, "read_timeout": 2.5}
    try:
        yield Far(place, near, source, store)
    finally:
        source.close()
        store.close()


@pytest.fixture
def stands(far: Far) -> Far:
    """With a previous truth of ten rows."""
    far.place.db.run("CREATE TABLE kept AS SELECT * FROM big", "DELETE FROM big WHERE id > 10")
    assert far.dump() == "moved"
    far.place.db.run("TRUNCATE big", "INSERT INTO big SELECT * FROM kept")
    return far


# ----------------------------------------------------------------------------------------- between it and Postgres
def test_latency_on_both_sides_changes_no_byte(far):
    far.source.pause = far.store.pause = 0.002
    assert far.dump() == "moved"
    assert far.truth() == far.rows()


@pytest.mark.parametrize(("how", "after"), [("reset", 9 * MIB), ("end", 700_000)])
def test_a_connection_lost_during_copy_is_an_error_and_the_previous_truth_stands(stands, how, after):
    stands.source.strike(how, after, only=b"egress worker")
    stands.fails(SourceUnavailable, r"table public\.big: the connection was lost")
    assert stands.source.struck == [how]
    assert stands.place.lake.here()[1] == {}
    stands.is_right_once_healed()


def test_a_leader_that_is_cut_off_while_its_worker_reads_ends_the_run(stands, until):
    stands.source.pause = 0.02  # five seconds of COPY
    fault = stands.source.strike("reset", only=b" leader")
    reading = partial(stands.place.db.sessions, "COPY%")
    threading.Thread(target=lambda: (until(reading), fault.now.set()), daemon=True).start()
    stands.fails(SourceUnavailable, "the snapshot's session: the connection was lost")
    assert stands.source.struck == ["reset"]


@pytest.mark.parametrize("who", [b" leader", b"egress worker"])
def test_a_session_whose_server_vanished_ends_the_run_by_its_keepalives(stands, until, monkeypatch, who):
    monkeypatch.setattr(source_module, "_KEEPALIVES", SILENCE)
    monkeypatch.setattr(workers, "_COMMAND", (sys.executable, "-c", IMPATIENT_WORKER))
    stands.source.pause = 0.05  # so that reading takes longer than the keepalives
    fault = stands.source.strike("vanish", only=who)
    reading = partial(stands.place.db.sessions, "COPY%")
    threading.Thread(target=lambda: (until(reading), fault.now.set()), daemon=True).start()
    what = {b" leader": "the snapshot's session", b"egress worker": r"table public\.big"}[who]
    stands.fails(SourceUnavailable, f"{what}: the connection was lost")
    assert stands.source.struck == ["vanish"]


def test_sessions_notice_a_vanished_host_within_a_minute(far):
    session = connect(far.place.db.settings(), application_name="egress test")
    with session, socket.socket(fileno=session.fileno()) as sock:
        names = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        idle, every, tries = (sock.getsockopt(socket.IPPROTO_TCP, name) for name in names)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert idle + every * tries <= 60
        sock.detach()


# ---------------------------------------------------------------------------------------- between it and the store
def test_uploads_cut_in_the_middle_in_four_ways_are_sent_again(far):
    for how in KINDS:
        far.store.strike(how, 2 * MIB, way="up")
    assert far.dump() == "moved"
    assert far.store.struck == KINDS
    assert far.truth() == far.rows()
    assert far.place.lake.here()[1] == {}


def test_answers_that_are_lost_do_not_make_a_write_happen_twice_or_never(far):
    far.store.strike("reset", 0, times=3)
    far.store.strike("reset", 1_000, times=3)
    assert far.dump() == "moved"
    assert far.store.struck == ["reset"] * 6
    assert far.truth() == far.rows()
    assert far.place.lake.here()[1] == {}


def test_a_store_that_cuts_every_upload_is_an_error_and_the_previous_truth_stands(stands):
    stands.store.strike("reset", 2 * MIB, way="up", times=10**6)
    stands.fails(StoreUnavailable, r"PUT part of .*public\.big/part-00000\.csv' .* after \d tries")
    assert stands.place.lake.here()[1] == {}
    stands.is_right_once_healed()


def test_a_store_that_reads_slowly_holds_the_server_back_and_gets_every_byte(far):
    far.place.stored["read_timeout"] = 20
    far.store.pause = 0.01
    assert far.dump() == "moved"
    assert far.truth() == far.rows()


@pytest.mark.parametrize("action", ["503", "500", "resetafter"])
def test_a_storm_of_refusals_passes(far, action):
    far.place.lake.control("fault", [{"op": op, "action": action, "times": 2} for op in STORM])
    assert far.dump() == "moved"
    far.heal()
    assert far.truth() == far.rows()
    assert far.place.lake.here()[1] == {}


@pytest.mark.parametrize(
    ("operation", "action", "word"),
    [("UploadPart", "503", "SlowDown"), ("CompleteMultipartUpload", "200err", "InternalError")],
)
def test_a_storm_that_does_not_end_is_an_error_with_the_stores_own_word(stands, operation, action, word):
    stands.place.lake.fault(operation, action, times=10**6)
    stands.fails(StoreUnavailable, word)
    assert stands.place.lake.here()[1] == {}


# ------------------------------------------------------------------------------------------------------------- anything
def disturb(far: Far, chance: random.Random) -> None:
    """Up to three faults of any kind at any byte on each side. Not a frozen source: nothing but patience ends that."""
    for _ in range(chance.randrange(3)):
        far.source.strike(chance.choice(["reset", "end"]), chance.randrange(14 * MIB), times=1)
    for _ in range(chance.randrange(4)):
        how, way = chance.choice(KINDS), chance.choice(["up", "down"])
        far.store.strike(
            how, chance.randrange(6 * MIB if way == "up" else 2_000), way=way, times=chance.randrange(1, 3)
        )
    far.source.pause = far.store.pause = chance.choice([0, 0, 0.001])


def weather(far: Far, seed: int) -> None:
    before = far.truth()
    disturb(far, random.Random(seed))
    failure = None
    try:
        far.dump()
    except EgressError as error:
        failure = error
    assert failure is None or failure.retryable, failure
    assert far.truth() == (before if failure else far.rows())
    far.place.db.run("UPDATE big SET body = body || 'x' WHERE id % 1000 = 0")
    far.is_right_once_healed()


@pytest.mark.parametrize("seed", range(3))
def test_whatever_fails_wherever_the_rows_are_right_or_the_previous_ones_stand(stands, seed):
    weather(stands, seed)


@pytest.mark.soak
def test_two_hundred_storms(stands):
    for seed in range(1000, 1200):
        weather(stands, seed)
        stands.place.db.run("UPDATE big SET body = body || 'y' WHERE id % 1000 = 1")
