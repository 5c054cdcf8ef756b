"""Check a certificate with public keys alone: no catalog, no evidence store, no network.

First the signature, over the bytes as they are; only what is signed is parsed. Then that it is one of ours and agrees
with itself. Then, where somebody has the objects, that they are those that it names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from egress_assets.engine.certificate import dsse
from egress_assets.engine.certificate.keys import PublicKey, algorithm, fingerprint
from egress_assets.engine.certificate.statement import PREDICATE, STATEMENT
from egress_assets.engine.errors import CertificateInvalid, ObjectMissing
from egress_assets.engine.evidence.records import digest

_HEX = re.compile(r"[0-9a-f]{64}")
_CHUNK = 2**20  # bytes of a file at a time
_TEXTS = (
    "unit",
    "dataset",
    "audience",
    "date",
    "epoch",
    "key_id",
    "entries_digest",
    "policy_digest",
    "snapshot",
    "as_of",
)


@dataclass(frozen=True, slots=True)
class Checked:
    """A certificate whose signature and structure are right. `subjects` maps an object's name to its sha256."""

    key_id: str  # as its signer calls the key
    fingerprint: str
    algorithm: str
    predicate: Mapping[str, Any] = field(repr=False)
    subjects: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Seen:
    """One object that a certificate names, read."""

    name: str
    status: Literal["ok", "missing", "corrupt"]
    bytes: int = 0
    detail: str = ""


def check(body: bytes, keys: Iterable[PublicKey]) -> Checked:
    """Signature, structure, and that the sums are of the parts. Raises CertificateInvalid, which says what is wrong."""
    envelope = dsse.parse(body)
    known = tuple(keys)
    verified = envelope.verified_by(known)
    if verified is None:
        signed, given = ", ".join(s.key_id or "?" for s in envelope.signatures), ", ".join(map(fingerprint, known))
        raise CertificateInvalid(
            f"no given key has signed the certificate: it says key {signed}, given are {given or 'none'}",
            hint="Either it was changed, or the key is another one: ask its sender which public keys were in use then.",
        )
    if envelope.payload_type != dsse.IN_TOTO:
        raise CertificateInvalid(f"the envelope holds {envelope.payload_type!r}, {dsse.IN_TOTO} was expected")
    statement = _parsed(envelope.payload)
    try:
        predicate, subjects = statement["predicate"], _subjects(statement["subject"])
        _require_whole(predicate, subjects)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise CertificateInvalid(f"the statement lacks or garbles a field: {type(error).__name__} {error}") from None
    signature, key = verified
    return Checked(signature.key_id, fingerprint(key), algorithm(key), predicate, subjects)


def _parsed(payload: bytes) -> dict[str, Any]:
    try:
        statement = json.loads(payload)
        kinds = statement["_type"], statement["predicateType"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise CertificateInvalid("the envelope holds no in-toto statement") from None
    if kinds != (STATEMENT, PREDICATE):
        raise CertificateInvalid(
            f"the statement is {kinds[0]!r} of {kinds[1]!r}, {STATEMENT} of {PREDICATE} was expected",
            hint="A newer Egress may have made it: check it with that.",
        )
    return statement


def _subjects(said: list[Any]) -> dict[str, str]:
    found = {str(each["name"]): each["digest"]["sha256"] for each in said}
    if not found or len(found) != len(said) or not all(_HEX.fullmatch(value) for value in found.values()):
        raise ValueError("subject")
    return found


def _require_whole(predicate: Mapping[str, Any], subjects: Mapping[str, str]) -> None:
    """A signature makes a statement its signer's, not consistent: what is added up is added up again."""
    if not all(isinstance(predicate[name], str) for name in _TEXTS):
        raise ValueError("predicate")
    tables, attempts = predicate["tables"], predicate["attempts"]
    entries = {t: [v["attempt"], v["manifest_digest"], v["content_digest"]] for t, v in tables.items()}
    said = {
        "entries_digest": (predicate["entries_digest"], digest(entries)),
        "policy_digest": (predicate["policy_digest"], digest({t: v["policy_digest"] for t, v in tables.items()})),
        "rows": (predicate["rows"], sum(v["rows"] or 0 for v in tables.values())),
        "objects": (len(subjects), sum(v["objects"] for v in tables.values())),
        "attempts": (
            {a: v["manifest_digest"] for a, v in attempts.items()},
            {v["attempt"]: v["manifest_digest"] for v in tables.values()},
        ),
    }
    if wrong := [name for name, (one, other) in said.items() if one != other]:
        raise CertificateInvalid(f"the certificate contradicts itself in {', '.join(wrong)}")
    for table, value in tables.items():
        checks = {each["name"]: each["passed"] for each in value["checks"]}
        if failed := [name for name, passed in checks.items() if passed is not True] or (
            [] if checks else ["no check"]
        ):
            raise CertificateInvalid(f"the certificate says that {table} did not pass: {', '.join(failed)}")


# -------------------------------------------------------------------------------------------------------------- objects
def examine(checked: Checked, read: Callable[[str], Iterable[bytes]]) -> Iterator[Seen]:
    """Every object that the certificate names, lazily, in order of names. Memory: a chunk.

    `read` gives an object's bytes and raises ObjectMissing; what else it raises is no verdict and goes through.
    """
    for name, wanted in sorted(checked.subjects.items()):
        seen, length = sha256(), 0
        try:
            for chunk in read(name):
                seen.update(chunk)
                length += len(chunk)
        except ObjectMissing as error:
            yield Seen(name, "missing", detail=error.message)
            continue
        ok = seen.hexdigest() == wanted
        detail = "" if ok else f"sha256 is {seen.hexdigest()}, the certificate says {wanted}"
        yield Seen(name, "ok" if ok else "corrupt", length, detail)


def in_folder(folder: Path) -> Callable[[str], Iterator[bytes]]:
    """Read objects below a folder. A name that would lead out of it is refused: the statement may be anybody's."""

    def read(name: str) -> Iterator[bytes]:
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise CertificateInvalid(f"the certificate names {name!r}, which lies outside of {folder}")
        try:
            with path.open("rb") as stream:
                while chunk := stream.read(_CHUNK):
                    yield chunk
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise ObjectMissing(f"{path} is not there") from None

    return read
