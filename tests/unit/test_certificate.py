"""Certificates: what they say is made from evidence alone, and whoever changes one byte of them is found out."""

from __future__ import annotations

import base64
import copy
import json
import pickle
import tomllib
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from egress_assets.engine.certificate import dsse
from egress_assets.engine.certificate.check import check, examine, in_folder
from egress_assets.engine.certificate.keys import LocalSigner, fingerprint, load_public, public_pem
from egress_assets.engine.certificate.standing import ensure
from egress_assets.engine.errors import CatalogError, CertificateInvalid
from egress_assets.engine.evidence.records import canonical
from egress_assets.engine.platform import Platform
from egress_assets.engine.release import read_truth
from egress_assets.engine.version import VERSION
from tests.certificates import NEW, OTHER, given, keys, public, resealed, statement_of
from tests.platforms import DATE, NOW, SCRUB, A, B, Made, materialise, memory, platform


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setenv("EGRESS_NOW", NOW)


@pytest.fixture
def p() -> Platform:
    made = platform()
    materialise(made, SCRUB, Made(facts={"epoch": "2026Q4", "egress_version": VERSION}))
    return given(made)


# ----------------------------------------------------------------------------------------------------------------- DSSE
@pytest.mark.parametrize(
    ("kind", "payload", "encoded"),
    [
        # The specification's own example, and the edges of its definition.
        ("http://example.com/HelloWorld", b"hello world", b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"),
        ("", b"", b"DSSEv1 0  0 "),
        ("é", "€".encode(), b"DSSEv1 2 \xc3\xa9 3 \xe2\x82\xac"),
        ("a b", b"\x00 3 x", b"DSSEv1 3 a b 5 \x00 3 x"),
    ],
)
def test_the_pre_authentication_encoding_is_the_specifications(kind, payload, encoded):
    assert dsse.pae(kind, payload) == encoded


def test_the_specifications_example_signature_verifies_with_its_p256_key():
    """The vector of DSSE protocol.md: ECDSA over P-256 and SHA-256, RFC 6979, signature as r and s."""
    numbers = ec.EllipticCurvePublicNumbers(
        46950820868899156662930047687818585632848591499744589407958293238635476079160,
        5640078356564379163099075877009565129882514886557779369047442380624545832820,
        ec.SECP256R1(),
    )
    raw = base64.b64decode("A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA==")
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    envelope = dsse.Envelope("http://example.com/HelloWorld", b"hello world", (dsse.Signature("", der),))
    assert envelope.verified_by([numbers.public_key()]) is not None
    other = dsse.Envelope("http://example.com/HelloWorlds", b"hello world", envelope.signatures)
    assert other.verified_by([numbers.public_key()]) is None


def test_url_safe_base64_is_read_as_the_specification_asks():
    body = dsse.seal(b"\xff\xfe\xfb>>>???", LocalSigner.parse(NEW))
    urled = json.loads(body)
    urled["payload"] = urled["payload"].replace("+", "-").replace("/", "_")
    assert urled["payload"] != json.loads(body)["payload"]
    assert dsse.parse(json.dumps(urled).encode()) == dsse.parse(body)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{}", b"\xff", b'{"payload": "", "payloadType": "x", "signatures": []}',
        b'{"payload": "%%", "payloadType": "x", "signatures": [{"sig": "AA=="}]}',
        b'{"payload": "", "payloadType": 5, "signatures": [{"sig": "AA=="}]}',
        b'{"payload": "", "payloadType": "x", "signatures": [{"sig": 7}]}', b"[" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_envelope_is_said_to_be_none(body):
    with pytest.raises(CertificateInvalid, match="not a DSSE envelope"):
        check(body, keys(NEW))


# ------------------------------------------------------------------------------------------------------ what it says
def test_a_certificate_says_what_was_released_and_is_the_same_for_the_same_evidence(p):
    first = ensure(p, SCRUB, DATE)
    assert first is not None
    said = statement_of(first.body)
    truth = read_truth(p, SCRUB, DATE)
    assert truth is not None
    assert said["_type"] == "https://in-toto.io/Statement/v1"
    assert {s["name"]: s["digest"]["sha256"] for s in said["subject"]} == {
        o.key: o.sha256 for content in truth.contents.values() for o in content.record.objects
    }
    predicate = said["predicate"]
    assert (predicate["unit"], predicate["date"], predicate["epoch"]) == ("scrub/shop/shared", DATE, "2026Q4")
    assert {t: v["rows"] for t, v in predicate["tables"].items()} == {A: 2, B: 1}
    assert predicate["rows"] == 3
    assert all(c["passed"] for v in predicate["tables"].values() for c in v["checks"])
    assert {v["tool"]["version"] for v in predicate["attempts"].values()} == {VERSION}
    again = ensure(p, SCRUB, DATE)
    assert again == first
    memory(p, "evidence").objects.pop(first.key)
    remade = ensure(p, SCRUB, DATE)
    assert remade is not None
    assert remade.body == first.body


def test_masks_are_named_without_their_parameters():
    from egress_assets.engine.certificate.statement import _mask

    assert [_mask(rule) for rule in ("constant(value=secret)", "keep", "")] == ["constant", "keep", ""]


def test_the_version_is_the_projects():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert project["project"]["version"] == VERSION


# ---------------------------------------------------------------------------------------------------------- tampering
def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all fields of a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, each in items for found in leaves(each, (*path, key))] or [path]


def changed(document: Any, path: tuple[Any, ...]) -> Any:
    out = copy.deepcopy(document)
    place = out
    for key in path[:-1]:
        place = place[key]
    was = place[path[-1]]
    place[path[-1]] = (not was) if isinstance(was, bool) else was + 1 if isinstance(was, int) else f"{was}x"
    return out


def test_a_change_of_any_field_of_the_statement_is_found(p):
    made = ensure(p, SCRUB, DATE)
    assert made is not None
    envelope, said = json.loads(made.body), statement_of(made.body)
    assert check(made.body, keys(NEW)).predicate["date"] == DATE
    paths = [path for path in leaves(said) if path]
    assert len(paths) > 60
    for path in paths:
        if isinstance(said, dict) and (value := _at(said, path)) in ({}, [], None):
            assert value is not Ellipsis
            continue
        forged = {**envelope, "payload": base64.b64encode(canonical(changed(said, path))).decode()}
        with pytest.raises(CertificateInvalid, match="no given key has signed"):
            check(canonical(forged), keys(NEW))


def _at(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        document = document[key]
    return document


def test_a_change_of_the_envelope_is_found(p):
    made = ensure(p, SCRUB, DATE)
    assert made is not None
    envelope = json.loads(made.body)
    for change in ({"payloadType": "application/json"}, {"signatures": [{"keyid": "x", "sig": "AAAA"}]}):
        with pytest.raises(CertificateInvalid, match="no given key has signed"):
            check(canonical({**envelope, **change}), keys(NEW))
    renamed = {**envelope, "signatures": [{**envelope["signatures"][0], "keyid": "somebody else"}]}
    assert check(canonical(renamed), keys(NEW)).fingerprint == fingerprint(keys(NEW)[0])  # a hint, nothing more


@pytest.mark.parametrize(
    ("match", "change"),
    [
        ("contradicts itself in rows", lambda s: s["predicate"].update(rows=99)),
        ("contradicts itself in objects", lambda s: s["subject"].pop()),
        ("contradicts itself in entries_digest", lambda s: s["predicate"]["tables"][A].update(content_digest="0")),
        ("contradicts itself in policy_digest", lambda s: s["predicate"]["tables"][A].update(policy_digest="0")),
        ("contradicts itself in attempts", lambda s: s["predicate"]["attempts"].clear()),
        ("did not pass", lambda s: s["predicate"]["tables"][A]["checks"][0].update(passed=False)),
        ("did not pass", lambda s: s["predicate"]["tables"][A].update(checks=[])),
        ("lacks or garbles", lambda s: s["predicate"].pop("epoch")),
        ("lacks or garbles", lambda s: s["predicate"].update(epoch=5)),
        ("lacks or garbles", lambda s: s.update(subject=[])),
        ("lacks or garbles", lambda s: s["subject"].append(s["subject"][0])),
        ("lacks or garbles", lambda s: s["subject"][0]["digest"].update(sha256="AB")),
        ("was expected", lambda s: s.update(predicateType="https://slsa.dev/provenance/v1")),
        ("was expected", lambda s: s.update(_type="https://in-toto.io/Statement/v0.1")),
        ("no in-toto statement", lambda s: s.pop("_type")),
    ],
)
def test_a_signature_does_not_make_a_wrong_statement_right(p, match, change):
    made = ensure(p, SCRUB, DATE)
    assert made is not None
    with pytest.raises(CertificateInvalid, match=match):
        check(resealed(made.body, change), keys(NEW))


def test_a_signed_payload_of_another_type_is_none(p):
    made = ensure(p, SCRUB, DATE)
    assert made is not None
    body = dsse.seal(dsse.parse(made.body).payload, LocalSigner.parse(NEW), payload_type="text/plain")
    with pytest.raises(CertificateInvalid, match="'text/plain'"):
        check(body, keys(NEW))


# --------------------------------------------------------------------------------------------------------------- keys
def test_another_key_does_not_verify_and_one_of_several_is_enough(p):
    made = ensure(p, SCRUB, DATE)
    assert made is not None
    with pytest.raises(CertificateInvalid, match=fingerprint(keys(OTHER)[0])):
        check(made.body, keys(OTHER))
    with pytest.raises(CertificateInvalid, match="given are none"):
        check(made.body, [])
    assert check(made.body, keys(OTHER, NEW)).key_id == fingerprint(keys(NEW)[0])


@pytest.mark.parametrize(
    ("pem", "match"),
    [
        ("", "not a private key in PEM"),
        (public(NEW), "not a private key in PEM"),
        (
            ec.generate_private_key(ec.SECP256R1())
            .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            .decode(),
            "EllipticCurve|EC",
        ),
        (
            rsa.generate_private_key(65537, 2048)
            .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
            .decode(),
            "passphrase",
        ),
    ],
    ids=["empty", "public", "p256", "passphrase"],
)
def test_a_signing_key_of_another_kind_is_refused_without_quoting_it(pem, match):
    with pytest.raises(CatalogError, match=match) as caught:
        LocalSigner.parse(pem)
    assert not pem.strip() or pem.splitlines()[1] not in f"{caught.value.message}{caught.value.hint}"


def test_a_signing_key_is_in_no_repr_and_no_pickle():
    signer = LocalSigner.parse(NEW)
    assert repr(signer) == f"LocalSigner(key_id={signer.key_id!r})"
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(signer)


def test_public_keys_of_other_kinds_are_refused():
    other = rsa.generate_private_key(65537, 2048).public_key()
    p384 = ec.generate_private_key(ec.SECP384R1()).public_key()
    for key, match in ((other, "neither"), (p384, "secp384r1")):
        with pytest.raises(CatalogError, match=match):
            load_public(public_pem(key), "it")  # type: ignore[arg-type]
    with pytest.raises(CatalogError, match=r"egress\.pub is not a public key"):
        load_public("x", "egress.pub")


# ------------------------------------------------------------------------------------------------------------ objects
def test_objects_in_a_folder_are_read_and_compared(p, tmp_path):
    made = ensure(p, SCRUB, DATE)
    assert made is not None
    checked = check(made.body, keys(NEW))
    lake = memory(p, "lake")
    for name in checked.subjects:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(lake.objects[name].body)
    assert {each.status for each in examine(checked, in_folder(tmp_path))} == {"ok"}
    one, two = sorted(checked.subjects)
    (tmp_path / one).write_bytes(b"other")
    (tmp_path / two).unlink()
    assert {each.name: each.status for each in examine(checked, in_folder(tmp_path))} == {
        one: "corrupt",
        two: "missing",
    }


def test_a_name_that_leads_out_of_the_folder_is_refused(p, tmp_path):
    made = ensure(p, SCRUB, DATE)
    assert made is not None
    outside = resealed(made.body, lambda s: s["subject"][0].update(name="../../etc/passwd"))
    with pytest.raises(CertificateInvalid, match="outside"):
        list(examine(check(outside, keys(NEW)), in_folder(tmp_path)))
