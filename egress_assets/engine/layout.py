"""Names: the only code that formats or parses asset keys, evidence keys and object keys.

Every segment that comes from outside (table, dataset, recipient, file name) goes through `escape`, so no name can
leave its folder, collide with another or break a store: what remains is `[A-Za-z0-9_]`, reversible by `unescape`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256

_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYabcdefghijklmnopqrstuvwxyz0123456789")
CHECKS = ("gate", "no_direct_identifiers", "policy_covers_schema", "row_counts_match")
"""Names of asset checks. Dagster names a check's output `<asset>_<check>`: a table may not end like that."""

STAGES = ("dump", "scrub", "mirror", "delivery", "archive", "archive_scrub", "load")
_ATTEMPT = re.compile(r"[0-9]{8}T[0-9]{9}-[0-9a-f]{8}")


@lru_cache(maxsize=2**14)  # 500 tables ask 10,000 times for 500 names: 0.07 s of every load of the definitions
def escape(name: str) -> str:
    """`[A-Za-z0-9]` except Z stay, so does `_` where Dagster can't misread it; other bytes are Z and two hex digits.

    Reversible and injective; the result is a valid Dagster name and a valid path segment, never empty for a name.
    """
    guarded = {len(name.encode()) - len(c.encode()) - 1 for c in CHECKS if name.endswith("_" + c)}
    data = name.encode()
    out: list[str] = []
    for i, byte in enumerate(data):
        edge = i in (0, len(data) - 1) or data[i - 1] == 0x5F or i in guarded
        out.append(chr(byte) if byte in _PLAIN or (byte == 0x5F and not edge) else f"Z{byte:02X}")
    return "".join(out)


def unescape(text: str) -> str:
    """The name that `escape` was given."""
    return re.sub(rb"Z([0-9A-F]{2})", lambda m: bytes([int(m[1], 16)]), text.encode()).decode()


def table_segment(table: str) -> str:
    """`<schema>.<table>` for use in a key; `table` is the catalog's `schema.table`, split at its first dot."""
    schema, _, name = table.partition(".")
    return f"{escape(schema)}.{escape(name)}"


@dataclass(frozen=True, slots=True, order=True)
class Unit:
    """What one op materialises for a date: (`dump`, shop), (`scrub`, shop, shared), (`mirror`, shop), ..."""

    stage: str
    names: tuple[str, ...]

    def __str__(self) -> str:
        return "/".join((self.stage, *map(escape, self.names)))

    @property
    def title(self) -> str:
        """For people: names unescaped."""
        return "/".join((self.stage, *self.names))

    @staticmethod
    def parse(text: str) -> Unit:
        stage, *names = text.split("/")
        return Unit(stage, tuple(unescape(n) for n in names))


def dump_unit(dataset: str) -> Unit:
    return Unit("dump", (dataset,))


def scrub_unit(dataset: str, audience: str) -> Unit:
    return Unit("scrub", (dataset, audience))


def mirror_unit(name: str) -> Unit:
    return Unit("mirror", (name,))


def delivery_unit(recipient: str, pipeline: str) -> Unit:
    return Unit("delivery", (recipient, pipeline))


# ------------------------------------------------------------------------------------------------- asset keys (Dagster)
def asset_key(unit: Unit, table: str = "") -> tuple[str, ...]:
    """Path of the asset for one table of a unit; mirrors and deliveries have one asset a unit."""
    path = (unit.stage, *map(escape, unit.names))
    if not table:
        return path
    schema, _, name = table.partition(".")
    return (*path, escape(schema), escape(name))


def source_key(dataset: str) -> tuple[str, ...]:
    return ("source", escape(dataset))


def bucket_policy_key(store: str) -> tuple[str, ...]:
    return ("bucket_policy", escape(store))


def parse_asset_key(path: tuple[str, ...]) -> tuple[Unit, str]:
    """(unit, table or '') of an asset key; the inverse of `asset_key`."""
    names = [unescape(p) for p in path[1:]]
    depth = {"dump": 1, "scrub": 2, "mirror": 1, "delivery": 2, "archive": 1, "archive_scrub": 2, "load": 2}[path[0]]
    return Unit(path[0], tuple(names[:depth])), ".".join(names[depth:])


# --------------------------------------------------------------------------------------------------------- object keys
def attempt_prefix(unit: Unit, date: str, attempt: str) -> str:
    """Where one attempt's bytes lie in its stage's store; ends with a slash."""
    return f"{unit}/date={date}/a={attempt}/"


def part_key(unit: Unit, date: str, attempt: str, *, table: str, part: int, suffix: str) -> str:
    """`<unit>/date=D/a=<attempt>/<schema>.<table>/part-00000.csv.zst`."""
    return f"{attempt_prefix(unit, date, attempt)}{table_segment(table)}/part-{part:05d}.{suffix}"


def index_key(unit: Unit, date: str, attempt: str, *, table: str) -> str:
    """What an incremental extract leaves for the date after it, beside the table's parts."""
    return f"{attempt_prefix(unit, date, attempt)}{table_segment(table)}/overlap.index"


def schema_key(unit: Unit, date: str, attempt: str, *, table: str) -> str:
    """`<unit>/date=D/a=<attempt>/<schema>.<table>/schema.json`: what the parts beside it hold."""
    return f"{attempt_prefix(unit, date, attempt)}{table_segment(table)}/schema.json"


def copy_key(unit: Unit, date: str, attempt: str) -> str:
    """The manifest's copy beside the bytes, for readers without evidence; no table has this name."""
    return f"{attempt_prefix(unit, date, attempt)}_manifest.json"


def date_prefix(unit: Unit, date: str) -> str:
    return f"{unit}/date={date}/"


def attempt_of(key: str) -> str:
    """The attempt that a stored key belongs to, or '' when it is not one of ours."""
    found = re.search(r"/a=([^/]+)/", key)
    return found[1] if found and _ATTEMPT.fullmatch(found[1]) else ""


def is_attempt(text: str) -> bool:
    return bool(_ATTEMPT.fullmatch(text))


PROBES = "egress-probe/"
"""Objects of a few bytes that ask what a store does; deleted at once."""


# ------------------------------------------------------------------------------------------------------- evidence keys
NOTES, RECEIPTS, LEDGER, HOLDS = "attempts/", "receipts/", "ledger/", "holds/"
FAILURES, MISSED, CERTIFICATES = "failures/", "missed/", "certificates/"


def pointer_key(unit: Unit, date: str) -> str:
    return f"current/{unit}/date={date}.json"


def manifest_key(unit: Unit, date: str, attempt: str) -> str:
    return f"manifests/{unit}/date={date}/{attempt}"


def note_key(unit: Unit, date: str, attempt: str) -> str:
    """Where an attempt notes who runs it, before it writes anything else."""
    return f"attempts/{unit}/date={date}/{attempt}"


def parse_note_key(key: str) -> tuple[Unit, str, str]:
    """(unit, date, attempt) of a note's key."""
    path, _, tail = key.removeprefix(NOTES).rpartition("/date=")
    date, _, attempt = tail.partition("/")
    return Unit.parse(path), date, attempt


def claim_key(recipient: str, destination: str) -> str:
    return f"claims/{escape(recipient)}/{sha256(destination.encode()).hexdigest()}"


def certificate_prefix(unit: Unit, date: str = "", entries: str = "") -> str:
    """Where certificates of a unit lie, of one of its dates, of one set of entries (by digest) of that date."""
    dated = f"date={date}/" if date else ""
    return f"{CERTIFICATES}{unit}/{dated}{f'{entries}/' if entries else ''}"


def certificate_key(unit: Unit, date: str, entries: str, fingerprint: str) -> str:
    """One a set of entries and signing key: a rotated key signs anew, nothing is replaced."""
    return f"{certificate_prefix(unit, date, entries)}{fingerprint}.json"


def parse_certificate_key(key: str) -> tuple[Unit, str, str]:
    """(unit, date, digest of the entries) of a certificate's key."""
    path, _, tail = key.removeprefix(CERTIFICATES).rpartition("/date=")
    date, entries, _ = tail.split("/")
    return Unit.parse(path), date, entries


def announced_prefix(recipient: str, date: str) -> str:
    return f"announced/{escape(recipient)}/date={date}/"


def announced_key(recipient: str, date: str, pipeline: str) -> str:
    """What a delivery to a recipient with limits is about to send."""
    return announced_prefix(recipient, date) + escape(pipeline)


def receipt_key(date: str, identity: str) -> str:
    return f"receipts/{date}/{identity}"


def ledger_key(sequence: int) -> str:
    """Zero-padded, so that a listing is in order."""
    return f"ledger/{sequence:012d}"


def anchor_key(date: str) -> str:
    """How long the ledger was before the date's first receipt: entries before that can't cover one of them."""
    return f"anchors/{date}"


def inventory_key(unit: Unit, digest: str) -> str:
    """A shard of a bucket mirror's list of objects, named by its content: an unchanged one is referenced again."""
    return f"inventories/{unit}/{digest}.jsonl.zst"


def mirrored_manifest_key(prefix: str, unit: Unit, date: str) -> str:
    """What a mirror of a date writes last at its destination, for readers without evidence."""
    return f"{prefix}{date_prefix(unit, date)}manifest.json"


def publishing_key(unit: Unit, date: str) -> str:
    """Who writes the fixed names of a publish and date now, and what it may have left there."""
    return f"publishing/{unit}/date={date}.json"


def hold_key(kind: str, name: str) -> str:
    return f"holds/{kind}/{escape(name)}"


def arrival_key(pipeline: str, date: str, arrival: str) -> str:
    return f"arrivals/{escape(pipeline)}/date={date}/{arrival}"


def outcome_key(arrival: str) -> str:
    return f"outcomes/{arrival}"


def try_key(arrival: str, number: int) -> str:
    return f"try/{arrival}/{number}"


def failure_key(unit: Unit, date: str) -> str:
    """The last failure of a unit and date, or that it is resolved."""
    return f"{FAILURES}{unit}/date={date}.json"


def parse_failure_key(key: str) -> tuple[Unit, str]:
    """(unit, date) of a failure's key."""
    path, _, tail = key.removeprefix(FAILURES).rpartition("/date=")
    return Unit.parse(path), tail.removesuffix(".json")


def missed_key(unit: Unit, date: str) -> str:
    """That a date can't be made any more, and why."""
    return f"{MISSED}{unit}/date={date}.json"


def parse_missed_key(key: str) -> tuple[Unit, str]:
    """(unit, date) of a missed date's key."""
    path, _, tail = key.removeprefix(MISSED).rpartition("/date=")
    return Unit.parse(path), tail.removesuffix(".json")


def pointer_prefix(unit: Unit | None = None) -> str:
    return f"current/{unit}/" if unit else "current/"


def parse_pointer_key(key: str) -> tuple[Unit, str]:
    """(unit, date) of a pointer's key."""
    path, _, tail = key.removeprefix("current/").rpartition("/date=")
    return Unit.parse(path), tail.removesuffix(".json")
