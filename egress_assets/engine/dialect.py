"""How rows lie in stored text: PostgreSQL's CSV, or AWS Data Pipeline's, which quotes nothing and escapes by backslash.

Rows are written by the server's COPY alone; here is what a reader has to know of them, and the header line, which is
never stored. A table's record in the manifest names its dialect; without one it is PLAIN.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

DialectName = Literal["postgres", "datapipeline"]

ESCAPES: Mapping[str, str] = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
"""What COPY's text format writes as a backslash and a letter. Source: PostgreSQL docs, COPY, Text Format."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """`delimiter` and `quote` are one ASCII byte each; `quote` is empty where nothing is quoted."""

    name: DialectName = "postgres"
    null: str = ""
    delimiter: str = ","
    quote: str = '"'

    @property
    def is_escaped(self) -> bool:
        """Backslash escapes in the place of quotes: a record is one line, whatever its values hold."""
        return self.name == "datapipeline"

    def __str__(self) -> str:
        quoting = "" if self.is_escaped else f", quote {self.quote!r}"
        return f"{self.name} (NULL {self.null!r}, delimiter {self.delimiter!r}{quoting})"

    def to_json(self) -> dict[str, str]:
        return {"dialect": self.name, "null": self.null, "delimiter": self.delimiter, "quote": self.quote}

    @staticmethod
    def from_json(v: Mapping[str, Any]) -> Dialect:
        return Dialect(v["dialect"], v["null"], v["delimiter"], v["quote"])

    def header(self, names: Iterable[str]) -> bytes:
        """The line that COPY writes for HEADER: names as values are written, none of them NULL."""
        columns = list(names)
        fields = [self._escaped(n) if self.is_escaped else self._quoted(n, alone=len(columns) == 1) for n in columns]
        return (self.delimiter.join(fields) + "\n").encode()

    def _escaped(self, text: str) -> str:
        text = text.replace("\\", "\\\\")
        for letter, sign in ESCAPES.items():
            text = text.replace(sign, f"\\{letter}")
        return text.replace(self.delimiter, f"\\{self.delimiter}")

    def _quoted(self, text: str, *, alone: bool) -> str:
        special = any(sign in text for sign in (self.delimiter, self.quote, "\n", "\r"))
        if special or text == self.null or (alone and text == "\\."):
            return self.quote + text.replace(self.quote, self.quote * 2) + self.quote
        return text


PLAIN = Dialect()
"""What COPY writes for `FORMAT csv`, and what records without a dialect are."""


def told(dialect: Dialect) -> dict[str, Any]:
    """What records and digests note: nothing of PLAIN, so that they are the same as before there were others."""
    return {} if dialect == PLAIN else {"csv": dialect.to_json()}
