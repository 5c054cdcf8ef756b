"""What the reading thread takes from libpq: whole rows in large pieces, every one of them, through TLS too."""

from __future__ import annotations

import sys
import threading

import pytest

from egress_assets.engine.dump import copying
from egress_assets.engine.dump.copying import Stopped, widen
from egress_assets.engine.dump.source import connect, hang_up
from egress_assets.engine.dump.tasks import Cell, PartTask
from egress_assets.engine.dump.throttle import Pace

ROWS = "COPY (SELECT g, repeat('x', {width}) FROM generate_series(1, {rows}) g) TO STDOUT (FORMAT csv)"


def csv(rows, width):
    return b"".join(b"%d,%s\n" % (n, b"x" * width) for n in range(1, rows + 1))


def opened(settings):
    connection = connect(settings, application_name="t")
    try:
        widen(connection)
        yield connection
    finally:
        hang_up(connection)


@pytest.fixture
def session(db):
    yield from opened(db.settings())


@pytest.fixture
def secure(tls_cluster, db):
    place = {"port": tls_cluster.cluster.port, "database": "postgres", "host": "localhost"}
    settings = db.settings(**place, tls="verify-full", ca=str(tls_cluster.ca))
    yield from opened(settings)


def reading(connection, *statements, stop=None, share=None):
    cells = tuple(Cell(f"c{number}", statement) for number, statement in enumerate(statements))
    told: list[tuple[int, int]] = []
    found = copying._Reading(
        connection, PartTask("s.t", cells, "k", "csv"), stop=stop or threading.Event(),
        tell=lambda size, rows: told.append((size, rows)), pace=Pace(share),
    )  # fmt: skip
    thread = threading.Thread(target=found.run)
    thread.start()
    return found, thread


def test_libpq_gives_many_rows_at_once_when_they_are_there(session, until):
    pgconn = session.pgconn
    pgconn.send_query(ROWS.format(rows=20_000, width=100).encode())
    until(lambda: copying._arrived(pgconn.socket) > 40_000)
    pgconn.consume_input()
    assert pgconn.get_result().status == copying.pq.ExecStatus.COPY_OUT
    held = bytearray()
    taken, said = copying._take(pgconn.get_copy_data, held, sys.maxsize)
    assert said == 0
    assert len(held) > 32_000  # libpq's buffer begins with 16 KiB
    assert bytes(held) == csv(taken, 100)


def test_as_many_rows_are_taken_as_were_asked_for(session, until):
    pgconn = session.pgconn
    pgconn.send_query(ROWS.format(rows=50, width=10).encode())
    until(lambda: copying._arrived(pgconn.socket) > 50 * 13)
    pgconn.consume_input()
    pgconn.get_result()
    held = bytearray()
    assert copying._take(pgconn.get_copy_data, held, 20) == (20, 1)
    assert bytes(held) == csv(20, 10)
    assert copying._take(pgconn.get_copy_data, held, sys.maxsize) == (30, -1)
    assert bytes(held) == csv(50, 10)


@pytest.mark.parametrize("share", [None, {"rows": 10**7}, {"bytes": 10**9}])
def test_every_row_arrives_once_whatever_the_pace(session, share):
    found, thread = reading(
        session, ROWS.format(rows=30_000, width=40), ROWS.format(rows=0, width=1), ROWS.format(rows=3, width=2 * 2**20),
        share=share,
    )  # fmt: skip
    assert b"".join(found.chunks) == csv(30_000, 40) + csv(3, 2 * 2**20)
    thread.join()
    assert [cell.rows for cell in found.done] == [30_000, 0, 3]


def test_every_row_arrives_once_through_tls(secure):
    assert secure.pgconn.ssl_in_use
    statements = [ROWS.format(rows=rows, width=width) for rows, width in ((20_000, 100), (1, 1), (40, 100_000))]
    found, thread = reading(secure, *statements)
    assert b"".join(found.chunks) == csv(20_000, 100) + csv(1, 1) + csv(40, 100_000)
    thread.join()
    assert [cell.rows for cell in found.done] == [20_000, 1, 40]


def test_a_chunk_has_its_size_and_no_more_than_libpq_holds_on_top(session):
    found, thread = reading(session, ROWS.format(rows=300_000, width=20))
    sizes = [len(chunk) for chunk in found.chunks]
    thread.join()
    assert max(sizes) <= 2 * copying.CHUNK + 100
    assert min(sizes[:-1]) >= copying.CHUNK


def test_a_stop_ends_the_wait_for_a_server_that_says_nothing(session):
    stop = threading.Event()
    found, thread = reading(session, "COPY (SELECT pg_sleep(60)) TO STDOUT", stop=stop)
    stop.set()
    with pytest.raises(Stopped):
        list(found.chunks)
    thread.join()
