"""Endpoints that are wrong, down or refuse, and dates that can't be: one clear error each from the real command.

EGRESS_ENV is dev, so every address and credential comes through a variable or a file, as in production. What is wrong
is always one value of those. An endpoint that is down costs four tries and at most 3 s; the catalog has no key for the
120 s that a store's tries may take in all.
"""

from __future__ import annotations

import re
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from egress_assets.engine.layout import Unit
from egress_assets.sandbox import certificates

NOBODY = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def scrubbed(servers, make_hostile, tmp_path_factory):
    """A scrubbed dataset `d` with a mirror and deliveries, run once up to the scrub; it begins nine days ago."""
    made = make_hostile(servers, tmp_path_factory.mktemp("endpoints"))
    made.execute(
        "CREATE SCHEMA plain",
        "CREATE TABLE plain.rows (id int)",
        "INSERT INTO plain.rows VALUES (1)",
        "GRANT USAGE ON SCHEMA plain TO egress_reader",
        "GRANT SELECT ON plain.rows TO egress_reader",
    )
    to = {"from": "plain.rows", "destination_prefix": "endpoints/"}
    made.dataset(
        "d", {"plain.rows": {"id": "keep"}}, start=(date.fromisoformat(made.day) - timedelta(days=9)).isoformat(),
        mirrors={"d": {"to": "ceph"}}, deliveries={"acme/d": to, "acme/e": {**to, "format": "csv"}, "drop/d": to},
    )  # fmt: skip
    made.done("scrub", "d")
    return made


@pytest.fixture
def data(scrubbed):
    yield scrubbed
    (scrubbed.catalog / "endpoints.dev.yaml").unlink(missing_ok=True)


def generation(data) -> int:
    return data.platform().evidence.pointer(Unit("scrub", ("d", "shared")), data.day).generation


def test_a_database_that_can_not_be_read_is_named_and_the_truth_stays(data):
    dsn = data.environment["HOSTILE_DSN"]
    wrong = {
        re.sub(r"password=\w+", "password=hunter2", dsn): (20, "refused the password"),
        re.sub(r"port=\d+", "port=1", dsn): (20, "source db (127.0.0.1:1/shop): nobody listens there"),
        dsn.replace("127.0.0.1", "nowhere.invalid"): (20, "source db (nowhere.invalid"),
        dsn.replace("dbname=shop", "dbname=nowhere"): (20, "/nowhere): the database does not exist"),
        dsn.replace("sslmode=disable", "sslmode=verify-full"): (20, "offers no TLS"),
        "hunter2 :// ' nothing": (10, "the dsn of source db is neither"),
        "": (10, "endpoints.yaml:5: sources.db.dsn: environment variable HOSTILE_DSN is empty"),
    }
    commands = [["scrub", "d", "--again"]] * len(wrong)
    ended = data.at_once(*commands, variables=[{"HOSTILE_DSN": value} for value in wrong])
    for said, (code, word) in zip(ended, wrong.values(), strict=True):
        data.refused(said, code, word)
        assert "hunter2" not in said.all
    assert "failed" in data.run("status", "--days", "1").out
    assert generation(data) == 1


def test_a_store_that_can_not_be_used_is_named(data):
    url, status = data.environment["HOSTILE_S3_URL"], ["status"]
    wrong = [
        (status, {"HOSTILE_S3_URL": NOBODY}, 30, "bucket 'evidence' of 127.0.0.1:1: no answer (Connection refused)"),
        (status, {"HOSTILE_S3_URL": "http://nowhere.invalid"}, 30, "bucket 'evidence' of nowhere.invalid"),
        (status, {"HOSTILE_S3_URL": url.replace("http:", "https:")}, 30, "TLS failed"),
        (status, {"HOSTILE_S3_URL": "hunter2"}, 10, "endpoint of store 'evidence' is no http or https URL"),
        (status, {"HOSTILE_S3_URL": ""}, 10, "endpoints.yaml:7: stores.evidence.endpoint: environment variable"),
        (["mirror", "d"], {"HOSTILE_CEPH_URL": NOBODY}, 30, "bucket 'mirror' of 127.0.0.1:1"),
        (["scrub", "d", "--again"], {"HOSTILE_S3_URL": NOBODY}, 30, "bucket 'evidence' of 127.0.0.1:1"),
    ]
    ended = data.at_once(*(verb for verb, *_ in wrong), variables=[variables for _, variables, *_ in wrong])
    for said, (*_, code, word) in zip(ended, wrong, strict=True):
        data.refused(said, code, word)
        assert "hunter2" not in said.all


def test_a_secret_file_that_is_no_secret_is_named_with_its_line(data):
    file = data.folder / "access" / "evidence.secret"
    right = file.read_bytes()
    try:
        for content, code, word in [
            (b"another", 30, "SignatureDoesNotMatch"),
            (b"\n", 10, "endpoints.yaml:7: stores.evidence.secret_key: file"),
            (b"\xff\xfe", 10, "is not UTF-8"),
        ]:
            file.write_bytes(content)
            data.refused(data.run("status"), code, word)
        file.unlink()
        data.refused(data.run("status"), 10, "endpoints.yaml:7: stores.evidence.secret_key", str(file), "No such file")
    finally:
        file.write_bytes(right)
    data.overlay(stores={"evidence": {"secret_key": {"file": "a\0b"}}})
    data.refused(data.run("status"), 10, "endpoints.dev.yaml:4: stores.evidence.secret_key", "can't be a path")


# ----------------------------------------------------------------------------------------------------------- recipients
def pair(folder: Path, made: tuple[bytes, bytes]) -> dict[str, str]:
    folder.mkdir()
    for name, body in zip(("cert.pem", "key.pem"), made, strict=True):
        (folder / name).write_bytes(body)
    return {"cert": str(folder / "cert.pem"), "key": str(folder / "key.pem")}


def test_certificates_that_do_not_fit_are_told_on_either_side(data):
    """Nothing reaches the recipient; a server that is not the one meant is a definite no, not a matter of time."""
    now, at = datetime.now(UTC), data.sandbox.receiver
    stranger = certificates.make_authority(now)
    unknown = pair(data.folder / "unknown", certificates.make_client(stranger, now))
    expired = pair(data.folder / "expired", certificates.make_client(stranger, now - timedelta(days=800)))
    for fields, code, *words in [
        ({"url": at.url.replace("127.0.0.1", "127.1")}, 60, "does not verify: Hostname mismatch", "refused"),
        ({"ca": str(at.cert)}, 60, "certificate does not verify", "refused"),
        (unknown, 60, "TLS failed", "not taken now", "egress check --live"),
        (expired, 60, "TLS failed", "not taken now"),
        ({"cert": str(at.cert), "key": unknown["key"]}, 10, "recipient acme: `ca`, `cert` or `key` can't be used"),
        ({"ca": str(data.catalog / "endpoints.yaml")}, 10, "recipient acme", "can't be used"),
        ({"url": "https://127.0.0.1:1/DA"}, 60, "connection refused", "not taken now"),
    ]:
        data.overlay(recipients={"acme": fields})
        data.refused(data.run("deliver", "acme/d"), code, *words)
    (data.catalog / "endpoints.dev.yaml").unlink()
    assert list(at.inbox.glob("endpoints*")) == []
    assert data.done("deliver", "acme/d")["facts"]["sent_files"] == 1


class Refusing(BaseHTTPRequestHandler):
    """Answers the status that the path names, before it reads a body; its prose is for nobody's log."""

    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        body = b'{"error": "row 7 of Ann Smith"}'
        self.send_response(int(self.path.strip("/").partition("/")[0]))
        self.send_header("content-length", str(len(body)))
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    do_POST = do_HEAD = _answer  # noqa: N815 - http.server looks for these names

    def handle_expect_100(self) -> bool:
        self._answer()
        return False

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def refusing(servers) -> Iterator[str]:
    home = servers.receiver.ca.parent
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(home / "server.pem", home / "server.key")
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"https://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_recipient_that_refuses_is_told_by_its_status(data, refusing):
    for status, word, code in [
        (409, "refused (status 409)", "delivery_refused"),
        (413, "refused (status 413)", "delivery_refused"),
        (503, "not taken now (status 503)", "delivery_unavailable"),
    ]:
        data.overlay(recipients={"acme": {"url": f"{refusing}/{status}"}})
        said = data.run("deliver", "acme/e")
        data.refused(said, 60, word)
        assert "Ann" not in said.all
        (failed,) = [r for r in data.done("status", "--days", "1")["rows"] if r["unit"] == "delivery/acme/e"]
        assert (failed["state"], failed["detail"].partition(":")[0]) == ("failed", code)
    (data.catalog / "endpoints.dev.yaml").unlink()
    assert data.done("deliver", "acme/e")["facts"]["sent_files"] == 1


def test_a_folder_that_holds_somebody_elses_file_keeps_it(data):
    drop = data.folder / "drop"
    there = drop / "endpoints" / "plain.rows.csv.gz"
    there.parent.mkdir()
    there.write_text("theirs")
    data.refused(data.run("deliver", "drop/d"), 60, "plain.rows.csv.gz", "did not write")
    assert there.read_text() == "theirs"
    there.unlink()
    there.symlink_to("/etc/passwd")
    data.refused(data.run("deliver", "drop/d"), 60, "plain.rows.csv.gz", "did not write")
    there.unlink()
    drop.rename(data.folder / "gone")
    data.refused(data.run("deliver", "drop/d"), 60, f"folder {drop} does not exist")
    (data.folder / "gone").rename(drop)
    assert data.done("deliver", "drop/d")["facts"]["sent_files"] == 1


# ---------------------------------------------------------------------------------------------------------------- dates
def test_dates_that_can_not_be_are_refused_and_never_replaced_by_another(data):
    first = (date.fromisoformat(data.day) - timedelta(days=9)).isoformat()
    before = (date.fromisoformat(first) - timedelta(days=1)).isoformat()
    words = dict.fromkeys(("2026-13-01", "yesterday", f"{data.day} ", ""), "is not a calendar day")
    words |= {before: f"is outside {first}", "2999-01-01": f".. {data.day}"}
    asked = data.at_once(*(["scrub", "d", "--date", day, "--again"] for day in words))
    for said, (day, word) in zip(asked, words.items(), strict=True):
        data.refused(said, 10, day, word)
    said = data.run("scrub", "d", "--tables", " , ")
    assert (said.code, said.out) == (2, "")
    assert generation(data) == 1


def test_a_past_day_of_a_full_extract_stays_inside_when_it_is_relabelled(data):
    past = (date.fromisoformat(data.day) - timedelta(days=9)).isoformat()
    data.refused(data.run("scrub", "d", "--date", past), 20, past, "--relabel")
    assert data.done("scrub", "d", "--date", past, "--relabel")["facts"]["relabelled"] is True
    before = data.done("verify")["ledger"]
    for said in data.at_once(*([*verb, "--date", past] for verb in (["mirror", "d"], ["deliver", "drop/d"]))):
        data.refused(said, 50, f"plain.rows of scrub/d/shared {past}")
    assert data.done("verify")["ledger"] == before
