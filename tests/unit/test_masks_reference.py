"""The Python references, checked against values worked out by other means."""

from __future__ import annotations

import hashlib
import re
from uuid import UUID

import pytest

from egress_assets.engine import masks
from egress_assets.engine.scrub.detectors import DETECTORS
from egress_assets.engine.scrub.identifiers import scan
from egress_assets.engine.scrub.keys import MasterKey

KEYS = MasterKey(bytes(range(32))).audience("shared", "1")


def mask(name: str, value: str | None, *, row: dict[str, str | None] | None = None, **params) -> str | None:
    known = masks.find(name)
    return known.reference(value, masks.parse_params(known, params), KEYS, row=row or {})


def test_unkeyed_hash_is_sparks_sha2_of_256_bits_s0_10():
    assert mask("hash", "ann@example.org", algorithm="sha256") == hashlib.sha256(b"ann@example.org").hexdigest()


def test_hash_lengths_and_encodings():
    whole = KEYS.digest("hash", "x")
    assert mask("hash", "x") == whole.hex()
    assert mask("hash", "x", length=24) == whole.hex()[:24]
    token = mask("hash", "x", encoding="base64url")
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", token or "")
    uuid = UUID(mask("hash", "x", encoding="uuid"))
    assert (uuid.version, uuid.variant) == (8, "specified in RFC 4122")
    assert uuid.hex[:12] == whole.hex()[:12]


def test_equal_values_of_one_domain_are_equal_and_of_two_are_not():
    assert mask("hash", "7", domain="customer") == mask("hash", "7", domain="customer")
    assert mask("hash", "7", domain="customer") != mask("hash", "7", domain="order")


def test_email_folds_ascii_case_unless_told_not_to():
    assert mask("email", "Ann@Example.ORG") == mask("email", "ann@example.org")
    assert mask("email", "Ann@Example.ORG", normalise="none") != mask("email", "ann@example.org", normalise="none")
    assert mask("email", "É@x.org") != mask("email", "é@x.org")
    assert re.fullmatch(r"[0-9a-f]{22}@example\.invalid", mask("email", "ann@example.org") or "")


def test_the_lists_of_names_are_whole_distinct_and_short():
    from egress_assets.engine.masks.name import CHOICES, _all

    for names in _all().values():
        assert len(names) == len(set(names)) == CHOICES
        assert all(re.fullmatch(r"[A-Z][a-z]{1,13}", name) for name in names)


def test_a_name_is_two_words_of_the_lists():
    given, family = (mask("name", "Joan Doe") or "").split()
    assert mask("name", "Joan Doe", part="given") == given
    assert mask("name", "Joan Doe", part="family") != given
    assert re.search(r"(bridge|by|field|ford|ley|ton|wick|wood)$", family)


def test_all_dates_of_an_entity_move_alike_and_never_by_zero():
    shifts = set()
    for entity in range(400):
        row: dict[str, str | None] = {"id": str(entity)}
        moved = mask("date_shift", "2026-06-15", row=row, by="id", days=3)
        assert moved is not None
        assert mask("date_shift", "2026-06-15 10:00:00", row=row, by="id", days=3) == moved + " 10:00:00"
        assert mask("date_shift", "2026-06-15 10:00:00.5+00", row=row, by="id", days=3) == moved + " 10:00:00.5+00"
        shifts.add(int(moved[-2:]) - 15)
    assert shifts == {-3, -2, -1, 1, 2, 3}


def test_rows_without_an_entity_still_have_their_date_moved():
    assert mask("date_shift", "2026-06-15", row={"id": None}, by="id") not in (None, "2026-06-15")
    assert mask("date_shift", "infinity", row={"id": "1"}, by="id") == "infinity"


@pytest.mark.parametrize("encoding", ["hex", "base64url", "uuid"])
def test_no_pseudonym_looks_like_an_identifier(encoding):
    lines = [f"{mask('hash', str(n), encoding=encoding)},{mask('email', str(n))}\n" for n in range(4000)]
    assert scan(["".join(lines).encode()], list(DETECTORS)) == {}
