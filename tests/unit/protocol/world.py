"""Interleaves the real generators over a store of dicts.

A scheduler runs several processes and, at any step, may switch process (one left waiting and resumed later is a
zombie), kill it, lose the reply of a write that took effect, lose a write, let a write land late (after its sender gave
up, died or tried again), jump the clock, or give a process a skewed clock. A run is a list of deviations from the plain
schedule: all lists of up to `depth` deviations are tried, then random longer ones; the first violation found has the
fewest deviations. One step is one tick of the clock.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from hashlib import sha256
from types import GeneratorType
from typing import Any, NamedTuple

from egress_assets.engine.errors import EgressError, StoreUnavailable
from egress_assets.engine.evidence.requests import (
    AbortUpload,
    Call,
    DeleteBytes,
    Found,
    Get,
    List,
    ListBytes,
    ListUploads,
    Now,
    Put,
    PutBytes,
    Wait,
)

SKEW, JUMPS = 8, (7, 40)  # clock skew of a process; how far time jumps when the scheduler lets it
WRITE = ("lost reply", "lost request", "late")
ANY = "*any*"  # an etag that makes a Put unconditional; only removed guards use it


class Violation(Exception):
    pass


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happens at once. `lost` is the answer, or the error, when its reply is not seen."""

    label: str
    effect: Callable[[], Any]
    faults: tuple[str, ...] = ()
    lost: Any = "ambiguous"


class Stored(NamedTuple):
    body: bytes
    etag: str
    modified: int


class World:
    """Evidence store, bytes, clocks, writes in flight, and the ghost state that properties are checked against."""

    processes: tuple[str, ...] = ()

    def __init__(self, scenario: dict[str, Any]) -> None:
        self.scenario = scenario
        self.now, self.jumps, self.me = 100, 3, ""
        self.evidence: dict[str, Stored] = {}
        self.in_flight: list[Step] = []
        self.skew: dict[str, int] = {}
        self.trace: list[str] = []

    def require(self, holds: object, otherwise: str) -> None:
        if not holds:
            raise Violation(otherwise)

    def clock(self, me: str) -> int:
        return self.now + self.skew.get(me, 0)

    def keep(self, key: str, body: bytes, modified: int | None = None) -> None:
        """Put without ado: what lay there before a scenario begins."""
        self.evidence[key] = Stored(body, sha256(body).hexdigest(), self.now if modified is None else modified)

    # ------------------------------------------------------------------------------------- requests of the real verbs
    def step(self, request: Any) -> Step:
        match request:
            case Step():
                return request
            case Get(key):
                return Step(f"get {key}", lambda: self.get(key))
            case List(prefix, after):
                return Step(
                    f"list {prefix}", lambda: sorted(k for k in self.evidence if k.startswith(prefix) and k > after)
                )
            case Put(key, body, etag):
                return Step(f"put {key}", lambda: self.put(key, body, etag), WRITE)
        gone = StoreUnavailable("the store did not answer")
        match request:
            case PutBytes(key, body):
                return Step(f"put bytes {key}", lambda: self.put_bytes(key, body), WRITE, gone)
            case ListBytes(prefix):
                return Step(f"list bytes {prefix}", lambda: self.list_bytes(prefix))
            case ListUploads(prefix):
                return Step(f"list uploads {prefix}", lambda: self.list_uploads(prefix))
            case DeleteBytes(key):
                return Step(f"delete bytes {key}", lambda: self.delete_bytes(key), WRITE, gone)
            case AbortUpload(upload):
                return Step(f"abort {upload.key}", lambda: self.abort(upload), WRITE, gone)
        raise TypeError(request)

    def get(self, key: str) -> Found | None:
        there = self.evidence.get(key)
        return there and Found(there.body, there.etag, there.modified, self.now)

    def put(self, key: str, body: bytes, etag: str | None) -> str:
        there = self.evidence.get(key)
        if etag != ANY and (there.etag if there else None) != etag:
            return "refused"
        self.keep(key, body)
        self.landed(key, there, self.evidence[key])
        return "ok"

    # what a part overrides
    def put_bytes(self, key: str, body: bytes) -> None: ...
    def list_bytes(self, prefix: str) -> list[str]:
        return []

    def list_uploads(self, prefix: str) -> list[Any]:
        return []

    def delete_bytes(self, key: str) -> None: ...
    def abort(self, upload: Any) -> None: ...
    def spawn(self, name: str) -> Generator[Any, Any, Any]:
        raise NotImplementedError

    def landed(self, key: str, before: Stored | None, after: Stored) -> None: ...
    def always(self) -> None: ...
    def recover(self) -> Iterable[tuple[str, Generator[Any, Any, Any]]]:
        return ()

    def finally_(self) -> None: ...


class Process:
    """A verb with the generators that its calls opened; a Call whose function is a generator takes several steps."""

    def __init__(self, world: World, name: str, verb: Generator[Any, Any, Any]) -> None:
        self.world, self.name, self.stack = world, name, [verb]
        self.waiting: Step | None = None

    def resume(self, answer: Any) -> None:
        """Go on until the next step, or the end; an EgressError is thrown into whoever asked."""
        self.waiting, self.world.me = None, self.name
        error = answer if isinstance(answer, EgressError) else None
        while self.stack:
            try:
                request = self.stack[-1].throw(error) if error else self.stack[-1].send(answer)
            except StopIteration as end:
                answer, error = end.value, None
                self.stack.pop()
                continue
            except EgressError as raised:
                error = raised
                self.stack.pop()
                continue
            answer, error = None, None
            match request:
                case Wait():
                    pass
                case Now():
                    answer = self.world.clock(self.name)
                case Call(_, function):
                    answer = function()
                    if isinstance(answer, GeneratorType):
                        self.stack.append(answer)
                        answer = None
                case _:
                    self.waiting = self.world.step(request)
                    return


def execute(world: World, choose: Callable[[int], int]) -> None:
    for name in world.processes:
        world.skew[name] = (0, SKEW, -SKEW)[choose(3)] if world.scenario.get("skew") else 0
    world.skew |= world.scenario.get("skews", {})
    processes = {name: Process(world, name, world.spawn(name)) for name in world.processes}
    for process in processes.values():
        process.resume(None)
    current: str | None = None
    while True:
        waiting = {name: p.waiting for name, p in processes.items() if p.waiting}
        if not waiting and not world.in_flight:
            break
        current = current if current in waiting else next(iter(waiting), None)
        move, subject = pick(world, waiting, current, choose)
        if move == "end":
            break
        if move == "switch":
            current = subject
        elif move == "kill":
            world.trace.append(f"{current} is killed before: {processes[subject].waiting.label}")
            processes[subject].waiting = None
        elif move == "jump":
            world.jumps, world.now = world.jumps - 1, world.now + subject
            world.trace.append("time passes")
        elif move == "land":
            late = world.in_flight.pop(subject)
            world.trace.append(f"lands late: {late.label} -> {late.effect()}")
            world.always()
        else:
            perform(world, processes[subject], move)
    recover(world)


def pick(world: World, waiting: dict[str, Step], current: str | None, choose: Callable[[int], int]) -> tuple[str, Any]:
    moves: list[tuple[str, Any]] = [("step", current) if current else ("end", None)]
    moves += [("switch", name) for name in waiting if name != current]
    if current:
        moves += [(fault, current) for fault in waiting[current].faults] + [("kill", current)]
    moves += [("land", i) for i in range(len(world.in_flight))]
    if world.jumps:
        moves += [("jump", by) for by in JUMPS]
    return moves[choose(len(moves))]


def perform(world: World, process: Process, move: str) -> None:
    step = process.waiting
    assert step
    world.now += 1
    world.me = process.name
    world.trace.append(f"{process.name}: {step.label}" + ("" if move == "step" else f" [{move}]"))
    answer = step.lost
    if move == "late":
        world.in_flight.append(Step(f"{process.name}'s {step.label}", step.effect))
    elif move == "refuse":
        answer = "refused"
    elif move in ("step", "lost reply"):
        result = step.effect()
        answer = result if move == "step" else step.lost
        if move == "step" and isinstance(result, str):
            world.trace[-1] += f" -> {result}"
    if step.faults:  # reads change nothing
        world.always()
    process.resume(answer)


def recover(world: World) -> None:
    world.trace.append("-- calm: clocks move on, a fresh start without faults --")
    for name, verb in world.recover():
        world.now += 2 * max(JUMPS)
        process = Process(world, name, verb)
        process.resume(None)
        while process.waiting:
            perform(world, process, "step")
    world.finally_()


Plan = tuple[tuple[int, int], ...]
"""Deviations from the plain schedule: at which choice, which one."""


class Broken(NamedTuple):
    why: str
    trace: list[str]
    plan: Plan

    def __str__(self) -> str:
        return "\n  ".join((self.why, *self.trace, f"plan: {self.plan}"))


class Tally:
    def __init__(self) -> None:
        self.schedules = self.steps = self.kills = self.faults = 0
        self.depth = -1  # every schedule with up to so many deviations was tried


def one(world: World, decide: Callable[[int, int], int], tally: Tally) -> tuple[list[int], Broken | None]:
    """Run one schedule: the number of choices at each point, and what broke."""
    widths: list[int] = []
    plan: list[tuple[int, int]] = []

    def choose(n: int) -> int:
        chosen = decide(len(widths), n)
        if chosen:
            plan.append((len(widths), chosen))
        widths.append(n)
        return min(chosen, n - 1)

    broken = None
    try:
        execute(world, choose)
    except Violation as violation:
        broken = Broken(str(violation), world.trace, tuple(plan))
    tally.schedules += 1
    tally.steps += len(world.trace)
    tally.kills += sum(" is killed" in line for line in world.trace)
    tally.faults += sum("[" in line for line in world.trace)
    return widths, broken


def explore(build: Callable[[], World], budget: float, depth: int, tally: Tally) -> Broken | None:
    """For half of `budget` seconds each: all schedules of up to `depth` deviations, and random ones."""
    began = time.monotonic()
    if broken := systematic(build, began + budget / 2, depth, tally):
        return broken
    for seed in range(10**9):
        if time.monotonic() > began + budget:
            break
        if broken := throw(build(), seed, tally):
            return broken
    return None


def follow(plan: Plan) -> Callable[[int, int], int]:
    chosen = dict(plan)
    return lambda i, _: chosen.get(i, 0)


def systematic(build: Callable[[], World], end: float, depth: int, tally: Tally) -> Broken | None:
    """The fewest deviations first."""
    frontier: list[Plan] = [()]
    for level in range(depth + 1):
        grown: list[Plan] = []
        for deviations in frontier:
            widths, broken = one(build(), follow(deviations), tally)
            if broken:
                return broken
            if level < depth:
                start = deviations[-1][0] + 1 if deviations else 0
                grown += [(*deviations, (i, j)) for i in range(start, len(widths)) for j in range(1, widths[i])]
            if time.monotonic() > end:
                return None
        frontier, tally.depth = grown, level
    return None


def throw(world: World, seed: int, tally: Tally) -> Broken | None:
    """One random schedule."""
    dice = random.Random(seed)
    rate = dice.choice((0.03, 0.08, 0.15, 0.3))
    return one(world, lambda _, n: dice.randrange(n) if dice.random() < rate else 0, tally)[1]
