"""Which scrubs are certified, by which key, made by whom when a run has died, and what stops without one."""

from __future__ import annotations

import pytest

from egress_assets.engine import housekeeping
from egress_assets.engine.certificate.check import check
from egress_assets.engine.certificate.standing import ensure, repair, standing
from egress_assets.engine.certificate.statement import entries_digest
from egress_assets.engine.certificate.stored import certified, uncertified
from egress_assets.engine.errors import CatalogError, CertificateInvalid, ReleaseRefused, StoreUnavailable
from egress_assets.engine.layout import mirror_unit
from egress_assets.engine.mirror.run import run as mirror
from egress_assets.engine.platform import Platform
from egress_assets.engine.release import read_truth, release_for
from egress_assets.engine.seen import Seen, Truth
from egress_assets.engine.version import VERSION
from tests.certificates import NEW, OLD, OTHER, given, keys, statement_of
from tests.platforms import DATE, NOW, ROWS, SCRUB, A, B, Made, materialise, memory, platform


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setenv("EGRESS_NOW", NOW)


@pytest.fixture
def p() -> Platform:
    made = platform()
    materialise(made, SCRUB, Made(facts={"epoch": "2026Q4", "egress_version": VERSION}))
    return given(made)


# ------------------------------------------------------------------------------------------------------- which sets
def test_an_inconsistent_set_gets_none_and_the_next_whole_run_gets_one_over_kept_and_new_tables(p):
    first = ensure(p, SCRUB, DATE)
    facts = {"epoch": "2026Q4"}
    materialise(p, SCRUB, Made(rows={B: b"9,x\n"}, facts=facts))
    assert ensure(p, SCRUB, DATE) is None
    materialise(p, SCRUB, Made(rows={**ROWS, B: b"9,x\n"}, facts=facts))
    second = ensure(p, SCRUB, DATE)
    assert first is not None
    assert second is not None
    assert second.key != first.key
    tables = statement_of(second.body)["predicate"]["tables"]
    before = statement_of(first.body)["predicate"]["tables"]
    assert tables[A]["attempt"] == before[A]["attempt"]
    assert tables[B]["attempt"] != before[B]["attempt"]
    assert check(second.body, keys(NEW)).subjects


def test_equal_content_found_again_keeps_the_standing_certificate(p):
    first = ensure(p, SCRUB, DATE)
    materialise(p, SCRUB, Made(facts={"epoch": "2026Q4"}))
    pointer = p.evidence.pointer(SCRUB, DATE)
    assert pointer is not None
    assert pointer.generation == 2
    assert ensure(p, SCRUB, DATE) == first
    assert len([k for k in memory(p, "evidence").objects if k.startswith("certificates/")]) == 1


@pytest.mark.parametrize(
    "made",
    [Made(rows={A: ROWS[A]}), Made(passed=False), Made(passed=None)],
    ids=["a table lacks", "the gate failed", "never checked"],
)
def test_what_is_no_whole_that_passed_gets_none(made):
    base = platform()
    materialise(base, SCRUB, made)
    assert ensure(given(base), SCRUB, DATE) is None


def test_without_certificates_in_the_catalog_there_are_none():
    base = platform()
    materialise(base, SCRUB)
    assert ensure(base, SCRUB, DATE) is None
    assert release_for(base, SCRUB, DATE).certificate == ""
    assert ensure(given(base), SCRUB, "2026-11-02") is None


def test_something_else_at_the_certificates_key_is_an_error_and_stays(p):
    made = ensure(p, SCRUB, DATE)
    assert made is not None
    evidence = memory(p, "evidence")
    evidence.put(made.key, b'{"not": "a certificate"}')
    with pytest.raises(CertificateInvalid, match="not signed by the key that its name says"):
        ensure(p, SCRUB, DATE)
    assert evidence.objects[made.key].body == b'{"not": "a certificate"}'


# ------------------------------------------------------------------------------------------- repaired, used and shown
def test_what_a_killed_run_left_out_is_made_by_the_sweep(p):
    assert housekeeping.keep_house(p, days=9000).certificates == 1
    assert housekeeping.keep_house(p, days=9000).certificates == 0
    pointer = p.evidence.pointer(SCRUB, DATE)
    assert pointer is not None
    assert standing(p, pointer) is not None


def test_a_sweep_without_the_key_goes_on_and_says_so(p):
    kept = housekeeping.keep_house(given(p, ""), days=9000)
    assert kept.certificates == 0
    assert len(kept.failed) == 1
    assert "its certificate: environment variable SIGNING is not set" in kept.failed[0]


def test_a_mirror_makes_the_certificate_that_lacks_and_names_it(p):
    mirror(p, "shop", DATE)
    pointer = p.evidence.pointer(SCRUB, DATE)
    assert pointer is not None
    made = standing(p, pointer)
    assert made is not None
    truth = read_truth(p, mirror_unit("shop"), DATE)
    assert truth is not None
    assert {c.manifest.draft.facts["certificate"] for c in truth.contents.values()} == {made.digest}
    assert release_for(p, mirror_unit("shop"), DATE).certificate == made.digest


def test_a_mirror_from_before_there_were_certificates_has_the_one_of_what_it_was_made_of(p):
    bare = platform()
    bare._stores.update(p._stores)
    mirror(bare, "shop", DATE)
    required = given(p, "", NEW, required=True)
    with pytest.raises(ReleaseRefused, match="no certificate of a trusted key"):
        release_for(required, mirror_unit("shop"), DATE)
    made = ensure(p, SCRUB, DATE)
    assert made is not None
    assert release_for(required, mirror_unit("shop"), DATE).certificate == made.digest
    materialise(p, SCRUB, Made(rows={**ROWS, B: b"9,x\n"}, facts={"epoch": "2026Q4"}))
    ensure(p, SCRUB, DATE)
    with pytest.raises(ReleaseRefused, match="no certificate of a trusted key"):
        release_for(required, mirror_unit("shop"), DATE)  # it holds what the scrub no longer names


def test_a_mirror_keeps_the_certificate_that_it_noted_as_long_as_its_key_is_trusted(p):
    mirror(p, "shop", DATE)
    noted = release_for(p, mirror_unit("shop"), DATE).certificate
    materialise(p, SCRUB, Made(rows={**ROWS, B: b"9,x\n"}, facts={"epoch": "2026Q4"}))
    assert release_for(given(p, "", NEW, required=True), mirror_unit("shop"), DATE).certificate == noted != ""
    with pytest.raises(ReleaseRefused, match="no certificate of a trusted key"):
        release_for(given(p, "", OTHER, required=True), mirror_unit("shop"), DATE)


def test_a_required_certificate_stops_what_has_none(p):
    required = given(p, "", OTHER, required=True)
    with pytest.raises(ReleaseRefused, match="no certificate of a trusted key"):
        release_for(required, SCRUB, DATE)
    made = ensure(p, SCRUB, DATE)
    with pytest.raises(ReleaseRefused, match="no certificate of a trusted key"):
        release_for(required, SCRUB, DATE)  # signed, by a key that is not trusted here
    assert made is not None
    assert release_for(given(p, "", NEW, required=True), SCRUB, DATE).certificate == made.digest
    assert release_for(given(p, "", OTHER), SCRUB, DATE).certificate == ""


def test_a_failing_store_is_no_reason_against_reading(p, caplog):
    memory(p, "evidence").failing["put_if", "*"] = StoreUnavailable("the evidence store is down")
    repair(p, SCRUB, DATE)
    assert "not certified: scrub/shop/shared" in caplog.text


def test_who_only_shows_a_certificate_needs_no_key(p):
    pointer = p.evidence.pointer(SCRUB, DATE)
    assert pointer is not None
    seen = Seen(truths={(SCRUB, DATE): Truth(pointer, 3, 1)})
    assert certified(p.evidence, pointer) is None
    assert uncertified(p.evidence, seen) == {(SCRUB, DATE)}
    made = ensure(p, SCRUB, DATE)
    assert made is not None
    assert certified(p.evidence, pointer) == made.told
    assert uncertified(p.evidence, seen) == set()
    assert entries_digest(pointer) in made.key


def test_after_a_rotation_the_old_key_counts_as_long_as_it_is_trusted(p):
    old = ensure(given(p, OLD, key_id="2025"), SCRUB, DATE)
    assert old is not None
    assert old.key_id == "2025"
    trusting = given(p, NEW, OLD, key_id="2026")
    assert ensure(trusting, SCRUB, DATE) == old
    fresh = ensure(given(p, NEW, key_id="2026"), SCRUB, DATE)  # the old key is trusted no more: certified anew
    assert fresh is not None
    assert (fresh.key_id, fresh.key != old.key) == ("2026", True)
    assert memory(p, "evidence").objects[old.key].body == old.body
    assert ensure(trusting, SCRUB, DATE) == fresh  # the current key's before older ones
    assert statement_of(fresh.body) == statement_of(old.body)


def test_who_has_no_signing_key_verifies_with_trusted_ones_and_makes_none(p):
    reader = given(p, "", NEW)
    repair(reader, SCRUB, DATE)
    pointer = p.evidence.pointer(SCRUB, DATE)
    assert pointer is not None
    assert standing(reader, pointer) is None
    made = ensure(p, SCRUB, DATE)
    assert standing(reader, pointer) == made
    with pytest.raises(CatalogError, match="SIGNING"):
        standing(given(p, ""), pointer)
