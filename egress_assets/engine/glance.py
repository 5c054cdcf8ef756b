"""Many small reads at once, for people to look at: whatever does not answer in time is left out and said."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

from egress_assets.engine.errors import EgressError

K = TypeVar("K")
T = TypeVar("T")

SECONDS = 3.0
_THREADS = 8  # a store that answers in 30 ms gives 800 objects in the time


def glance(reads: Mapping[K, Callable[[], T]], *, seconds: float | None = None) -> tuple[dict[K, T], dict[K, str]]:
    """(answers within `seconds`, default SECONDS; why the others have none).

    Never raises for a read; what hangs goes on alone until it ends.

    Memory: eight reads under way, and the answers.
    """
    if not reads:
        return {}, {}
    patience = SECONDS if seconds is None else seconds
    pool = ThreadPoolExecutor(min(_THREADS, len(reads)), thread_name_prefix="glance")
    try:
        asked: dict[K, Future[T]] = {key: pool.submit(read) for key, read in reads.items()}
        wait(asked.values(), timeout=patience)
        late = {key for key, future in asked.items() if not future.done()}
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    failed = {key: said(error) for key, future in asked.items() if key not in late and (error := future.exception())}
    answers = {key: future.result() for key, future in asked.items() if key not in late and key not in failed}
    return answers, failed | {key: f"no answer within {patience:g} s" for key in asked if key in late}


def said(error: BaseException) -> str:
    """Of errors that nobody foresaw only the kind: their text may quote data."""
    return error.message if isinstance(error, EgressError) else type(error).__name__
