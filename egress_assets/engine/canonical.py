"""Stored rows as text, read back into the canonical form of engine/checksum.py, many rows at a time.

No field becomes an object of its own: what divides fields and rows is replaced, over a whole block, by bytes that UTF-8
never has; a field at a time it would take five times as long. Whatever the bytes are, something is returned: what no
COPY wrote has another checksum and raises no error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from egress_assets.engine.checksum import END, NULL
from egress_assets.engine.dialect import ESCAPES, Dialect

_ROW, _PAIR, _QUOTE, _SIGN, _SLASH = (bytes([byte]) for byte in range(0xFD, 0xF8, -1))
_ONLY_PAIRS = re.compile(rb"([\xff\xfd])\xfc(\xfc+)(?=\xff)")
BLOCK = 256 * 1024
"""Bytes that are gathered before rows are made of them."""


def canonical_rows(
    chunks: Iterable[bytes], dialect: Dialect, columns: int, *, block: int = BLOCK
) -> Iterator[list[bytes]]:
    """Rows of `columns` columns each, in lists as they lie in blocks; `chunks` may be cut anywhere.

    Memory: 30 x (`block` + a chunk) for rows of 7 bytes, of which half is for their digests; 6 x the largest row.
    """
    cut = _cut_at_lines if dialect.is_escaped else _cut_outside_quotes
    held: list[bytes] = []
    size, enough = 0, block
    for chunk in chunks:
        held.append(chunk)
        size += len(chunk)
        if size < enough:
            continue
        marked, rest = cut(b"".join(held), dialect)
        # A row that is longer is neither copied nor looked through for every chunk of it.
        held, size, enough = [rest], len(rest), max(block, 2 * len(rest))
        if marked:
            yield _rows(marked, dialect, columns)
    rest = b"".join(held)
    marked, rest = cut(rest if rest[-1:] in b"\n" else rest + b"\n", dialect)
    if marked:
        yield _rows(marked, dialect, columns)
    if rest:  # a quote that nothing closes: not what COPY writes
        yield [rest]


def _cut_at_lines(held: bytes, dialect: Dialect) -> tuple[bytes, bytes]:
    """The whole rows with their marks, and what comes after them. What is escaped gets marks of its own."""
    end = held.rfind(b"\n") + 1
    block = held[:end]
    if b"\\" in block:
        block = block.replace(b"\\\\", _SLASH).replace(b"\\" + dialect.delimiter.encode(), _SIGN)
    return block.translate(_marks(dialect)), held[end:]


def _cut_outside_quotes(held: bytes, dialect: Dialect) -> tuple[bytes, bytes]:
    """As above. A row ends at a newline outside of quotes: where an even number of them came before.

    Pairs of quotes don't change that number and are taken out first; the quotes that are left divide what is inside
    from what is outside.
    """
    quote, marks = dialect.quote.encode(), _marks(dialect)
    if quote not in held:
        end = held.rfind(b"\n") + 1
        return held[:end].translate(marks), held[end:]
    parts = held.replace(quote * 2, _PAIR).split(quote)
    for last in range((len(parts) - 1) // 2 * 2, -1, -2):
        if (end := parts[last].rfind(b"\n") + 1) > 0:
            rest = quote.join([parts[last][end:], *parts[last + 1 :]]).replace(_PAIR, quote * 2)
            parts[last:] = [parts[last][:end]]
            parts[::2] = _SIGN.join(parts[::2]).translate(marks).split(_SIGN)
            return _QUOTE.join(parts), rest
    return b"", held


def _marks(dialect: Dialect) -> bytes:
    return bytes.maketrans(dialect.delimiter.encode() + b"\n", END + _ROW)


def _rows(marked: bytes, dialect: Dialect, columns: int) -> list[bytes]:
    """What is NULL and what is quoted is settled while the marks tell which text is a field's whole."""
    marked = _ROW + (marked.replace(_ROW, END + _ROW) if columns else marked)
    if _PAIR in marked:
        marked = _without_pairs(marked).replace(_PAIR, dialect.quote.encode())
    marked = _with(marked, dialect.null.encode(), NULL) if columns else marked
    marked = _without_escapes(marked, dialect) if dialect.is_escaped else marked.replace(_QUOTE, b"")
    return marked[1:-1].split(_ROW)


def _with(marked: bytes, field: bytes, other: bytes) -> bytes:
    """Each field that is just `field` becomes `other`. Twice, since one mark ends a field and begins the next."""
    for _ in range(2):
        marked = marked.replace(END + field + END, END + other + END)
    return marked.replace(_ROW + field + END, _ROW + other + END)


def _without_pairs(marked: bytes) -> bytes:
    """Of a field of nothing but pairs one is the quotes around it. The empty text keeps a mark: it is not NULL."""
    marked = _with(marked, _PAIR, _QUOTE)
    if END + _PAIR * 2 in marked or _ROW + _PAIR * 2 in marked:
        marked = _ONLY_PAIRS.sub(rb"\1\2", marked)
    return marked


def _without_escapes(marked: bytes, dialect: Dialect) -> bytes:
    if b"\\" in marked:
        for letter, sign in ESCAPES.items():
            marked = marked.replace(b"\\" + letter.encode(), sign.encode())
    return marked.replace(_SIGN, dialect.delimiter.encode()).replace(_SLASH, b"\\")
