"""Incidents and letters, decided: one message when it begins, one when it is over, whatever happens in between."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from egress_assets.engine.evidence.driver import microseconds
from egress_assets.engine.notify.incidents import LATE, MISSED, SLOTS, Sight, State, Trouble, decide
from egress_assets.engine.notify.letters import FEW, Letter, failed, letters, sent, settled
from egress_assets.engine.notify.words import SUBJECT, Place, message

NIGHT = datetime(2026, 11, 20, 2, 15, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DAY = "2026-11-19"
PLACE = Place("prod", ZoneInfo("Europe/London"), "https://egress.example")


def trouble(dataset: str = "shop", date: str = DAY, code: str = "source_unavailable", **fields: object) -> Trouble:
    cause = {"source_unavailable": "source db"}.get(code, f"dump/{dataset}")
    made = Trouble(
        dataset, f"dump/{dataset}", date, code, cause, f"no answer for {dataset}", "Look.", microseconds(NIGHT)
    )
    return replace(made, **fields)  # type: ignore[arg-type]


@dataclass
class Night:
    """The sensor without its ends: `tick` looks, decides, sends through channels that take what `down` does not say."""

    state: State = field(default_factory=lambda: State(looked=1))
    at: datetime = NIGHT
    down: set[str] = field(default_factory=set)
    got: dict[str, list[Letter]] = field(default_factory=lambda: {"mail": [], "webhook": []})

    def tick(self, *troubles: Trouble, made: Sequence[tuple[str, str]] = (), whole: bool = True) -> list[Letter]:
        """The letters that mail took. The state goes through its text, as in a restart."""
        state = State.parse(self.state.dump())
        state = decide(state, Sight(troubles, frozenset(made), whole), self.at)
        before = len(self.got["mail"])
        for channel, got in self.got.items():
            for letter in letters(state, channel, self.at):
                if channel in self.down:
                    state = failed(state, channel, "no answer", self.at)
                    break
                state = sent(state, channel, letter, self.at)
                got.append(letter)
        self.state = settled(state, list(self.got), self.at)
        self.at += MINUTE
        return self.got["mail"][before:]

    def ticks(self, count: int, *troubles: Trouble, **fields: object) -> list[Letter]:
        return [letter for _ in range(count) for letter in self.tick(*troubles, **fields)]  # type: ignore[arg-type]

    def hours(self, count: int, *troubles: Trouble) -> list[Letter]:
        """A tick of each hour, the others would be like it."""
        told: list[Letter] = []
        for _ in range(count):
            told += self.tick(*troubles)
            self.at += 59 * MINUTE
        return told


MADE = [("dump/shop", DAY)]


def subject(letter: Letter) -> str:
    return message(letter, PLACE).subject


def test_one_message_when_it_begins_none_for_repeats_and_one_when_it_is_over():
    night = Night()
    assert night.tick(trouble()) == []
    (opened,) = night.tick(trouble())
    assert (opened.kind, subject(opened)) == ("open", "[egress prod] dump/shop 2026-11-19: source_unavailable")
    assert night.hours(5, trouble(tries=4)) == []
    assert night.ticks(30, trouble(tries=5), trouble(date="2026-11-20")) == []
    (over,) = night.tick(made=MADE)
    assert (over.kind, over.thread) == ("over", opened.id)
    assert over.incidents[0].times == 6
    assert night.ticks(5) == []
    assert not night.state.incidents
    assert [letter.id for letter in night.got["webhook"]] == [opened.id, over.id]


def test_what_a_retry_cures_within_a_minute_is_told_to_nobody():
    night = Night()
    assert night.tick(trouble()) + night.tick(made=MADE) + night.ticks(3) == []
    assert not night.state.incidents


def test_a_database_that_is_down_for_ten_datasets_is_one_message_that_names_them():
    night = Night()
    down = [trouble(f"d{number}") for number in range(10)]
    told = night.tick(*down[:4]) + night.tick(*down) + night.hours(3, *down)
    (letter,) = told
    words = message(letter, PLACE)
    assert (
        words.subject == "[egress prod] source_unavailable at source db: 10 units, dump/d0, dump/d1, dump/d2 and 7 more"
    )
    assert all(f"dump/d{number} {DAY}" in words.text for number in range(10))


def test_it_is_over_when_the_last_of_them_is():
    night = Night()
    night.ticks(2, trouble(), trouble("crm"))
    assert night.tick(trouble("crm"), made=MADE) == []
    assert [letter.kind for letter in night.tick(made=[("dump/crm", DAY)])] == ["over"]


def test_other_causes_are_other_messages_and_many_at_once_are_one():
    night = Night()
    few = [trouble(f"d{number}", code="gate_failed") for number in range(FEW)]
    assert len(night.ticks(2, *few)) == FEW
    many = [trouble(f"e{number}", code="gate_failed") for number in range(FEW + 1)]
    (digest,) = night.ticks(2, *few, *many)
    assert len(digest.incidents) == FEW + 1
    assert subject(digest) == "[egress prod] 4 incidents: gate_failed"
    (over,) = night.tick(*few, made=[t.slot for t in many])
    assert (over.kind, len(over.incidents)) == ("over", FEW + 1)


def test_a_reminder_a_day_while_it_lasts():
    night = Night()
    night.ticks(2, trouble())
    night.at += timedelta(hours=23, minutes=50)
    assert night.ticks(5, trouble()) == []
    told = night.hours(24, trouble())
    assert [letter.kind for letter in told] == ["reminder"]
    assert subject(told[0]).startswith("[egress prod] still open: ")
    assert [letter.kind for letter in night.hours(24, trouble())] == ["reminder"]


def test_a_state_that_was_lost_is_one_digest_and_the_same_ids():
    night = Night()
    wrong = [trouble(code="gate_failed"), trouble("crm")]
    told = night.ticks(5, *wrong)
    assert len(told) == 2
    lost = Night(state=State(), at=night.at)
    (digest,) = lost.ticks(30, *wrong)
    assert {one.id for one in digest.incidents} == {letter.incidents[0].id for letter in told}
    assert [letter.kind for letter in lost.tick(made=[t.slot for t in wrong])] == ["over", "over"]
    alone = Night(state=State.parse("{garbled"), at=night.at)
    (again,) = alone.ticks(3, wrong[0])
    assert again.id == next(letter.id for letter in told if letter.incidents[0].code == "gate_failed")


def test_a_channel_that_is_down_is_told_later_and_holds_up_nobody():
    night = Night(down={"mail"})
    night.ticks(3, trouble())
    assert [letter.kind for letter in night.got["webhook"]] == ["open"]
    assert night.state.channels["mail"].error == "no answer"
    night.ticks(3, trouble())
    assert len(night.got["webhook"]) == 1
    night.down.clear()
    assert [letter.kind for letter in night.ticks(40, trouble())] == ["open"]
    assert not night.state.channels["mail"].error


def test_the_first_retry_is_the_next_tick_and_the_distances_grow():
    night, tried = Night(down={"mail"}), []
    for minute in range(100):
        before = night.state.channels.get("mail")
        night.tick(trouble())
        if night.state.channels.get("mail") != before:
            tried.append(minute)
    waits = [b - a for a, b in itertools.pairwise(tried)]
    assert waits[:6] == [1, 2, 4, 8, 16, 30]
    assert set(waits[6:]) <= {30}


def test_what_was_over_before_the_mail_server_came_back_is_told_once_as_over():
    night = Night(down={"mail"})
    night.ticks(5, trouble())
    night.tick(made=MADE)
    assert [letter.kind for letter in night.got["webhook"]] == ["open", "over"]
    night.down.clear()
    assert [letter.kind for letter in night.ticks(60)] == ["over"]
    assert not night.state.incidents
    assert not night.state.channels["mail"].error


def test_a_channel_that_stays_down_is_not_owed_for_ever():
    night = Night(down={"mail"})
    night.ticks(5, trouble())
    night.tick(made=MADE)
    night.at += timedelta(days=2)
    night.tick()
    assert not night.state.incidents
    assert not night.state.channels["mail"].error


def test_what_only_became_something_else_is_not_called_over():
    night = Night()
    night.ticks(2, trouble(code=LATE))
    (told,) = night.ticks(3, trouble(code="gate_failed"))
    assert (told.kind, told.incidents[0].code) == ("open", "gate_failed")


def test_a_date_that_is_missed_is_told_once_and_never_over():
    night = Night()
    assert len(night.hours(60, trouble(code=MISSED))) == 1
    assert night.ticks(3, made=MADE) == []


def test_while_evidence_can_not_be_read_nothing_is_taken_for_cured():
    night = Night()
    night.ticks(2, trouble())
    blind = trouble("", date="", code="store_unavailable", unit="evidence", cause="store evidence")
    told = night.ticks(10, blind, whole=False)
    assert [letter.incidents[0].cause for letter in told] == ["store evidence"]
    told = night.ticks(3, trouble(), made=[("evidence", "")])
    assert [(letter.kind, letter.incidents[0].cause) for letter in told] == [("over", "store evidence")]
    assert [letter.kind for letter in night.tick(made=MADE)] == ["over"]


def test_the_state_is_bounded():
    night = Night()
    many = [trouble(f"d{number}", date=f"2026-11-{day:02}") for number in range(60) for day in range(1, 11)]
    (letter,) = night.ticks(3, *many)
    assert len(letter.incidents[0].all()) == SLOTS
    assert len(night.state.dump()) < 40_000
    assert len(message(letter, PLACE).text) < 10_000


HOSTILE = "line\r\nBcc: x@y.example\r\n\r\n\x00\x1b[31m\u202egnol\ud800 ünï\u2028" + "x" * 5000


def test_hostile_text_stays_in_its_line():
    night = Night()
    (letter,) = night.ticks(2, trouble(message=HOSTILE, hint=HOSTILE, unit=HOSTILE, cause=HOSTILE, code=HOSTILE))
    words = message(letter, PLACE)
    assert "\n" not in words.subject
    assert len(words.subject) <= SUBJECT
    assert not {c for c in words.subject + words.text if (c < " " and c != "\n") or c in "\u202e\ud800\u2028"}
    assert not [line for line in words.text.splitlines() if line.startswith(("Bcc", "\x1b"))]
    assert "ünï" in words.text


def test_words_say_what_where_since_when_how_often_and_the_way_out():
    night = Night()
    (letter,) = night.ticks(2, trouble(tries=3, run="0a1b"))
    words = message(letter, PLACE)
    for expected in (
        "no answer for shop", "Look.", "source_unavailable", "source db", "2026-11-20 02:15 GMT, 3 times",
        f"dump/shop {DAY}", "https://egress.example/runs/0a1b",
    ):  # fmt: skip
        assert expected in words.text
    facts = json.loads(json.dumps(words.facts))
    assert facts["incident"]["units"] == {"dump/shop": {DAY: "wrong"}}
    assert facts["incident"]["since"] == "2026-11-20T02:15:00+00:00"
    assert facts["incident"]["run"] == "https://egress.example/runs/0a1b"
    assert (facts["event"], facts["more"]) == ("open", [])
    assert message(letter, replace(PLACE, ui="")).facts["incident"]["run"] is None
    (over,) = night.tick(made=MADE)
    assert "Until     2026-11-20 02:17 GMT" in message(over, PLACE).text
    assert "Way out" not in message(over, PLACE).text


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"incidents": 1, "channels": {}, "looked": 1}', "x" * 9])
def test_a_cursor_that_can_not_be_read_knows_nothing(text: str | None):
    assert State.parse(text) == State()
