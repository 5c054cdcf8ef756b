"""Runs that meet: two at once, a subset beside a whole one, and one thought dead that wakes up after its successor."""

from __future__ import annotations

import os
import signal
import subprocess
import time

from egress_assets.engine.errors import Superseded


def ended(process) -> tuple[int, str]:
    said, _ = process.communicate(timeout=240)
    return process.returncode, said


def versions(whole) -> dict[str, set[int]]:
    """The version marks of the first ten rows of each table that the dump's pointer names."""
    pointer = whole.platform.evidence.pointer(whole.units["dump"], whole.date)
    store, found = whole.platform.store("lake"), {}
    for table, (_, record) in whole.platform.evidence.tables(pointer).items():
        rows = b"".join(b"".join(store.get(o.key)) for o in record.objects).decode().splitlines()
        found[table] = {int(row.split(",")[1]) for row in rows if int(row.split(",")[0]) <= 10}
    return found


def whole_and_verified(whole) -> None:
    results = list(whole.platform.evidence.verify(whole.units["dump"], whole.date, whole.platform.store("lake")))
    assert {found.status for found in results} == {"ok"}


def test_of_two_runs_of_one_date_one_wins_and_the_pointer_is_whole(whole):
    assert whole.stage("dump")[0] == 0
    whole.next_version()
    both = [whole.begin("dump", "whole", "--date", whole.date, "--again") for _ in range(2)]
    codes = sorted(ended(process) for process in both)
    assert codes[0][0] == 0, codes
    assert codes[1][0] in (0, Superseded.exit_code), codes
    assert versions(whole) == {"whole.people": {whole.version}, "whole.deeds": {whole.version}}
    whole_and_verified(whole)


def test_a_subset_run_beside_a_whole_one_loses_no_table(whole):
    assert whole.stage("dump")[0] == 0
    whole.next_version()
    part = whole.begin("dump", "whole", "--date", whole.date, "--again", "--tables", "whole.deeds")
    every = whole.begin("dump", "whole", "--date", whole.date, "--again")
    codes = [ended(part), ended(every)]
    assert {code for code, _ in codes} <= {0, Superseded.exit_code}, codes
    assert 0 in {code for code, _ in codes}, codes
    found = versions(whole)
    assert set(found) == {"whole.people", "whole.deeds"}
    assert found["whole.deeds"] == {whole.version}
    whole_and_verified(whole)


def test_a_run_thought_dead_that_wakes_up_after_its_successor_is_superseded(whole):
    """SIGSTOP is what a paused virtual machine does: the process knows nothing of the time that has passed."""
    assert whole.stage("dump")[0] == 0
    whole.next_version()
    zombie = stopped_with_a_snapshot(whole)
    newest = whole.next_version()
    code, said = whole.stage("dump", "--again")
    assert code == 0, said
    os.killpg(zombie.pid, signal.SIGCONT)
    code, said = ended(zombie)
    assert code == Superseded.exit_code, said
    assert "as new or newer" in said, said
    assert versions(whole) == {"whole.people": {newest}, "whole.deeds": {newest}}
    whole_and_verified(whole)


def stopped_with_a_snapshot(whole) -> subprocess.Popen[str]:
    """A run paused with its workers as soon as it has its snapshot; one that ended before it was seen is told anew."""
    for _ in range(5):
        run = whole.begin("dump", "whole", "--date", whole.date, "--again")
        with whole.session() as session:
            while run.poll() is None:
                (has_one,) = session.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE usename = 'egress_reader'"
                    " AND state = 'idle in transaction' AND backend_xmin IS NOT NULL"
                ).fetchone()
                if has_one:
                    os.killpg(run.pid, signal.SIGSTOP)
                    return run
                time.sleep(0.005)
        assert ended(run)[0] == 0
        whole.next_version()
    raise AssertionError("no run was seen with a snapshot")
