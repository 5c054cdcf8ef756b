"""Files into a folder that an agent watches: it never sees half a file, nor a name that it would not expect.

Bytes go to a staging folder beside the watched one, on the same file system, are synced, and appear by one link or
rename. A note in the staging folder says which delivery lies at a name, with the file's mark (inode and time): what
somebody else put there is never taken for ours, and never replaced. An agent that consumed a file leaves the note:
consumed is delivered.

    <path>/in/2026/orders.csv.gz              what the agent sees
    <staging>/notes/<digest of the name>      {destination, identity, sha256, bytes, mark, ...}
    <staging>/files/<identity>-<random>       bytes on their way; gone when they are shown
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from egress_assets.engine.errors import CatalogError, ChecksumMismatch, DeliveryRefused, DeliveryUnavailable
from egress_assets.engine.transfers import Knows, Parcel, Sent

_CHUNK = 2**20
_FOLDER_MODE = 0o770  # the group is the agent's, which takes files away
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Settings(BaseModel):
    """A folder on this machine, or a volume that an agent's sidecar shares."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path
    staging: Path | None = None  # default: .<name>.egress beside `path`; must be on the same file system
    mode: int = Field(default=0o640, ge=0, le=0o777)


@dataclass(frozen=True, slots=True)
class _Note:
    """What lies, or is about to lie, at a destination. `replaces` is the mark of our file whose place it takes."""

    destination: str
    identity: str
    sha256: str
    bytes: int
    mark: str
    staged: str
    replaces: str | None = None


def open_transfer(settings: Settings) -> FolderTransfer:
    """Touches nothing yet."""
    return FolderTransfer(settings)


class FolderTransfer:
    """A watched folder as recipient. Memory: a chunk."""

    knows: Knows = "head"

    def __init__(self, settings: Settings) -> None:
        self._path = settings.path.absolute()
        self._staging = (settings.staging or self._path.with_name(f".{self._path.name}.egress")).absolute()
        self._mode = settings.mode

    def admit(self, destination: str) -> None:
        _steps(destination)
        self._prepare()

    def send(self, parcel: Parcel, chunks: Iterable[bytes], *, identity: str, not_after: datetime) -> Sent:
        steps = _steps(parcel.destination)
        self._prepare()
        try:
            with self._folder(steps[:-1], make=True) as folder:
                return self._send(_Place(folder, steps[-1]), parcel, chunks, _Claim(identity, not_after))
        except OSError as error:
            return Sent("refused", {"reason": _reason(error), "retryable": True})

    def ask(self, destination: str) -> str | None:
        """Our identity at the destination, also when the agent has taken the file away since."""
        note = self._note(destination)
        if note is None:
            return None
        steps = _steps(destination)
        try:
            with self._folder(steps[:-1], make=False) as folder:
                there = _Place(folder, steps[-1]).mark()
        except FileNotFoundError:  # the agent removes folders that it has emptied
            there = None
        except OSError as error:
            raise DeliveryUnavailable(f"{self._path} can't be looked at: {_reason(error)}") from error
        if there == note.mark:
            return note.identity
        return note.identity if there is None and not self._staged(note.staged).exists() else None

    def ping(self) -> str:
        """Writes and removes an empty staging file."""
        self._prepare()
        probe = self._staged(f"ping-{secrets.token_hex(8)}")
        with self._writable():
            os.close(os.open(probe, _OPEN_NEW, self._mode))
            probe.unlink()
        return f"{self._path} takes files, staged in {self._staging.name}"

    def _prepare(self) -> None:
        """Both folders are there and on one file system, or a link could not be atomic."""
        if not self._path.is_dir():
            raise DeliveryUnavailable(f"folder {self._path} does not exist", hint="Mount or create it first.")
        if self._staging == self._path or self._path in self._staging.parents:
            raise CatalogError(
                f"staging folder {self._staging} lies inside the watched {self._path}",
                hint="An agent would pick up unfinished files: put it beside.",
            )
        with self._writable():
            for folder in (self._staging / "files", self._staging / "notes"):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._staging.stat().st_dev != self._path.stat().st_dev:
            raise CatalogError(
                f"{self._staging} and {self._path} are on different file systems",
                hint="Set `staging` to a folder of the same volume that the agent does not watch.",
            )

    @contextlib.contextmanager
    def _writable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DeliveryUnavailable(
                f"staging folder {self._staging} can't be written: {_reason(error)}",
                hint="Make room there, or give this process the right to write; `staging` names another folder.",
            ) from None

    @contextlib.contextmanager
    def _folder(self, steps: tuple[str, ...], *, make: bool) -> Iterator[int]:
        """A descriptor of the sub-folder, walked without following a link, so that no name leads out."""
        descriptor = os.open(self._path, _OPEN_FOLDER)
        try:
            for step in steps:
                if make:
                    _make_folder(descriptor, step)
                inner = os.open(step, _OPEN_FOLDER, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = inner
            yield descriptor
        finally:
            os.close(descriptor)

    def _send(self, place: _Place, parcel: Parcel, chunks: Iterable[bytes], claim: _Claim) -> Sent:
        before, there = self._note(parcel.destination), place.mark()
        if there is not None and (before is None or there not in (before.mark, before.replaces)):
            return Sent("refused", {"reason": "a file that Egress did not write has this name"})
        staged = self._fresh(claim.identity, before)
        mark = self._stage(staged, chunks, parcel)
        if datetime.now(UTC) >= claim.not_after:
            staged.unlink()
            return Sent("refused", {"reason": "the claim ran out while the file was staged", "retryable": True})
        note = _Note(parcel.destination, claim.identity, parcel.sha256, parcel.bytes, mark, staged.name, there)
        self._keep(note)
        try:
            place.show(staged, replacing=there)
        except FileExistsError:
            self._restore(note.destination, before)
            staged.unlink()
            return Sent("refused", {"reason": "a file that Egress did not write appeared at this name"})
        except OSError as error:
            return Sent("ambiguous", {"reason": _reason(error), "retryable": True})
        return Sent("ok", {"mark": mark, "bytes": parcel.bytes, "sha256": parcel.sha256})

    def _fresh(self, identity: str, note: _Note | None) -> Path:
        """A new staging name; leftovers of killed sends go, but for the one whose presence says `not yet shown`."""
        stem = sha256(identity.encode()).hexdigest()
        for leftover in (self._staging / "files").glob(f"{stem}-*"):
            if note is None or leftover.name != note.staged:
                leftover.unlink(missing_ok=True)
        return self._staged(f"{stem}-{secrets.token_hex(8)}")

    def _stage(self, staged: Path, chunks: Iterable[bytes], parcel: Parcel) -> str:
        """Write, sync and read back; returns the mark. Leaves nothing when the bytes fail."""
        descriptor = os.open(staged, _OPEN_NEW, self._mode)
        try:
            os.fchmod(descriptor, self._mode)
            for chunk in chunks:
                _write(descriptor, chunk)
            os.fsync(descriptor)
            _compare(staged, parcel)
            return _mark(os.fstat(descriptor))
        except BaseException:
            staged.unlink()
            raise
        finally:
            os.close(descriptor)

    def _staged(self, name: str) -> Path:
        return self._staging / "files" / name

    def _note_path(self, destination: str) -> Path:
        return self._staging / "notes" / sha256(destination.encode()).hexdigest()

    def _note(self, destination: str) -> _Note | None:
        try:
            return _Note(**json.loads(self._note_path(destination).read_bytes()))
        except FileNotFoundError:
            return None

    def _keep(self, note: _Note) -> None:
        path = self._note_path(note.destination)
        fresh = path.with_suffix(".new")
        with fresh.open("wb") as out:
            out.write(json.dumps(asdict(note)).encode())
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(path)
        _sync_folder(path.parent)

    def _restore(self, destination: str, before: _Note | None) -> None:
        if before is not None:
            self._keep(before)
        else:
            self._note_path(destination).unlink()


@dataclass(frozen=True, slots=True)
class _Claim:
    identity: str
    not_after: datetime


@dataclass(frozen=True, slots=True)
class _Place:
    """A name in an opened folder."""

    folder: int
    name: str

    def mark(self) -> str | None:
        """None when nothing is there; empty for what is no regular file."""
        try:
            found = os.stat(self.name, dir_fd=self.folder, follow_symlinks=False)
        except FileNotFoundError:
            return None
        return _mark(found) if stat.S_ISREG(found.st_mode) else ""

    def show(self, staged: Path, *, replacing: str | None) -> None:
        """Make the staged file appear in one step: over a file of ours, else only where nothing is (FileExistsError).

        Between link and unlink a kill leaves the staged file: should the agent also have taken the file in that moment,
        it is sent again. A rename that refuses to replace would close this, but libc's is not in Python.
        """
        if replacing is not None:
            os.rename(staged, self.name, dst_dir_fd=self.folder)
        else:
            os.link(staged, self.name, dst_dir_fd=self.folder, follow_symlinks=False)
            staged.unlink()
        os.fsync(self.folder)


def _mark(found: os.stat_result) -> str:
    """Kept by link and rename. The inode alone is given to the next file when this one is deleted."""
    return f"{found.st_ino}-{found.st_mtime_ns}"


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()


def _steps(destination: str) -> tuple[str, ...]:
    """The folders and the name of a destination. Raises DeliveryRefused for what would leave, hide or confuse."""
    steps = tuple(destination.split("/"))
    for step in steps:
        if not step or step[0] == "." or not step.isprintable() or "\\" in step or len(os.fsencode(step)) > 255:
            raise DeliveryRefused(
                f"{destination!r} can't be a path in a recipient's folder",
                hint="Each step is printable, at most 255 bytes, not empty, without backslash or leading dot.",
            )
    return steps


def _make_folder(parent: int, name: str) -> None:
    try:
        os.mkdir(name, _FOLDER_MODE, dir_fd=parent)
        os.chmod(name, _FOLDER_MODE, dir_fd=parent)  # whatever the umask
    except FileExistsError:
        return
    os.fsync(parent)


def _write(descriptor: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(descriptor, view) :]


def _compare(staged: Path, parcel: Parcel) -> None:
    seen, size = sha256(), 0
    with staged.open("rb") as source:
        while chunk := source.read(_CHUNK):
            seen.update(chunk)
            size += len(chunk)
    if (size, seen.hexdigest()) != (parcel.bytes, parcel.sha256):
        raise ChecksumMismatch(
            f"{parcel.destination} reads back with {size} bytes and sha256 {seen.hexdigest()[:12]}, sent were "
            f"{parcel.bytes} with {parcel.sha256[:12]}",
            hint="The folder's file system damages files.",
        )


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, _OPEN_FOLDER)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
