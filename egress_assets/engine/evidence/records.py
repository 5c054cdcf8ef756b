"""The records that evidence consists of: canonical JSON, format 1, read for ever.

    current/<unit>/date=D.json            Pointer   {generation, entries, by, previous, nonce}
    manifests/<unit>/date=D/<attempt>     Manifest  or a tombstone {kind: tombstone, by, nonce}
    attempts/<unit>/date=D/<attempt>      Note      {host, boot, pid, started}
    announced/<recipient>/date=D/<pipe>   Announced (recipients with limits)
    publishing/<unit>/date=D.json         Turn      {attempt, version, keys, flags} (fixed names)
    claims/<recipient>/<digest>           Claim
    receipts/D/<identity>                 Receipt
    ledger/<n>                            Entry of the hash chain
    certificates/<unit>/date=D/<digest>/<key>.json   a DSSE envelope, whose format is DSSE's

Canonical JSON: UTF-8, keys sorted, no spaces, no floats; so equal records are equal bytes, and a digest of a record is
the sha256 of its bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Literal

from egress_assets.engine.checksum import Checksums
from egress_assets.engine.dialect import PLAIN, Dialect, told
from egress_assets.engine.errors import ManifestInvalid
from egress_assets.engine.layout import Unit

FORMAT = 1


def canonical(value: Any) -> bytes:
    """Canonical JSON. Floats are refused: two writers would print them differently."""
    _refuse_floats(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _refuse_floats(value: Any) -> None:
    if isinstance(value, float):
        raise TypeError(f"evidence holds no floats: {value!r}")
    if isinstance(value, dict):
        for item in value.values():
            _refuse_floats(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_floats(item)


def digest(value: Any) -> str:
    """sha256 hex of the canonical JSON of `value` (or of the bytes themselves)."""
    return sha256(value if isinstance(value, bytes) else canonical(value)).hexdigest()


Order = Literal["older", "equal", "newer", "incomparable"]


@dataclass(frozen=True, slots=True)
class Position:
    """Where in its input a run stood. `line` says what may be compared with what.

    lsn:     line = "<system id>/<timeline>", at = the LSN as an integer
    as_of:   line = "as_of", at = microseconds of the store's or the platform's clock
    parents: line = "parents:<unit>", at = the parent pointer's generation
    """

    line: str
    at: int

    def compare(self, other: Position) -> Order:
        if self.line != other.line:
            return "incomparable"
        return "equal" if self.at == other.at else "older" if self.at < other.at else "newer"

    def to_json(self) -> dict[str, Any]:
        return {"line": self.line, "at": self.at}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Position:
        return Position(value["line"], int(value["at"]))


@dataclass(frozen=True, slots=True)
class ObjectRecord:
    """One stored object of an attempt. `rows` is None where bytes have no rows. `etag` is as the store said."""

    key: str
    bytes: int
    sha256: str
    rows: int | None = None
    etag: str = ""
    source: Mapping[str, Any] = field(default_factory=dict)  # mirrors: key, etag, bytes, modified of what was copied
    raw_bytes: int | None = None  # before compression

    def to_json(self) -> dict[str, Any]:
        out: dict[str, Any] = {"key": self.key, "bytes": self.bytes, "sha256": self.sha256, "etag": self.etag}
        if self.rows is not None:
            out["rows"] = self.rows
        if self.raw_bytes is not None:
            out["raw_bytes"] = self.raw_bytes
        if self.source:
            out["source"] = dict(self.source)
        return out

    @staticmethod
    def from_json(v: Mapping[str, Any]) -> ObjectRecord:
        return ObjectRecord(
            v["key"], v["bytes"], v["sha256"], v.get("rows"), v.get("etag", ""), v.get("source", {}), v.get("raw_bytes")
        )


@dataclass(frozen=True, slots=True)
class Column:
    """A column as it was when the snapshot was taken; `mask` is set in scrubbed tables."""

    name: str
    type: str
    nullable: bool = True
    mask: str = ""

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "type": self.type, "nullable": self.nullable, "mask": self.mask}

    @staticmethod
    def from_json(v: Mapping[str, Any]) -> Column:
        return Column(v["name"], v["type"], v["nullable"], v.get("mask", ""))


@dataclass(frozen=True, slots=True)
class CheckRecord:
    """What a check over the output found: counts and shapes, never values."""

    name: str
    passed: bool
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "passed": self.passed, "facts": dict(self.facts)}

    @staticmethod
    def from_json(v: Mapping[str, Any]) -> CheckRecord:
        return CheckRecord(v["name"], v["passed"], v.get("facts", {}))


@dataclass(frozen=True, slots=True)
class TableRecord:
    """One entry's content within an attempt: a table of a dump or scrub, or a mirror's object set (name `objects`).

    `continues` and `index` are of incremental extracts: from where the next date goes on, and the object that tells
    which rows this one had already. The index is the platform's own: nobody mirrors or delivers it.
    """

    objects: tuple[ObjectRecord, ...]
    content_digest: str
    columns: tuple[Column, ...] = ()
    format: str = ""
    rows: int | None = None
    policy_digest: str = ""
    checks: tuple[CheckRecord, ...] = ()
    csv: Dialect = PLAIN  # of rows as text; records that are older than dialects have it
    continues: Mapping[str, Any] = field(default_factory=dict)
    index: ObjectRecord | None = None
    texts: Mapping[str, str] = field(default_factory=dict)  # columns that parquet holds as text, and why
    sidecars: tuple[ObjectRecord, ...] = ()  # describe the objects: verified and mirrored like them, never delivered
    checksums: Checksums | None = None  # where the catalog says `verify: deep`

    @property
    def bytes(self) -> int:
        return sum(o.bytes for o in self.objects)

    @property
    def stored(self) -> tuple[ObjectRecord, ...]:
        """All that has to lie in the store for the entry to be whole."""
        return (*self.mirrored, *((self.index,) if self.index else ()))

    @property
    def mirrored(self) -> tuple[ObjectRecord, ...]:
        """What a mirror takes along: the objects and what describes them."""
        return (*self.objects, *self.sidecars)

    def to_json(self) -> dict[str, Any]:
        out: dict[str, Any] = {
            "objects": [o.to_json() for o in self.objects],
            "content_digest": self.content_digest,
            "columns": [c.to_json() for c in self.columns],
            "format": self.format,
            "policy_digest": self.policy_digest,
            "checks": [c.to_json() for c in self.checks],
            **told(self.csv),
        }
        if self.rows is not None:
            out["rows"] = self.rows
        if self.continues:
            out["continues"] = dict(self.continues)
        if self.index is not None:
            out["index"] = self.index.to_json()
        if self.texts:
            out["texts"] = dict(self.texts)
        if self.sidecars:
            out["sidecars"] = [o.to_json() for o in self.sidecars]
        if self.checksums is not None:
            out["checksums"] = self.checksums.to_json()
        return out

    @staticmethod
    def from_json(v: Mapping[str, Any]) -> TableRecord:
        return TableRecord(
            tuple(ObjectRecord.from_json(o) for o in v["objects"]),
            v["content_digest"],
            tuple(Column.from_json(c) for c in v.get("columns", ())),
            v.get("format", ""),
            v.get("rows"),
            v.get("policy_digest", ""),
            tuple(CheckRecord.from_json(c) for c in v.get("checks", ())),
            Dialect.from_json(v["csv"]) if "csv" in v else PLAIN,
            v.get("continues", {}),
            ObjectRecord.from_json(v["index"]) if "index" in v else None,
            v.get("texts", {}),
            tuple(ObjectRecord.from_json(o) for o in v.get("sidecars", ())),
            Checksums.from_json(v["checksums"]) if "checksums" in v else None,
        )


@dataclass(frozen=True, slots=True)
class Draft:
    """What a run's work hands to `materialise`: everything of the manifest but identity and base.

    `tables` has the tables that this run replaces. `spec_digest` covers what the no-op compares (catalog spec, format,
    policy, key id, schema). `parents` maps a parent unit to the entries that were read:
    {table: [attempt, content_digest]}.
    """

    tables: Mapping[str, TableRecord]
    position: Position
    snapshot: str
    as_of: str
    store: str
    spec_digest: str = ""
    key_id: str = ""
    audience: str = ""
    basis: Mapping[str, Any] = field(default_factory=dict)
    parents: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)  # server version, phases in ms, run id: told, not compared


@dataclass(frozen=True, slots=True)
class Manifest:
    """A sealed attempt. `digest` is the sha256 of its bytes as stored."""

    unit: Unit
    date: str
    attempt: str
    nonce: str
    base_generation: int
    base_by: str
    draft: Draft
    digest: str = ""

    def to_json(self) -> dict[str, Any]:
        d = self.draft
        return {
            "format": FORMAT,
            "kind": "manifest",
            "unit": str(self.unit),
            "date": self.date,
            "attempt": self.attempt,
            "nonce": self.nonce,
            "base": {"generation": self.base_generation, "by": self.base_by},
            "tables": {name: t.to_json() for name, t in d.tables.items()},
            "position": d.position.to_json(),
            "snapshot": d.snapshot,
            "as_of": d.as_of,
            "store": d.store,
            "spec_digest": d.spec_digest,
            "key_id": d.key_id,
            "audience": d.audience,
            "basis": dict(d.basis),
            "parents": dict(d.parents),
            "facts": dict(d.facts),
        }

    @staticmethod
    def parse(body: bytes) -> Manifest | None:
        """None for a tombstone. Raises ManifestInvalid, also for a format of the future."""
        v = parse_record(body)
        if v.get("kind") == "tombstone":
            return None
        try:
            draft = Draft(
                tables={n: TableRecord.from_json(t) for n, t in v["tables"].items()},
                position=Position.from_json(v["position"]),
                snapshot=v["snapshot"],
                as_of=v["as_of"],
                store=v["store"],
                spec_digest=v["spec_digest"],
                key_id=v["key_id"],
                audience=v["audience"],
                basis=v["basis"],
                parents=v["parents"],
                facts=v["facts"],
            )
            unit = Unit.parse(v["unit"])
            base = v["base"]
            return Manifest(
                unit, v["date"], v["attempt"], v["nonce"], base["generation"], base["by"], draft, digest(body)
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ManifestInvalid(f"a manifest lacks or garbles a field: {error}") from error


@dataclass(frozen=True, slots=True)
class Entry:
    """A table's truth: which attempt holds it. Moved = `attempt` or `content_digest` differs; nothing else counts."""

    attempt: str
    manifest_digest: str
    content_digest: str
    position: Position
    snapshot: str

    def same_content(self, other: Entry | None) -> bool:
        return other is not None and (self.attempt, self.content_digest) == (other.attempt, other.content_digest)

    def to_json(self) -> dict[str, Any]:
        return {
            "attempt": self.attempt,
            "manifest_digest": self.manifest_digest,
            "content_digest": self.content_digest,
            "position": self.position.to_json(),
            "snapshot": self.snapshot,
        }

    @staticmethod
    def from_json(v: Mapping[str, Any]) -> Entry:
        position = Position.from_json(v["position"])
        return Entry(v["attempt"], v["manifest_digest"], v["content_digest"], position, v["snapshot"])


@dataclass(frozen=True, slots=True)
class Pointer:
    """The truth of a unit and date. `etag`, `modified`, `seen` and `body` are of the answer it was read from."""

    unit: Unit
    date: str
    generation: int
    entries: Mapping[str, Entry]
    by: str
    previous: str
    nonce: str
    spec_digest: str = ""
    key_id: str = ""
    etag: str = ""
    modified: int = 0  # microseconds since the epoch, the store's clock
    seen: int = 0  # the Date of the same answer
    body: bytes = field(default=b"", repr=False)

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "kind": "pointer",
            "unit": str(self.unit),
            "date": self.date,
            "generation": self.generation,
            "entries": {name: e.to_json() for name, e in self.entries.items()},
            "by": self.by,
            "previous": self.previous,
            "nonce": self.nonce,
            "spec_digest": self.spec_digest,
            "key_id": self.key_id,
        }

    def consistent(self, tables: frozenset[str]) -> bool:
        """Exactly the catalog's tables, all of one snapshot."""
        return set(self.entries) == tables and len({e.snapshot for e in self.entries.values()}) == 1


def parse_pointer(body: bytes) -> Pointer:
    v = parse_record(body)
    try:
        entries = {n: Entry.from_json(e) for n, e in v["entries"].items()}
        return Pointer(
            Unit.parse(v["unit"]), v["date"], v["generation"], entries, v["by"], v["previous"], v["nonce"],
            v.get("spec_digest", ""), v.get("key_id", ""), body=body,
        )  # fmt: skip
    except (KeyError, TypeError, AttributeError) as error:
        raise ManifestInvalid(f"a pointer lacks or garbles a field: {error}") from error


def parse_record(body: bytes) -> dict[str, Any]:
    """Any record as a dict; raises ManifestInvalid for what is not one of ours or newer than this reader."""
    try:
        v = json.loads(body)
        version = v["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise ManifestInvalid("a record in the evidence store is not valid JSON with a format version") from error
    if version != FORMAT:
        raise ManifestInvalid(
            f"a record has format {version}, this program reads {FORMAT}", hint="Upgrade Egress to read newer evidence."
        )
    return v


@dataclass(frozen=True, slots=True)
class Note:
    """Who runs an attempt; written before anything else of it. Without a boot nobody can say whether it is gone."""

    attempt: str
    host: str = ""
    boot: str = ""  # boot and pid namespace
    pid: int = 0
    started: str = ""  # the process's start, in ticks since the boot

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT, "kind": "note", "attempt": self.attempt,
            "host": self.host, "boot": self.boot, "pid": self.pid, "started": self.started,
        }  # fmt: skip

    @staticmethod
    def parse(body: bytes) -> Note:
        v = parse_record(body)
        try:
            return Note(v["attempt"], v["host"], v["boot"], v["pid"], v["started"])
        except KeyError as error:
            raise ManifestInvalid(f"a note lacks the field {error}") from error


def tombstone(attempt: str, by: str, nonce: str) -> dict[str, Any]:
    """Lies at the key of a manifest that shall never be."""
    return {"format": FORMAT, "kind": "tombstone", "attempt": attempt, "by": by, "nonce": nonce}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a materialise ended. `unchanged`: every entry kept its attempt. `pointer` is the one that was written."""

    how: Literal["moved", "unchanged"]
    pointer: Pointer
    attempt: str
    moved: frozenset[str]  # tables whose entry differs from the base's
