"""The own signature equals botocore's for everything that can be sent."""

from __future__ import annotations

import datetime

import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from hypothesis import example, given
from hypothesis import strategies as st

from egress_assets.engine.stores.sigv4 import EMPTY_SHA256, Credentials, Unsigned, encode_key, encode_query, sign

NOW = datetime.datetime(2026, 11, 3, 4, 5, 6, tzinfo=datetime.UTC)
# An alphabet of trouble: a sample of it finds more in less time than all of unicode.
TROUBLE = [
    *"ab/.~-_ %+&=?#;:@,$!*()[]{}|^`'\"\\<>\n\r\t\x01\x7f",
    "é",
    "\u0301",
    "日",
    "\U0001f600",
    "%41",
    "../",
    "//",
]
text = st.lists(st.sampled_from(TROUBLE), max_size=12).map("".join)
printable = st.lists(st.sampled_from([*'ab /.~=&%+,;"', "  ", "é"]), max_size=8).map("".join)
names = st.sampled_from(["x-amz-meta-a", "x-amz-meta-b-1", "content-type", "range", "if-match", "x-amz-acl"])


def botocore_headers(request: Unsigned, credentials: Credentials, region: str) -> dict[str, str]:
    """What botocore's own signer adds to the same request."""
    url = f"https://{request.headers['host']}{request.path}" + (f"?{request.query}" if request.query else "")
    theirs = AWSRequest(request.method, url, dict(request.headers))
    signer = auth.S3SigV4Auth(
        BotoCredentials(credentials.access_key, credentials.secret_key, credentials.token or None), "s3", region
    )
    signer.payload = lambda _: request.payload
    signer.add_auth(theirs)
    return {name.lower(): value for name, value in theirs.headers.items()}


@pytest.fixture(autouse=True)
def _at_now(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(auth, "get_current_datetime", lambda: NOW)


@given(
    key=text,
    query=st.lists(st.tuples(text.filter(bool), text), max_size=4),
    headers=st.dictionaries(names, printable, max_size=4),
    token=st.sampled_from(["", "token/with+chars=="]),
    method=st.sampled_from(["GET", "PUT", "POST", "DELETE", "HEAD"]),
)
@example(key="a//b/../c/./d", query=[], headers={}, token="", method="GET")
@example(key="//", query=[("uploads", "")], headers={"range": "bytes=0-1"}, token="t", method="POST")
@example(key="sp ace+plus%41~'()*!", query=[("prefix", "a b&c=d/é")], headers={}, token="", method="GET")
@example(key="a\nb\t\x01\U0001f600", query=[("b", "2"), ("a", "1"), ("a", "0")], headers={}, token="", method="PUT")
@example(key="", query=[("x", "~-_.")], headers={"x-amz-meta-a": "  two   spaces  "}, token="", method="GET")
def test_a_signature_equals_botocores(key, query, headers, token, method):
    request = Unsigned(
        method,
        f"/bucket/{encode_key(key)}",
        encode_query(query),
        {"host": "store.example:9000", **headers},
        EMPTY_SHA256,
    )
    credentials = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", token)
    ours = sign(request, credentials, "eu-west-2", NOW.timestamp())
    theirs = botocore_headers(request, credentials, "eu-west-2")
    assert ours["authorization"] == theirs["authorization"]
    assert ours["x-amz-date"] == theirs["x-amz-date"]
    assert ours.get("x-amz-security-token") == theirs.get("x-amz-security-token")


@given(key=text)
def test_a_key_is_encoded_once_and_decodes_to_itself(key):
    from urllib.parse import unquote

    encoded = encode_key(key)
    assert encoded.isascii()
    assert not set(encoded) & set(" ?#\n\r\t")
    assert unquote(encoded) == key


def test_the_day_the_region_and_the_secret_change_the_signature():
    request = Unsigned("GET", "/b/k", "", {"host": "h"}, EMPTY_SHA256)

    def signature(secret: str, region: str, now: float) -> str:
        return sign(request, Credentials("a", secret), region, now)["authorization"].rpartition("=")[2]

    seen = {signature("s", "r", 0), signature("t", "r", 0), signature("s", "q", 0), signature("s", "r", 86_400)}
    assert len(seen) == 4


def test_credentials_never_show():
    assert "canary" not in repr(Credentials("canary", "canary", "canary"))


def test_a_key_that_is_no_unicode_can_not_be_signed():
    with pytest.raises(UnicodeEncodeError):
        encode_key("\ud800")
