"""What every store promises, on every server that its kind is for."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from egress_assets.engine.errors import (
    ObjectConflict,
    ObjectMissing,
    StoreDenied,
    StoreError,
)
from egress_assets.engine.stores import Store, kinds
from egress_assets.engine.stores.client import Request
from egress_assets.engine.stores.copying import CopyLimits
from egress_assets.engine.stores.multipart import Multipart
from egress_assets.engine.stores.wire import Stop

MIB = 2**20

# Every store must carry these.
PLAIN_KEYS = [
    *("plain", "x/y/z", "a=1/date=2026-11-03/t", "a b/c d", "UPPER", "upper", "-dash", "_under", "ends.", "..a", "a.."),
    *("with space", "  lead", " trail ", "a\tb", "plus+plus", "+", "&", "=", "eq=", "amp&amp", "lt<gt>", "semi;colon"),
    *("percent%", "%", "percent%41", "a%2Fb", "%2e%2e/x", "?", "?q=1", "#", "name#sft", "colon:", "at@", "comma,"),
    *("dollar$", "excl!", "star*", "paren()", "[b]", "{c}", "pipe|", "caret^", "tick`", "tilde~", "~/x", "dot."),
    *(
        'quote"q',
        "apos'",
        "é",
        "e\u0301",
        "ü/ß",
        "日本語/鍵",
        "\U0001f600",
        "\u200b",
        "\ufeff",
        "\xa0",
        "\ufdfa",
        "del\x7f",
    ),
]
# Not all servers can: a store that stands on a file system normalises, refuses or mistakes them for folders.
HARD_KEYS = [
    *("a\nb", "a\rb", "\x01control", "back\\slash", "a//b", "//", "/lead", "trail/", "a b/"),
    *(".", "..", "./x", "../x", "a/./b", "a/../b", "k" * 1024, "d/" * 511 + "ab"),
]


def read(store: Store, key: str) -> bytes | None:
    found = store.read(key)
    return found[0] if found else None


def keys(store: Store, prefix: str = "", start_after: str = "") -> list[str]:
    return [listed.key for listed in store.list(prefix, start_after=start_after)]


def test_every_kind_of_store_is_in_this_suite():
    assert kinds() == ("ceph", "s3")


def test_an_object_reads_back_with_its_digest_and_metadata(store: Store):
    put = store.put("a/b", b"hello", metadata={"Mark": "m 1"}, headers={"Content-Type": "text/plain"})
    assert (put.key, put.bytes, put.sha256) == ("a/b", 5, hashlib.sha256(b"hello").hexdigest())
    found = store.read("a/b")
    assert found is not None
    body, head = found
    assert body == b"hello"
    assert (head.key, head.bytes, head.etag) == ("a/b", 5, put.etag)
    assert (head.metadata, head.headers["content-type"]) == ({"mark": "m 1"}, "text/plain")
    again = store.head("a/b")
    assert again is not None
    assert (again.bytes, again.etag, again.metadata) == (5, put.etag, {"mark": "m 1"})


def test_an_etag_never_has_quotes(store: Store):
    put = store.put("a", b"x")
    listed = next(store.list("a"))
    head = store.head("a")
    assert head is not None
    assert {put.etag, listed.etag, head.etag} == {hashlib.md5(b"x").hexdigest()}


def test_the_clock_of_an_answer_is_the_stores(store: Store):
    store.put("a", b"")
    head = store.head("a")
    assert head is not None
    assert head.date.tzinfo is UTC
    assert abs(head.date - datetime.now(UTC)) < timedelta(minutes=2)
    assert abs(head.modified - head.date) < timedelta(minutes=2)


def test_an_absent_object_is_none_or_missing_never_empty(store: Store):
    assert store.head("absent") is None
    assert store.read("absent") is None
    with pytest.raises(ObjectMissing, match="absent"):
        list(store.get("absent"))


def test_an_empty_object_is_an_object(store: Store):
    store.put("empty", b"")
    assert read(store, "empty") == b""
    assert list(store.get("empty")) == []
    uploaded = store.upload("empty2", iter([]))
    assert (uploaded.bytes, uploaded.sha256) == (0, hashlib.sha256(b"").hexdigest())
    assert read(store, "empty2") == b""


def test_put_overwrites(store: Store):
    store.put("a", b"1")
    store.put("a", b"22")
    assert read(store, "a") == b"22"


def test_delete_makes_absent_and_is_fine_when_absent(store: Store):
    store.put("a", b"1")
    store.delete("a")
    store.delete("a")
    assert store.head("a") is None


def test_of_two_creators_one_is_refused(store: Store):
    assert store.put_if("a", b"1", etag=None) == "ok"
    assert store.put_if("a", b"2", etag=None) == "refused"
    assert read(store, "a") == b"1"


def test_a_swap_needs_the_present_etag(store: Store):
    etag = store.put("a", b"1").etag
    assert store.put_if("a", b"2", etag="0" * 32) == "refused"
    assert store.put_if("a", b"3", etag=etag) == "ok"
    assert store.put_if("a", b"4", etag=etag) == "refused"
    assert read(store, "a") == b"3"


def test_a_swap_of_an_absent_object_is_refused(store: Store):
    assert store.put_if("absent", b"1", etag="0" * 32) == "refused"


def test_of_sixteen_racers_exactly_one_creates(store: Store):
    start = threading.Barrier(16)

    def race(number: int) -> str:
        start.wait()
        return store.put_if("race", b"%d" % number, etag=None)

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(race, range(16)))
    assert Counter(answers)["ok"] == 1, answers
    assert read(store, "race") == b"%d" % answers.index("ok")
    assert set(answers) <= {"ok", "refused", "ambiguous"}


def test_of_sixteen_racers_exactly_one_swaps(store: Store):
    etag, start = store.put("race", b"before").etag, threading.Barrier(16)

    def race(number: int) -> str:
        start.wait()
        return store.put_if("race", b"%d" % number, etag=etag)

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(race, range(16)))
    assert Counter(answers)["ok"] == 1, answers
    assert read(store, "race") == b"%d" % answers.index("ok")


def test_the_probe_of_conditional_put_passes_and_leaves_nothing(store):
    assert "1 of 8 racers won" in store.probe_conditional_put("probe")
    assert keys(store) == []


@pytest.mark.parametrize("size", [1, 5 * MIB - 1, 5 * MIB, 5 * MIB + 1, 12 * MIB])
def test_a_stream_of_any_length_arrives_whole(store: Store, size: int):
    block = hashlib.shake_256(b"seed").digest(300_007)
    body = (block * (size // len(block) + 1))[:size]
    chunks = (body[at : at + 999_983] for at in range(0, size, 999_983))
    uploaded = store.upload("big", chunks, metadata={"k": "v"})
    assert (uploaded.bytes, uploaded.sha256) == (size, hashlib.sha256(body).hexdigest())
    assert b"".join(store.get("big")) == body
    head = store.head("big")
    assert head is not None
    assert (head.bytes, head.etag, head.metadata) == (size, uploaded.etag, {"k": "v"})
    assert list(store.uploads()) == []


def test_a_get_starts_anywhere_and_at_the_end_is_empty(store: Store):
    store.put("a", b"0123456789")
    assert b"".join(store.get("a", start=4)) == b"456789"
    assert list(store.get("a", start=10)) == []
    with pytest.raises(StoreError, match="416"):
        list(store.get("a", start=11))


def test_a_get_of_what_has_changed_is_a_conflict(store: Store):
    etag = store.put("a", b"1").etag
    store.put("a", b"2")
    with pytest.raises(ObjectConflict, match=r"'[^']*a'"):
        list(store.get("a", etag=etag))


def test_a_listing_is_whole_and_strictly_in_byte_order(store: Store):
    names = ["b", "b-x", "b/x", "b/y/z", "b.x", "b0", "B", "é", "z", "\U0001f600", "\ufffd", "a"]
    for name in names:
        store.put(name, name.encode())
    assert keys(store) == sorted(names, key=str.encode)
    assert keys(store, "b") == ["b", "b-x", "b.x", "b/x", "b/y/z", "b0"]
    assert keys(store, "b/") == ["b/x", "b/y/z"]
    assert keys(store, "nothing") == []


def test_a_listing_goes_on_after_any_key(store: Store):
    names = sorted(["b", "b-x", "b/x", "b/y/z", "b.x", "c"])
    for name in names:
        store.put(name, b"")
    for position, name in enumerate(names):
        assert keys(store, start_after=name) == names[position + 1 :]
    assert keys(store, "b/", start_after="b/x") == ["b/y/z"]


def test_a_listing_of_several_pages_is_whole(store: Store):
    names = [f"n/{number % 7}/{number:05}" for number in range(1_203)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda name: store.put(name, b"x"), names))
    listed = list(store.list("n/"))
    assert [entry.key for entry in listed] == sorted(names)
    assert {entry.bytes for entry in listed} == {1}


def test_a_copy_is_the_same_object_with_its_metadata(store: Store):
    put = store.put("from é", b"body", metadata={"k": "v"}, headers={"content-type": "text/x"})
    copied = store.copy("from é", "to/é", etag=put.etag)
    assert (copied.key, copied.bytes) == ("to/é", 4)
    assert copied.sha256 in ("", put.sha256)
    head = store.head("to/é")
    assert head is not None
    assert head.etag == copied.etag
    assert read(store, "to/é") == b"body"
    assert (head.metadata, head.headers["content-type"]) == ({"k": "v"}, "text/x")


def test_a_copy_of_another_content_is_a_conflict_and_of_nothing_is_missing(store: Store):
    store.put("from", b"body")
    with pytest.raises(ObjectConflict, match="0000"):
        store.copy("from", "to", etag="0" * 32)
    with pytest.raises(ObjectMissing, match="absent"):
        store.copy("absent", "to")
    assert store.head("to") is None


def test_a_large_copy_goes_in_parts_with_metadata_and_tags(bucket_store):
    store = bucket_store
    body = b"0123456789" * (12 * MIB // 10)
    headers = {"content-type": "text/x", "x-amz-tagging": "a=1&b=x%20y"}
    put = store.upload("from", [body], metadata={"k": "v"}, headers=headers)
    store._copy_limits = CopyLimits(whole=MIB, part=5 * MIB)
    copied = store.copy("from", "to", etag=put.etag)
    assert (copied.bytes, copied.sha256) == (len(body), "")
    assert copied.etag.endswith("-3")
    assert b"".join(store.get("to")) == body
    head = store.head("to")
    assert (head.metadata, head.headers["content-type"]) == ({"k": "v"}, "text/x")
    assert dict(store.tags("to")) == {"a": "1", "b": "x y"}


def test_tags_are_written_and_read(bucket_store):
    bucket_store.put("a", b"", headers={"x-amz-tagging": "stage=raw&who=a%20b"})
    assert dict(bucket_store.tags("a")) == {"stage": "raw", "who": "a b"}
    bucket_store.put("b", b"")
    assert dict(bucket_store.tags("b")) == {}
    with pytest.raises(ObjectMissing):
        bucket_store.tags("absent")


def test_an_upload_left_behind_is_found_and_aborted(store):
    store.put("whole", b"")
    left = Multipart(store._client, store._full("left é/1"), {}, checksums=True)
    left.put(1, memoryview(b"part"), Stop())
    pending = list(store.uploads())
    assert [entry.key for entry in pending] == ["left é/1"]
    assert list(store.uploads("other")) == []
    assert [entry.key for entry in store.uploads("left")] == ["left é/1"]
    store.abort(pending[0])
    store.abort(pending[0])
    assert list(store.uploads()) == []
    assert keys(store) == ["whole"]


def test_the_prefix_is_a_folder_that_nobody_sees(store):
    store.put("a", b"1")
    bare = store._settings.model_copy(update={"prefix": ""})
    whole = type(store)(bare, store._client.dialect)
    assert read(whole, f"{store._settings.prefix}/a") == b"1"
    assert keys(store) == ["a"]
    neighbour = f"{store._settings.prefix}x"
    whole.put(neighbour, b"")
    assert keys(store) == ["a"]
    whole.delete(neighbour)


def test_a_missing_bucket_is_an_error_never_an_absent_object(bucket_store):
    store = bucket_store
    absent = type(store)(store._settings.model_copy(update={"bucket": "no-such-bucket-here"}), store._client.dialect)
    for question in (
        lambda: absent.head("a"),
        lambda: absent.read("a"),
        lambda: list(absent.get("a")),
        lambda: absent.put("a", b""),
        lambda: absent.put_if("a", b"", etag=None),
        lambda: list(absent.list()),
        lambda: absent.upload("a", [b"x" * 6 * MIB]),
        absent.ping,
    ):
        with pytest.raises(StoreError, match="no-such-bucket-here") as caught:
            question()
        assert not isinstance(caught.value, ObjectMissing)
        assert caught.value.hint


def test_a_bucket_is_made_once(store):
    assert store.ensure_bucket() is False


def test_a_wrong_secret_is_denied_and_stays_out_of_the_message(guarded_store):
    store = guarded_store
    wrong = store._settings.model_copy(update={"secret_key": "wrong-secret-canary"})
    denied = type(store)(wrong, store._client.dialect)
    for question in (lambda: denied.head("a"), lambda: denied.put("a", b""), lambda: list(denied.list())):
        with pytest.raises(StoreDenied) as caught:
            question()
        assert "canary" not in f"{caught.value}{caught.value.hint}{denied!r}"
        assert store._settings.access_key not in str(caught.value)


def test_ping_says_who_answered(store):
    line = store.ping()
    assert store.bucket in line
    assert store.name in line


@pytest.mark.parametrize("key", PLAIN_KEYS, ids=ascii)
def test_a_hostile_key_comes_back_as_it_was_sent(store: Store, key: str):
    body = key.encode()
    store.put(key, body)
    assert read(store, key) == body
    assert b"".join(store.get(key)) == body
    assert keys(store) == [key]
    store.copy(key, f"copy of {key}")
    assert read(store, f"copy of {key}") == body
    store.delete(key)
    assert store.head(key) is None


def test_an_empty_key_and_a_key_that_is_no_unicode_are_refused_by_name(store: Store):
    with pytest.raises(StoreError, match="empty key"):
        store.put("", b"")
    with pytest.raises(StoreError, match=r"\\ud800"):
        store.put("\ud800", b"")
    with pytest.raises(StoreError, match=r"\\ud800"):
        list(store.list("\ud800"))


def test_a_header_with_a_line_break_is_never_sent(store: Store):
    for metadata in ({"k": "a\r\nx-amz-acl: public-read"}, {"k\r\nx": "a"}, {"k: v": "a"}, {"": "\0"}):
        with pytest.raises(StoreError, match="header"):
            store.put("a", b"", metadata=metadata)
    assert store.head("a") is None


def test_many_threads_share_one_store(store: Store):
    def work(number: int) -> bool:
        body = hashlib.shake_256(b"%d" % number).digest(number * 37)
        return store.put(f"t/{number}", body).bytes == len(body) and read(store, f"t/{number}") == body

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(work, range(200)))


def test_a_virtual_host_is_addressed_and_signed(seaweedfs, monkeypatch: pytest.MonkeyPatch):
    real = socket.getaddrinfo
    asked: list[str] = []

    def resolve(host: str, *rest: object, **options: object):
        asked.append(host)
        return real("127.0.0.1" if host.endswith("s3.test") else host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    endpoint = seaweedfs.endpoint.replace("127.0.0.1", "s3.test")
    virtual = seaweedfs.open(endpoint=endpoint, addressing="virtual", prefix="virtual")
    virtual.put("a b%", b"1")
    assert keys(virtual) == ["a b%"]
    assert asked == ["egress-test.s3.test"]
    assert read(seaweedfs.open(), "virtual/a b%") == b"1"


REFUSED = [".", "..", "./x", "../x", "a/./b", "a/../b", "k" * 1024]
MISTAKEN = ["back\\slash", "a//b", "//", "/lead", "trail/", "a b/"]  # without a word: they name other objects there


@pytest.mark.parametrize("key", REFUSED, ids=lambda key: ascii(key)[:20])
def test_a_key_that_seaweedfs_refuses_is_an_error_that_names_it(seaweedfs, key: str):
    bare = seaweedfs.open(bucket="hostile")
    bare.ensure_bucket()
    with pytest.raises(StoreError) as caught:
        bare.put(key, b"body")
    assert repr(key) in str(caught.value)


@pytest.mark.parametrize("key", sorted({*HARD_KEYS} - {*REFUSED, *MISTAKEN}), ids=lambda key: ascii(key)[:20])
def test_other_hard_keys_come_back_from_seaweedfs(seaweedfs, key: str):
    bare = seaweedfs.open(bucket="hostile")
    bare.ensure_bucket()
    bare.put(key, b"body")
    assert read(bare, key) == b"body"
    assert keys(bare) == [key]
    bare.delete(key)
    assert keys(bare) == []


@pytest.mark.ceph
@pytest.mark.parametrize("key", [*HARD_KEYS, *PLAIN_KEYS], ids=lambda key: ascii(key)[:20])
def test_a_real_ceph_carries_every_key(ceph_rgw, key: str):
    bare = ceph_rgw.open("ceph", bucket="hostile")
    bare.ensure_bucket()
    bare.put(key, b"body")
    assert read(bare, key) == b"body"
    assert key in keys(bare, key)
    assert keys(bare) == [key]
    left = Multipart(bare._client, key, {}, checksums=False)
    assert [pending.key for pending in bare.uploads()] == [key]
    left.abort(Stop())
    bare.delete(key)
    assert keys(bare) == []


def test_aws_and_others_are_addressed_as_they_want(seaweedfs):
    def place(**fields: object) -> tuple[str, str]:
        store = seaweedfs.open(endpoint="", **fields)
        return store._client._place(Request("GET", "a b"))[:2]

    assert place(bucket="b", region="eu-west-2") == ("b.s3.eu-west-2.amazonaws.com", "/a%20b")
    assert place(bucket="b.c", region="eu-west-2") == ("s3.eu-west-2.amazonaws.com", "/b.c/a%20b")
    assert place(bucket="b", region="cn-north-1")[0] == "b.s3.cn-north-1.amazonaws.com.cn"
    assert place(bucket="b", addressing="path") == ("s3.us-east-1.amazonaws.com", "/b/a%20b")
