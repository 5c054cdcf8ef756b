"""A letter as people read it, and as programs do. Pure.

Messages and hints of errors hold no row value, credential or signed URL by contract. They may still be hostile where
they quote names: control characters become spaces, and everything is cut to what a screen holds.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from egress_assets.engine.notify.incidents import LATE, MISSED, RUN, Incident
from egress_assets.engine.notify.letters import Letter

SUBJECT = 150  # characters
LINE = 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAMED = 20  # units in a text, dates of a unit
_VERBS = {"open": "", "over": "over: ", "reminder": "still open: "}


@dataclass(frozen=True, slots=True)
class Place:
    """Where messages come from: the environment, the catalog's timezone, where people open Dagster ('' nowhere)."""

    env: str
    zone: ZoneInfo
    ui: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """A letter in words. `facts` are for programs. `thread` is '' for the letter that others refer to."""

    id: str
    thread: str
    subject: str
    text: str
    facts: dict[str, Any]


def message(letter: Letter, place: Place) -> Message:
    """The words of a letter; the same for the same letter."""
    paragraphs = [_paragraph(one, place) for one in letter.incidents]
    if letter.kind != "open":
        paragraphs.insert(0, _VERBS[letter.kind].capitalize().rstrip(" :") + ".")
    foot = ["", f"Egress, {place.env}. `egress status` shows every dataset and date."]
    first, *more = (_facts(one, place) for one in letter.incidents)
    return Message(
        id=letter.id,
        thread="" if letter.thread == letter.id else letter.thread,
        subject=_line(f"[egress {place.env}] {_VERBS[letter.kind]}{_title(letter)}", SUBJECT),
        text="\n\n".join(paragraphs) + "\n" + "\n".join(foot) + "\n",
        facts={"event": letter.kind, "id": letter.id, "environment": place.env, "incident": first, "more": more},
    )


def _title(letter: Letter) -> str:
    first, *more = letter.incidents
    if not more:
        return title(first)
    causes = list(dict.fromkeys(one.code for one in letter.incidents))
    return f"{len(letter.incidents)} incidents: {_listed(causes, 4)}"


def title(one: Incident) -> str:
    """What is wrong where, in one line."""
    slots = one.wrong() or one.all()
    units = list(dict.fromkeys(unit for unit, _ in slots))
    dates = sorted({date for _, date in slots if date})
    what = {LATE: "late", MISSED: "missed for good", RUN: "a run ended without a word"}.get(one.code, one.code)
    if len(units) > 1:
        return f"{what} at {one.cause}: {len(units)} units, {_listed(units, 3)}"
    return f"{units[0]}{f' {_listed(dates, 2)}' if dates else ''}: {what}"


def _paragraph(one: Incident, place: Place) -> str:
    said = [title(one), ""]
    said += [f"{name:<10}{value}" for name, value in _rows(one, place) if value]
    return "\n".join(_line(line, LINE) for line in said)


def _rows(one: Incident, place: Place) -> Iterator[tuple[str, str]]:
    yield "What", one.message
    yield "Way out", "" if one.over else one.hint
    yield "Code", one.code
    yield "Cause", one.cause
    yield "Since", _clock(one.since, place.zone) + (f", {one.times} times" if one.times > 1 else "")
    yield "Until", _clock(one.over, place.zone) if one.over else ""
    affected = [(unit, dates) for unit, dates in one.slots.items() if one.over or any(dates.values())]
    for number, (unit, dates) in enumerate(affected[:_NAMED]):
        shown = sorted(date for date, is_wrong in dates.items() if date and (is_wrong or one.over))
        yield "" if number else "Affected", f"{unit} {_listed(shown, _NAMED)}"
    if len(affected) > _NAMED:
        yield "", f"and {len(affected) - _NAMED} more units"
    yield "Run", f"{place.ui}/runs/{one.run}" if place.ui and one.run else ""


def _facts(one: Incident, place: Place) -> dict[str, Any]:
    return {
        "id": one.id, "code": one.code, "cause": one.cause, "dataset": one.dataset, "message": one.message,
        "hint": one.hint, "since": _iso(one.since), "until": _iso(one.over) if one.over else None, "times": one.times,
        "units": {unit: {date: "wrong" if is_wrong else "good" for date, is_wrong in dates.items()}
                  for unit, dates in one.slots.items()},
        "run": f"{place.ui}/runs/{one.run}" if place.ui and one.run else None,
    }  # fmt: skip


def _listed(names: list[str], most: int) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _line(text: str, most: int) -> str:
    """One line without control characters, lone surrogates or characters that turn the direction of writing."""
    plain = "".join(" " if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") else c for c in text).rstrip()
    return plain if len(plain) <= most else plain[: most - 1] + "…"


def _clock(moment: int, zone: ZoneInfo) -> str:
    return f"{_at(moment).astimezone(zone):%Y-%m-%d %H:%M %Z}"


def _iso(moment: int) -> str:
    return _at(moment).isoformat(timespec="seconds")


def _at(moment: int) -> datetime:
    return _EPOCH + timedelta(microseconds=moment)
