"""The embedded servers: started once by whoever comes first, healed after any kill, gone after stop (S0)."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from egress_assets import sandbox
from egress_assets.engine.errors import StoreDenied
from egress_assets.engine.stores import open_store
from egress_assets.sandbox import processes, sample
from egress_assets.sandbox.lifecycle import servers
from egress_assets.sandbox.model import store_settings
from egress_assets.sandbox.postgres import SHARED, Postgres, binaries_folder, data_folder, unprivileged_account
from egress_assets.sandbox.state import BUCKETS

START = """
import json
from egress_assets import sandbox
made = sandbox.start()
print(json.dumps([[s.name, s.pid, s.endpoint] for s in sandbox.status().servers]))
"""


@contextlib.contextmanager
def fresh_folder() -> Iterator[Path]:
    """Short, because a socket path has 107 bytes; removed with its servers whatever happens."""
    folder = Path(tempfile.mkdtemp(prefix="egs-", dir="/tmp"))
    try:
        yield folder
    finally:
        sandbox.remove(folder)
        shutil.rmtree(folder)


@pytest.fixture
def folder() -> Iterator[Path]:
    with fresh_folder() as made:
        yield made


@pytest.fixture(scope="module")
def running() -> Iterator[sandbox.Sandbox]:
    """One sandbox for the tests that leave it running."""
    with fresh_folder() as made:
        yield sandbox.start(made)


def pids(folder: Path) -> dict[str, int | None]:
    return {server.name: server.pid for server in sandbox.status(folder).servers}


def starter(folder: Path, code: str = START) -> subprocess.Popen[str]:
    environment = os.environ | {"EGRESS_SANDBOX_DIR": str(folder)}
    return subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    )


def everybody() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def strangers(folder: Path) -> list[str]:
    """Command lines of live processes that name this folder, or the cluster that belongs to it."""
    named = (str(folder), str(data_folder(folder)))
    lines = (" ".join(processes.arguments(pid)) for pid in everybody() if processes.identify(pid))
    return [line for line in lines if any(name in line for name in named)]


def kill(pid: int | None) -> None:
    """SIGKILL, and wait until the kernel has done it."""
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    while processes.identify(pid) is not None:
        time.sleep(0.005)


def write_row(made: sandbox.Sandbox, text: str) -> None:
    with psycopg.connect(made.admin_dsn("shop").conninfo, autocommit=True) as session:
        session.execute("CREATE TABLE IF NOT EXISTS kept (text text)")
        session.execute("INSERT INTO kept VALUES (%s)", (text,))


def rows(made: sandbox.Sandbox) -> list[str]:
    with psycopg.connect(made.admin_dsn("shop").conninfo) as session:
        return [text for (text,) in session.execute("SELECT text FROM kept ORDER BY text")]


def test_two_starters_at_once_get_one_set_of_servers(folder: Path) -> None:
    both = [starter(folder), starter(folder)]
    printed = [json.loads(each.communicate(timeout=60)[0].splitlines()[-1]) for each in both]
    assert [each.returncode for each in both] == [0, 0]
    assert printed[0] == printed[1]
    state = sandbox.start(folder).state
    found = {server.name: [each.pid for each in processes.find(server.markers)] for server in servers(state)}
    assert found == {name: [pid] for name, pid, _ in printed[0]}


def test_a_second_start_is_cheap_and_changes_nothing(running: sandbox.Sandbox) -> None:
    before = pids(running.state.folder)
    began = time.monotonic()
    assert sandbox.start(running.state.folder) == running
    assert time.monotonic() - began < 0.3
    assert pids(running.state.folder) == before


def test_servers_outlive_a_killed_starter_and_its_group(folder: Path) -> None:
    parent = starter(folder, START + "print('ready', flush=True)\nimport time; time.sleep(60)")
    assert parent.stdout is not None
    while "ready" not in parent.stdout.readline():
        assert parent.poll() is None
    before = pids(folder)
    os.killpg(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    time.sleep(0.3)
    assert sandbox.status(folder).healthy
    assert pids(folder) == before


@pytest.mark.parametrize("victim", ["postgres", "s3", "ceph", "aws", "receiver"])
def test_a_killed_server_is_healed_and_what_it_acknowledged_is_there(running: sandbox.Sandbox, victim: str) -> None:
    folder = running.state.folder
    write_row(running, f"before {victim} died")
    for bucket in ("lake", "mirror"):
        open_store(running.stores[bucket]).put(f"before/{victim}", b"acknowledged")
    before = pids(folder)
    kill(before[victim])
    healed = sandbox.start(folder)
    assert healed.state.secrets == running.state.secrets
    after = pids(folder)
    assert {name for name in after if after[name] != before[name]} == {victim}
    assert f"before {victim} died" in rows(healed)
    for bucket in ("lake", "mirror"):
        found = open_store(healed.stores[bucket]).read(f"before/{victim}")
        assert found is not None
        assert found[0] == b"acknowledged"


def test_all_killed_at_once_are_healed(running: sandbox.Sandbox) -> None:
    write_row(running, "before all died")
    for pid in pids(running.state.folder).values():
        kill(pid)
    assert "before all died" in rows(sandbox.start(running.state.folder))
    assert sandbox.status(running.state.folder).healthy


def test_a_postmaster_that_stays_a_zombie_is_no_obstacle(folder: Path) -> None:
    # PR_SET_CHILD_SUBREAPER (36): the postmaster becomes this process's child, which never reaps it.
    code = """
import ctypes, os, signal, time
assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0
from pathlib import Path
from egress_assets import sandbox
sandbox.start()
pid = next(server.pid for server in sandbox.status().servers if server.name == "postgres")
os.kill(pid, signal.SIGKILL)
time.sleep(0.3)
state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
sandbox.start()
print(state, sandbox.status().healthy)
"""
    zombie = starter(folder, code)
    assert zombie.communicate(timeout=60)[0].split() == ["Z", "True"]


def test_postgres_never_runs_as_root_and_only_from_a_place_that_root_owns(running: sandbox.Sandbox) -> None:
    server = Postgres(running.state)
    process = server.process()
    assert process is not None
    owner = Path(f"/proc/{process.pid}").stat().st_uid
    account = unprivileged_account()
    assert owner == (os.geteuid() if account is None else account.pw_uid)
    assert owner != 0
    program = Path(f"/proc/{process.pid}/exe").readlink()
    assert program == binaries_folder() / "postgres"
    if account is not None:
        for path in (program, program.parent, *program.parents[:4]):
            assert path.stat().st_uid == 0
            assert not path.stat().st_mode & 0o022


def test_a_state_folder_that_postgres_cannot_reach_is_fine(folder: Path) -> None:
    closed = folder / "home"
    closed.mkdir(mode=0o700)
    inner = closed / "sandbox"
    try:
        write_row(sandbox.start(inner), "kept")
        sandbox.stop(inner)
        assert rows(sandbox.start(inner)) == ["kept"]
        assert closed.stat().st_mode & 0o777 == 0o700
        assert data_folder(inner).is_relative_to(inner if unprivileged_account() is None else SHARED)
    finally:
        sandbox.remove(inner)
    assert not data_folder(inner).exists()


def test_stop_ends_all_of_it_in_time_and_keeps_data_and_ports(folder: Path) -> None:
    made = sandbox.start(folder)
    write_row(made, "kept")
    open_store(made.stores["evidence"]).put("kept", b"bytes")
    assert len(strangers(folder)) >= 5
    began = time.monotonic()
    sandbox.stop(folder)
    assert time.monotonic() - began < 15
    assert strangers(folder) == []
    assert not sandbox.status(folder).healthy
    left = [name for port in range(made.state.ports["s3"], made.state.ports["s3"] + 10)
            for name in Path("/tmp").glob(f"seaweedfs-*-{port}.sock")]  # fmt: skip
    assert left == []
    sandbox.stop(folder)  # again is fine

    again = sandbox.start(folder)
    assert again.state.ports == made.state.ports
    assert rows(again) == ["kept"]
    found = open_store(again.stores["evidence"]).read("kept")
    assert found is not None
    assert found[0] == b"bytes"


def test_taken_ports_are_replaced_and_data_stays(folder: Path) -> None:
    made = sandbox.start(folder)
    write_row(made, "kept")
    open_store(made.stores["lake"]).put("kept", b"bytes")
    sandbox.stop(folder)
    with contextlib.ExitStack() as stack:
        for name in ("postgres", "s3"):
            listener = stack.enter_context(socket.socket())
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", made.state.ports[name]))
            listener.listen()
        moved = sandbox.start(folder)
    assert moved.state.ports["postgres"] != made.state.ports["postgres"]
    assert moved.state.ports["s3"] != made.state.ports["s3"]
    assert moved.state.ports["ceph"] == made.state.ports["ceph"]
    assert rows(moved) == ["kept"]
    open_store(moved.stores["lake"]).put("new", b"bytes")
    assert [listed.key for listed in open_store(moved.stores["lake"]).list()] == ["kept", "new"]


def test_a_half_made_sandbox_is_made_again(folder: Path) -> None:
    first = starter(folder)
    while not data_folder(folder).exists():  # the cluster is there, the credentials are not yet
        assert first.poll() is None
        time.sleep(0.01)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    assert not (folder / "credentials.json").exists()
    made = sandbox.start(folder)
    write_row(made, "works")
    for server in servers(made.state):
        assert len(processes.find(server.markers)) == 1


def test_lost_credentials_mean_new_servers_not_open_ones(folder: Path) -> None:
    made = sandbox.start(folder)
    before = pids(folder)
    (folder / "credentials.json").unlink()
    again = sandbox.start(folder)
    assert set(pids(folder).values()).isdisjoint(before.values())
    assert again.scrub_key != made.scrub_key
    assert again.admin_dsn() != made.admin_dsn()


def test_a_note_whose_pid_belongs_to_another_program_by_now_is_stale(running: sandbox.Sandbox) -> None:
    other = subprocess.Popen(["sleep", "60"])
    try:
        stranger = processes.identify(other.pid)
        assert stranger is not None
        kill(pids(running.state.folder)["receiver"])
        processes.note(running.state.run / "receiver.json", stranger)
        assert not sandbox.status(running.state.folder).healthy
        sandbox.start(running.state.folder)
        assert sandbox.status(running.state.folder).healthy
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_no_secret_is_in_an_argument_a_log_or_a_readable_file(running: sandbox.Sandbox) -> None:
    folder, secrets = running.state.folder, running.state.secrets
    sample.load(running)
    texts = {f"argv {pid}": " ".join(processes.arguments(pid)) for pid in everybody()}
    logs = list((folder / "logs").iterdir())
    assert {path.stem for path in logs} >= {"postgres", "s3", "ceph", "receiver"}
    texts |= {str(path): path.read_text(errors="replace") for path in logs}
    assert [where for where, text in texts.items() for secret in secrets.values() if secret in text] == []
    for path in (folder / "credentials.json", *(folder / name / "identities.json" for name in BUCKETS)):
        assert path.stat().st_mode & 0o777 == 0o600
    for path in (folder / "receiver").glob("*.key"):
        assert path.stat().st_mode & 0o777 == 0o600


def test_every_listener_is_on_loopback(running: sandbox.Sandbox) -> None:
    ours = {port for base in running.state.ports.values() for port in range(base, base + 10)}
    tables = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
    lines = [line.split() for table in tables if table.exists() for line in table.read_text().splitlines()[1:]]
    listening = [line[1].split(":") for line in lines if line[3] == "0A"]
    addresses = {address for address, port in listening if int(port, 16) in ours}
    assert addresses == {"0100007F"}


def test_credentials_open_their_own_bucket_only(running: sandbox.Sandbox) -> None:
    stores = running.stores
    for settings in (stores["evidence"], stores["recipient-inbox"]):
        foreign = settings.model_copy(update={"bucket": "lake"})
        open_store(settings).put("own", b"1")
        with pytest.raises(StoreDenied):
            open_store(foreign).put("x", b"1")
        with pytest.raises(StoreDenied):
            list(open_store(foreign).list())
    wrong = stores["lake"].model_copy(update={"secret_key": "0" * 40})
    with pytest.raises(StoreDenied):
        open_store(wrong).put("x", b"1")


def test_promotion_out_of_quarantine_is_a_copy_by_the_lake(running: sandbox.Sandbox) -> None:
    open_store(running.stores["quarantine"]).put("unit/part", b"scrubbed")
    lake = open_store(running.stores["lake"])
    lake.copy("unit/part", "unit/part", source_bucket="quarantine")
    found = lake.read("unit/part")
    assert found is not None
    assert found[0] == b"scrubbed"


def test_the_reader_reads_the_sample_and_nothing_else(running: sandbox.Sandbox) -> None:
    sample.load(running)
    refused = (
        "INSERT INTO customers (email, name, created_at) VALUES ('x', 'x', now())",
        "DROP TABLE orders",
        "CREATE TABLE own (a int)",
        "SELECT * FROM egress_sandbox.sample",
        "SELECT * FROM pg_authid",
    )
    with psycopg.connect(running.dsn("shop").conninfo, autocommit=True) as session:
        session.execute("SET default_transaction_read_only = off")
        assert session.execute("SELECT count(*) FROM customers").fetchone() == (20_000,)
        session.execute("SELECT pg_export_snapshot()")
        for statement in refused:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute(statement.encode())
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        psycopg.connect(running.dsn("template1").conninfo).close()


def test_queue_and_table_answer(running: sandbox.Sandbox) -> None:
    import boto3

    fake = {"aws_access_key_id": "any", "aws_secret_access_key": "any", "region_name": "eu-west-2"}
    for service in ("sqs", "dynamodb"):
        client = boto3.client(service, endpoint_url=running.aws_endpoint, **fake)
        call = client.list_queues if service == "sqs" else client.list_tables
        assert call()["ResponseMetadata"]["HTTPStatusCode"] == 200
        client.close()


def test_stores_of_both_servers_hold_conditional_writes(running: sandbox.Sandbox) -> None:
    for server, bucket in (("s3", "evidence"), ("ceph", "mirror")):
        store = open_store(store_settings(running.state, server, bucket))
        assert store.put_if("pointer", b"1", etag=None) == "ok"
        assert store.put_if("pointer", b"2", etag=None) == "refused"
        head = store.head("pointer")
        assert head is not None
        assert store.put_if("pointer", b"2", etag=head.etag) == "ok"
        assert store.put_if("pointer", b"3", etag=head.etag) == "refused"


def fingerprint(made: sandbox.Sandbox, database: str) -> dict[str, tuple[int, str]]:
    query = "SELECT count(*), md5(string_agg(md5(t::text), '' ORDER BY t::text COLLATE \"C\")) FROM {} AS t"
    tables = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') "
    with psycopg.connect(made.dsn(database).conninfo) as session:
        session.execute("SET timezone = 'UTC'")
        names = [name for (name,) in session.execute(tables + "AND NOT relispartition ORDER BY 1")]
        found = {}
        for name in names:
            identifier = sql.Identifier(name)
            row = session.execute(sql.SQL(query).format(identifier)).fetchone()
            found[name] = row or (0, "")
        return found


def test_sample_data_is_equal_on_every_load_and_loaded_once(running: sandbox.Sandbox) -> None:
    sample.load(running)
    with psycopg.connect(running.admin_dsn("shop").conninfo, autocommit=True) as session:
        session.execute("DROP TABLE IF EXISTS kept")  # of the tests above
        first = fingerprint(running, "shop")
        session.execute("DELETE FROM orders WHERE false")
        began = time.monotonic()
        sample.load(running)
        assert time.monotonic() - began < 1
        assert fingerprint(running, "shop") == first
        session.execute("UPDATE egress_sandbox.sample SET version = 0")
    sample.load(running)
    assert fingerprint(running, "shop") == first
    assert sum(count for count, _ in first.values()) == 242_800
    assert len(first) == 8


def test_sample_people_have_every_kind_of_awkward_value(running: sandbox.Sandbox) -> None:
    sample.load(running)
    conditions = (
        "notes IS NULL", "notes = ''", "notes LIKE '%@example.%'", "notes ~ '7700 ?900'", "notes LIKE E'%\\n%\"%'",
        "notes LIKE '%\\\\temp%'", "notes = '\\N'", "notes = 'NULL'", "notes ~ '[\u0590-\u05ff]'",
        "notes ~ '[\u0600-\u06ff]'", "notes LIKE '%😀%'", "notes LIKE ' %'", "born IS NULL", "phone IS NULL",
        "attributes = '{}'", "attributes -> 'contact' ? 'email'", "email_domain = 'example.com'",
    )  # fmt: skip
    with psycopg.connect(running.dsn("shop").conninfo) as session:
        query = ", ".join(f"count(*) FILTER (WHERE {condition})" for condition in conditions)
        counts = session.execute(f"SELECT {query} FROM customers".encode()).fetchone()
        assert counts is not None
        assert [condition for condition, count in zip(conditions, counts, strict=True) if count < 100] == []
        leaves = session.execute("SELECT count(DISTINCT tableoid) FROM payments").fetchone()
        assert leaves == (3,)


def test_events_are_there_for_any_date_that_is_asked_for(running: sandbox.Sandbox) -> None:
    sample.load(running)
    asked = date(2026, 3, 1)
    sample.ensure_events(running, asked)
    days = "SELECT (at AT TIME ZONE 'UTC')::date AS day, count(*) FROM {} WHERE at < %s GROUP BY day ORDER BY day"
    expected = [asked - timedelta(days=back) for back in range(sample.EVENT_DAYS - 1, -1, -1)]
    with psycopg.connect(running.dsn("events").conninfo) as session:
        for table, count in (("page_views", sample.PAGE_VIEWS), ("clicks", sample.CLICKS)):
            query = sql.SQL(days).format(sql.Identifier(table))
            assert session.execute(query, (date(2026, 3, 2),)).fetchall() == [(day, count) for day in expected]
    before = fingerprint(running, "events")
    sample.ensure_events(running, asked)
    assert fingerprint(running, "events") == before
