"""Parts of the command line: endings and their codes, what is printed, what is told on the way."""

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from egress_assets.cli import egress
from egress_assets.cli._ending import ended
from egress_assets.cli._output import Shown, clean, emit, number, size
from egress_assets.cli._progress import describe, progress
from egress_assets.cli._state import State
from egress_assets.engine.errors import CatalogError, GateFailed
from egress_assets.engine.progress import Tick


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Signal handlers belong to the process: put back what a test's ending installs."""
    kept = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for each, handler in kept.items():
        signal.signal(each, handler)


def raising(error: BaseException) -> Callable[[], Any]:
    def work() -> Any:
        raise error

    return work


def test_an_error_is_told_in_two_lines_and_its_family_is_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(State(), raising(GateFailed("2 addresses in public.a.note", hint="Mask it."))) == 50
    assert capsys.readouterr() == ("", "error: 2 addresses in public.a.note\nHINT: Mask it.\n")


def test_all_problems_of_a_catalog_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(State(), raising(CatalogError("2 problems", problems=("a.yaml:1: x", "b.yaml:2: y")))) == 10
    assert capsys.readouterr().err == "error: 2 problems\na.yaml:1: x\nb.yaml:2: y\n"


def test_with_json_an_error_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(State(json=True), raising(GateFailed("no", hint="Why."))) == 50
    out, err = capsys.readouterr()
    assert (json.loads(out), err) == (
        {"error": {"code": "gate_failed", "message": "no", "hint": "Why.", "problems": []}}, ""
    )  # fmt: skip


def test_an_unexpected_error_shows_its_place_and_no_value(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EGRESS_DEBUG", raising=False)
    assert ended(State(), raising(ValueError("row 7: Ann Smith"))) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: unexpected ValueError at test_cli_parts.py:")
    assert "Ann" not in err
    monkeypatch.setenv("EGRESS_DEBUG", "1")
    ended(State(), raising(ValueError("row 7: Ann Smith")))
    assert "row 7: Ann Smith" in capsys.readouterr().err


def test_wrong_usage_is_2_and_a_verbs_own_code_is_kept() -> None:
    assert ended(State(), raising(click.UsageError("what?"))) == 2
    assert ended(State(), lambda: 40) == 40
    assert ended(State(), lambda: None) == 0


def test_a_table_is_plain_text_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    emit(
        State(),
        {},
        "one line",
        Shown(("name", "bytes"), [("a", "1"), ("b[red]c", "200")], numbers=frozenset({"bytes"})),
    )
    assert capsys.readouterr().out == "one line\nname     bytes\na            1\nb[red]c    200\n"


def test_with_json_only_the_document_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    emit(State(json=True), {"a": [1, "é"]}, "for people")
    said = capsys.readouterr().out
    assert (json.loads(said), said.count("\n"), said.isascii()) == ({"a": [1, "é"]}, 1, True)


def test_names_can_not_move_the_cursor() -> None:
    assert clean("a\x1b[2Jb\x9b\r\tc\u202e") == "a\\x1b[2Jb\\x9b\\r\\tc\\u202e"


def test_amounts_are_for_people() -> None:
    assert [size(n) for n in (None, 0, 999, 1000, 1_234_567, 5 * 10**15)] == [
        "",
        "0 B",
        "999 B",
        "1.0 kB",
        "1.2 MB",
        "5.0 PB",
    ]
    assert [number(n) for n in (None, 0, 1234567)] == ["", "0", "1,234,567"]


@pytest.mark.parametrize(
    ("tick", "text"),
    [
        (Tick("dump", "public.a", 1000, 4000, 10), "dump public.a: 1.0 kB of 4.0 kB, 10 rows"),
        (Tick("dump", "public.a", 4000, 4000, 40, finished=True), "dump public.a: 4.0 kB, 40 rows done"),
        (Tick("lock", "shop", 2, 8, unit="tables"), "lock shop: 2 tables of 8 tables"),
        (Tick("mirror", "a\x1bb", 1), "mirror a\\x1bb: 1 B"),
    ],
)
def test_progress_is_a_line(tick: Tick, text: str) -> None:
    assert describe(tick) == text


def test_without_a_terminal_only_ends_and_every_few_seconds_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    with progress() as listener:
        for done in range(100):
            listener(Tick("dump", "public.a", done, 100))
        listener(Tick("dump", "public.a", 100, 100, finished=True))
    assert capsys.readouterr() == ("", "dump public.a: 100 B done\n")


def test_every_verb_takes_json_where_it_has_something_to_say() -> None:
    context = click.Context(egress)
    for name in egress.list_commands(context):
        verb = egress.get_command(context, name)
        assert verb is not None
        each = list(verb.commands.values()) if isinstance(verb, click.Group) else [verb]
        for command in each:
            has = any("--json" in p.opts for p in command.params)
            assert has or command.name in ("schema", "completion", "demo", "serve-trigger"), name


def test_the_catalogs_folder_is_taken_from_the_option(tmp_path: Path) -> None:
    state = State(catalog_folder=tmp_path / "nowhere")
    with pytest.raises(CatalogError, match="nowhere is not there"):
        state.load_catalog()
