"""Rows as each dialect writes them, for tests that have no server: COPY's documentation in ten lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from egress_assets.engine.dialect import Dialect


def written(rows: Iterable[Sequence[str | None]], dialect: Dialect) -> bytes:
    """What COPY makes of rows, told by its documentation; the server's own bytes are in tests/system/dump."""
    return "".join(dialect.delimiter.join(_written(v, dialect) for v in row) + "\n" for row in rows).encode()


def _written(value: str | None, dialect: Dialect) -> str:
    if value is None:
        return dialect.null
    if dialect.is_escaped:
        names = {"\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}
        return "".join(names.get(c) or (f"\\{c}" if c == dialect.delimiter else c) for c in value)
    quoted = any(c in value for c in (dialect.delimiter, dialect.quote, "\r", "\n")) or value == dialect.null
    return dialect.quote + value.replace(dialect.quote, dialect.quote * 2) + dialect.quote if quoted else value
