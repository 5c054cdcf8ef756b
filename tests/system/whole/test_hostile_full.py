"""Disks and stores that are full (S0-3): nothing half-written is seen, the error says what is full, a rerun completes.

A disk is full for one process by a limit on the size of its files. The store is one in memory that answers 507 or 500
for ever; a request's four tries take below 2 s.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from egress_assets.engine.layout import Unit

RELEASE = {"basis": "internal", "reason": "made up"}


@pytest.fixture(scope="module")
def table(servers, make_hostile, tmp_path_factory) -> str:
    """4 MB as CSV."""
    make_hostile(servers, tmp_path_factory.mktemp("full")).execute(
        "CREATE SCHEMA full_disk",
        "CREATE TABLE full_disk.big AS SELECT g AS id, md5(g::text) || md5((g * 7)::text) AS t "
        "FROM generate_series(1, 60000) g",
        "GRANT USAGE ON SCHEMA full_disk TO egress_reader",
        "GRANT SELECT ON full_disk.big TO egress_reader",
    )
    return "full_disk.big"


def files(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def scrubbed(hostile, table):
    """The table scrubbed, to be delivered into a folder."""
    at = hostile.folder / "disk" / "drop"
    at.mkdir(parents=True)
    hostile.overlay(recipients={"drop": {"path": str(at)}})
    scrub = {"key": {"env": "HOSTILE_KEY"}, "format": "csv", "detectors": ["email"]}
    deliveries = {"drop/big": {"from": table, "format": "csv"}}
    hostile.dataset("d", {table: {"id": "keep", "t": "keep"}}, scrub=scrub, deliveries=deliveries)
    hostile.done("scrub", "d")
    return hostile


def test_a_full_recipients_folder_shows_nothing_and_takes_the_file_when_there_is_room(scrubbed, table):
    disk = scrubbed.folder / "disk"
    said = scrubbed.run("deliver", "drop/big", largest_file=10**6)
    scrubbed.refused(said, 60, f"{table}.csv to drop", "not taken now", "file too large")
    assert files(disk) == {}, "the half file is gone, staging included"
    assert scrubbed.done("deliver", "drop/big")["facts"]["sent_files"] == 1
    sent = (disk / "drop" / f"{table}.csv").read_bytes()
    (record,) = scrubbed.platform().evidence.receipts(scrubbed.day)
    assert (len(sent), sha256(sent).hexdigest()) == (record.bytes, record.sha256)
    assert scrubbed.done("verify")["ok"]


def test_a_staging_folder_that_can_not_be_made_is_named(scrubbed):
    staging = scrubbed.folder / "disk" / ".drop.egress"
    staging.write_text("in the way")
    scrubbed.refused(scrubbed.run("deliver", "drop/big"), 60, f"{staging} can't be written", "Make room")
    asked = scrubbed.run("check", "--live")
    assert (asked.code, f"problem  staging folder {staging}" in asked.out) == (10, True), asked.all
    staging.unlink()
    assert scrubbed.done("deliver", "drop/big")["facts"]["sent_files"] == 1


def test_a_full_store_shows_nothing_and_a_rerun_completes(hostile, fault, table):
    hostile.overlay(stores={name: {**fault.settings, "prefix": name} for name in ("lake", "ceph")})
    mirrors = {"d": {"to": "ceph", "release": RELEASE}}
    hostile.dataset("d", {table: {}}, dump={"format": "csv"}, mirrors=mirrors)
    writes = ("PutObject", "UploadPart")
    fault.fault(*writes, action="answer", status=507, code="InsufficientStorage")
    hostile.refused(hostile.run("dump", "d"), 30, "full_disk.big", fault.bucket, "507 InsufficientStorage", "Make room")
    fault.fault(*writes, action="500")
    hostile.refused(hostile.run("dump", "d"), 30, "full_disk.big", fault.bucket, "500", "4 tries")
    assert fault.contents() == set()
    assert hostile.platform().evidence.pointer(Unit("dump", ("d",)), hostile.day) is None
    fault.fault()
    assert hostile.done("dump", "d")["generation"] == 1

    fault.fault(*writes, action="answer", status=403, code="QuotaExceeded")
    hostile.refused(hostile.run("mirror", "d"), 30, "full_disk.big", "QuotaExceeded", "Make room")
    assert not [key for key in fault.contents() if key.startswith("ceph/")]
    fault.fault()
    hostile.done("mirror", "d")
    assert hostile.done("verify")["ok"]


def test_evidence_that_can_not_be_written_is_no_success(hostile, fault, table):
    """The bytes are whole, their seal is not: nothing is true, and the next run says so and completes."""
    hostile.overlay(stores={"evidence": {**fault.settings, "prefix": ""}})
    hostile.dataset("d", {table: {}}, dump={"format": "csv"})
    fault.fault("PutObject", action="answer", status=507, code="InsufficientStorage")
    hostile.refused(hostile.run("dump", "d"), 30, f"bucket '{fault.bucket}'", "507")
    fault.fault()
    assert hostile.done("verify")["verified"] == []
    assert hostile.done("dump", "d")["generation"] == 1
    assert hostile.done("verify")["ok"]


def test_a_listing_that_does_not_fit_into_tmpdir_is_an_error(hostile, fault):
    """Keys of a store that may list out of order are sorted, from 50,000 on in TMPDIR: 8 MB here."""
    scratch = hostile.folder / "scratch"
    scratch.mkdir()
    fault.control(f"seed?n=50001&min=1&max=1&prefix=many/&bucket={fault.bucket}")
    hostile.overlay(stores={"foreign": {**fault.settings, "zone": "trusted"}})
    mirror = {"to": "ceph", "select": "bucket", "from": {"store": "foreign"}, "release": RELEASE}
    hostile.write("bucket", {"start": "2026-01-01", "mirrors": {"big": mirror}})
    said = hostile.run("mirror", "big", largest_file=10**6, TMPDIR=str(scratch))
    hostile.refused(said, 30, f"sorted in {scratch}", "File too large", "TMPDIR")
    assert files(scratch) == {}
    assert not list(hostile.platform().store("ceph").list())
