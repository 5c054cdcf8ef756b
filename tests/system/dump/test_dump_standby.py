"""A dump of a streaming standby: the primary's rows, its position, and conflicts that cost a retry and no row."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from egress_assets.engine.dump.run import run
from egress_assets.engine.dump.snapshot import open_snapshot
from egress_assets.engine.errors import SourceError, SourceUnavailable
from egress_assets.engine.layout import dump_unit
from egress_assets.engine.stream import decompressed
from egress_assets.sandbox.postgres import unprivileged_account
from tests.system.dump.conftest import Cluster, Database, _run_as, free_port

DAY = "2026-11-19"
BIG = "public.big"
UNIT = dump_unit("shop")


def as_owner(account: Any) -> dict[str, Any]:
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account else {}


@pytest.fixture
def standby(cluster: Cluster) -> Iterator[Cluster]:
    """A hot standby of `cluster`, that cancels whatever stands in the way of replay at once."""
    home = Path(tempfile.mkdtemp(prefix="egress-test-standby-", dir="/var/tmp"))
    home.chmod(0o711)
    account, port, tools = unprivileged_account(), free_port(), cluster.binaries
    if account is not None:
        os.chown(home, account.pw_uid, account.pw_gid)
    source = f"host=127.0.0.1 port={cluster.port} user=owner"
    copy = [str(tools / "pg_basebackup"), "-D", str(home / "data"), "-R", "-X", "stream", "-c", "fast", "-d", source]
    flags = f"-h 127.0.0.1 -p {port} -k '' -c hot_standby=on -c max_standby_streaming_delay=0 -c shared_buffers=4MB"
    start = [str(tools / "pg_ctl"), "start", "-w", "-s", "-D", str(home / "data"), "-l", str(home / "log"), "-o", flags]
    silent = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    try:
        _run_as(account, copy, env={**os.environ, "PGPASSWORD": cluster.password})
        done = subprocess.run(start, cwd="/", check=False, **silent, **as_owner(account))
        assert done.returncode == 0, (home / "log").read_text()
        try:
            yield replace(cluster, port=port)
        finally:
            _run_as(account, [str(tools / "pg_ctl"), "stop", "-m", "immediate", "-D", str(home / "data")])
    finally:
        shutil.rmtree(home)


def replayed(primary: Database, standby: Cluster) -> bool:
    """Whether the standby shows all that the primary has written."""
    (lsn,) = primary.rows("SELECT pg_current_wal_insert_lsn()")[0]
    with standby.connect() as session:
        return bool(session.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", (lsn,)).fetchone()[0])


@pytest.fixture
def behind(place: Any, standby: Cluster, until: Callable[..., Any]) -> Any:
    """`shop` of one table, read from the standby; `place.db` is the primary."""
    place.db.run(
        "CREATE TABLE big (id int, body text)",
        "INSERT INTO big SELECT g, md5(g::text) FROM generate_series(1, 20000) g",
    )
    until(partial(replayed, place.db, standby), 60)
    place.tables, place.dataset = {BIG: {}}, {"dump": {"format": "csv"}}
    place.source["port"] = standby.port
    return place


def rows(place: Any) -> bytes:
    evidence = place.platform.evidence
    _, record = evidence.tables(evidence.pointer(UNIT, DAY))[BIG]
    return b"".join(b"".join(decompressed(place.data.get(each.key), record.format)) for each in record.objects)


def test_a_dump_of_the_standby_is_the_primary_s_on_the_primary_s_line(behind: Any, standby: Cluster):
    run(behind.platform, "shop", DAY)
    assert rows(behind) == behind.db.psql("COPY big TO STDOUT (FORMAT csv)")
    here = behind.platform.evidence.pointer(UNIT, DAY).entries[BIG]
    with open_snapshot(behind.db.settings(), [BIG]) as primary:
        assert here.position.line == primary.position.line
        assert here.position.compare(primary.position) in ("older", "equal")
    del behind.source["port"]
    assert run(behind.platform, "shop", DAY, again=True).how == "unchanged"


def test_a_conflict_with_replay_is_told_as_retryable_and_never_as_an_empty_table(
    behind: Any, standby: Cluster, until: Callable[..., Any]
):
    with open_snapshot(behind.db.settings(port=standby.port), [BIG]) as leader:
        behind.db.run("TRUNCATE big", "INSERT INTO big VALUES (1, 'after')")
        until(partial(replayed, behind.db, standby), 60)
        with pytest.raises(SourceError) as lost:
            leader.verify()
    assert lost.value.retryable
    assert run(behind.platform, "shop", DAY).tables[BIG].rows == 1
    assert rows(behind) == b"1,after\n"


def test_a_run_in_the_way_of_a_truncate_starts_over_and_has_the_rows_after_it(
    behind: Any, standby: Cluster, until: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
):
    from egress_assets.engine.dump import run as module

    real, tries = module.extract, []

    def extract(leader: Any, *arguments: Any, **options: Any) -> Any:
        tries.append(leader.snapshot_id)
        if len(tries) == 1:
            behind.db.run("TRUNCATE big", "INSERT INTO big VALUES (2, 'after')")
            until(partial(replayed, behind.db, standby), 60)
        return real(leader, *arguments, **options)

    monkeypatch.setattr(module, "extract", extract)
    with suppress(SourceUnavailable):  # the leader's session may end before its server has said why
        run(behind.platform, "shop", DAY)
    if len(tries) == 1:
        run(behind.platform, "shop", DAY)
    assert len(tries) > 1
    assert rows(behind) == b"2,after\n"


def test_a_promotion_leaves_the_snapshot_whole_and_begins_a_line_of_its_own(behind: Any, standby: Cluster):
    """Positions before and after it can't be ordered, so none is taken for newer."""
    with open_snapshot(behind.db.settings(port=standby.port), [BIG]) as leader:
        with standby.connect() as session:
            session.execute("SELECT pg_promote()")
        leader.verify()
        assert leader.connection.execute("SELECT count(*) FROM public.big").fetchone() == (20000,)
        before = leader.position
    run(behind.platform, "shop", DAY)
    after = behind.platform.evidence.pointer(UNIT, DAY).entries[BIG].position
    assert (before.line.rpartition("/")[2], after.line.rpartition("/")[2]) == ("1", "2")
    assert after.compare(before) == "incomparable"
    assert rows(behind) == behind.db.psql("COPY big TO STDOUT (FORMAT csv)")
