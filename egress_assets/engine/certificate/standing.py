"""The certificate of a scrub: found, or made from evidence and stored once.

    certificates/<unit>/date=D/<digest of the entries>/<fingerprint of the signing key>.json

The pointer is swapped first, the certificate comes after it. A process that dies in between leaves a truth without its
certificate, and nothing that can't be made again: what it says is a function of the pointer and the manifests. So each
of these makes the one that lacks: the next start of the scrub (also one that finds nothing to do), `egress sweep` and
its daily job, mirrors and deliveries of the scrub before they read it, `egress certificate`. Two that do so at once put
at one key, if absent: one body stands. A new signing key has keys of its own here, so nothing is ever replaced.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from egress_assets.engine.catalog.operate import CertificatesModel
from egress_assets.engine.certificate import dsse
from egress_assets.engine.certificate.keys import LocalSigner, PublicKey, Signer, fingerprint, load_public
from egress_assets.engine.certificate.statement import entries_digest, lacking, statement
from egress_assets.engine.certificate.stored import stored
from egress_assets.engine.errors import CatalogError, CertificateInvalid, EgressError
from egress_assets.engine.evidence.reader import Tables
from egress_assets.engine.evidence.records import Draft, Pointer, canonical
from egress_assets.engine.layout import Unit, certificate_key, certificate_prefix
from egress_assets.engine.platform import Platform
from egress_assets.engine.result import Certified

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate in the evidence store whose signature a trusted key has made."""

    key: str  # in the evidence store
    body: bytes = field(repr=False)
    signed_by: PublicKey = field(repr=False)
    key_id: str

    @property
    def digest(self) -> str:
        """sha256 of the envelope as stored: how mirrors and receipts name it."""
        return sha256(self.body).hexdigest()

    @property
    def told(self) -> Certified:
        return Certified(self.key, self.digest, self.key_id)


def settings_of(platform: Platform) -> CertificatesModel | None:
    """What the catalog says of certificates; None: there are none."""
    return platform.catalog.endpoints.certificates


def signer_of(platform: Platform) -> Signer | None:
    """The signing key, opened; None without one. Raises CatalogError, and StoreError's kinds where KMS has it."""
    said = settings_of(platform)
    if said is None:
        return None
    if said.key.kms and platform.env != "sandbox":
        from egress_assets.engine.certificate.kms import KmsSigner

        return KmsSigner(said.key.kms, said.key_id)
    return LocalSigner.parse(platform.provider.signing_key(), said.key_id)


def trusted(platform: Platform) -> list[PublicKey]:
    """Public keys whose certificates count: the current one first, if it can be had here, then those of `trusted`.

    Raises CatalogError when nothing is left to verify with.
    """
    earlier = [load_public(pem, "a key of certificates.trusted") for pem in platform.provider.trusted_keys()]
    try:
        signer = signer_of(platform)
    except EgressError:
        if not earlier:
            raise
        return earlier
    return [signer.public, *earlier] if signer else earlier


def standing(platform: Platform, pointer: Pointer) -> Certificate | None:
    """The certificate of the pointer's entry set, by a trusted key; None when there is none. Reads only.

    Raises CatalogError, StoreError's kinds.
    """
    if settings_of(platform) is None or pointer.unit.stage != "scrub":
        return None
    there = list(stored(platform.evidence, pointer))
    if not there:
        return None
    keys = trusted(platform)
    found = (each for key, body in there if (each := _believed(key, body, keys)))
    rank = {fingerprint(key): place for place, key in enumerate(keys)}
    return min(found, key=lambda each: rank[fingerprint(each.signed_by)], default=None)


def of_children(platform: Platform, unit: Unit, date: str, drafts: Iterable[Draft]) -> Certificate | None:
    """The certificate that a mirror or delivery of a scrub was made with: the one it noted, if it still is believed.

    Else the standing one, where what they were made of is what the scrub's pointer still names: of before there were
    certificates, or signed anew since. Raises as `standing`.
    """
    children = list(drafts)
    noted = {draft.facts.get("certificate", "") for draft in children}
    if len(noted) == 1 and (found := _named(platform, unit, date, noted.pop())):
        return found
    pointer = platform.evidence.pointer(unit, date)
    if pointer is None or not all(_is_of(pointer, draft.parents.get(str(unit), {})) for draft in children):
        return None
    return standing(platform, pointer)


def _named(platform: Platform, unit: Unit, date: str, digest: str) -> Certificate | None:
    """A certificate of the date by its digest. Lists those of the date: one a set of entries and signing key."""
    if not digest:
        return None
    for listed in platform.evidence.store.list(certificate_prefix(unit, date)):
        there = platform.evidence.store.read(listed.key)
        if there and sha256(there[0]).hexdigest() == digest:
            return _believed(listed.key, there[0], trusted(platform))
    return None


def _is_of(pointer: Pointer, read: Mapping[str, Any]) -> bool:
    """Whether the entries that a child has read, {table: [attempt, content_digest]}, are what the pointer names."""
    entries = {table: [e.attempt, e.content_digest] for table, e in pointer.entries.items()}
    return bool(read) and all(entries.get(table) == list(each) for table, each in read.items())


def _believed(key: str, body: bytes, keys: list[PublicKey]) -> Certificate | None:
    try:
        verified = dsse.parse(body).verified_by(keys)
    except CertificateInvalid as error:
        logger.warning("not believed: %s: %s", key, error)
        return None
    if verified is None:
        logger.info("not believed: %s: no trusted key has signed it", key)
        return None
    signature, signed_by = verified
    return Certificate(key, body, signed_by, signature.key_id)


def ensure(platform: Platform, unit: Unit, date: str) -> Certificate | None:
    """The standing certificate of a unit's date, made now if it lacks; None where there is nothing to certify.

    Raises CatalogError (the key), CertificateInvalid (something else lies there), OutcomeUnknown, StoreError's kinds.
    """
    if settings_of(platform) is None or unit.stage != "scrub":
        return None
    pointer = platform.evidence.pointer(unit, date)
    if pointer is None:
        return None
    if there := standing(platform, pointer):
        return there
    tables = platform.evidence.tables(pointer)
    model = platform.catalog.datasets.get(unit.names[0])
    if why := lacking(pointer, tables, frozenset(model.tables) if model else frozenset()):
        logger.info("no certificate for %s %s: %s", unit.title, date, why)
        return None
    return _made(platform, pointer, tables)


def _made(platform: Platform, pointer: Pointer, tables: Tables) -> Certificate | None:
    signer = signer_of(platform)
    if signer is None:
        return None
    last = platform.evidence.manifest(pointer.unit, pointer.date, pointer.by)
    body = dsse.seal(canonical(statement(pointer, tables, last)), signer)
    key = certificate_key(pointer.unit, pointer.date, entries_digest(pointer), fingerprint(signer.public))
    stands = platform.evidence.certify(key, body)
    made = _believed(key, stands, [signer.public])
    if made is None:
        raise CertificateInvalid(
            f"{key} lies in the evidence store and is not signed by the key that its name says",
            hint="Find out who wrote there. Certificates are never replaced: use a new signing key, then run again.",
        )
    logger.info("certified %s %s: %s by key %s", pointer.unit.title, pointer.date, made.digest, made.key_id)
    return made


def repair(platform: Platform, unit: Unit, date: str) -> None:
    """`ensure` for those who are about to read a scrub: what it meets is logged, the Release says what lacks."""
    try:
        ensure(platform, unit, date)
    except CatalogError as error:  # this process may read the scrub and has no signing key
        logger.info("not certified here: %s %s: %s", unit.title, date, error)
    except EgressError as error:
        logger.warning("not certified: %s %s: %s", unit.title, date, error)
