"""Change a catalog file: at once or not at all, and never over what somebody else has written meanwhile."""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from egress_assets.engine.errors import CatalogError

_NEW_MODE = 0o644


def read(file: Path) -> str:
    """As it is written: line ends and a byte order mark stay."""
    with file.open(encoding="utf-8", newline="") as stream:
        return stream.read()


def replace(file: Path, before: str | None, after: str) -> None:
    """Atomic, with the file's own mode and behind its link. Raises CatalogError when it changed (or came) meanwhile."""
    target = file.resolve()
    try:
        with _locked(target.parent):
            if (read(target) if target.exists() else None) != before:
                hint = "Somebody else has just written it: add the table again."
                raise CatalogError(f"{file} has changed while the table was looked at", hint=hint)
            _write(target, after)
    except OSError as error:
        hint = "Nothing was changed. `--dry-run` prints what would be written."
        raise CatalogError(f"{file} can't be written: {error.strerror}", hint=hint) from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One `add_table` at a time writes into a folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(target: Path, text: str) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as stream:
            stream.write(text)
            stream.flush()
            os.fchmod(stream.fileno(), stat.S_IMODE(target.stat().st_mode) if target.exists() else _NEW_MODE)
            os.fsync(stream.fileno())
        Path(name).replace(target)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(name).unlink()
        raise
