"""Certificates of real scrubs: checked by people who have the public key only, made whatever dies in between (S0-3)."""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import psycopg
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from psycopg import sql

from egress_assets.engine.catalog.operate import CertificatesModel
from egress_assets.engine.certificate import dsse
from egress_assets.engine.certificate.check import check
from egress_assets.engine.certificate.keys import LocalSigner, new_private_pem, public_pem
from egress_assets.engine.certificate.kms import KmsSigner
from egress_assets.engine.certificate.standing import standing
from egress_assets.engine.delivery.run import run as deliver
from egress_assets.engine.errors import CatalogError, KeyExposed, StoreError
from egress_assets.engine.layout import scrub_unit
from egress_assets.engine.platform import Platform
from egress_assets.engine.scrub.keys import MasterKey
from egress_assets.engine.scrub.run import run
from egress_assets.sandbox import Sandbox, start
from tests.certificates import given
from tests.platforms import DATE, NOW, SCRUB, A, Made, materialise, over
from tests.system.test_scrub import KEY, PEOPLE, SCHEMA, Bench

ROOT = Path(__file__).parents[2]
PRIVATE = new_private_pem()
PUBLIC = public_pem(LocalSigner.parse(PRIVATE).public)
UNIT = scrub_unit("d", "shared")


class Signing(Bench):
    """A bench whose catalog has certificates."""

    def signing_key(self) -> str:
        return PRIVATE

    def trusted_keys(self) -> list[str]:
        return []

    def platform(self, **said: Any) -> Platform:
        made = super().platform(**said)
        model = given(made).catalog.endpoints.certificates
        endpoints = made.catalog.endpoints.model_copy(update={"certificates": model})
        return Platform(made.catalog.model_copy(update={"endpoints": endpoints}), self)

    def certificate(self) -> bytes | None:
        """The envelope that stands for the date's pointer."""
        platform = self.platform()
        pointer = platform.evidence.pointer(UNIT, self.date)
        assert pointer is not None
        found = standing(platform, pointer)
        return found.body if found else None


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    return start()


@pytest.fixture
def bench(sandbox: Sandbox) -> Iterator[Signing]:
    name = f"certified_{secrets.token_hex(6)}"
    made = sql.Identifier(name)
    with psycopg.connect(sandbox.admin_dsn().conninfo, autocommit=True) as session:
        session.execute(sql.SQL("CREATE DATABASE {}").format(made))
        try:
            bench = Signing(sandbox, name)
            bench.execute(SCHEMA)
            yield bench
            bench.clear()
        finally:
            session.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(made))


def predicate(body: bytes | None) -> dict[str, Any]:
    assert body is not None
    return json.loads(dsse.parse(body).payload)["predicate"]


def auditor(tmp_path: Path, body: bytes, folder: Path, public: str = PUBLIC) -> subprocess.CompletedProcess[str]:
    """The program in docs/audit.md, in an interpreter that can't import this project."""
    (program,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "audit.md").read_text(), re.DOTALL)
    assert len(program.splitlines()) <= 50
    assert "egress" not in " ".join(line for line in program.splitlines() if "import" in line)
    for name, content in (("check.py", program), ("it.json", body.decode()), ("key.pub", public)):
        (tmp_path / name).write_text(content)
    return subprocess.run(
        [sys.executable, "-I", "check.py", "it.json", "key.pub", str(folder)], cwd=tmp_path, capture_output=True,
        text=True, timeout=60, check=False, env={},
    )  # fmt: skip


def fetched(bench: Signing, folder: Path) -> list[Path]:
    """The objects of the scrub below `folder`, as a mirror would have them."""
    paths = []
    for key in bench.keys("lake"):
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(bench.opened("lake").get(key)))
        paths.append(path)
    return [path for path in paths if path.name != "_manifest.json"]


# ----------------------------------------------------------------------------------------------------------- offline
def test_a_certificate_of_a_real_scrub_is_checked_by_the_auditors_program_and_by_ours(bench, tmp_path):
    result = run(bench.platform(), "d", bench.date)
    body = bench.certificate()
    assert body is not None
    assert result.certificate is not None
    checked = check(body, [LocalSigner.parse(PRIVATE).public])
    assert (checked.predicate["rows"], len(checked.subjects)) == (7, 2)
    parts = fetched(bench, tmp_path / "copy")
    done = auditor(tmp_path, body, tmp_path / "copy")
    assert done.returncode == 0, done.stderr
    assert "7 rows, 2 objects" in done.stdout
    assert auditor(
        tmp_path, body, tmp_path / "copy", public_pem(LocalSigner.parse(new_private_pem()).public)
    ).returncode
    parts[0].write_bytes(parts[0].read_bytes() + b"x")
    broken = auditor(tmp_path, body, tmp_path / "copy")
    assert broken.returncode == 1
    assert "NOT as certified" in broken.stderr


def test_no_key_and_no_value_is_in_a_certificate_s0_8(bench):
    run(
        bench.platform(people={**PEOPLE, "name": {"mask": "constant", "value": "a-constant-of-the-policy"}}),
        "d",
        bench.date,
    )
    platform = bench.platform(people={**PEOPLE, "name": {"mask": "constant", "value": "a-constant-of-the-policy"}})
    pointer = platform.evidence.pointer(UNIT, bench.date)
    assert pointer is not None
    found = standing(platform, pointer)
    assert found is not None
    text = (found.body + dsse.parse(found.body).payload).decode()
    pads = MasterKey.parse(KEY).audience("shared", "1").session(["person", "name", "date_shift", "hash"]).values()
    private = "".join(PRIVATE.splitlines()[1:-1])
    raw = [str(v) for row in bench.execute("SELECT email, name, note, code::text FROM people") for v in row if v]
    hidden = [KEY, private, bytes.fromhex(KEY).decode("latin-1"), *pads, *raw, "a-constant-of-the-policy"]
    assert [value for value in hidden if value in text] == []
    assert MasterKey.parse(KEY).key_id in text


# --------------------------------------------------------------------------------------------- which set, which policy
def test_a_mask_that_was_weakened_to_keep_is_another_policy_digest(bench):
    run(bench.platform(), "d", bench.date)
    strict = predicate(bench.certificate())
    run(bench.platform(people={**PEOPLE, "born": "keep"}), "d", bench.date)
    weak = predicate(bench.certificate())
    assert weak["policy_digest"] != strict["policy_digest"]
    people, before = weak["tables"]["public.people"], strict["tables"]["public.people"]
    assert people["policy_digest"] != before["policy_digest"]
    assert (before["columns"]["born"], people["columns"]["born"]) == ("date_shift", "keep")
    assert people["schema_digest"] == before["schema_digest"]
    assert weak["tables"]["public.orders"]["policy_digest"] == strict["tables"]["public.orders"]["policy_digest"]


def test_nothing_to_do_keeps_the_certificate_and_a_subset_has_none_until_the_date_is_whole_again(bench):
    platform, date = bench.platform(), bench.date
    first = run(platform, "d", date).certificate
    assert first is not None
    assert run(platform, "d", date).certificate == first
    assert run(platform, "d", date, again=True).certificate == first
    bench.execute("INSERT INTO orders VALUES (9, NULL, 5)")
    assert run(platform, "d", date, tables=["public.orders"], again=True).certificate is None
    whole = run(platform, "d", date)
    assert whole.certificate is not None
    assert whole.certificate != first
    said = predicate(bench.certificate())
    assert said["tables"]["public.people"]["rows"] == 3
    assert {v["attempt"] for v in said["tables"].values()} == set(said["attempts"])
    assert len(said["attempts"]) == 2  # people are kept of the first run, orders of a later one
    assert said["snapshot"] not in {said["attempts"][said["tables"]["public.people"]["attempt"]]["snapshot"]}


# ------------------------------------------------------------------------------------------------------------- crashes
_KILLED = """
import os, signal
from egress_assets.engine.evidence.driver import Evidence
from egress_assets.engine.scrub.run import run
from egress_assets.sandbox import start
from tests.system import test_certificate as here

here.PRIVATE = {private!r}
Evidence.certify = lambda self, key, body: os.kill(os.getpid(), signal.SIGKILL)
bench = here.Signing(start(), {database!r}, prefix={prefix!r})
run(bench.platform(), "d", {date!r})
"""


def test_a_kill_between_the_swap_and_the_certificate_is_repaired_by_the_next_start(bench):
    program = textwrap.dedent(_KILLED).format(
        private=PRIVATE, database=bench.database, prefix=bench.prefix, date=bench.date
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert bench.certificate() is None  # the pointer stands, its certificate does not
    result = run(bench.platform(), "d", bench.date)
    assert result.how == "nothing"
    assert result.certificate is not None
    body = bench.certificate()
    assert predicate(body)["rows"] == 7
    assert check(body or b"", [LocalSigner.parse(PRIVATE).public])


def test_a_signing_key_that_is_none_stops_before_the_first_row(bench, monkeypatch):
    monkeypatch.setattr(Signing, "signing_key", lambda self: "not a key")
    with pytest.raises(CatalogError, match="not a private key"):
        run(bench.platform(), "d", bench.date)
    assert bench.keys("lake") == []


# --------------------------------------------------------------------------------------------------------- deliveries
def test_a_receipt_and_a_mirror_name_the_certificate(sandbox, monkeypatch):
    monkeypatch.setenv("EGRESS_NOW", NOW)
    token = f"certified-{secrets.token_hex(6)}"
    files = {"agent/as_is": {"from": A, "format": "csv.zst"}, "agent/other": {"from": A, "format": "csv.gz"}}
    base = over(sandbox, token, deliveries=files)
    signed = given(base, PRIVATE)
    signed.provider.recipients, signed.provider.stores = base.provider.recipients, base.provider.stores  # type: ignore[attr-defined]
    materialise(signed, SCRUB, Made(facts={"epoch": "1"}))
    for pipeline in ("as_is", "other"):
        deliver(signed, "agent", pipeline, DATE)
    pointer = signed.evidence.pointer(SCRUB, DATE)
    assert pointer is not None
    made = standing(signed, pointer)
    assert made is not None
    receipts = list(signed.evidence.receipts(DATE))
    assert [receipt.source["certificate"] for receipt in receipts] == [made.digest] * 2


# ---------------------------------------------------------------------------------------------------------------- KMS
@pytest.fixture
def kms(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in (
        ("AWS_ENDPOINT_URL_KMS", sandbox.aws_endpoint), ("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "y"),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    client = boto3.client("kms", region_name="eu-west-2")
    yield client
    client.close()


class Kms(BaseHTTPRequestHandler):
    """Sign and GetPublicKey as AWS documents them; moto's Sign hashes a digest once more."""

    key = ec.generate_private_key(ec.SECP256R1())

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer: dict[str, Any] = {"KeyId": asked["KeyId"]}
        if self.headers["X-Amz-Target"] == "TrentService.GetPublicKey":
            der = self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            answer |= {
                "PublicKey": base64.b64encode(der).decode(),
                "KeySpec": "ECC_NIST_P256",
                "KeyUsage": "SIGN_VERIFY",
            }
        else:
            message = base64.b64decode(asked["Message"])
            assert (asked["MessageType"], asked["SigningAlgorithm"], len(message)) == ("DIGEST", "ECDSA_SHA_256", 32)
            signature = self.key.sign(message, ec.ECDSA(Prehashed(hashes.SHA256())))
            answer["Signature"] = base64.b64encode(signature).decode()
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


ARN = "arn:aws:kms:eu-west-2:123456789012:key/00000000-0000-0000-0000-000000000000"


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Kms) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "y")
        yield
        server.shutdown()


def test_a_certificate_signed_by_kms_is_checked_offline_by_the_auditors_program(aws, bench, tmp_path):
    made = bench.platform()
    model = CertificatesModel.model_validate({"key": {"kms": ARN}, "key_id": "release"})
    endpoints = made.catalog.endpoints.model_copy(update={"certificates": model})
    platform = Platform(made.catalog.model_copy(update={"endpoints": endpoints}), bench, env="prod")
    result = run(platform, "d", bench.date)
    assert result.certificate is not None
    assert result.certificate.key_id == "release"
    body = platform.evidence.store.read(result.certificate.key)
    assert body is not None
    fetched(bench, tmp_path / "copy")
    done = auditor(tmp_path, body[0], tmp_path / "copy", public_pem(Kms.key.public_key()))
    assert done.returncode == 0, done.stderr
    assert run(platform, "d", bench.date).certificate == result.certificate


def test_a_signature_that_the_keys_public_half_does_not_verify_is_not_given_out(kms):
    made = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["Arn"]
    with pytest.raises(StoreError, match="does not verify"):
        KmsSigner(made).sign(b"x")


@pytest.mark.parametrize(
    ("spec", "usage", "named"),
    [
        ("ECC_NIST_P384", "SIGN_VERIFY", "secp384r1|ECC_NIST_P384"),
        ("RSA_2048", "SIGN_VERIFY", "RSA"),
        ("RSA_2048", "ENCRYPT_DECRYPT", "RSA"),
    ],
)
def test_kms_keys_of_other_kinds_are_refused_by_name(kms, spec, usage, named):
    made = kms.create_key(KeySpec=spec, KeyUsage=usage)["KeyMetadata"]["Arn"]
    with pytest.raises(CatalogError, match=f"is ({named}).* for {usage}, ECC_NIST_P256 for SIGN_VERIFY"):
        KmsSigner(made)


def test_a_kms_key_that_is_not_there_or_does_not_answer_is_told(kms, monkeypatch):
    with pytest.raises(CatalogError, match="NotFoundException"):
        KmsSigner(ARN)
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:9")
    with pytest.raises(StoreError, match="can't be reached"):
        KmsSigner(ARN)


# ------------------------------------------------------------------------------------------------------- log settings
def test_a_server_that_would_log_keys_is_refused_before_a_key_is_sent(bench):
    bench.execute(f"ALTER DATABASE {bench.database} SET log_min_duration_statement = 0")
    with pytest.raises(KeyExposed, match="log_min_duration_statement = 0 ms") as caught:
        run(bench.platform(log_settings="refuse"), "d", bench.date)
    assert "log_settings: warn" in caught.value.hint
    assert bench.keys("lake") == []
    assert run(bench.platform(), "d", bench.date).facts["keys_logged_by_server"] is True
    bench.execute(f"ALTER DATABASE {bench.database} SET log_parameter_max_length = 0")
    assert run(bench.platform(log_settings="refuse"), "d", bench.date, again=True).how == "unchanged"
