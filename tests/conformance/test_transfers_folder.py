"""What a watched folder promises besides: its agent sees whole files only, and what others put there is theirs."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from egress_assets.engine.errors import CatalogError, DeliveryUnavailable
from egress_assets.engine.transfers import folder, open_transfer, send
from tests.conformance.transfer_peers import BODY, Folder, chunked, give, later, opened, parcel


@pytest.fixture
def watched(tmp_path) -> Folder:
    return Folder(tmp_path)


def test_a_watcher_sees_no_partial_file_and_no_name_that_it_does_not_expect(watched):
    """S2-12."""
    seen = []
    transfer = opened(watched)

    def looking() -> Iterator[bytes]:
        for chunk in chunked(BODY):
            seen.append(sorted(p.name for p in watched.path.rglob("*") if p.is_file()))
            yield chunk

    send(transfer, parcel(BODY, "in/sub/a.csv"), looking(), identity="i", not_after=later())
    assert seen
    assert not any(seen)
    assert [p.name for p in watched.path.rglob("*") if p.is_file()] == ["a.csv"]
    assert list((watched.staging / "files").iterdir()) == []


def test_a_file_of_somebody_else_is_never_replaced(watched):
    """S2-12: a collision is detected."""
    transfer = opened(watched)
    (watched.path / "a.csv").write_bytes(b"theirs")
    assert give(watched, name="a.csv").answer == "refused"
    assert watched.visible() == {"a.csv": b"theirs"}
    assert transfer.ask("a.csv") is None
    give(watched, name="b.csv", identity="i-1")
    (watched.path / "b.csv").unlink()
    (watched.path / "b.csv").write_bytes(b"theirs")
    assert give(watched, name="b.csv", identity="i-2").answer == "refused"
    assert transfer.ask("b.csv") is None


def test_a_file_that_appears_while_ours_is_staged_is_detected(watched):
    """S2-12."""
    transfer = opened(watched)

    def racing() -> Iterator[bytes]:
        yield BODY
        (watched.path / "a.csv").write_bytes(b"theirs")

    sent = send(transfer, parcel(BODY, "a.csv"), racing(), identity="i", not_after=later())
    assert sent.answer == "refused"
    assert watched.visible() == {"a.csv": b"theirs"}
    assert transfer.ask("a.csv") is None


def test_a_file_that_the_agent_took_was_delivered(watched):
    transfer = opened(watched)
    give(watched, name="in/a.csv", identity="i-1")
    (watched.path / "in/a.csv").unlink()
    assert transfer.ask("in/a.csv") == "i-1"
    (watched.path / "in").rmdir()
    assert transfer.ask("in/a.csv") == "i-1"


@pytest.mark.parametrize("step", ["a link to a folder", "a link in the place of the file"])
def test_no_link_leads_out_of_the_folder(watched, tmp_path, step):
    outside = tmp_path / "outside"
    outside.mkdir()
    opened(watched)
    if step == "a link to a folder":
        (watched.path / "in").symlink_to(outside)
    else:
        (watched.path / "in").mkdir()
        (watched.path / "in/a.csv").symlink_to(outside / "a.csv")
    assert give(watched, name="in/a.csv").answer == "refused"
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("replacing", [False, True])
@pytest.mark.parametrize("moment", ["before it is shown", "after it is shown"])
def test_a_kill_around_the_one_step_leaves_it_all_or_nothing(watched, monkeypatch, moment, replacing):
    """S2-12: and the next send finds out which."""
    transfer = opened(watched)
    if replacing:
        give(watched, b"old", name="a.csv", identity="i-0")
    show = folder._Place.show

    def killed(self, staged: Path, *, replacing: str | None) -> None:
        if moment == "after it is shown":
            show(self, staged, replacing=replacing)
        raise KeyboardInterrupt

    monkeypatch.setattr(folder._Place, "show", killed)
    with pytest.raises(KeyboardInterrupt):
        give(watched, name="a.csv", identity="i-1")
    monkeypatch.undo()
    shown = moment == "after it is shown"
    assert watched.visible() == ({"a.csv": BODY} if shown else {"a.csv": b"old"} if replacing else {})
    assert transfer.ask("a.csv") == ("i-1" if shown else None)
    assert give(watched, name="a.csv", identity="i-1").answer == "ok"
    assert watched.visible() == {"a.csv": BODY}
    assert transfer.ask("a.csv") == "i-1"


def test_leftovers_of_killed_sends_go_with_the_next_one(watched, monkeypatch):
    transfer = opened(watched)

    def killed() -> Iterator[bytes]:
        yield BODY
        os._exit(9)

    child = os.fork()
    if child == 0:  # no `finally` of the sender runs, as after a kill
        send(transfer, parcel(BODY + BODY, "a.csv"), killed(), identity="i", not_after=later())
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert watched.visible() == {}
    assert len(list((watched.staging / "files").iterdir())) == 1
    assert give(watched, name="a.csv", identity="i").answer == "ok"
    assert list((watched.staging / "files").iterdir()) == []


def test_a_staging_folder_that_an_agent_would_watch_is_refused(watched):
    transfer = opened(watched, staging=str(watched.path / "staging"))
    with pytest.raises(CatalogError, match="inside the watched"):
        transfer.admit("a.csv")


def test_a_staging_folder_on_another_file_system_is_refused(watched):
    other = Path("/dev/shm") / secrets.token_hex(8)
    try:
        transfer = opened(watched, staging=str(other))
        with pytest.raises(CatalogError, match="different file systems"):
            transfer.admit("a.csv")
    finally:
        for made in (other / "files", other / "notes", other):
            made.rmdir()


def test_a_folder_that_is_not_mounted_is_not_made(tmp_path):
    transfer = open_transfer("folder", {"path": str(tmp_path / "absent")}, recipient="acme")
    with pytest.raises(DeliveryUnavailable, match="does not exist"):
        transfer.admit("a.csv")
    assert not (tmp_path / "absent").exists()


def test_files_and_folders_have_the_mode_that_is_set_whatever_the_umask(watched):
    before = os.umask(0o077)
    try:
        give(watched, name="in/a.csv", mode=0o644)
    finally:
        os.umask(before)
    assert (watched.path / "in/a.csv").stat().st_mode & 0o777 == 0o644
    assert (watched.path / "in").stat().st_mode & 0o777 == 0o770


def test_two_senders_of_one_name_leave_one_whole_file(watched):
    opened(watched)
    start = threading.Barrier(2)

    def one(n: int) -> None:
        start.wait()
        give(watched, bytes([n]) * 200_000, name="a.csv", identity=f"i-{n}")

    threads = [threading.Thread(target=one, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (body,) = watched.visible().values()
    assert body in (bytes([0]) * 200_000, bytes([1]) * 200_000)
