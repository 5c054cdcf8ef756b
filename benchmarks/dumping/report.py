"""What was measured as Markdown, and what misses its target or is above its limit."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from dumping.contenders import ONE, OWN_PARQUET, TWO, Contender
from dumping.measuring import Measured

BARS = {("mixed", ONE): (1.15, 1.30), ("narrow", ONE): (1.20, 1.40)} | {
    (table, TWO): (0.85, 0.95) for table in ("mixed", "narrow")
}
"""Target and limit of the time less start, times the floor."""
AHEAD = {"psql, gzip": 2.5, "pg_dump": 2.0, "sling": 1, "dlt": 1, "ConnectorX": 1, "pandas": 1, "DuckDB, csv": 1}
"""The least that a peer takes, times our two workers."""
_PARQUET, _THEIR_PARQUET = 1.6, "DuckDB, parquet"
_MOST = (64 + 2 * 8) * 2**20 / 1e6  # MB of one process: 64 MiB and two parts
_MOST_PARQUET = _MOST + 150  # Arrow and the driver are 70 of them before the first row
BEGIN, END = "<!-- bench-dump: begin -->", "<!-- bench-dump: end -->"
_HEAD = ("", "what", "wall s", "x floor", "less start", "x our 2 workers", "CPU s", "MB: own, child", "rounds")

Rounds = Mapping[int, Measured]


class Verdict(NamedTuple):
    """A sentence, and whether it ends the program with 1."""

    said: str
    is_failure: bool


@dataclass(frozen=True, slots=True)
class Line:
    """A contender's rounds beside the floor's, its start's and our two workers' of the same rounds."""

    contender: Contender
    taken: Rounds
    floor: Rounds = field(default_factory=dict)
    start: Rounds = field(default_factory=dict)
    ours: Rounds = field(default_factory=dict)
    failure: str = ""

    def times_floor(self) -> list[float]:
        return [taken.seconds / self.floor[n].seconds for n, taken in self.taken.items() if n in self.floor]

    def less_start(self) -> list[float]:
        rounds = [n for n in self.taken if n in self.start and n in self.floor]
        return [(self.taken[n].seconds - self.start[n].seconds) / self.floor[n].seconds for n in rounds]

    def times_ours(self) -> list[float]:
        return [taken.seconds / self.ours[n].seconds for n, taken in self.taken.items() if n in self.ours]

    def __str__(self) -> str:
        name = f"| {self.contender.name} | {self.contender.does} "
        if not self.taken:
            return f"{name}| {self.failure.replace('|', '/')} {'| ' * 6}|"
        middle = {which: statistics.median(getattr(m, which) for m in self.taken.values()) for which in Measured.KINDS}
        cells = [spread([m.seconds for m in self.taken.values()]), spread(self.times_floor())]
        cells += [spread(self.less_start()), spread(self.times_ours()), f"{middle['cpu']:.1f}"]
        cells += [f"{middle['own']:.0f}, {middle['child']:.0f}", str(len(self.taken))]
        return f"{name}| {' | '.join(cells)} |"


def spread(values: Sequence[float]) -> str:
    """The median, and the least and the most."""
    if not values:
        return ""
    return f"**{statistics.median(values):.2f}** ({min(values):.2f} to {max(values):.2f})"


@dataclass(frozen=True, slots=True)
class Table:
    """One table on one server."""

    title: str
    name: str
    lines: Sequence[Line]

    def __str__(self) -> str:
        head = [f"| {' | '.join(_HEAD)} |", "|---" * len(_HEAD) + "|"]
        return "\n".join([f"**{self.title}**", "", *head, *map(str, self.lines)])

    def verdicts(self) -> Iterator[Verdict]:
        for line in self.lines:
            name = f"{self.title}: {line.contender.name}"
            if line.taken:
                yield from self._of(line, name)
            elif line.contender.workers:
                yield Verdict(f"{name} failed: {line.failure}", is_failure=True)
        yield from self._parquet()

    def _of(self, line: Line, name: str) -> Iterator[Verdict]:
        if line.contender.workers:
            yield from _memory(line, name)
        if (self.name, line.contender.name) in BARS and (less := line.less_start()):
            target, limit = BARS[self.name, line.contender.name]
            if (median := statistics.median(less)) > target:
                said = f"{name} takes {median:.2f} x the floor less start; target {target}, limit {limit}"
                yield Verdict(said, median > limit)
        least = next((least for prefix, least in AHEAD.items() if line.contender.name.startswith(prefix)), 0.0)
        if (times := line.times_ours()) and (median := statistics.median(times)) < least:
            yield Verdict(f"{name} takes {median:.2f} x our two workers; {least} is the least", is_failure=True)

    def _parquet(self) -> Iterator[Verdict]:
        by_name = {line.contender.name: line for line in self.lines}
        own = by_name.get(OWN_PARQUET)
        theirs = next((line for name, line in by_name.items() if name.startswith(_THEIR_PARQUET)), None)
        if own and theirs and (both := own.taken.keys() & theirs.taken.keys()):
            median = statistics.median(own.taken[n].seconds / theirs.taken[n].seconds for n in both)
            if median > _PARQUET:
                said = f"{self.title}: our parquet takes {median:.2f} x DuckDB's; limit {_PARQUET}"
                yield Verdict(said, is_failure=True)


def _memory(line: Line, name: str) -> Iterator[Verdict]:
    most = max(max(m.own, m.child) for m in line.taken.values())
    allowed = _MOST_PARQUET if line.contender.name == OWN_PARQUET else _MOST
    if most > allowed:
        yield Verdict(f"{name} had a process of {most:.0f} MB; {allowed:.0f} is the most", is_failure=True)


def written(page: Path, tables: Sequence[Table], told: str) -> None:
    """Replace what lies between the markers of `page`. Raises ValueError when they are not there."""
    text = page.read_text()
    before, after = text[: text.index(BEGIN)], text[text.index(END) :]
    body = "\n\n".join([told, *map(str, tables)])
    page.write_text(f"{before}{BEGIN}\n{body}\n{after}")
