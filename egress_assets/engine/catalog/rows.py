"""`csv:` under `dump` and `scrub`: in which dialect COPY writes the rows.

What could make two values the same text, or let the gate's detectors read over the end of a field, is refused here.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field, JsonValue, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from egress_assets.engine.catalog.values import Strict
from egress_assets.engine.dialect import PLAIN, Dialect, DialectName

DELIMITERS = frozenset({*map(chr, range(1, 32)), *",;|~^!#$&*=<>?[]{}`"} - {"\n", "\r"})
"""No letter, digit, or sign that identifiers are made of (`.` `-` `_` `@` `+` `(` `/` `:` and so on): detectors take
those for a part of what stands beside them."""

QUOTES = DELIMITERS | frozenset("\"'")
LONGEST_NULL = 32

_ONE: dict[str, JsonValue] = {"minLength": 1, "maxLength": 1}  # for editors; the validators say it in words
_ONE_OF = "a tab, another control character or one of , ; | ~ ^ ! # $ & * = < > ? [ ] { } `"


class CsvModel(Strict):
    """How rows are written. Without `null` and `quote` it is the dialect's own."""

    dialect: DialectName = "postgres"
    null: str | None = None
    delimiter: str = Field(default=",", json_schema_extra=_ONE)
    quote: str | None = Field(default=None, json_schema_extra=_ONE)

    @property
    def rows(self) -> Dialect:
        """The dialect with its own defaults filled in."""
        if self.dialect == "datapipeline":
            return Dialect("datapipeline", "\\N" if self.null is None else self.null, self.delimiter, "")
        null, quote = self.null or "", '"' if self.quote is None else self.quote
        return Dialect("postgres", null, self.delimiter, quote)

    @model_validator(mode="after")
    def _possible(self) -> CsvModel:
        wrong = [
            InitErrorDetails(type=PydanticCustomError("catalog", "{text}", {"text": text}), loc=(key,), input=None)
            for key, text in self._wrong()
        ]
        if wrong:
            raise ValidationError.from_exception_data("csv", wrong)
        return self

    def _wrong(self) -> Iterator[tuple[str, str]]:
        if self.delimiter not in DELIMITERS:
            yield "delimiter", f"a delimiter is {_ONE_OF}, not {self.delimiter!r}"
        yield from self._wrong_without_quotes() if self.dialect == "datapipeline" else self._wrong_with_quotes()

    def _wrong_without_quotes(self) -> Iterator[tuple[str, str]]:
        if self.quote is not None:
            yield "quote", "`datapipeline` quotes nothing: leave `quote` out"
        null = self.rows.null
        if not (len(null) == 2 and null[0] == "\\" and "A" <= null[1] <= "Z"):
            text = "what stands for NULL is a backslash and a capital letter here: anything else could be a value"
            yield "null", f"{text}, {null!r} too"

    def _wrong_with_quotes(self) -> Iterator[tuple[str, str]]:
        dialect = self.rows
        if dialect.quote not in QUOTES:
            yield "quote", f"a quote is \", ', {_ONE_OF}, not {dialect.quote!r}"
        elif dialect.quote == dialect.delimiter:
            yield "quote", f"quote and delimiter are both {dialect.quote!r}"
        if len(dialect.null) > LONGEST_NULL or not (dialect.null.isascii() and dialect.null.isprintable()):
            yield (
                "null",
                f"what stands for NULL is at most {LONGEST_NULL} printable ASCII characters, without a line's end",
            )
        if dialect.null == "\\.":
            yield "null", r"\. is where COPY stops to read"
        if used := [sign for sign in (dialect.delimiter, dialect.quote) if sign and sign in dialect.null]:
            yield "null", f"what stands for NULL can't hold {used[0]!r}, which is the delimiter or the quote"


def rows_dialect(model: CsvModel | None) -> Dialect:
    """Of a dump's or scrub's `csv:`; without it PLAIN."""
    return model.rows if model else PLAIN
