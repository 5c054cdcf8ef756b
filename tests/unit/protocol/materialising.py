"""Runs, a sweeper and a reader of one unit and date, over the real generators.

Each read of the source sees the next version in scenario["source"]; a version has one letter a table.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from functools import lru_cache, partial
from hashlib import sha256
from typing import Any

from egress_assets.engine.errors import EgressError, ObjectMissing, StoreUnavailable, Superseded
from egress_assets.engine.evidence import materialise, reader, records, sweep
from egress_assets.engine.evidence.records import (
    Draft,
    Entry,
    Manifest,
    Note,
    ObjectRecord,
    Outcome,
    Pointer,
    Position,
    TableRecord,
    canonical,
    digest,
)
from egress_assets.engine.layout import Unit, attempt_of, date_prefix, manifest_key, pointer_key
from egress_assets.engine.stores import Pending

from .world import WRITE, Step, Stored, World

UNIT, DATE = Unit("dump", ("shop",)), "2026-11-20"
POINTER, MANIFESTS, BYTES = pointer_key(UNIT, DATE), manifest_key(UNIT, DATE, ""), date_prefix(UNIT, DATE)
A0 = "00000000T000000000-00000000"
parse_pointer, parse_manifest = lru_cache(4096)(records.parse_pointer), lru_cache(4096)(Manifest.parse)
OBJECTS = {"t0": ("1", "2"), "t1": ("1",)}  # the second object of t0 is a multipart upload


def key_of(attempt: str, table: str, name: str) -> str:
    return f"{BYTES}a={attempt}/{table}/{name}"


def record(attempt: str, table: str, content: str) -> TableRecord:
    objects = tuple(
        ObjectRecord(key_of(attempt, table, n), len(content) + 1, sha256((content + n).encode()).hexdigest())
        for n in OBJECTS[table]
    )
    return TableRecord(objects, content)


def draft(attempt: str, contents: dict[str, str], position: int) -> Draft:
    tables = {table: record(attempt, table, letter) for table, letter in contents.items()}
    return Draft(tables, Position("as_of", position), str(position), "", "lake")


class Materialise(World):
    def __init__(self, scenario: dict[str, Any]) -> None:
        super().__init__(scenario)
        self.processes = scenario["processes"]
        self.data: dict[str, bytes] = {}
        self.uploads: set[str] = set()  # attempts with an unfinished multipart upload
        self.position = self.attempts = 0
        self.latest: dict[str, tuple[str, int, Draft | None]] = {}  # process -> its attempt, when it began, its draft
        self.confirmed: dict[str, int] = {}  # ghost, by table: newest position that the truth was said to stand for
        self.writers: list[str] = []  # ghost: attempts that moved the pointer
        self.left_at: dict[str, int] = {}  # ghost: when the pointer left an attempt
        self.truths: list[dict[str, str]] = []  # ghost: contents of all pointers so far
        self.damaged_at: int | None = None  # ghost: when expiry or rot took an object of the pointed attempt
        self.damaged = key_of(A0, "t0", "2")
        if scenario.get("pointer"):
            self.seed(scenario["pointer"])

    def seed(self, content: str) -> None:
        contents = self.by_table(content)
        for table, letter in contents.items():
            self.data |= {key_of(A0, table, n): (letter + n).encode() for n in OBJECTS[table]}
        manifest = Manifest(UNIT, DATE, A0, "", 0, "", draft(A0, contents, 0))
        body = canonical(manifest.to_json())
        self.keep(MANIFESTS + A0, body)
        entries = {t: Entry(A0, digest(body), r.content_digest, Position("as_of", 0), "0")
                   for t, r in manifest.draft.tables.items()}  # fmt: skip
        self.keep(POINTER, canonical(Pointer(UNIT, DATE, 1, entries, A0, "", "").to_json()))
        self.truths.append(self.contents(self.pointer))

    def by_table(self, content: str) -> dict[str, str]:
        """One letter a table; a `small` scenario has the table without a multipart upload only."""
        return dict(zip(("t1",) if self.scenario.get("small") else OBJECTS, content, strict=False))

    @property
    def pointer(self) -> Pointer | None:
        there = self.evidence.get(POINTER)
        return parse_pointer(there.body) if there else None

    def sealed(self, attempt: str) -> Manifest | None:
        there = self.evidence.get(MANIFESTS + attempt)
        return parse_manifest(there.body) if there else None

    @staticmethod
    def contents(pointer: Pointer | None) -> dict[str, str]:
        return {t: e.content_digest for t, e in pointer.entries.items()} if pointer else {}

    # ------------------------------------------------------------------------------------------------------ processes
    def spawn(self, name: str) -> Generator[Any, Any, Any]:
        special = {"reader": self.reader, "sweeper": self.sweeper, "expiry": self.damage, "rot": self.damage}
        return special.get(name, self.run)(name)

    def run(self, me: str) -> Generator[Any, Any, Any]:
        run = materialise.Run(
            UNIT, DATE, partial(self.new_attempt, me), partial(self.work, me), self.verify,
            lambda attempt: canonical(Note(attempt).to_json()),
        )  # fmt: skip
        try:
            outcome: Outcome = yield from materialise.materialise(run, self.scenario.get("tables", {}).get(me))
        except Superseded:
            self.report_superseded(me)
        except EgressError as error:
            self.trace.append(f"{me} fails: {error}")
        else:
            self.report(me, outcome)

    def new_attempt(self, me: str) -> str:
        self.attempts += 1
        attempt = f"{self.clock(me):08d}T000000000-{self.attempts:08x}"
        self.latest[me] = attempt, self.now, None
        return attempt

    def work(self, me: str, _base: Pointer | None, attempt: str) -> Generator[Any, Any, Draft]:
        content, position = yield Step("read the source", self.extract)
        made = draft(attempt, self.by_table(content), position)
        self.latest[me] = *self.latest[me][:2], made
        for table, letter in self.by_table(content).items():
            yield from self.write_bytes(attempt, table, letter)
        return made

    def write_bytes(self, attempt: str, table: str, letter: str) -> Generator[Any, Any, None]:
        one, two = (key_of(attempt, table, n) for n in "12")
        yield from self.insist(f"put {one}", partial(self.store, one, letter + "1"))
        if "2" in OBJECTS[table]:
            yield from self.insist(f"create {two}", lambda: self.uploads.add(attempt) or "ok")
            yield from self.insist(f"complete {two}", partial(self.complete, attempt, two, letter + "2"), two)

    def insist(self, label: str, effect: Any, settled_by: str = "") -> Generator[Any, Any, None]:
        """As a store does: two tries; a Complete without answer is settled by HEAD."""
        for _ in range(2):
            if (yield Step(label, effect, WRITE)) == "ok":
                return
            if settled_by and (yield Step(f"head {settled_by}", lambda: settled_by in self.data)):
                return
        raise StoreUnavailable(label)

    def sweeper(self, me: str) -> Generator[Any, Any, Any]:
        yield from sweep.sweep(sweep.Sweep(UNIT, DATE, me, lambda _: False, lambda _: False))

    def reader(self, me: str) -> Generator[Any, Any, Any]:
        try:
            yield from reader.read(UNIT, DATE, partial(self.consume, me))
        except EgressError as error:
            self.trace.append(f"{me} says: {error}")

    def consume(
        self, me: str, pointer: Pointer, tables: reader.Tables, got: dict[Any, bytes] | None = None
    ) -> Generator[Any, Any, None]:
        got = {} if got is None else got
        for table, (_, rec) in tables.items():
            for obj in rec.objects:
                name = table, obj.key[-1]
                if name in got:
                    continue
                chunk = yield Step(f"read {obj.key}", partial(self.data.get, obj.key))
                if chunk is None:
                    raise ObjectMissing(f"{obj.key} is gone")
                got[name] = b"".join(reader.verified(obj, [chunk]))
        good = any(
            got == {(t, n): (c + n).encode() for t, c in truth.items() for n in OBJECTS[t]} for truth in self.truths
        )
        self.require(good, f"{me} accepted {got}, which never was the truth")

    def damage(self, me: str) -> Generator[Any, Any, Any]:
        def effect() -> None:
            self.damaged_at = self.now
            if me == "rot":
                self.data[self.damaged] = b"rotten"
            else:
                self.data.pop(self.damaged, None)

        yield Step(f"{me} hits {self.damaged}", effect)

    # -------------------------------------------------------------------------------------------------------- effects
    def extract(self) -> tuple[str, int]:
        self.position += 1
        source = self.scenario["source"]
        return source[(self.position - 1) % len(source)], self.position

    def store(self, key: str, content: str) -> str:
        self.data[key] = content.encode()
        return "ok"

    def complete(self, attempt: str, key: str, content: str) -> str:
        if attempt not in self.uploads:
            return "404"
        self.uploads.discard(attempt)
        return self.store(key, content)

    def verify(self, table: str, rec: TableRecord) -> Generator[Any, Any, bool]:
        return (yield Step(f"verify {table}", lambda: self.holds(rec)))

    def holds(self, rec: TableRecord) -> bool:
        return all(sha256(self.data.get(o.key, b"")).hexdigest() == o.sha256 for o in rec.objects)

    def put_bytes(self, key: str, body: bytes) -> None:
        self.data[key] = body

    def list_bytes(self, prefix: str) -> list[str]:
        return sorted(k for k in self.data if k.startswith(prefix))

    def list_uploads(self, prefix: str) -> list[Pending]:
        return [Pending(key_of(a, "t0", "2"), a, None) for a in sorted(self.uploads)]  # pyright: ignore

    def abort(self, upload: Pending) -> None:
        self.uploads.discard(upload.upload_id)

    def delete_bytes(self, key: str) -> None:
        attempt, pointer = attempt_of(key), self.pointer
        if key in self.data and self.sealed(attempt) and not key.endswith("_manifest.json"):
            named = {e.attempt for e in pointer.entries.values()} if pointer else set()
            self.require(attempt not in named, f"swept {attempt} while it is the truth")
            since = self.now - self.left_at.get(attempt, -99)
            self.require(since > sweep.READER_LIMIT, f"swept {attempt} while readers may still need it")
        self.data.pop(key, None)

    # ----------------------------------------------------------------------------------------------------- properties
    def landed(self, key: str, before: Stored | None, after: Stored) -> None:
        if key.startswith("manifests/"):
            self.require(before is None, f"{key} was replaced")
        if key == POINTER:
            self.moved(parse_pointer(before.body) if before else None, parse_pointer(after.body))

    def moved(self, before: Pointer | None, after: Pointer) -> None:
        self.writers.append(after.by)
        self.truths.append(self.contents(after))
        old = before.entries if before else {}
        self.require(set(old) <= set(after.entries), "a table left the pointer")
        for table, entry in after.entries.items():
            self.require(entry.position.at >= self.confirmed.get(table, 0), "an older truth replaced a newer one")
            self.confirmed[table] = entry.position.at
            was = old.get(table)
            if was and was.attempt != entry.attempt and self.damaged_at is None:
                self.require(was.content_digest != entry.content_digest, "equal content moved the pointer")
        for attempt in {e.attempt for e in old.values()} - {e.attempt for e in after.entries.values()}:
            self.left_at[attempt] = self.now

    def always(self) -> None:
        pointer = self.pointer
        for table, entry in pointer.entries.items() if pointer else ():
            damaged = entry.attempt == A0 and self.damaged_at is not None
            self.require(
                damaged or self.whole(table, entry), "the pointer names an attempt that is not sealed and whole"
            )
        for key in self.data:
            if key.endswith("_manifest.json"):
                self.require(self.sealed(attempt_of(key)), "a copy of a manifest that was never sealed")

    def whole(self, table: str, entry: Entry) -> bool:
        there = self.evidence.get(MANIFESTS + entry.attempt)
        manifest = parse_manifest(there.body) if there else None
        return bool(manifest and manifest.digest == entry.manifest_digest and self.holds(manifest.draft.tables[table]))

    def mine(self, me: str) -> tuple[str, int, dict[str, str], int]:
        """(attempt, when it began, content by table that it replaces, position) of the process's last attempt."""
        attempt, began, made = self.latest[me]
        manifest = self.sealed(attempt)
        assert made
        assert manifest
        return attempt, began, {t: r.content_digest for t, r in manifest.draft.tables.items()}, made.position.at

    def report_superseded(self, me: str) -> None:
        attempt, _, tables, position = self.mine(me)
        self.trace.append(f"{me} REPORTS superseded")
        self.require(attempt not in self.writers, f"{me} won and reports superseded")
        newer = all(self.confirmed.get(t, 0) >= position for t in tables)
        self.require(newer, f"{me} is told superseded by an older truth, the newer one is lost")

    def report(self, me: str, outcome: Outcome) -> None:
        attempt, began, tables, position = self.mine(me)
        self.trace.append(f"{me} REPORTS {outcome.how}")
        if attempt not in self.writers:
            self.require(outcome.how == "unchanged", f"{me} lost and reports success")
            now = self.contents(self.pointer)
            self.require(all(now[t] == c for t, c in tables.items()), f"{me} reports unchanged, the truth is another")
        for table in set(tables) & set(outcome.pointer.entries):
            if outcome.pointer.entries[table].position.at == position:
                self.confirmed[table] = max(self.confirmed.get(table, 0), position)
        if self.damaged_at is not None and self.damaged_at < began:
            pointer = self.pointer
            whole = all(self.whole(t, e) for t, e in pointer.entries.items()) if pointer else False
            self.require(whole or me in self.scenario.get("tables", {}), f"{me} reports success over damaged bytes")

    def recover(self) -> Iterable[tuple[str, Generator[Any, Any, Any]]]:
        yield "z1", self.run("z1")
        yield "z2", self.sweeper("z2")

    def finally_(self) -> None:
        pointer = self.pointer
        self.require(pointer, "a fresh start did not complete")
        assert pointer
        named = {e.attempt for e in pointer.entries.values()}
        leaked = ({attempt_of(k) for k in self.data} | self.uploads) - named
        self.require(not leaked, "leaked attempts after a fresh start and a sweep")
        snapshots = {e.snapshot for e in pointer.entries.values()}
        self.require(len(snapshots) == 1, "a whole run left entries of two snapshots")
