"""What a verb can ask of its driver: one frozen record a step, and what the driver answers.

A verb is a generator: it yields a request, is sent the answer, and returns its result. Errors of a request are thrown
into it as EgressErrors. Times are microseconds of a store's clock, never floats.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeVar

from egress_assets.engine.stores import Pending

T = TypeVar("T")
SECOND = 1_000_000
HOUR = 3600 * SECOND


@dataclass(frozen=True, slots=True)
class Found:
    """A small object of the evidence store. `date` is the store's clock in the answer that told the rest."""

    body: bytes
    etag: str
    modified: int
    date: int


@dataclass(frozen=True, slots=True)
class Get:
    """Answer: Found, or None when the key is absent."""

    key: str


@dataclass(frozen=True, slots=True)
class Put:
    """ONE conditional single PUT: If-Match `etag`, or If-None-Match: * when None. Answer: stores.Answer."""

    key: str
    body: bytes
    etag: str | None


@dataclass(frozen=True, slots=True)
class List:
    """Answer: an iterable of the keys under `prefix` after `start_after`, of the evidence store."""

    prefix: str
    start_after: str = ""


@dataclass(frozen=True, slots=True)
class PutBytes:
    """A small object beside the bytes, unconditional. Answer: None."""

    key: str
    body: bytes


@dataclass(frozen=True, slots=True)
class ListBytes:
    """Answer: an iterable of the keys under `prefix` in the stage's own store."""

    prefix: str


@dataclass(frozen=True, slots=True)
class ListUploads:
    """Answer: an iterable of stores.Pending under `prefix` in the stage's own store."""

    prefix: str


@dataclass(frozen=True, slots=True)
class DeleteBytes:
    """Absent afterwards. Answer: None."""

    key: str


@dataclass(frozen=True, slots=True)
class AbortUpload:
    """Abort until the store no longer knows it. Answer: None."""

    upload: Pending


@dataclass(frozen=True, slots=True)
class Call:
    """Work that is not the protocol's: extract, write bytes, read them back, send, ask. Answer: what it returns."""

    label: str
    function: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Wait:
    """Back off before try `tries` + 2 of something that was contended. Answer: None."""

    tries: int


@dataclass(frozen=True, slots=True)
class Now:
    """Answer: this process's clock in microseconds; may be skewed, so only deadlines are made of it."""


Request = (
    Get | Put | List | PutBytes | ListBytes | ListUploads | DeleteBytes | AbortUpload | Call | Wait | Now
)  # fmt: skip
Verb = Generator[Request, Any, T]
