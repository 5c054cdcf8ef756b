"""A checksum of a table's rows that is the same wherever it is computed and in whatever order the rows come.

A row in canonical form is, column by column, the value's bytes as COPY writes them in UTF-8 (NULL is 0xFE), then 0xFF:
bytes that UTF-8 never has, so that no value looks like NULL, like the end of its column, or like two columns. A row's
number is the first eight bytes of the sha256 of that; the checksum is their sum modulo 2^64, with the count. A sum and
not an exclusive or: a row that is there twice counts twice.

Two tables of equally many rows that differ by accident have one checksum with a chance of 2^-64. It is no signature:
somebody who may choose the rows can find other rows of the same sum. Against those stands the sha256 of every object.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

END, NULL = b"\xff", b"\xfe"
MODULUS = 2**64
_WORDS = 4  # of 64 bits in a sha256


@dataclass(frozen=True, slots=True)
class Checksum:
    """Of the rows of a table or of a part of it; those of the parts add up to the table's. `sum` is below MODULUS."""

    rows: int = 0
    sum: int = 0

    def __add__(self, other: Checksum) -> Checksum:
        return Checksum(self.rows + other.rows, (self.sum + other.sum) % MODULUS)

    def __str__(self) -> str:
        return f"{self.sum:016x} over {self.rows} rows"

    def to_json(self) -> dict[str, Any]:
        return {"rows": self.rows, "sum": f"{self.sum:016x}"}

    @staticmethod
    def from_json(v: Mapping[str, Any]) -> Checksum:
        return Checksum(v["rows"], int(v["sum"], 16))


def checksum(rows: Sequence[bytes]) -> Checksum:
    """Of rows in canonical form. Memory: 100 bytes a row beside them."""
    words = array("Q", b"".join([sha256(row).digest() for row in rows]))
    if sys.byteorder == "little":
        words.byteswap()
    return Checksum(len(rows), sum(words[::_WORDS]) % MODULUS)


def added(checksums: Iterable[Checksum]) -> Checksum:
    return sum(checksums, Checksum())


ALGORITHM = "sha256-sum64-1"
"""Names how these checksums are made, in evidence: those of another one can't be compared."""


@dataclass(frozen=True, slots=True)
class Checksums:
    """Of one table: the rows that the server selected, and the rows that the stored objects hold."""

    source: Checksum
    output: Checksum
    algorithm: str = ALGORITHM

    @property
    def agree(self) -> bool:
        return self.source == self.output

    def to_json(self) -> dict[str, Any]:
        return {"algorithm": self.algorithm, "source": self.source.to_json(), "output": self.output.to_json()}

    @staticmethod
    def from_json(v: Mapping[str, Any]) -> Checksums:
        return Checksums(Checksum.from_json(v["source"]), Checksum.from_json(v["output"]), v["algorithm"])
