"""What a mirror has to do, found by merging sorted listings in constant memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egress_assets.engine.errors import StoreError, StoreUnavailable
from egress_assets.engine.mirror.compare import SOURCE_BYTES, SOURCE_ETAG, Pair, merge, settle, sign_of
from egress_assets.engine.mirror.inventory import Copied
from egress_assets.engine.stores import Head, Listed

AT = datetime(2026, 11, 20, tzinfo=UTC)
MULTIPART = "d41d8cd98f00b204e9800998ecf8427e-3"


def listed(key: str, etag: str = "e", size: int = 5) -> Listed:
    return Listed(key, size, etag, AT)


def in_order(keys: Iterable[str]) -> list[str]:
    return sorted(keys, key=lambda key: key.encode())


def pair(source: Listed, there: Listed | None = None, known: Copied | None = None) -> Pair:
    return Pair(source.key, source, there, known)


def head(etag: str, size: int, **metadata: str) -> Head:
    return Head("k", size, etag, AT, AT, "", metadata)


keys = st.sets(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=4), max_size=12)


@given(source=keys, there=keys, known=keys)
def test_a_merge_is_a_lookup_whatever_the_keys_are(source, there, known):
    """S1-7: the order is of UTF-8 bytes; code points beyond the BMP sort after all others, unlike in UTF-16."""
    copies = (Copied(f"p/{key}", 5, "e", "", key, "e") for key in in_order(known))
    found = list(merge(map(listed, in_order(source)), (listed(f"p/{k}") for k in in_order(there)), copies, prefix="p/"))
    assert [p.source.key for p in found] == in_order(source)
    assert {p.source.key for p in found if p.there} == source & there
    assert {p.source.key for p in found if p.known} == source & known
    assert all(p.key == "p/" + p.source.key and (p.there is None or p.there.key == p.key) for p in found)


def test_what_only_the_destination_has_is_passed_over():
    """S0-8: kept."""
    found = list(merge([listed("b")], map(listed, ["a", "b", "c"]), (), prefix=""))
    assert [p.key for p in found] == ["b"]


@pytest.mark.parametrize(
    ("source", "there"), [(["b", "a"], []), (["a", "a"], []), (["z"], ["b", "a"]), (["z"], ["b", "b"])]
)
def test_a_listing_out_of_order_is_never_concluded_from(source, there):
    with pytest.raises(StoreError, match="out of order"):
        list(merge(map(listed, source), map(listed, there), (), prefix=""))


def test_a_listing_that_breaks_off_is_not_an_end():
    def broken() -> Iterator[Listed]:
        yield listed("a")
        raise StoreUnavailable("page 2 failed")

    merged = merge(broken(), [], (), prefix="")
    assert next(merged).key == "a"
    with pytest.raises(StoreUnavailable):
        next(merged)
    with pytest.raises(StoreUnavailable):
        list(merge([listed("b")], broken(), (), prefix=""))


def test_a_merge_holds_one_object_of_each_stream():
    taken = []

    def counting(name: str) -> Iterator[Listed]:
        for n in range(10_000):
            taken.append(name)
            yield listed(f"{n:05d}")

    merged = merge(counting("source"), counting("there"), (), prefix="")
    for _ in range(100):
        next(merged)
    assert len(taken) <= 202


@pytest.mark.parametrize(
    ("source", "there", "sign"),
    [
        (listed("k"), None, "+"),
        (listed("k"), listed("k"), "="),
        (listed("k", size=0), listed("k", size=0), "="),
        (listed("k", size=6), listed("k"), "*"),
        (listed("k", etag="new"), listed("k", etag="old"), "?"),
        (listed("k", etag=""), listed("k", etag=""), "?"),
        (listed("k", etag=MULTIPART), listed("k", etag=MULTIPART), "="),
        (listed("k", etag=MULTIPART), listed("k", etag="other-9"), "?"),
    ],
)
def test_length_and_etag_decide_and_times_never_do(source, there, sign):
    """S0-8: the same length with another ETag is never `=`."""
    assert sign_of(pair(source, there)) == sign


@pytest.mark.parametrize(
    ("known", "sign"),
    [
        (Copied("k", 5, "there-2", "", "k", MULTIPART), "="),
        (Copied("k", 5, "there-1", "", "k", MULTIPART), "?"),  # somebody replaced the copy
        (Copied("k", 5, "there-2", "", "k", "older-3"), "?"),  # the source is another version now
        (Copied("k", 4, "there-2", "", "k", MULTIPART), "?"),
    ],
)
def test_the_inventory_settles_multipart_objects_without_a_request(known, sign):
    assert sign_of(pair(listed("k", MULTIPART), listed("k", "there-2"), known)) == sign


@pytest.mark.parametrize(
    ("found", "sign"),
    [
        (None, "+"),
        (head("there-2", 5, **{SOURCE_ETAG: MULTIPART, SOURCE_BYTES: "5"}), "="),
        (head("there-2", 5, **{SOURCE_ETAG: "older-3", SOURCE_BYTES: "5"}), "*"),
        (head("there-2", 5, **{SOURCE_ETAG: MULTIPART, SOURCE_BYTES: "6"}), "*"),
        (head("there-2", 5), "*"),
    ],
)
def test_a_doubt_is_settled_by_the_version_that_the_copy_names(found, sign):
    asked = []
    doubt = pair(listed("k", MULTIPART), listed("k", "there-2"))
    assert settle(doubt, lambda key: asked.append(key) or found) == sign
    assert asked == ["k"]


def test_what_the_listings_tell_costs_no_request():
    def never(key: str) -> Head | None:
        raise AssertionError(key)

    assert settle(pair(listed("k"), listed("k")), never) == "="
    assert settle(pair(listed("k")), never) == "+"
