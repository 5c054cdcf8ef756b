"""What a mirror has to do, from two sorted listings merged in constant memory; never from times.

Keys are compared as UTF-8 bytes, the order in which stores promise to list. A third stream, the mirror's own inventory
of its last run, settles without a request what ETags alone can't: the ETag of a multipart object depends on part sizes,
so copy and source differ in it. Without the inventory one HEAD reads the source's ETag from the copy's metadata.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from egress_assets.engine.errors import StoreError
from egress_assets.engine.mirror.inventory import Copied
from egress_assets.engine.stores import Head, Listed

SOURCE_ETAG, SOURCE_BYTES = "egress-source-etag", "egress-source-bytes"
"""Metadata of a copy: which version of its source it is."""

Sign = Literal["=", "+", "*", "?"]
T = TypeVar("T", Listed, Copied)


@dataclass(frozen=True, slots=True)
class Pair:
    """One source object (`key` is its name at the destination), what lies there, and what the last run noted."""

    key: str
    source: Listed
    there: Listed | None
    known: Copied | None


def merge(source: Iterable[Listed], there: Iterable[Listed], known: Iterable[Copied], *, prefix: str) -> Iterator[Pair]:
    """All source objects in order, with their counterparts. What only the destination has is passed over: it is kept.

    Memory: one object of each stream. Raises StoreError when a listing is out of order (never concludes from it), and
    whatever the streams raise: a listing that breaks off never looks complete.
    """
    at_destination, noted = _Cursor(there, "the destination's listing"), _Cursor(known, "the inventory")
    last = None
    for listed in source:
        key = prefix + listed.key
        order = key.encode("utf-8", "surrogatepass")
        if last is not None and order <= last:
            raise _out_of_order("the source's listing", key)
        last = order
        yield Pair(key, listed, at_destination.at(order), noted.at(order))


def sign_of(pair: Pair) -> Sign:
    """`=` nothing to do, `+` new, `*` changed, `?` the listings can't tell: ask `settle`."""
    source, there, known = pair.source, pair.there, pair.known
    if there is None:
        return "+"
    if there.bytes != source.bytes:
        return "*"
    if there.etag and there.etag == source.etag:
        return "="
    if known and (known.source_etag, known.bytes, known.etag) == (source.etag, source.bytes, there.etag):
        return "="
    return "?"


def settle(pair: Pair, head: Callable[[str], Head | None]) -> Sign:
    """The sign with every doubt removed; asks the destination for the version that it is a copy of."""
    sign = sign_of(pair)
    if sign != "?":
        return sign
    found = head(pair.key)
    if found is None:
        return "+"
    noted = (found.metadata.get(SOURCE_ETAG), found.metadata.get(SOURCE_BYTES))
    return "=" if noted == (pair.source.etag, str(pair.source.bytes)) else "*"


class _Cursor(Generic[T]):
    """A sorted stream that is asked for increasing keys."""

    def __init__(self, items: Iterable[T], what: str) -> None:
        self._items = iter(items)
        self._what = what
        self._order = b""
        self._item: T | None = None
        self._advance()

    def at(self, order: bytes) -> T | None:
        """The item of this very key, or None; what comes before it is passed over."""
        while self._item is not None and self._order < order:
            self._advance()
        return self._item if self._item is not None and self._order == order else None

    def _advance(self) -> None:
        last, self._item = self._order, next(self._items, None)
        if self._item is None:
            return
        self._order = self._item.key.encode("utf-8", "surrogatepass")
        if self._order <= last and last:
            raise _out_of_order(self._what, self._item.key)


def _out_of_order(what: str, key: str) -> StoreError:
    return StoreError(
        f"{what} is out of order at {key!r}",
        hint="Stores promise UTF-8 byte order; a listing that breaks it can't be merged, and nothing was concluded.",
    )
