"""External sort of a listing: runs in memory, spilled to temporary files, merged.

Memory: one run of 50,000 entries (about 20 MB) plus a read buffer a run. Disk: about 150 bytes a key, in TMPDIR.
"""

from __future__ import annotations

import heapq
import json
import logging
import tempfile
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice
from operator import attrgetter
from typing import IO

from egress_assets.engine.errors import StoreError
from egress_assets.engine.stores import Listed

logger = logging.getLogger(__name__)

RUN = 50_000  # entries sorted in memory
FAN_IN = 64  # files merged at once, far below the limit of open files

_by_key = attrgetter("key")


def sort_listing(keys: Iterable[Listed], where: str) -> Iterator[Listed]:
    """The same entries by key. Files are unnamed and vanish with the process. Raises StoreError when they don't fit."""
    source, files, count, was_sorted, last = iter(keys), [], 0, True, ""
    try:
        while run := list(islice(source, RUN)):
            ordered = sorted(run, key=_by_key)
            was_sorted = was_sorted and ordered == run and last <= run[0].key
            count, last = count + len(run), run[-1].key
            if not files and len(run) < RUN:  # all of it
                _tell(was_sorted, count, where)
                yield from ordered
                return
            files.append(_spill(ordered))
            if len(files) == FAN_IN:
                merged = _spill(_merge(files))
                _close(files)
                files.append(merged)
        _tell(was_sorted, count, where)
        yield from _merge(files)
    finally:
        _close(files)


def _tell(was_sorted: bool, count: int, where: str) -> None:
    if not was_sorted:
        logger.info("%s: the store lists out of order; sorted %d keys", where, count)


def _merge(files: list[IO[str]]) -> Iterator[Listed]:
    return heapq.merge(*(_load(file) for file in files), key=_by_key)


def _close(files: list[IO[str]]) -> None:
    while files:
        files.pop().close()


def _spill(entries: Iterable[Listed]) -> IO[str]:
    try:
        return _written(entries)
    except OSError as error:
        raise StoreError(
            f"a listing of more than {RUN:,} keys can't be sorted in {tempfile.gettempdir()}: {error.strerror}",
            hint="Give TMPDIR a folder with 150 bytes free a key.",
        ) from None


def _written(entries: Iterable[Listed]) -> IO[str]:
    file = tempfile.TemporaryFile("w+", encoding="ascii", prefix="egress-listing-")  # noqa: SIM115  the caller closes it
    try:
        for entry in entries:
            file.write(json.dumps((entry.key, entry.bytes, entry.etag, entry.modified.isoformat())) + "\n")
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


def _load(file: IO[str]) -> Iterator[Listed]:
    for line in file:
        key, size, etag, modified = json.loads(line)
        yield Listed(key, size, etag, datetime.fromisoformat(modified))
