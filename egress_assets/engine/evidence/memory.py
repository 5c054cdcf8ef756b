"""What was read of evidence, kept by key and ETag: who looks again and again lists, and reads only what has changed.

It is a convenience of one process. Losing it costs reads, never a wrong answer: a body that was read is the body of
its ETag, and a manifest or receipt is never rewritten.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

KEPT = 20_000
"""Records: 50 datasets of three units and 45 dates are 6,750 pointers and as many manifests, about 2 kB each parsed."""


class Unread(Exception):
    """The round's reads are used up: what lacks is read in the next one."""


class Memory:
    """Parsed records by key and ETag, the least recently used given up first. Safe to use from many threads.

    One for each kind of look: what a look makes of a record is what the next one gets.

    `reads` bounds what one round may read, so that a look that begins with nothing is spread over several; None: no
    bound. Memory: `keeps` parsed records.
    """

    def __init__(self, *, reads: int | None = None, keeps: int = KEPT) -> None:
        self._reads, self._keeps = reads, keeps
        self._left = reads
        self._kept: OrderedDict[tuple[str, str], Any] = OrderedDict()
        self._lock = threading.Lock()

    def begin_round(self) -> None:
        self._left = self._reads

    @property
    def is_spent(self) -> bool:
        return self._left is not None and self._left <= 0

    def get(self, key: str, etag: str, read: Callable[[], T]) -> T:
        """What `read` gives, called only when it isn't known; `etag` is of the listing, '' for what never changes.

        Raises Unread when the round may read no more, and whatever `read` raises.
        """
        with self._lock:
            if (key, etag) in self._kept:
                self._kept.move_to_end((key, etag))
                return self._kept[key, etag]
            if self.is_spent:
                raise Unread(key)
            if self._left is not None:
                self._left -= 1
        value = read()
        with self._lock:
            self._kept[key, etag] = value
            while len(self._kept) > self._keeps:
                self._kept.popitem(last=False)
        return value
