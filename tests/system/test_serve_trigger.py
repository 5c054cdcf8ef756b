"""`egress serve-trigger` as a process, over real sockets: what old CronJobs, other people and attackers send to it.

Dagster is a server that answers the two queries as its GraphQL does (tests/graph/test_trigger_queries.py holds them
against Dagster's own schema); the last test has a real one.
"""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.live import live
from tests.triggering import MIRROR, NO_RUNS, Dagster, Trigger, begun, said

NIGHTLY = "n" * 32
DATE, NOW = "2026-11-19", "2026-11-20T03:00:00+00:00"
ENDPOINTS = """
timezone: Europe/London
evidence: {store: evidence}
sources: {shop_db: {dsn: {env: NOWHERE}}}
stores:
  evidence: {bucket: evidence, zone: trusted}
  lake: {bucket: lake, zone: trusted}
  ceph: {kind: ceph, endpoint: {env: NOWHERE}, bucket: mirror, zone: external}
triggers:
  /mirror/shop: {start: mirror/shop, token: {file: <tokens>/mirror}}
  /nightly: {start: shop, token: {env: NIGHTLY_TOKEN}}
  /: {start: mirror/shop, open: "an old CronJob, on a network of its own"}
"""
SHOP = """
source: shop_db
start: 2026-11-01
scrub: {key: {env: NOWHERE}}
tables: {public.orders: {id: keep}}
mirrors: {shop: {to: ceph}}
"""


@pytest.fixture(scope="module")
def dagster() -> Iterator[tuple[Dagster, str]]:
    made = Dagster()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, document = made(asked["query"], asked["variables"])
            body = json.dumps(document).encode() if self.path == "/graphql" else b"not here"
            with contextlib.suppress(OSError):  # the asker may have been ended
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_: Any):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield made, f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def served(dagster: tuple[Dagster, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trigger]:
    """One process for all tests that leave it running."""
    with trigger_in(tmp_path_factory.mktemp("served"), dagster) as made:
        yield made


@pytest.fixture
def trigger(served: Trigger) -> Trigger:
    """With a Dagster that knows of no run, and the tokens of the start."""
    return reset(served)


@pytest.fixture
def own(dagster: tuple[Dagster, str], tmp_path: Path) -> Iterator[Trigger]:
    """A process for a test that ends it. A whole request has to come within a second."""
    with trigger_in(tmp_path, dagster, "import egress_assets.cli._http as h; h.READ_SECONDS = 1.0") as made:
        yield reset(made)


def reset(trigger: Trigger) -> Trigger:
    known = trigger.dagster
    known.runs, known.launches, known.answer, known.pause = [], [], None, 0.0
    known.asked.clear()
    (trigger.tokens / "mirror").write_text(f"{MIRROR}\n")
    return trigger


@contextmanager
def trigger_in(folder: Path, dagster: tuple[Dagster, str], first: str = "") -> Iterator[Trigger]:
    tokens, log = folder / "tokens", folder / "log"
    tokens.mkdir()
    (tokens / "mirror").write_text(MIRROR)
    variables = {"EGRESS_NOW": NOW, "NIGHTLY_TOKEN": NIGHTLY}
    with serving(catalog(folder), dagster[1], log, first, **variables) as (port, process):
        yield Trigger(port, process, dagster[0], tokens, log)


def catalog(folder: Path, endpoints: str = ENDPOINTS) -> Path:
    made = folder / "catalog"
    made.mkdir()
    (made / "endpoints.yaml").write_text(endpoints.replace("<tokens>", str(folder / "tokens")))
    (made / "shop.yaml").write_text(SHOP)
    return made


def command(*options: str, first: str = "") -> list[str]:
    code = f"{first or 'import sys'}\nfrom egress_assets.cli import main\nmain()"
    return [sys.executable, "-c", code, "serve-trigger", "--port", "0", *options]


@contextmanager
def serving(
    folder: Path, url: str, log: Path, first: str = "", **variables: str
) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """(port, process) when it listens. `first` is run before the command is."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("EGRESS_")}
    env |= variables | {"EGRESS_CATALOG": str(folder)}
    with log.open("w") as stream:
        process = subprocess.Popen(command("--dagster", url, first=first), env=env, stderr=stream, text=True)
    try:
        ends = time.monotonic() + 60
        while not (found := re.search(r"listening on 127\.0\.0\.1 port (\d+)", log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < ends, "it does not listen"
            time.sleep(0.02)
        yield int(found[1]), process
    finally:
        process.kill()
        process.wait()


# ------------------------------------------------------------------------------------------- S1-3: what a POST starts
def test_s1_3_a_post_with_the_token_starts_the_mirror_and_answers_202_with_the_runs_id(trigger: Trigger):
    answer = trigger.post()
    run = trigger.dagster.runs[0]
    assert answer.status == 202
    assert answer.document == {"run_id": run["runId"], "mirror": "shop", "date": DATE, "state": "started"}
    assert trigger.dagster.launches[0]["selector"] == {
        "repositoryLocationName": "egress", "repositoryName": "__repository__", "jobName": "__ASSET_JOB",
        "assetSelection": [{"path": ["mirror", "shop"]}],
    }  # fmt: skip
    assert run["tags"] == {
        "dagster/partition": DATE, "egress/work": f"shop:{DATE}", "egress/trigger": "/mirror/shop",
    }  # fmt: skip


def test_s1_3_a_second_post_while_it_runs_gets_the_same_run_and_starts_none(trigger: Trigger):
    first = trigger.post().document["run_id"]
    trigger.dagster.runs[0]["status"] = "STARTED"
    assert trigger.post().document == {"run_id": first, "mirror": "shop", "date": DATE, "state": "running"}
    trigger.dagster.runs[0]["status"] = "SUCCESS"
    assert trigger.post().document["state"] == "started"
    assert len(trigger.dagster.launches) == 2


def test_s1_3_posts_at_the_same_moment_start_one_run(trigger: Trigger):
    trigger.dagster.pause = 0.5  # long enough that all of them are there before Dagster knows of a run
    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(lambda _: trigger.post(), range(12)))
    assert {answer.status for answer in answers} == {202}
    assert len({answer.document["run_id"] for answer in answers}) == len(trigger.dagster.launches) == 1
    assert sorted(answer.document["state"] for answer in answers) == ["running"] * 11 + ["started"]


def test_a_dataset_is_started_by_its_job(trigger: Trigger):
    answer = trigger.post("/nightly", NIGHTLY)
    assert answer.document == {
        "run_id": trigger.dagster.runs[0]["runId"], "dataset": "shop", "date": DATE, "state": "started",
    }  # fmt: skip
    assert trigger.dagster.launches[0]["selector"]["jobName"] == "shop"
    assert "assetSelection" not in trigger.dagster.launches[0]["selector"]


def test_a_mirrors_run_is_no_run_of_its_whole_dataset_and_the_chain_is_one_of_the_mirror(trigger: Trigger):
    trigger.post()
    assert trigger.post("/nightly", NIGHTLY).document["state"] == "started"
    trigger.dagster.runs[0]["status"] = "SUCCESS"  # the mirror's; the chain is still queued
    assert trigger.post().document == {
        "run_id": trigger.dagster.runs[1]["runId"], "mirror": "shop", "date": DATE, "state": "running",
    }  # fmt: skip


def test_runs_of_another_date_or_of_another_asset_are_no_reason_to_start_nothing(trigger: Trigger):
    other = {"assetSelection": [{"path": ["delivery", "acme", "orders"]}]}
    begun(trigger.dagster.runs, {"egress/work": f"shop:{DATE}"}, other)
    begun(trigger.dagster.runs, {"egress/work": "shop:2026-11-18"}, {})
    assert trigger.post().document["state"] == "started"


@pytest.mark.parametrize("body", ["{}", "", b" \r\n", '{"date": null}'])
def test_what_old_cronjobs_send_is_a_request_for_the_last_complete_date(trigger: Trigger, body: Any):
    form = "application/x-www-form-urlencoded"  # what `curl --data` says of any body
    answer = trigger.ask(body=body, Authorization=f"bearer {MIRROR}", Content_Type=form)
    assert (answer.status, answer.document["date"]) == (202, DATE)


def test_curl_itself_is_understood(trigger: Trigger):
    url = f"http://127.0.0.1:{trigger.port}/"
    done = subprocess.run(["curl", "-s", "-X", "POST", "--data", "{}", url], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["state"] == "started"


def test_the_body_may_name_another_date(trigger: Trigger):
    assert trigger.post(body='{"date": "2026-11-03"}').document["date"] == "2026-11-03"
    assert trigger.dagster.launches[0]["executionMetadata"]["tags"][0]["value"] == "2026-11-03"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"date": "2026-11-20"}', "outside 2026-11-01 .. 2026-11-19"),
        ('{"date": "2026-10-31"}', "outside"),
        ('{"date": "19.11.2026"}', "not a calendar day"),
        ('{"date": 20261119}', "not text"),
        ('{"dat": "2026-11-19"}', "`date` alone"),
        ("[]", "`date` alone"),
        ("{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        ("[" * 60_000, "not JSON"),
    ],
)
def test_a_wrong_body_or_date_is_400_with_the_way_out_and_starts_nothing(trigger: Trigger, body: Any, words: str):
    answer = trigger.post(body=body)
    assert answer.status == 400
    assert words in answer.document["error"]["message"]
    assert answer.document["error"]["hint"]
    assert not trigger.dagster.launches


# ------------------------------------------------------------------------------------------------------- who may do so
@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", f"Basic {MIRROR}", f"Bearer {MIRROR}x", f"Bearer {MIRROR[:-1]}", MIRROR]
)
def test_s1_3_without_the_token_or_with_a_wrong_one_it_is_401(trigger: Trigger, header: str | None):
    answer = trigger.ask(**({} if header is None else {"Authorization": header}))
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert not trigger.dagster.launches


def test_s1_3_the_token_of_another_path_is_403(trigger: Trigger):
    assert trigger.post("/nightly", MIRROR).status == 403
    assert trigger.post("/mirror/shop", NIGHTLY).status == 403
    assert not trigger.dagster.launches


def test_a_path_that_the_catalog_opens_needs_no_token_and_takes_any(trigger: Trigger):
    assert trigger.ask("/").status == 202
    assert trigger.post("/", "whatever").status == 202


def test_a_rotated_token_is_known_at_the_next_request_and_a_lost_one_lets_nobody_in(trigger: Trigger):
    (trigger.tokens / "mirror").write_text("r" * 32)
    assert trigger.post().status == 401
    assert trigger.post(token="r" * 32).status == 202
    (trigger.tokens / "mirror").unlink()
    lost = trigger.post(token="r" * 32)
    assert (lost.status, "Retry-After" in lost.headers) == (503, True)
    assert trigger.post("/nightly", NIGHTLY).status == 202  # the others go on


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/unknown", 404), ("GET", "/mirror/shop/", 404), ("POST", "/mirror%2Fshop", 404),
        ("GET", "/mirror/shop", 405), ("HEAD", "/mirror/shop", 405), ("DELETE", "/", 405), ("POST", "/healthz", 404),
        ("GET", "/healthz", 200), ("HEAD", "/healthz", 200), ("GET", "/healthz?x=1", 200),
    ],
)  # fmt: skip
def test_other_methods_and_paths_start_nothing(trigger: Trigger, method: str, path: str, status: int):
    answer = trigger.ask(path, None, method)
    assert answer.status == status
    assert ("Allow" in answer.headers) == (status == 405)
    assert not trigger.dagster.launches


# --------------------------------------------------------------------------------------------------- Dagster is away
def test_a_dagster_that_is_down_is_503_with_a_time_to_come_again(tmp_path: Path):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound, and not listening
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        with trigger_in(tmp_path, (Dagster(), url)) as trigger:
            answer = trigger.post()
    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize(
    "wrong",
    [
        (500, {}), (200, {"errors": [{"message": "Cannot query field"}]}), (200, []), (200, {"data": {}}),
        (200, {"data": {"runsOrError": {"__typename": "PythonError"}}}), (302, {}),
        (200, {"data": {"runsOrError": NO_RUNS, "launchRun": {"__typename": "RunConflict"}}}),
    ],
)  # fmt: skip
def test_an_answer_of_dagster_that_does_not_help_is_503(trigger: Trigger, wrong: tuple[int, Any]):
    trigger.dagster.answer = lambda: wrong
    answer = trigger.post()
    assert (answer.status, "Retry-After" in answer.headers) == (503, True)
    trigger.dagster.answer = None
    assert trigger.post().status == 202


# ---------------------------------------------------------------------------------------------------- hostile clients
def head(*fields: bytes, line: bytes = b"POST / HTTP/1.1") -> bytes:
    return b"\r\n".join((line, *fields, b"", b""))


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (head(b"Content-Length: 65537") + b"x" * 65_537, 413),
        (head(b"Content-Length: 99999999999999"), 413),
        (head(b"Content-Length: 2", b"Content-Length: 3"), 400),
        (head(b"Content-Length: -1"), 400),
        (head(b"Content-Length: 1e3"), 400),
        (head(b"Transfer-Encoding: chunked") + b"2\r\n{}\r\n0\r\n\r\n", 411),
        (head(b"Authorization: Bearer a", b"Authorization: Bearer b"), 400),
        (head(b"no colon"), 400),
        (head(b"X: 1", b" folded"), 400),
        (head(b"X: a\0b"), 400),
        (head(b"X: " + b"y" * 20_000), 431),
        (head(*[b"X: y"] * 4000), 431),
        (head(line=b"POST / HTTP/2.0"), 400),
        (head(line=b"POST  / HTTP/1.1"), 400),
        (head(line=b"POST /\x1b[31m HTTP/1.1"), 400),
        (head(line=b"PRI * HTTP/2.0"), 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
    ],
)
def test_what_is_no_plain_request_is_refused_and_its_connection_closed(trigger: Trigger, sent: bytes, status: int):
    assert trigger.raw(sent).startswith(b"HTTP/1.1 %d " % status)
    assert not trigger.dagster.launches
    assert trigger.ask("/healthz", None, "GET").status == 200


def test_a_slow_client_is_cut_off_and_holds_up_nobody(own: Trigger):
    with socket.create_connection(("127.0.0.1", own.port), timeout=60) as slow:
        slow.sendall(b"POST / HTTP/1.1\r\nX-A: ")
        assert own.post().status == 202
        answer = b""
        slow.settimeout(0.1)
        ends = time.monotonic() + 60
        while b" 408 " not in answer:
            assert time.monotonic() < ends, "it waits for ever"
            with contextlib.suppress(TimeoutError):
                slow.send(b"a")
                answer += slow.recv(2**16)


def test_connections_that_say_nothing_leave_room_again(trigger: Trigger):
    silent = [socket.create_connection(("127.0.0.1", trigger.port), timeout=30) for _ in range(64)]
    assert trigger.raw(head(b"Connection: close")).startswith(b"HTTP/1.1 503 ")
    for each in silent:
        each.close()
    ends = time.monotonic() + 30
    while (status := trigger.ask("/healthz", None, "GET").status) != 200:
        assert time.monotonic() < ends, status


def test_a_connection_carries_several_requests_until_one_says_close(trigger: Trigger):
    connection = trigger.connect()
    for _ in range(3):
        connection.request("POST", "/", "{}")
        assert said(connection.getresponse()).status == 202
    connection.request("GET", "/healthz", headers={"Connection": "close"})
    assert connection.getresponse().headers["Connection"] == "close"
    connection.close()
    old = trigger.raw(head(b"Expect: 100-continue", b"Content-Length: 2", line=b"POST / HTTP/1.0") + b"{}")
    assert old.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 ")


# ----------------------------------------------------------------------------------------- how it starts, ends, tells
def test_each_request_is_one_line_without_its_token_and_its_body(trigger: Trigger):
    run = trigger.post(body='{"date": "2026-11-05"}').document["run_id"]
    trigger.ask("/x?token=hidden-in-a-query", "a secret body")
    trigger.raw(head(b"Authorization: Bearer hidden-by-nonsense", b"no colon"))
    lines = trigger.log.read_text().splitlines()[-3:]
    assert f"127.0.0.1 POST /mirror/shop -> 202 run {run} in " in lines[0]
    assert "127.0.0.1 POST /x -> 404 in " in lines[1]
    assert "127.0.0.1 refused -> 400: a header can't be read" in lines[2]
    assert not any(word in "".join(lines) for word in (MIRROR, "hidden", "secret", "2026-11-05"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_request_at_work_finish(own: Trigger, number: signal.Signals):
    own.dagster.pause = 0.5
    with ThreadPoolExecutor(1) as threads, contextlib.closing(own.connect()) as idle:
        idle.connect()
        answer = threads.submit(own.post)
        assert own.dagster.asked.wait(30)
        own.process.send_signal(number)
        assert answer.result().status == 202
    assert own.process.wait(30) == 128 + number


def test_a_dagster_that_never_answers_does_not_keep_the_process_from_its_end(own: Trigger):
    own.dagster.pause = 10.0
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(own.post)
        assert own.dagster.asked.wait(30)
        own.process.send_signal(signal.SIGTERM)
        assert own.process.wait(30) == 143
        assert isinstance(answer.exception(), ConnectionError)
    assert not own.dagster.launches  # the pause was longer


@pytest.mark.parametrize(
    ("endpoints", "words"),
    [
        (ENDPOINTS, "environment variable NIGHTLY_TOKEN is not set"),
        (ENDPOINTS.partition("triggers:")[0], "has no `triggers`"),
        (ENDPOINTS.replace("{env: NIGHTLY_TOKEN}", "short"), "has 5 characters, 16 are needed"),
    ],
)
def test_a_token_that_is_missing_or_can_be_guessed_shows_at_the_start(tmp_path: Path, endpoints: str, words: str):
    (tmp_path / "tokens").mkdir()
    (tmp_path / "tokens" / "mirror").write_text(MIRROR)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("EGRESS_", "NIGHTLY_"))}
    env["EGRESS_CATALOG"] = str(catalog(tmp_path, endpoints))
    done = subprocess.run(command(), env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 10
    assert words in done.stderr
    assert "HINT: " in done.stderr


def test_an_address_in_use_and_a_wrong_url_are_told(trigger: Trigger):
    env = {**os.environ, "EGRESS_CATALOG": str(trigger.tokens.parent / "catalog"), "NIGHTLY_TOKEN": NIGHTLY}
    for options, code, words in (
        (["--port", str(trigger.port)], 1, f"can't listen on 127.0.0.1 port {trigger.port}: Address already in use"),
        (["--bind", "192.0.2.1"], 1, "Cannot assign requested address"),
        (["--dagster", "dagster:3000"], 2, "is not like http://"),
    ):
        done = subprocess.run([*command(), *options], env=env, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == code, done.stderr
        assert words in done.stderr


# ---------------------------------------------------------------------------------------------------- a real Dagster
def test_s1_3_in_a_real_dagster_the_triggered_mirror_runs_once_and_succeeds(tmp_path: Path):
    with live() as made:
        made.begin()
        date = made.dates[-1]
        made.ended(made.launch("events", date))
        with (made.home / "catalog" / "endpoints.yaml").open("a") as endpoints:
            endpoints.write(f"\ntriggers: {{/events: {{start: mirror/events, token: {MIRROR}}}}}\n")
        with serving(made.home / "catalog", made.url, tmp_path / "log") as (port, process):
            trigger = Trigger(port, process, Dagster(), tmp_path, tmp_path / "log")
            body = json.dumps({"date": date})
            with ThreadPoolExecutor(4) as threads:
                answers = list(threads.map(lambda _: trigger.post("/events", body=body), range(4)))
        assert {answer.status for answer in answers} == {202}, answers
        runs = {answer.document["run_id"] for answer in answers}
        assert len(runs) == 1
        assert made.ended(runs.pop()) == "SUCCESS"
        assert len(made.materialised("mirror/events")[date]) == 2
