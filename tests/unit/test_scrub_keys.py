"""The scrub key: what is accepted, what is derived, what is shown."""

from __future__ import annotations

import base64
import hmac
import pickle

import pytest
from psycopg import sql

from egress_assets.engine.errors import KeyMissing
from egress_assets.engine.scrub.keys import MasterKey

SECRET = bytes(range(100, 132))


@pytest.mark.parametrize("text", ["", "   ", "short", "a" * 31, "ab" * 31, "ab" * 16])
def test_a_key_of_fewer_than_32_bytes_is_refused(text):
    with pytest.raises(KeyMissing) as caught:
        MasterKey.parse(text)
    assert "openssl rand -hex 32" in caught.value.hint
    assert text.strip() == "" or text not in caught.value.message


def test_32_hex_characters_are_16_bytes_and_not_enough():
    with pytest.raises(KeyMissing, match="has 16 bytes, 32"):
        MasterKey.parse("0123456789abcdef" * 2)


def test_hex_base64_and_raw_text_of_the_same_bytes_are_one_key():
    raw = "correct horse battery staple, 40 characters!"
    forms = [SECRET.hex(), SECRET.hex().upper(), base64.b64encode(SECRET).decode(), f" {SECRET.hex()}\n"]
    forms.append(base64.urlsafe_b64encode(SECRET).decode())
    assert {MasterKey.parse(f).key_id for f in forms} == {MasterKey(SECRET).key_id}
    assert MasterKey.parse(raw).key_id == MasterKey(raw.encode()).key_id


def test_the_key_id_follows_from_the_key_and_tells_nothing_of_it():
    expected = hmac.new(SECRET, b"egress key id", "sha256").hexdigest()[:16]
    assert MasterKey(SECRET).key_id == expected
    assert MasterKey(SECRET + b"x").key_id != expected


def test_no_repr_shows_key_or_pads():
    master = MasterKey(SECRET)
    keys = master.audience("shared", "2026Q4")
    keys.digest("email", "x")
    shown = f"{master!r} {keys!r} {master} {keys}"
    pads = keys.session(["email"]).values()
    assert SECRET.hex() not in shown
    assert repr(SECRET)[2:-1] not in shown
    assert not any(pad in shown for pad in pads)


def test_a_master_key_is_not_pickled():
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(MasterKey(SECRET))


def test_the_digest_is_hmac_sha256_under_the_derived_key():
    master = MasterKey(SECRET)
    sub = master.derive("shared", "2026Q4", "email")
    expected = hmac.digest(sub, b"email\x1fann@example.org", "sha256")
    assert master.audience("shared", "2026Q4").digest("email", "ann@example.org") == expected


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (("shared", "1", "x"), ("other", "1", "x")),
        (("shared", "1", "x"), ("shared", "2", "x")),
        (("shared", "1", "x"), ("shared", "1", "y")),
        (("ab", "c", "d"), ("a", "bc", "d")),
        (("a", "b", "cd"), ("a", "bc", "d")),
    ],
)
def test_audience_epoch_and_domain_each_give_unlinkable_pseudonyms(a, b):
    master = MasterKey(SECRET)
    assert master.derive(*a) != master.derive(*b)


def test_the_statement_names_a_setting_and_holds_no_key():
    keys = MasterKey(SECRET).audience("shared", "1")
    text = keys.expression("email", sql.Identifier("email")).as_string()
    session = keys.session(["email"])
    assert set(session) == {"egress.i_email", "egress.o_email"}
    assert all(name in text for name in session)
    assert not any(pad in text for pad in session.values())
    assert SECRET.hex() not in "".join(session.values())


def test_a_session_gets_the_pads_of_its_domains_only():
    keys = MasterKey(SECRET).audience("shared", "1")
    assert keys.session([]) == {}
    assert set(keys.session(["b", "a", "b"])) == {"egress.i_a", "egress.o_a", "egress.i_b", "egress.o_b"}
