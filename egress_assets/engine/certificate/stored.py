"""Which certificates lie in the evidence store, for those who show them: no key is asked for, no signature checked.

It stands apart from standing.py, so that a process that only shows does not load cryptography.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from hashlib import sha256

from egress_assets.engine.certificate import dsse
from egress_assets.engine.certificate.statement import entries_digest
from egress_assets.engine.errors import CertificateInvalid
from egress_assets.engine.evidence.driver import Evidence
from egress_assets.engine.evidence.records import Pointer
from egress_assets.engine.layout import Unit, certificate_prefix, parse_certificate_key
from egress_assets.engine.result import Certified
from egress_assets.engine.seen import Seen, Slot

logger = logging.getLogger(__name__)


def stored(evidence: Evidence, pointer: Pointer) -> Iterator[tuple[str, bytes]]:
    """(key, body) of all that lie there for the pointer's entry set, believed or not: one a signing key."""
    prefix = certificate_prefix(pointer.unit, pointer.date, entries_digest(pointer))
    for listed in evidence.store.list(prefix):
        if there := evidence.store.read(listed.key):
            yield listed.key, there[0]


def certified(evidence: Evidence, pointer: Pointer) -> Certified | None:
    """What lies there for the pointer's entry set, told without asking for a key: for those who only show it."""
    for key, body in stored(evidence, pointer) if pointer.unit.stage == "scrub" else ():
        try:
            return Certified(key, sha256(body).hexdigest(), dsse.parse(body).signatures[0].key_id)
        except CertificateInvalid as error:
            logger.warning("not shown: %s: %s", key, error)
    return None


def uncertified(evidence: Evidence, seen: Seen) -> set[Slot]:
    """Scrubs among what was seen that no certificate lies there for. One listing a unit, no signature is checked."""
    pointers = {slot: truth.pointer for slot, truth in seen.truths.items() if slot[0].stage == "scrub"}
    signed: set[tuple[Unit, str, str]] = set()
    for unit in {unit for unit, _ in pointers}:
        first = min(date for other, date in pointers if other == unit)
        prefix = certificate_prefix(unit)
        signed |= {
            parse_certificate_key(listed.key)
            for listed in evidence.store.list(prefix, start_after=f"{prefix}date={first}")
        }
    return {slot for slot, pointer in pointers.items() if (*slot, entries_digest(pointer)) not in signed}
