"""What answers mean, and the small rules of writing and sorting."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egress_assets.engine.errors import (
    ObjectConflict,
    ObjectMissing,
    StoreDenied,
    StoreError,
    StoreUnavailable,
)
from egress_assets.engine.stores import Listed, answers, sorting
from egress_assets.engine.stores.dialect import write_headers
from egress_assets.engine.stores.s3 import open_store
from egress_assets.engine.stores.settings import StoreSettings
from egress_assets.engine.stores.uploading import part_size

MIB = 2**20


def answer(status: int, code: str = "", **headers: str) -> Any:
    body = f"<?xml version='1.0'?>\n<Error><Code>{code}</Code><Message>secret-canary</Message></Error>" if code else ""
    return SimpleNamespace(status=status, body=body.encode(), headers={"x-amz-request-id": "R1", **headers})


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "AccessDenied", StoreDenied),
        (401, "", StoreDenied),
        (400, "ExpiredToken", StoreDenied),
        (404, "NoSuchKey", ObjectMissing),
        (404, "", ObjectMissing),
        (404, "NoSuchBucket", StoreError),
        (404, "NoSuchUpload", StoreError),
        (412, "PreconditionFailed", ObjectConflict),
        (409, "OperationAborted", StoreUnavailable),
        (409, "BucketNotEmpty", StoreError),
        (400, "RequestTimeout", StoreUnavailable),
        (400, "InvalidArgument", StoreError),
        (429, "", StoreUnavailable),
        (500, "InternalError", StoreUnavailable),
        (503, "SlowDown", StoreUnavailable),
        (501, "NotImplemented", StoreError),
        (200, "InternalError", StoreUnavailable),
        (301, "PermanentRedirect", StoreError),
    ],
)
def test_a_refusal_is_the_error_of_the_tree_with_code_and_request_id(status: int, code: str, kind: type):
    error = answers.refusal("GET 'k' in bucket 'b'", answer(status, code))
    assert type(error) is kind
    assert "GET 'k' in bucket 'b'" in error.message
    assert f"answer {status} {code or f'http_{status}'}, request id R1" in error.message
    assert "canary" not in f"{error.message}{error.hint}"
    assert error.retryable == (kind is StoreUnavailable)


def test_a_200_with_an_error_is_a_failure_but_an_objects_own_bytes_are_not():
    lie = answer(200, "InternalError")
    assert answers.error_code(lie) == "InternalError"
    assert answers.error_code(lie, is_data=True) == ""


def test_a_code_is_read_although_the_key_in_the_answer_is_no_xml():
    broken = answer(404)
    broken.body = b"<Error><Code>NoSuchKey</Code><Key>a\x01&#x1;b</Key></Error>"
    assert answers.error_code(broken) == "NoSuchKey"


def test_a_broken_connection_is_unavailable_and_a_bad_certificate_is_denied():
    lost = answers.breakdown("PUT 'k'", ConnectionResetError(104, "Connection reset by peer"), tries=4)
    assert type(lost) is StoreUnavailable
    assert "Connection reset by peer" in lost.message
    assert type(answers.breakdown("PUT 'k'", ssl.SSLCertVerificationError())) is StoreDenied


def settings_of(**fields: Any) -> StoreSettings:
    return StoreSettings.model_validate({"bucket": "b", **fields})


@given(size=st.integers(0, 50 * 2**40))
def test_parts_of_a_known_size_stay_under_the_limit(size: int):
    part = part_size(settings_of(), 1, size)
    assert part >= 8 * MIB
    assert part * 10_000 >= size
    assert part % MIB == 0


def test_parts_of_an_unknown_size_reach_the_largest_object():
    sizes = [part_size(settings_of(), number, None) for number in range(1, 10_001)]
    assert sizes[:1_000] == [8 * MIB] * 1_000
    assert sizes == sorted(sizes)
    assert sum(sizes) > 5 * 2**40
    assert sizes[-1] <= 5 * 2**30


def test_an_object_gets_what_the_settings_say_and_nothing_else():
    assert write_headers(settings_of()) == {}
    given_ = write_headers(settings_of(sse="AES256", acl="private"), {"Mark": "m"}, {"Content-Type": "text/csv"})
    assert given_ == {
        "x-amz-server-side-encryption": "AES256",
        "x-amz-acl": "private",
        "content-type": "text/csv",
        "x-amz-meta-mark": "m",
    }


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\r\nb", "é"])
def test_a_header_name_that_http_has_not_is_refused(name: str):
    with pytest.raises(StoreError, match="header name"):
        write_headers(settings_of(), None, {name: "x"})


def listed(key: str) -> Listed:
    return Listed(key, len(key), "etag", datetime(2026, 11, 3, tzinfo=UTC))


@given(keys=st.lists(st.text("ab/-.\n\x01é\ufffd\U0001f600"), unique=True, max_size=60))
def test_a_spilled_sort_is_in_the_order_of_utf8_bytes(keys: list[str]):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorting, "RUN", 7)
        patch.setattr(sorting, "FAN_IN", 3)
        found = list(sorting.sort_listing((listed(key) for key in keys), "LIST"))
    assert [entry.key for entry in found] == sorted(keys, key=str.encode)
    assert found == sorted(map(listed, keys), key=lambda entry: entry.key.encode())


def test_a_listing_out_of_order_is_said(caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO", "egress_assets")
    list(sorting.sort_listing(map(listed, ["a", "b"]), "LIST"))
    assert caplog.text == ""
    list(sorting.sort_listing(map(listed, ["b/x", "b-x"]), "LIST"))
    assert "out of order; sorted 2 keys" in caplog.text


def test_a_store_shows_no_secret():
    store = open_store(settings_of(access_key="canary-a", secret_key="canary-s", session_token="canary-t"))
    assert "canary" not in repr(store)
    assert "canary" not in repr(store.__dict__["_settings"])
