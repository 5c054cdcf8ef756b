"""An upload under every fault leaves the whole object or nothing; a read gives all bytes or an error."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator

import pytest

from egress_assets.engine.errors import (
    ObjectConflict,
    StoreDenied,
    StoreError,
    StoreUnavailable,
)
from egress_assets.engine.stores import Pending
from egress_assets.engine.stores.copying import CopyLimits

MIB = 2**20
PART = 5 * MIB
BODY = hashlib.shake_256(b"body").digest(MIB + 7) * 12  # three parts
DIGEST = hashlib.sha256(BODY).hexdigest()
FOREVER = 1_000


def chunks(body: bytes = BODY, step: int = 700_001) -> Iterator[bytes]:
    return (body[at : at + step] for at in range(0, len(body), step))


@pytest.fixture
def open_faulty(s3mem):
    def start(kind: str = "s3", **fields: object):
        return s3mem.open(kind, **{"part_bytes": PART, "retry_deadline": 20.0, **fields})

    return start


@pytest.fixture
def faulty(open_faulty):
    return open_faulty()


@pytest.fixture(params=["s3", "ceph"])
def either(request: pytest.FixtureRequest, open_faulty):
    """Both kinds, where they send different things."""
    return open_faulty(request.param)


def assert_nothing(s3mem) -> None:
    assert s3mem.bucket() == ({}, {})


def assert_whole(s3mem, faulty) -> None:
    objects, uploads = s3mem.bucket()
    assert list(objects) == ["big"]
    assert uploads == {}
    assert hashlib.sha256(b"".join(faulty.get("big"))).hexdigest() == DIGEST


class Broke(Exception):
    pass


@pytest.mark.parametrize("after", [0, 1, 3, 8, 17])
def test_a_producer_that_raises_leaves_nothing(s3mem, faulty, after: int):
    def producer() -> Iterator[bytes]:
        for number, chunk in enumerate(chunks()):
            if number == after:
                raise Broke
            yield chunk

    with pytest.raises(Broke):
        faulty.upload("big", producer())
    assert_nothing(s3mem)


def test_a_producer_that_raises_while_parts_are_in_flight_waits_for_them_then_aborts(s3mem, faulty):
    s3mem.fault("UploadPart", "hang", ms=700, times=FOREVER)

    def producer() -> Iterator[bytes]:
        yield BODY[: 2 * PART + 1]
        raise Broke

    with pytest.raises(Broke):
        faulty.upload("big", producer())
    assert_nothing(s3mem)
    last_part = max(entry["t"] for entry in s3mem.log("UploadPart"))
    assert s3mem.log("AbortMultipartUpload")[0]["t"] >= last_part + 0.7


@pytest.mark.parametrize("action", ["500", "503", "400timeout", "reset", "resetmid", "resetafter"])
@pytest.mark.parametrize("skip", [0, 2])
def test_a_part_that_fails_once_is_sent_again(s3mem, either, action: str, skip: int):
    s3mem.fault("UploadPart", action, skip=skip)
    uploaded = either.upload("big", chunks())
    assert (uploaded.sha256, uploaded.bytes) == (DIGEST, len(BODY))
    assert_whole(s3mem, either)


@pytest.mark.parametrize("action", ["500", "400timeout", "reset", "resetafter"])
def test_a_part_that_fails_for_ever_leaves_nothing(s3mem, faulty, action: str):
    s3mem.fault("UploadPart", action, times=FOREVER)
    with pytest.raises(StoreUnavailable, match=r"part of 'big'.* after 4 tries"):
        faulty.upload("big", chunks())
    assert_nothing(s3mem)


def test_a_part_that_is_denied_is_not_sent_again(s3mem, faulty):
    s3mem.fault("UploadPart", "403", times=FOREVER)
    with pytest.raises(StoreDenied, match="403 AccessDenied, request id"):
        faulty.upload("big", chunks())
    assert_nothing(s3mem)
    assert len(s3mem.log("UploadPart")) <= 3


@pytest.mark.parametrize("action", ["500", "503", "400timeout", "reset", "resetmid", "resetafter", "storedlost"])
def test_a_small_object_whose_put_fails_once_is_sent_again(s3mem, faulty, action: str):
    s3mem.fault("PutObject", action)
    faulty.upload("small", [b"x" * 2 * MIB])
    assert list(s3mem.bucket()[0]) == ["small"]


@pytest.mark.parametrize("action", ["503", "200err", "reset", "resetafter", "storedlost"])
def test_a_complete_that_fails_once_is_settled(s3mem, either, action: str):
    s3mem.fault("CompleteMultipartUpload", action)
    uploaded = either.upload("big", chunks())
    assert uploaded.sha256 == DIGEST
    assert uploaded.etag.endswith("-3")
    assert_whole(s3mem, either)


@pytest.mark.parametrize("action", ["503", "200err", "reset", "resetafter"])
def test_a_complete_that_fails_for_ever_leaves_nothing(s3mem, faulty, action: str):
    s3mem.fault("CompleteMultipartUpload", action, times=FOREVER)
    with pytest.raises(StoreUnavailable, match="upload of 'big'"):
        faulty.upload("big", chunks())
    assert_nothing(s3mem)


def test_a_complete_that_was_lost_is_not_mistaken_for_an_older_object(s3mem, faulty):
    faulty.upload("big", [bytes(len(BODY))])
    older = s3mem.bucket()[0]["big"]
    s3mem.fault("CompleteMultipartUpload", "answer", status=404, code="NoSuchUpload", times=FOREVER)
    with pytest.raises(StoreError, match="NoSuchUpload"):
        faulty.upload("big", chunks())
    assert s3mem.bucket() == ({"big": older}, {})


def test_a_lost_complete_is_proven_by_the_bytes_where_etags_are_no_digests(s3mem, either, monkeypatch):
    from egress_assets.engine.stores.multipart import Multipart

    monkeypatch.setattr(Multipart, "_expected_etag", lambda _: "as under KMS")
    s3mem.fault("CompleteMultipartUpload", "storedlost")
    assert either.upload("big", chunks()).sha256 == DIGEST
    assert_whole(s3mem, either)


def test_a_create_that_is_denied_ends_it(s3mem, faulty):
    s3mem.fault("CreateMultipartUpload", "403")
    with pytest.raises(StoreDenied, match="uploads of 'big'"):
        faulty.upload("big", chunks())
    assert_nothing(s3mem)


def test_the_first_error_is_kept_when_abort_fails_too(s3mem, faulty, caplog):
    s3mem.control(
        "fault",
        [
            {"op": "UploadPart", "action": "403", "times": FOREVER},
            {"op": "AbortMultipartUpload", "action": "403", "times": FOREVER},
        ],
    )
    with pytest.raises(StoreDenied, match="part of 'big'"):
        faulty.upload("big", chunks())
    assert "left to the sweep" in caplog.text
    s3mem.control("fault", [])
    for pending in list(faulty.uploads()):
        faulty.abort(pending)
    assert_nothing(s3mem)


def test_abort_goes_on_until_the_store_no_longer_knows_the_upload(s3mem, faulty):
    s3mem.fault("AbortMultipartUpload", "zombie", times=2)
    with pytest.raises(Broke):
        faulty.upload("big", _two_parts_then_break())
    assert_nothing(s3mem)
    assert len(s3mem.log("AbortMultipartUpload")) == 3


def _two_parts_then_break() -> Iterator[bytes]:
    yield BODY[: 2 * PART]
    raise Broke


def test_abort_of_an_immortal_upload_says_so(s3mem, faulty, monkeypatch):
    monkeypatch.setattr("egress_assets.engine.stores.client._BACKOFF_LIMIT", 0.01)
    s3mem.fault("AbortMultipartUpload", "zombie", times=FOREVER)
    with pytest.raises(Broke):
        faulty.upload("big", _two_parts_then_break())
    (pending,) = faulty.uploads()
    assert isinstance(pending, Pending)
    with pytest.raises(StoreUnavailable, match="still there after 10 aborts"):
        faulty.abort(pending)


def test_a_producer_may_use_its_buffer_again(s3mem, either):
    def producer() -> Iterator[memoryview]:
        buffer = bytearray(700_001)
        for chunk in chunks():
            buffer[: len(chunk)] = chunk
            yield memoryview(buffer)[: len(chunk)]

    s3mem.fault("UploadPart", "resetafter")  # the part is sent again when its producer is far ahead
    assert either.upload("big", producer()).sha256 == DIGEST
    assert_whole(s3mem, either)


def test_memory_is_bounded_by_parts_in_flight(s3mem, open_faulty):
    store = open_faulty(parts_in_flight=2)
    import tracemalloc

    tracemalloc.start()
    try:
        store.upload("big", (bytes(MIB) for _ in range(40)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * PART + 4 * MIB


def test_parts_grow_so_that_their_number_stays_under_the_limit(s3mem, open_faulty):
    known = open_faulty(max_parts=4)
    known.upload("known", (bytes(MIB) for _ in range(30)), size=30 * MIB)
    assert len(s3mem.log("UploadPart")) == 4
    unknown = open_faulty(max_parts=10)
    unknown.upload("unknown", (bytes(MIB) for _ in range(40)))
    assert sorted(entry["bytes"] // PART for entry in s3mem.log("UploadPart")[4:]) == [1, 1, 2, 4]
    with pytest.raises(StoreError, match="more than 3 parts"):
        open_faulty(max_parts=3).upload("more", (bytes(PART) for _ in range(500)))
    objects, uploads = s3mem.bucket()
    assert sorted(objects) == ["known", "unknown"]
    assert uploads == {}


@pytest.mark.parametrize("action", ["short", "shortfin"])
def test_a_body_that_breaks_off_is_resumed(s3mem, either, action: str):
    either.upload("big", chunks())
    s3mem.fault("GetObject", action, times=3)
    assert hashlib.sha256(b"".join(either.get("big"))).hexdigest() == DIGEST
    resumed = s3mem.log("GetObject")[1]["hdr"]
    assert resumed["range"].startswith("bytes=")
    assert resumed["if-match"].strip('"') == either.head("big").etag


def test_a_body_that_always_breaks_off_without_a_byte_is_an_error(s3mem, faulty):
    faulty.put("one", b"1")
    s3mem.fault("GetObject", "shortfin", times=FOREVER)  # half of one byte is none
    with pytest.raises(StoreUnavailable, match="GET 'one'"):
        list(faulty.get("one"))
    s3mem.fault("GetObject", "shortfin", times=FOREVER)
    with pytest.raises(StoreUnavailable, match="GET 'one'"):
        faulty.read("one")


def test_a_body_that_stalls_is_resumed(s3mem, open_faulty):
    store = open_faulty(read_timeout=0.6)
    store.put("a", b"0123456789")
    s3mem.fault("GetObject", "shorthang", ms=5_000)
    started = time.monotonic()
    assert b"".join(store.get("a")) == b"0123456789"
    assert time.monotonic() - started < 4


def test_an_object_that_changes_while_it_is_read_is_a_conflict(s3mem, either):
    either.put("a", b"0" * MIB)
    s3mem.fault("GetObject", "short")
    reading = either.get("a")
    next(reading)
    either.put("a", b"1" * MIB)
    with pytest.raises(ObjectConflict):
        list(reading)


def test_a_reader_that_stops_early_leaves_no_connection_out_of_step(s3mem, faulty):
    faulty.upload("big", chunks())
    reading = faulty.get("big")
    next(reading)
    reading.close()
    assert faulty.head("big").bytes == len(BODY)


@pytest.mark.parametrize("action", ["500", "503", "409", "400timeout", "reset", "resetafter", "storedlost"])
def test_a_conditional_put_without_a_clear_answer_is_ambiguous_and_sent_once(s3mem, either, action: str):
    s3mem.fault("PutObject", action, times=FOREVER)
    assert either.put_if("a", b"1", etag=None) == "ambiguous"
    assert len(s3mem.log("PutObject")) == 1


def test_a_conditional_put_that_is_denied_is_an_error(s3mem, faulty):
    s3mem.fault("PutObject", "403")
    with pytest.raises(StoreDenied):
        faulty.put_if("a", b"1", etag=None)


def test_a_conditional_put_to_nobody_is_ambiguous(open_faulty):
    store = open_faulty(endpoint="http://127.0.0.1:9")
    assert store.put_if("a", b"1", etag=None) == "ambiguous"
    with pytest.raises(StoreUnavailable, match=r"no answer \(.*\), after 4 tries"):
        store.read("a")


def test_a_request_for_our_clock_is_signed_again_with_the_stores(s3mem, faulty):
    skewed = {"status": 403, "code": "RequestTimeTooSkewed", "shift": 7_200}
    s3mem.fault("PutObject", "answer", **skewed)
    assert faulty.put_if("a", b"1", etag=None) == "ok"
    first, second = (entry["hdr"]["x-amz-date"] for entry in s3mem.log("PutObject"))
    assert first[:8] + first[9:11] != second[:8] + second[9:11]
    s3mem.fault("HeadObject", "answer", **skewed)  # has no body to give the reason
    s3mem.control("clear?log=1")
    other = type(faulty)(faulty._settings, faulty._client.dialect)
    s3mem.fault("HeadObject", "answer", **skewed)
    assert other.head("a").bytes == 1
    assert len(s3mem.log("HeadObject")) == 2


def test_a_clock_that_can_not_be_cured_is_denied(s3mem, faulty):
    s3mem.fault("PutObject", "answer", status=403, code="RequestTimeTooSkewed", shift=7_200, times=FOREVER)
    with pytest.raises(StoreDenied, match="RequestTimeTooSkewed"):
        faulty.put("a", b"")


def test_a_listing_that_fails_in_the_middle_never_looks_complete(s3mem, faulty, monkeypatch):
    monkeypatch.setattr("egress_assets.engine.stores.client._BACKOFF_LIMIT", 0.01)
    s3mem.control("seed?bucket=egress-test&n=2500&min=1&max=2&prefix=s/")
    assert len(list(faulty.list())) == 2_500
    s3mem.fault("ListObjects", "500", skip=1, times=FOREVER)
    seen = []
    with pytest.raises(StoreUnavailable, match="LIST"):
        seen.extend(listed.key for listed in faulty.list())
    for action, words in (("cut", "no XML"), ("vague", "IsTruncated"), ("unordered", "came after")):
        s3mem.fault("ListObjects", action)
        with pytest.raises(StoreError, match=words):
            list(faulty.list())
    s3mem.fault("ListObjects", "503", skip=1)
    assert len(list(faulty.list())) == 2_500


def test_a_source_that_changes_while_it_is_copied_is_a_conflict_and_leaves_no_copy(s3mem):
    store = s3mem.open("ceph")  # the kind whose stores ignore the condition
    store.put("from", b"body")
    s3mem.fault("CopyObject", "swap")
    with pytest.raises(ObjectConflict, match="'from'"):
        store.copy("from", "to")
    assert "to" not in s3mem.bucket()[0]


def test_a_copy_in_parts_that_fails_leaves_nothing(s3mem, faulty):
    faulty.upload("from", chunks())
    faulty._copy_limits = CopyLimits(whole=MIB, part=PART)
    s3mem.fault("UploadPartCopy", "403", skip=1)
    with pytest.raises(StoreDenied, match="part of 'to'"):
        faulty.copy("from", "to")
    objects, uploads = s3mem.bucket()
    assert (list(objects), uploads) == (["from"], {})


def test_a_copy_answered_200_with_an_error_is_not_a_copy(s3mem, faulty):
    faulty.put("from", b"body")
    s3mem.fault("CopyObject", "200err")
    assert faulty.copy("from", "to").bytes == 4
    assert len(s3mem.log("CopyObject")) == 2


def test_what_the_settings_say_of_objects_is_sent_with_every_write(s3mem, open_faulty):
    said = {
        "sse": "aws:kms",
        "sse_kms_key": "key-1",
        "acl": "bucket-owner-full-control",
        "storage_class": "STANDARD_IA",
    }
    store = open_faulty(**said, session_token="token-1")
    store.put("a", b"1", headers={"x-amz-tagging": "a=1"})
    store.put_if("b", b"1", etag=None)
    store.upload("c", chunks())
    store.copy("a", "d")
    expected = {
        "x-amz-server-side-encryption": "aws:kms",
        "x-amz-server-side-encryption-aws-kms-key-id": "key-1",
        "x-amz-acl": "bucket-owner-full-control",
        "x-amz-storage-class": "STANDARD_IA",
        "x-amz-security-token": "token-1",
    }
    for op in ("PutObject", "CreateMultipartUpload", "CopyObject"):
        for entry in s3mem.log(op):
            assert expected.items() <= entry["hdr"].items(), op
    assert s3mem.log("PutObject")[0]["hdr"]["x-amz-tagging"] == "a=1"
    part = s3mem.log("UploadPart")[0]["hdr"]
    assert not {"x-amz-acl", "x-amz-storage-class"} & part.keys()


def test_every_body_carries_the_checksum_that_its_store_checks(s3mem, either):
    either.put("a", b"1")
    either.put_if("b", b"1", etag=None)
    either.upload("c", chunks())
    sent = [entry["hdr"] for op in ("PutObject", "UploadPart") for entry in s3mem.log(op)]
    assert len(sent) == 5
    for headers in sent:
        assert len(headers["x-amz-content-sha256"]) == 64
        assert "aws-chunked" not in headers.get("content-encoding", "")
        assert ("x-amz-checksum-sha256" in headers) == (either.kind == "s3")
        assert ("content-md5" in headers) == (either.kind == "ceph")


def test_ceph_is_asked_without_quotes_and_without_checksum_headers(s3mem):
    store = s3mem.open("ceph", part_bytes=PART)
    etag = store.put("a", b"1").etag
    store.put_if("a", b"2", etag=etag)
    store.upload("big", chunks())
    store.copy("a", "b")
    assert s3mem.log("PutObject")[1]["hdr"]["if-match"] == etag
    assert not [name for entry in s3mem.control("log") for name in entry["hdr"] if name.startswith("x-amz-checksum")]
