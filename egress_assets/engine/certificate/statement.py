"""What a certificate says: an in-toto statement about the objects of one scrub, made from evidence alone.

It is a pure function of the pointer and the manifests that it names, so whoever finds a scrub without its certificate
can make the one that lacks. It holds names, counts, digests and shapes; no row value, no key, no parameter of a mask.
Source: in-toto attestation framework, Statement v1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from egress_assets.engine.evidence.reader import Tables
from egress_assets.engine.evidence.records import CheckRecord, Entry, Manifest, Pointer, TableRecord, digest

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "urn:egress:certificate:scrub:1"
"""A urn of our own: it names neither a host nor a person, so nobody can take it over with a domain."""


def entries_digest(pointer: Pointer) -> str:
    """What a certificate stands for: which attempt holds which content of which table.

    Positions and snapshots are left out: a run that finds equal content renews them, and the certificate still stands.
    """
    return digest({t: [e.attempt, e.manifest_digest, e.content_digest] for t, e in pointer.entries.items()})


def lacking(pointer: Pointer, tables: Tables, wanted: frozenset[str]) -> str:
    """Why this entry set gets no certificate; '' when it gets one. `wanted` are the catalog's tables.

    `consistent`, as releases use it, and more: one key, one epoch, each check passed. The gate has seen to it; this is
    what the signature says.
    """
    if absent := sorted(wanted - set(pointer.entries)):
        return f"{', '.join(absent)} of the catalog is not in it"
    if len({entry.snapshot for entry in pointer.entries.values()}) != 1:
        return "its tables are of several snapshots"
    for table, (_, record) in tables.items():
        if not record.checks or not all(check.passed for check in record.checks):
            return f"{table} has not passed its gate"
    if len({_keyed(manifest) for manifest, _ in tables.values()}) != 1:
        return "its tables are scrubbed with several keys, epochs or audiences"
    return ""


def _keyed(manifest: Manifest) -> tuple[str, str, str]:
    draft = manifest.draft
    return draft.key_id, str(draft.facts.get("epoch", "")), draft.audience


def statement(pointer: Pointer, tables: Tables, last: Manifest) -> dict[str, Any]:
    """The statement about a set for which nothing is `lacking`. `last` is the manifest of the pointer's last run.

    Memory: the manifests, twice.
    """
    names = sorted(tables)
    return {
        "_type": STATEMENT,
        "subject": [{"name": o.key, "digest": {"sha256": o.sha256}} for name in names for o in tables[name][1].objects],
        "predicateType": PREDICATE,
        "predicate": {
            **_whole(pointer, tables, last),
            "tables": {name: _table(pointer.entries[name], *tables[name]) for name in names},
            "attempts": {manifest.attempt: _attempt(manifest) for manifest, _ in tables.values()},
        },
    }


def _whole(pointer: Pointer, tables: Tables, last: Manifest) -> dict[str, Any]:
    draft = next(manifest for manifest, _ in tables.values()).draft
    unit = pointer.unit
    return {
        "unit": str(unit),
        "dataset": unit.names[0],
        "audience": draft.audience,
        "date": pointer.date,
        "epoch": str(draft.facts.get("epoch", "")),
        "key_id": draft.key_id,
        "entries_digest": entries_digest(pointer),
        "policy_digest": digest({name: record.policy_digest for name, (_, record) in tables.items()}),
        "snapshot": next(iter(pointer.entries.values())).snapshot,
        "as_of": last.draft.as_of,
        "position": last.draft.position.to_json(),
        "rows": sum(record.rows or 0 for _, record in tables.values()),
        "bytes": sum(record.bytes for _, record in tables.values()),
        "detectors": _detectors(tables),
    }


def _table(entry: Entry, manifest: Manifest, record: TableRecord) -> dict[str, Any]:
    return {
        "attempt": manifest.attempt,
        "manifest_digest": manifest.digest,
        "content_digest": entry.content_digest,
        "schema_digest": digest([[c.name, c.type, c.nullable] for c in record.columns]),
        "policy_digest": record.policy_digest,
        "position": entry.position.to_json(),
        "rows": record.rows,
        "objects": len(record.objects),
        "bytes": record.bytes,
        "format": record.format,
        "columns": {column.name: _mask(column.mask) for column in record.columns},
        "checks": [_check(check) for check in record.checks],
    }


def _attempt(manifest: Manifest) -> dict[str, Any]:
    """Where the bytes of one run come from; entries that were kept for equal content are of an earlier run."""
    draft = manifest.draft
    told: dict[str, Any] = {
        "manifest_digest": manifest.digest,
        "as_of": draft.as_of,
        "position": draft.position.to_json(),
        "snapshot": draft.snapshot,
        "spec_digest": draft.spec_digest,
        "parents": dict(draft.parents),
        "tool": {"name": "egress", "version": draft.facts.get("egress_version", "")},
        "relabelled": bool(draft.facts.get("relabelled")),
        "keys_logged_by_server": bool(draft.facts.get("keys_logged_by_server")),
    }
    return told | ({"server_version": draft.facts["server_version"]} if "server_version" in draft.facts else {})


def _mask(rule: str) -> str:
    """Without its parameters, which the policy digest covers: a constant may be what somebody must not see."""
    return rule.partition("(")[0]


def _check(check: CheckRecord) -> dict[str, Any]:
    """The evidence of one check: numbers, names of detectors and of columns, shapes."""
    return {"name": check.name, "passed": check.passed, "evidence": dict(_facts(check))}


def _facts(check: CheckRecord) -> Iterator[tuple[str, Any]]:
    for name, fact in check.facts.items():
        if name == "columns" and isinstance(fact, Mapping):
            yield name, {column: _mask(str(rule)) for column, rule in fact.items()}
        else:
            yield name, fact


def _detectors(tables: Tables) -> dict[str, Any]:
    """Which looked at every byte, and their version; evidence of before they were noted has none."""
    facts = [c.facts for _, record in tables.values() for c in record.checks if "detectors" in c.facts]
    names = sorted({name for fact in facts for name in fact["detectors"]})
    versions = sorted({fact["detectors_version"] for fact in facts if "detectors_version" in fact})
    return {"names": names, "versions": versions}
