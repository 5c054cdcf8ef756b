"""What the HTTPS recipient keeps: whole files, receipts, keys; and what a kill at the worst moment leaves."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from egress_assets.sandbox.faults import Faults
from egress_assets.sandbox.inbox import Inbox, Offer, Refusal, check_name
from egress_assets.sandbox.receiver import parse_deadline


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Inbox]:
    made = Inbox(tmp_path)
    yield made
    made.close()


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def visible(home: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (home / "inbox").iterdir()}


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".hidden", "a/b", "/etc/passwd", "../up", "a\\b", "..%2fup", "a..b", "nul\0", "line\nfeed",
     "del\x7f", "\u202egpj.exe", "zero\u200bwidth", "x" * 256, "é" * 128, "\ud800"],
)  # fmt: skip
def test_a_name_that_could_leave_the_folder_or_deceive_is_refused(name: str) -> None:
    with pytest.raises(Refusal) as refusal:
        check_name(name)
    assert refusal.value.status == 400


@pytest.mark.parametrize("name", ["a", "orders-2026.csv.gz", "نص.csv", "a b+c%2F.txt", "x" * 255, "😀"])
def test_a_plain_name_is_taken_as_it_is(name: str) -> None:
    assert check_name(name) == name


def test_a_file_is_visible_whole_with_its_receipt(inbox: Inbox, tmp_path: Path) -> None:
    receipt = inbox.receive(Offer("a.csv", identity="unit-1"), [b"one,", b"", b"two"])
    assert visible(tmp_path) == {"a.csv": b"one,two"}
    assert (receipt.bytes, receipt.sha256, receipt.identity) == (7, sha256(b"one,two"), "unit-1")
    assert inbox.find("a.csv") == receipt
    assert inbox.find("b.csv") is None


def test_a_body_that_breaks_off_leaves_nothing(inbox: Inbox, tmp_path: Path) -> None:
    inbox.receive(Offer("a.csv"), [b"old"])

    def broken() -> Iterator[bytes]:
        yield b"new"
        assert visible(tmp_path) == {"a.csv": b"old"}
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        inbox.receive(Offer("a.csv", key="k"), broken())
    assert visible(tmp_path) == {"a.csv": b"old"}
    assert list((tmp_path / "incoming").iterdir()) == []
    assert inbox.receive(Offer("a.csv", key="k"), [b"new"]).sha256 == sha256(b"new")


def test_another_digest_than_offered_is_refused_and_nothing_kept(inbox: Inbox, tmp_path: Path) -> None:
    with pytest.raises(Refusal) as refusal:
        inbox.receive(Offer("a.csv", sha256=sha256(b"other"), key="k"), [b"body"])
    assert refusal.value.status == 422
    assert visible(tmp_path) == {}
    assert inbox.earlier(Offer("a.csv", key="k")) is None


def test_the_same_key_gets_the_same_receipt_and_stores_once(inbox: Inbox, tmp_path: Path) -> None:
    first = inbox.receive(Offer("a.csv", key="k"), [b"body"])
    before = (tmp_path / "inbox" / "a.csv").stat()
    assert inbox.receive(Offer("a.csv", key="k"), [b"body"]) == first
    assert inbox.earlier(Offer("a.csv", sha256=sha256(b"body"), key="k")) == first
    after = (tmp_path / "inbox" / "a.csv").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize(
    ("offer", "body"), [(Offer("a.csv", key="k"), b"other"), (Offer("b.csv", key="k"), b"body")], ids=["digest", "name"]
)
def test_the_same_key_for_another_file_is_a_conflict(inbox: Inbox, tmp_path: Path, offer: Offer, body: bytes) -> None:
    inbox.receive(Offer("a.csv", key="k"), [b"body"])
    with pytest.raises(Refusal) as refusal:
        inbox.receive(offer, [body])
    assert refusal.value.status == 409
    assert visible(tmp_path) == {"a.csv": b"body"}


def test_of_two_bodies_with_one_key_the_later_to_end_is_not_stored(inbox: Inbox, tmp_path: Path) -> None:
    started, released = threading.Event(), threading.Event()
    slow: list[object] = []

    def slowly() -> Iterator[bytes]:
        started.set()
        released.wait(5)
        yield b"body"

    thread = threading.Thread(target=lambda: slow.append(inbox.receive(Offer("a.csv", key="k"), slowly())))
    thread.start()
    started.wait(5)
    fast = inbox.receive(Offer("a.csv", key="k"), [b"body"])  # a silent peer holds nobody up
    inode = (tmp_path / "inbox" / "a.csv").stat().st_ino
    released.set()
    thread.join()
    assert slow == [fast]
    assert (tmp_path / "inbox" / "a.csv").stat().st_ino == inode


def test_a_deadline_that_passes_while_the_body_comes_refuses_it(inbox: Inbox, tmp_path: Path) -> None:
    deadline = datetime.now(UTC) + timedelta(milliseconds=30)
    offer = Offer("a.csv", not_after=deadline)
    assert inbox.earlier(offer) is None

    def slowly() -> Iterator[bytes]:
        while datetime.now(UTC) <= deadline:
            yield b"x"

    with pytest.raises(Refusal) as refusal:
        inbox.receive(offer, slowly())
    assert refusal.value.status == 410
    assert visible(tmp_path) == {}


def test_receipts_and_keys_survive_a_restart(tmp_path: Path) -> None:
    first = Inbox(tmp_path)
    receipt = first.receive(Offer("a.csv", key="k", identity="i"), [b"body"])
    first.close()
    second = Inbox(tmp_path)
    assert second.find("a.csv") == receipt
    assert second.earlier(Offer("a.csv", key="k")) == receipt
    second.close()


class Killed(BaseException):
    """Stands for SIGKILL: no `except Exception` sees it, and what runs after it is undone below."""


def test_a_kill_between_the_key_and_the_rename_is_rolled_forward(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Inbox(tmp_path)

    def killed(self: Path, target: Path) -> Path:
        if target.parent.name != "inbox":
            return rename(self, target)
        os.link(self, tmp_path / "kept")  # `finally` clauses don't run after SIGKILL: keep what they delete
        (tmp_path / "name").write_text(self.name)
        raise Killed

    rename = Path.replace
    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(Killed):
        first.receive(Offer("a.csv", key="k"), [b"body"])
    monkeypatch.undo()
    first.close()
    (tmp_path / "kept").rename(tmp_path / "incoming" / (tmp_path / "name").read_text())

    second = Inbox(tmp_path)
    assert visible(tmp_path) == {"a.csv": b"body"}
    assert second.earlier(Offer("a.csv", key="k")) == second.find("a.csv")
    second.close()


def test_leftovers_of_a_kill_before_the_commit_are_deleted(tmp_path: Path) -> None:
    Inbox(tmp_path).close()
    (tmp_path / "incoming" / "unkeyed-abc").write_bytes(b"half")
    (tmp_path / "incoming" / f"{sha256(b'k')}-abc").write_bytes(b"half")
    Inbox(tmp_path).close()
    assert list((tmp_path / "incoming").iterdir()) == []
    assert visible(tmp_path) == {}


def test_a_failed_rename_does_not_leave_a_key_that_promises_a_file(inbox: Inbox, tmp_path: Path) -> None:
    (tmp_path / "inbox" / "a.csv").mkdir()
    with pytest.raises(OSError, match="directory"):
        inbox.receive(Offer("a.csv", key="k"), [b"body"])
    assert inbox.earlier(Offer("a.csv", key="k")) is None


def test_a_file_that_somebody_else_wrote_has_no_receipt(inbox: Inbox, tmp_path: Path) -> None:
    (tmp_path / "inbox" / "foreign").write_bytes(b"x")
    inbox.receive(Offer("ours"), [b"body"])
    (tmp_path / "inbox" / "ours").write_bytes(b"changed in place")
    assert inbox.find("foreign") is None
    assert inbox.find("ours") is None


def test_replacing_a_file_leaves_one_receipt(inbox: Inbox, tmp_path: Path) -> None:
    inbox.receive(Offer("a.csv", identity="first"), [b"old"])
    inbox.receive(Offer("a.csv", identity="second"), [b"new"])
    found = inbox.find("a.csv")
    assert found is not None
    assert found.identity == "second"
    assert len(list((tmp_path / "receipts").iterdir())) == 1


def test_a_second_process_on_the_same_folder_is_refused(inbox: Inbox, tmp_path: Path) -> None:
    with pytest.raises(BlockingIOError):
        Inbox(tmp_path)


@pytest.mark.parametrize("text", ["2026-11-21T10:00:00.123Z", "2026-11-21T11:00:00.123+01:00", "1795255200.123"])
def test_a_deadline_is_iso_8601_or_epoch_seconds(text: str) -> None:
    deadline = parse_deadline(text)
    assert deadline is not None
    assert abs(deadline - datetime(2026, 11, 21, 10, 0, 0, 123000, UTC)) < timedelta(milliseconds=1)


@pytest.mark.parametrize("text", ["tomorrow", "2026-11-21T10:00:00", "-1", "1e9", "99999999999999"])
def test_a_deadline_that_could_mean_two_things_is_refused(text: str) -> None:
    with pytest.raises(Refusal) as refusal:
        parse_deadline(text)
    assert refusal.value.status == 400


def test_faults_are_used_up_and_start_again_with_a_new_file(tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    faults = Faults(path)
    assert not faults.take("answer_503")
    path.write_text(json.dumps({"answer_503": 2, "delay_after_store": 0.5}))
    assert [faults.take("answer_503") for _ in range(3)] == [True, True, False]
    assert faults.seconds("delay_after_store") == 0.5
    again = tmp_path / "again.json"
    again.write_text(json.dumps({"drop_after_store": 1}))
    again.replace(path)
    assert faults.take("drop_after_store")
    assert faults.seconds("delay_after_store") == 0.0
    path.unlink()
    assert not faults.take("drop_after_store")
