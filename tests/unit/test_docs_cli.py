"""docs/cli.md has every verb with its options, every exit code and every state, and none that is not there."""

import re
import typing
from collections.abc import Iterator
from pathlib import Path

import click

from egress_assets.cli import egress
from egress_assets.cli._streams import OutputLost
from egress_assets.engine import errors, status
from egress_assets.engine.bucket_policy import report
from egress_assets.engine.explain import steps
from egress_assets.sandbox.errors import SandboxUnavailable

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()


def rows(heading: str) -> list[list[str]]:
    """Cells of a section's first table, without its head."""
    (body,) = re.findall(rf"^## {re.escape(heading)}$(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    lines = re.findall(r"^\|(.*)\|$", body, re.MULTILINE)
    return [[cell.strip() for cell in line.split("|")] for line in lines[2:]]


def verbs(group: click.Group, names: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from verbs(command, (*names, name))
        else:
            yield " ".join((*names, name)), command


def options(command: click.Command) -> set[str]:
    return {opt for p in command.params if isinstance(p, click.Option) for opt in p.opts if opt.startswith("--")}


def arguments(command: click.Command) -> str:
    made = [p.make_metavar(click.Context(command)) for p in command.params if isinstance(p, click.Argument)]
    return " ".join(name if not name.startswith("{") else "SHELL" for name in made)


def test_every_verb_is_told_with_its_arguments_and_options() -> None:
    told = {row[0].strip("`"): set(re.findall(r"`(--[a-z-]+)`", row[2])) for row in rows("Verbs")}
    assert told == {f"{name} {arguments(verb)}".strip(): options(verb) for name, verb in verbs(egress)}


def test_every_verb_says_what_it_does() -> None:
    assert all(verb.help and verb.help[0].isupper() for _, verb in verbs(egress))


def test_every_code_is_told_with_its_exit_and_whether_a_retry_helps() -> None:
    def below(kind: type[errors.EgressError]) -> Iterator[type[errors.EgressError]]:
        yield kind
        for each in kind.__subclasses__():
            yield from below(each)

    ours = {
        kind
        for kind in below(errors.EgressError)
        if kind.__module__ in (errors.__name__, SandboxUnavailable.__module__, OutputLost.__module__)
    }
    told = {row[1].strip("`"): (row[0], row[3]) for row in rows("Exit codes") if row[1]}
    assert told.pop("unexpected") == ("1", "")
    assert told == {kind.code: (str(kind.exit_code), "yes" if kind.retryable else "") for kind in ours}


def test_every_state_is_told() -> None:
    assert {row[0].strip("`") for row in rows("States of `status`")} == set(typing.get_args(status.State))


def test_every_state_of_explain_is_told() -> None:
    assert {row[0].strip("`") for row in rows("`explain`")} == set(typing.get_args(steps.State))


def test_every_state_of_a_bucket_is_told() -> None:
    assert [row[0].strip("`") for row in rows("`bucket-policy`")] == list(report.STATES)
