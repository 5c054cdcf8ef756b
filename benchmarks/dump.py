"""`egress dump` beside its floor and its peers, in one run: `make bench-dump`.

    .venv/bin/python benchmarks/dump.py [--quick] [--rounds 9] [--servers embedded,debian] [--peers none] [--write]

One table at a time, every contender once a round, in another order each round. A ratio is taken within a round and the
median of the rounds counts, so that a busy minute hits both sides. The floor is `psql -c "COPY t TO STDOUT CSV"` to
/dev/null. All S3 sinks throw the bytes away, so that no store takes the second core. Peers that take more than eight
times the floor run in the first three rounds only. Exits 1 above a limit.

Our time is the stage's public call, which starts worker processes. `less start` is the same with what the call takes
for an empty table subtracted, in the same round; the limits bind that: they are about reading, not about starting.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT)] if str(ROOT) not in sys.path else []

from dumping import contenders, servers, tables  # noqa: E402
from dumping.contenders import FLOOR, TWO, Contender, Setting  # noqa: E402
from dumping.measuring import Failed, Measured, load, measure  # noqa: E402
from dumping.report import Line, Table, written  # noqa: E402

SIZES = {"full": {"mixed": 1_000_000, "narrow": 5_000_000}, "quick": {"mixed": 100_000, "narrow": 500_000}}
SLOW, SLOW_ROUNDS = 8.0, 3
LEGEND = (
    "Medians, with the least and the most. The floor is psql's COPY to /dev/null; ratios are taken within a round. "
    "*Less start*: without what the same call takes for an empty table, which is starting processes. All sinks "
    "throw bytes away. CPU is the client's, its children's included; MB are peaks of the program and its largest child."
)


@dataclass(slots=True)
class Course:
    """One table on one server: what every contender took, round by round."""

    setting: Setting
    contenders: Sequence[Contender]
    taken: defaultdict[str, dict[int, Measured]] = field(default_factory=lambda: defaultdict(dict))
    failed: dict[str, str] = field(default_factory=dict)

    def run(self, rounds: int) -> list[Line]:
        self.failed = {c.name: c.missing for c in self.contenders if c.missing}
        for number in range(rounds):
            order = [c for c in self.contenders if self._is_due(c, number)]
            random.Random(number).shuffle(order)
            for contender in order:
                self._once(contender, number)
            print(f"  {self.setting.table}, round {number + 1} of {rounds}, load {load():.1f}", flush=True)
        return [self._line(contender) for contender in self.contenders]

    def _is_due(self, contender: Contender, number: int) -> bool:
        if contender.name in self.failed:
            return False
        return number < SLOW_ROUNDS or self.taken[contender.name][0].seconds < SLOW * self.taken[FLOOR][0].seconds

    def _once(self, contender: Contender, number: int) -> None:
        try:
            self.taken[contender.name][number] = measure(contender.command(self.setting), contender.reported)
        except Failed as failure:
            self.failed[contender.name] = f"failed: {failure}"

    def _line(self, contender: Contender) -> Line:
        failure = self.failed.get(contender.name, "")
        return Line(
            contender,
            {} if failure else self.taken[contender.name],
            self.taken[FLOOR],
            self.taken[contender.start] if contender.start else {},
            self.taken[TWO],
            failure,
        )


def main() -> int:
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are stopped
    sizes = SIZES["quick" if options.quick else "full"]
    told = f"{options.rounds} rounds, load {load():.1f} before the first; `benchmarks/dump.py`. {LEGEND}"
    found: list[Table] = []
    peers = contenders.peers(options.peers)
    with servers.s3("-null") as sink, servers.s3() as evidence:
        for kind in options.servers.split(","):
            with servers.postgres(kind) as server:
                rows = {table: options.rows or size for table, size in sizes.items()}
                made = tables.fill(server, rows)
                for table in options.tables.split(","):
                    setting = Setting(server, table, rows[table], sink, evidence)
                    title = f"{server.title}, `{table}`: {rows[table]:,} rows, {made[table] / 1e6:.0f} MB as CSV"
                    found.append(Table(title, table, Course(setting, contenders.field_of(peers)).run(options.rounds)))
                    print(f"\n{found[-1]}\n", flush=True)
    verdicts = [verdict for table in found for verdict in table.verdicts()]
    for verdict in verdicts:
        print(f"{'FAILED' if verdict.is_failure else 'missed'}: {verdict.said}")
    if options.write:
        written(ROOT / "docs" / "benchmarks.md", found, told)
    return 1 if any(verdict.is_failure for verdict in verdicts) else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows")
    parser.add_argument("--rows", type=int, default=0, help="rows of both tables")
    parser.add_argument("--tables", default="mixed,narrow")
    parser.add_argument("--servers", default="embedded,debian")
    parser.add_argument("--peers", choices=["all", "fast", "none"], default="all", help="fast: no Python tools")
    parser.add_argument("--write", action="store_true", help="replace the section of docs/benchmarks.md")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
