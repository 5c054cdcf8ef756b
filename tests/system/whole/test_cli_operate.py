"""The operating verbs as people run them, on servers: hold, unhold, explain, add table, catalog schema."""

from __future__ import annotations

import io
import json
import logging
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from egress_assets.cli import egress
from egress_assets.cli._ending import ended
from egress_assets.cli._state import State
from egress_assets.engine.holds import operator
from egress_assets.engine.layout import part_key
from egress_assets.engine.release import OBJECTS

DATE = "2026-11-19"
LEADS = """
CREATE TABLE whole.leads (
  id bigint PRIMARY KEY, email text NOT NULL, contact text, note text, score numeric, "Odd: name" text,
  at timestamptz NOT NULL DEFAULT now(), born date, data jsonb NOT NULL, twice int GENERATED ALWAYS AS (2) STORED
);
INSERT INTO whole.leads SELECT g, 'lead' || g || '@nowhere.org', '+44 20 7946 0' || 100 + g, 'call me', 1.5, 'x', now(),
  '1980-01-01', '{}' FROM generate_series(1, 50) g;
CREATE TABLE whole.secret (id int PRIMARY KEY, name text);
CREATE VIEW whole.leads_seen AS SELECT id, score FROM whole.leads;
GRANT SELECT ON whole.leads, whole.leads_seen TO egress_reader;
"""


@dataclass(frozen=True, slots=True)
class Said:
    """How the command ended."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def made(whole) -> Any:
    """Scrubbed; the mirror's two objects are also delivered, one after the other."""
    dataset = Path(whole.environment["EGRESS_CATALOG"]) / "whole.yaml"
    dataset.write_text(f'{dataset.read_text()}  acme/all: {{from: mirror/whole, destination_prefix: "all/"}}\n')
    whole.complete("scrub")
    with whole.session() as session:
        session.execute(LEADS.encode())
    return whole


@pytest.fixture
def faults(made) -> Iterator[Callable[..., None]]:
    """What the recipient does wrong from now on."""
    file = made.sandbox.receiver.inbox.parent / "faults.json"

    def commit(**known: float) -> None:
        file.write_text(json.dumps(known))

    yield commit
    file.unlink(missing_ok=True)


def run(whole, *arguments: str, **variables: str) -> Said:
    """The command in this process, as its entry point runs it."""
    kept = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    logger, state, out, err = logging.getLogger("egress_assets"), State(), io.StringIO(), io.StringIO()
    level = logger.level
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        for name, value in {"EGRESS_CATALOG": whole.environment["EGRESS_CATALOG"], **variables}.items():
            patch.setenv(name, value)
        try:
            words = list(arguments)
            code = ended(state, lambda: egress.main(words, obj=state, prog_name="egress", standalone_mode=False))
        finally:
            logger.setLevel(level)
            for each, handler in kept.items():
                signal.signal(each, handler)
    return Said(code, out.getvalue(), err.getvalue())


def done(whole, *arguments: str, code: int = 0, **variables: str) -> Any:
    said = run(whole, *arguments, "--json", **variables)
    assert said.code == code, said.out + said.err
    return json.loads(said.out)


def until(condition: Callable[[], Any]) -> None:
    ends = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < ends, "it does not come to that"
        time.sleep(0.02)


# ---------------------------------------------------------------------------------------------------------------- holds
def test_a_hold_stops_every_way_out_at_once_and_its_release_lets_them_go(made, faults: Callable[..., None]) -> None:
    assert done(made, "hold") == {"holds": []}
    done(made, "mirror", "whole", "--date", DATE)

    faults(delay_before_store=6)
    sending = made.begin("deliver", "acme/all", "--date", DATE)
    incoming = made.sandbox.receiver.inbox.parent / "incoming"
    until(lambda: any(incoming.iterdir()))
    made.platform.evidence.hold("recipient", "acme", by="amy@desk", reason="wrong columns")
    said, _ = sending.communicate(timeout=240)
    assert sending.returncode == 50, said
    assert "recipient acme is held by amy@desk since 20" in said
    assert "`egress unhold recipient acme`" in said
    receipts = list(made.platform.evidence.receipts(DATE))
    assert len(receipts) == len(made.inbox()) == 1, "the file under way arrived, the next one never left"

    faults()
    (hold,) = done(made, "hold")["holds"]
    assert (hold["kind"], hold["name"], hold["by"], hold["reason"]) == (
        "recipient", "acme", "amy@desk", "wrong columns"
    )  # fmt: skip
    assert hold["since"]
    for name in ("acme/all", "acme/deeds"):
        error = done(made, "deliver", name, "--date", DATE, code=50)["error"]
        assert (error["code"], "held by amy@desk" in error["message"]) == ("held", True)
    assert done(made, "unhold", "acme", "--reason", "fixed")["how"] == "lifted"
    assert done(made, "deliver", "acme/all", "--date", DATE)["facts"]["sent_files"] == 1

    placed = done(made, "hold", "dataset", "whole", "--reason", "audit", EGRESS_OPERATOR="ben (on call)")
    assert (placed["how"], placed["hold"]["by"]) == ("held", "ben (on call)")
    assert done(made, "hold", "whole", "--reason", "audit", EGRESS_OPERATOR="ben (on call)")["how"] == "already held"
    for verb in (["mirror", "whole", "--again"], ["deliver", "acme/deeds"]):
        assert done(made, *verb, "--date", DATE, code=50)["error"]["code"] == "held"
    signs = {
        unit: {line["sign"] for line in lines}
        for unit, lines in done(made, "plan", "whole", "--date", DATE)["units"].items()
    }
    assert (signs["mirror/whole"], signs["delivery/acme/deeds"]) == ({"!"}, {"!"})
    states = {row["unit"]: row["state"] for row in done(made, "status", "--days", "1")["rows"]}
    assert (states["delivery/acme/deeds"], states["delivery/acme/all"]) == ("held", "delivered")
    assert done(made, "unhold", "dataset", "whole")["how"] == "lifted"
    assert done(made, "unhold", "dataset", "whole")["how"] == "not held"
    assert done(made, "deliver", "acme/deeds", "--date", DATE)["facts"]["sent_files"] == 1
    assert done(made, "verify", "delivery/acme/deeds")["ok"], "the ledger has holds and releases, and is whole"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["hold", "acne", "--reason", "x"], 10, ["'acne' is not a recipient or a dataset", "did you mean acme?"]),
        (["hold", "store", "lake", "--reason", "x"], 10, ["'store' can't be held"]),
        (["hold", "acme"], 2, ["--reason"]),
        (["hold", "--reason", "x"], 2, ["without a name"]),
        (["hold", "a", "b", "c", "--reason", "x"], 2, ["3 words"]),
        (["hold", "acme", "--reason", " "], 10, ["a hold's reason must be a line"]),
        (["unhold"], 2, ["NAME"]),
        (["unhold", "nobody"], 10, ["'nobody' is not a recipient or a dataset"]),
        (["explain", "nobody"], 30, ["no evidence knows 'nobody'", "HINT: "]),
        (["explain", "shop", DATE], 10, ["'shop' is not a unit", "scrub/whole/shared"]),
        (["explain"], 2, ["OBJECT"]),
        (["explain", "a", "b", "c"], 2, ["a unit and a date"]),
    ],
)
def test_wrong_words_are_refused_with_the_way_out(made, arguments: list[str], code: int, words: list[str]) -> None:
    said = run(made, *arguments)
    assert said.code == code, said.err
    assert all(word in said.err for word in words), said.err
    assert done(made, "hold")["holds"] == []


def test_who_holds_is_the_user_at_this_host(made) -> None:
    said = done(made, "hold", "acme", "--reason", "who am I")
    assert said["hold"]["by"] == operator()
    shown = run(made, "unhold", "recipient", "acme")
    assert shown.out.startswith(f"lifted: recipient acme is held by {operator()} since ")


# -------------------------------------------------------------------------------------------------------------- explain
def test_an_object_is_told_from_its_lsn_to_the_ledger(made) -> None:
    done(made, "mirror", "whole", "--date", DATE)
    done(made, "deliver", "acme/deeds", "--date", DATE)
    pointer = made.platform.evidence.pointer(made.units["scrub"], DATE)
    assert pointer
    attempt = pointer.entries["whole.deeds"].attempt
    key = part_key(made.units["scrub"], DATE, attempt, table="whole.deeds", part=0, suffix="csv")
    said = done(made, "explain", key)
    (step,) = said["told"]
    assert (said["dataset"], step["state"], step["rows"]) == ("whole", "current", 60_000)
    assert step["source"]["kind"] == "lsn"
    high, low = (int(part, 16) for part in step["source"]["lsn"].split("/"))
    manifest = made.platform.evidence.manifest(made.units["scrub"], DATE, attempt)
    assert (high << 32) + low == manifest.draft.position.at
    masks = {column["name"]: column["mask"] for column in step["columns"]}
    assert (masks["id"], masks["person"]) == ("keep", "hash(domain=person)")
    assert {check["name"]: check["passed"] for check in step["checks"]}["row_counts_match"]
    assert (step["policy"]["epoch"], step["policy"]["audience"]) == ("1", "shared")
    assert {each["unit"] for each in said["down"]} >= {"mirror/whole", "delivery/acme/deeds"}
    deeds = [each for each in said["receipts"] if each["pipeline"] == "deeds"]
    assert deeds
    assert all(isinstance(each["ledger"], int) for each in deeds)
    assert [seen["now"] for seen in said["objects"]] == ["there"]

    file = done(made, "explain", deeds[0]["destination"].replace("/", "~"))
    assert file["unit"] == "delivery/acme/deeds"
    assert [each["source"]["kind"] for each in file["up"]] == ["lsn"]
    copy = done(made, "explain", f"s3://ceph/{key}")
    assert (copy["unit"], copy["objects"][0]["store"], copy["told"][0]["table"]) == ("mirror/whole", "ceph", OBJECTS)
    assert [each["attempt"] for each in done(made, "explain", attempt)["told"]] == [attempt] * 2
    shown = run(made, "explain", "scrub/whole/shared", DATE).out
    for word in ("LSN ", "hash(domain=person)", "whole.people", "current", "delivered"):
        assert word in shown


# ------------------------------------------------------------------------------------------------------------ add table
@pytest.fixture
def catalog(made, tmp_path: Path) -> Callable[..., Path]:
    """A catalog of its own: endpoints as they are, `shop` over the same database with what the test says."""

    def write(body: str) -> Path:
        folder = tmp_path / "catalog"
        folder.mkdir(exist_ok=True)
        (folder / "endpoints.yaml").write_text(
            (Path(made.environment["EGRESS_CATALOG"]) / "endpoints.yaml").read_text()
        )
        (folder / "shop.yaml").write_text(body)
        return folder

    return write


SCRUBBED = """\
# ours
source: shop_db   # the big one
start: 2026-11-01
scrub: {key: {env: NOWHERE}}
tables:
  whole.people: {id: keep, version: keep, email: email, filler: keep}   # reviewed

# nothing leaves yet
"""


def test_a_table_comes_into_the_catalog_and_the_rest_stays(made, catalog: Callable[..., Path]) -> None:
    folder = catalog(SCRUBBED)
    file, mode = folder / "shop.yaml", 0o640
    file.chmod(mode)
    add = ["add", "table", "shop", "whole.leads"]
    dry = done(made, "--catalog", str(folder), *add, "--dry-run")
    assert (dry["written"], file.read_text()) == (False, SCRUBBED)
    said = done(made, "--catalog", str(folder), *add)
    masks = {column["name"]: column["mask"] for column in said["columns"]}
    assert masks == {
        "id": "keep", "email": "email", "contact": "null", "note": "null", "score": "keep", "Odd: name": "null",
        "at": "keep", "born": "{mask: date_shift, by: id}", "data": '{mask: constant, value: "{}"}',
    }  # fmt: skip
    after = file.read_text()
    head, tail = SCRUBBED.split("\n# nothing")
    assert after.startswith(head)
    assert after.endswith(f"\n# nothing{tail}")
    assert "    score: keep  # review: numeric: keep it if it names nobody\n" in after
    assert file.stat().st_mode & 0o777 == mode
    assert [path.name for path in sorted(folder.iterdir())] == ["endpoints.yaml", "shop.yaml"], "nothing is left behind"
    assert done(made, "--catalog", str(folder), "check")["tables"] == 2
    assert "+  whole.leads:" in said["diff"].splitlines()
    plan = done(made, "--catalog", str(folder), "plan", "shop", "--date", DATE)["units"]["scrub/shop/shared"]
    assert {line["sign"] for line in plan} == {"+"}, "every line is a mask that its column takes"


def test_a_sample_turns_a_guess_into_a_mask_and_shows_no_value(made, catalog: Callable[..., Path]) -> None:
    folder = catalog(SCRUBBED)
    said = run(made, "--catalog", str(folder), "add", "table", "shop", "whole.leads", "--sample", "--json")
    assert "nowhere.org" not in said.out + said.err + (folder / "shop.yaml").read_text()
    document = json.loads(said.out)
    found = {column["name"]: column for column in document["columns"]}
    assert document["sampled_rows"] == 50
    assert found["contact"]["mask"] == "{mask: hash, domain: phone, length: 24}"
    assert found["contact"]["review"] == "of 50 sampled values 50 like phone"
    assert done(made, "--catalog", str(folder), "check")["ok"]


def test_a_dataset_without_masks_gets_the_table_alone_and_a_window_where_it_needs_one(
    made, catalog: Callable[..., Path]
) -> None:
    dump = SCRUBBED.replace("scrub: {key: {env: NOWHERE}}", "dump: {}")
    dump = dump.replace("{id: keep, version: keep, email: email, filler: keep}", "{}")
    folder = catalog(dump)
    done(made, "--catalog", str(folder), "add", "table", "shop", "whole.leads_seen")
    assert "  whole.leads_seen: {}\n" in (folder / "shop.yaml").read_text(), "a view is read like a table"
    folder = catalog("source: shop_db\nstart: 2026-11-01\nextract: window\ndump: {}\n")
    said = done(made, "--catalog", str(folder), "add", "table", "shop", "whole.leads")
    assert said["window"] == "at"
    assert said["notes"] == [
        "`extract: window` needs the column that dates a row: at (timestamp with time zone) was chosen; "
        "also possible: born"
    ]
    assert (folder / "shop.yaml").read_text().endswith("dump: {}\ntables:\n  whole.leads: {window: at}\n")
    folder = catalog("source: shop_db\nstart: 2026-11-01\nextract: window\nscrub: {key: k}\n")
    done(made, "--catalog", str(folder), "add", "table", "shop", "whole.leads", "--window", "born")
    assert "  whole.leads:\n    window: born\n    columns:\n      id: keep\n" in (folder / "shop.yaml").read_text()
    assert done(made, "--catalog", str(folder), "check")["ok"]


def test_a_table_of_an_incremental_dataset_is_left_to_who_knows_its_watermark(
    made, catalog: Callable[..., Path]
) -> None:
    text = "source: shop_db\nstart: 2026-11-01\nextract: incremental\ndump: {}\n"
    folder = catalog(text)
    said = run(made, "--catalog", str(folder), "add", "table", "shop", "whole.leads")
    assert (said.code, (folder / "shop.yaml").read_text()) == (10, text)
    assert "`whole.leads: {watermark: <column>}`" in said.err


def test_a_dataset_begins_with_its_first_table(made, catalog: Callable[..., Path]) -> None:
    folder = catalog(SCRUBBED)
    schema = folder.parent / "docs" / "schema" / "dataset.schema.json"
    schema.parent.mkdir(parents=True)
    schema.write_text("{}")
    add = ["--catalog", str(folder), "add", "table", "leads", "whole.leads", "--source", "shop_db"]
    dry = done(made, *add, "--dry-run")
    assert not (folder / "leads.yaml").exists()
    done(made, *add)
    text = (folder / "leads.yaml").read_text()
    assert text.startswith(
        "# yaml-language-server: $schema=../docs/schema/dataset.schema.json\n"
        "source: shop_db\nstart: 2026-11-19\nscrub: {key: {env: LEADS_SCRUB_KEY}}\n"
        "tables:\n  whole.leads:\n    id: keep\n"
    )
    assert dry["diff"].count("\n+") == text.count("\n") + 1, "all of it is new"
    assert done(made, "--catalog", str(folder), "check")["datasets"] == 2
    again = run(made, *add)
    assert (again.code, "leads is a dataset already" in again.err) == (10, True)
    nowhere = run(made, "--catalog", str(folder), "add", "table", "new", "a.b", "--source", "no_db")
    assert (nowhere.code, "'no_db' is not a source" in nowhere.err) == (10, True), nowhere.err


@pytest.mark.parametrize(
    ("table", "options", "code", "words"),
    [
        ("whole.people", [], 10, ["whole.people is in shop.yaml:6 already"]),
        ("whole.leaads", [], 20, ["whole.leaads", "whole.leads"]),
        ("nowhere", [], 10, ["is not a table"]),
        ("whole.secret", [], 20, ["the role may not read whole.secret"]),
        ("whole.leads", ["--window", "at"], 10, ["--window does nothing"]),
    ],
)
def test_what_can_not_be_added_is_refused_and_nothing_is_written(
    made, catalog: Callable[..., Path], table: str, options: list[str], code: int, words: list[str]
) -> None:
    folder = catalog(SCRUBBED)
    said = run(made, "--catalog", str(folder), "add", "table", "shop", table, *options)
    assert said.code == code, said.err
    assert all(word in said.err for word in words), said.err
    assert (folder / "shop.yaml").read_text() == SCRUBBED


def test_an_unknown_dataset_and_a_catalog_with_a_mistake_are_refused(made, catalog: Callable[..., Path]) -> None:
    folder = catalog(SCRUBBED)
    said = run(made, "--catalog", str(folder), "add", "table", "shopp", "whole.leads")
    assert (said.code, "did you mean shop?" in said.err) == (10, True)
    wrong = SCRUBBED.replace("email: email", "email: emial")
    folder = catalog(wrong)
    said = run(made, "--catalog", str(folder), "add", "table", "shop", "whole.leads")
    assert (said.code, "shop.yaml:6: " in said.err, "did you mean email?" in said.err) == (10, True, True)
    assert (folder / "shop.yaml").read_text() == wrong


def test_two_at_once_lose_no_table(made, catalog: Callable[..., Path]) -> None:
    """Each looks at the database for some time; who comes second is told, and comes again."""
    folder = catalog(SCRUBBED)
    tables = ["whole.leads", "whole.deeds", "whole.leads_seen"]
    command = ["--catalog", str(folder), "add", "table", "shop"]
    running = [made.begin(*command, table) for table in tables]
    for process, table in zip(running, tables, strict=True):
        said, _ = process.communicate(timeout=240)
        if process.returncode:
            assert "has changed while the table was looked at" in said
            done(made, *command, table)
    assert done(made, "--catalog", str(folder), "check")["tables"] == 4


# --------------------------------------------------------------------------------------------------------------- schema
@pytest.mark.parametrize("kind", [[], ["dataset"], ["endpoints"]])
def test_the_printed_schema_is_valid(made, kind: list[str]) -> None:
    Draft202012Validator.check_schema(json.loads(run(made, "catalog", "schema", *kind).out))


def test_names_are_completed_from_the_catalog(made) -> None:
    def completed(words: str, count: int) -> set[str]:
        asked = {"_EGRESS_COMPLETE": "bash_complete", "COMP_WORDS": f"egress {words}", "COMP_CWORD": str(count)}
        command = [*made.command(short_claims=False)]
        environment = {**made.environment, **asked}
        out = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False).stdout
        return {line.partition(",")[2] for line in out.splitlines()}

    assert completed("hold ", 2) == {"recipient", "dataset", "acme", "whole"}
    assert completed("explain scrub/", 2) == {"scrub/whole/shared"}
    assert completed("add table ", 3) == {"whole"}
    assert completed("catalog schema ", 3) == {"dataset", "endpoints"}
