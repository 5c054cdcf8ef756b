"""Where the HTTPS recipient keeps what it was sent: whole files, their receipts, and the keys it has already served.

    inbox/<filename>           visible only when whole: one rename moves it in
    receipts/<name>-<inode>    the receipt of that very file; the inode survives the rename, so data and receipt are
                               never of different sendings
    keys/<key>                 what an Idempotency-Key was answered; it names the temporary file, so that a kill between
                               this record and the rename is rolled forward at the next start
    incoming/<key>-<random>    bytes that are still coming; leftovers are deleted at the next start

Nothing here knows HTTP. Memory: one chunk of the caller's.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import tempfile
import threading
import unicodedata
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from egress_assets.sandbox.files import fsync_folder, write_atomically

logger = logging.getLogger(__name__)

MAX_NAME_BYTES = 255  # NAME_MAX of every file system in use
NO_KEY = "unkeyed"


class Refusal(Exception):
    """A definite no, with its HTTP status: nothing was kept."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Offer:
    """What a sender says of a body before it comes. `sha256` and `identity` are empty when it doesn't say."""

    filename: str
    sha256: str = ""
    key: str = ""
    identity: str = ""
    not_after: datetime | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    filename: str
    bytes: int
    sha256: str
    identity: str
    received_at: str  # ISO 8601, UTC, milliseconds


def check_name(name: str) -> str:
    """`name`, when it is a plain file name.

    Raises Refusal (400) for separators, `..`, a leading dot, control characters, nothing, or over 255 bytes of UTF-8.
    """
    if not name or len(name.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES:
        raise Refusal(400, f"filename must have 1 to {MAX_NAME_BYTES} bytes")
    if name.startswith(".") or ".." in name or "/" in name or "\\" in name:
        raise Refusal(400, "filename must be a plain name: no separators, no '..', no leading dot")
    # Cc control, Cf invisible (also the bidirectional overrides that disguise an extension), Cs lone surrogates.
    if any(unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for character in name):
        raise Refusal(400, "filename holds a control or invisible character")
    return name


class Inbox:
    """One folder, one process (a second one is refused), many threads."""

    def __init__(self, home: Path) -> None:
        self.files, self._incoming = home / "inbox", home / "incoming"
        self._receipts, self._keys = home / "receipts", home / "keys"
        for folder in (self.files, self._incoming, self._receipts, self._keys):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._owned = os.open(home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._owned, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._committing = threading.Lock()
        self._recover()

    def close(self) -> None:
        os.close(self._owned)

    def _recover(self) -> None:
        """Finish the sending that was cut between its key record and its rename; delete all others."""
        for temporary in self._incoming.iterdir():
            record = _read(self._keys / temporary.name.partition("-")[0])
            if record is not None and record["temporary"] == temporary.name:
                temporary.replace(self.files / record["receipt"]["filename"])
            else:
                temporary.unlink()
        fsync_folder(self.files)

    def earlier(self, offer: Offer) -> Receipt | None:
        """The receipt that this offer's key was given before.

        Raises Refusal: 410 past the offer's deadline, 409 when the key stands for another name or digest.
        """
        _check_deadline(offer)
        record = _read(self._keys / _digest(offer.key)) if offer.key else None
        if record is None:
            return None
        receipt = Receipt(**record["receipt"])
        if receipt.filename != offer.filename or (offer.sha256 and receipt.sha256 != offer.sha256):
            raise Refusal(409, "this idempotency key was used for another file name or digest")
        return receipt

    def receive(self, offer: Offer, chunks: Iterable[bytes]) -> Receipt:
        """Take the body in and make it visible, whole, under the offer's name; a file of that name is replaced.

        Durable when it returns. With a key that was served meanwhile: that receipt, and nothing is stored.
        Raises: what `chunks` raises, and Refusal: 422 another digest than offered, 410, 409.
        """
        prefix = f"{_digest(offer.key) if offer.key else NO_KEY}-"
        descriptor, name = tempfile.mkstemp(prefix=prefix, dir=self._incoming)
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb", buffering=0) as file:
                received = _write(file.fileno(), chunks)
            if offer.sha256 and received[1] != offer.sha256:
                raise Refusal(422, f"sha256 of the body is {received[1]}, the header says {offer.sha256}")
            with self._committing:
                return self._commit(offer, temporary, *received)
        finally:
            temporary.unlink(missing_ok=True)

    def _commit(self, offer: Offer, temporary: Path, length: int, sha256: str) -> Receipt:
        if (earlier := self.earlier(offer)) is not None:
            if earlier.sha256 != sha256:
                raise Refusal(409, "this idempotency key was used for another digest")
            return earlier
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        receipt = Receipt(offer.filename, length, sha256, offer.identity, now)
        sidecar = self._sidecar(offer.filename, temporary.stat())
        _write_json(sidecar, {"receipt": asdict(receipt), "modified": temporary.stat().st_mtime_ns})
        served = self._keys / _digest(offer.key) if offer.key else None
        if served is not None:
            _write_json(served, {"temporary": temporary.name, "receipt": asdict(receipt)})
        try:
            temporary.replace(self.files / offer.filename)
        except OSError:
            if served is not None:
                served.unlink()  # else the next try would be told of a file that is not there
            raise
        fsync_folder(self.files)
        for stale in self._receipts.glob(f"{_digest(offer.filename)}-*"):
            if stale != sidecar:
                stale.unlink(missing_ok=True)
        logger.info("stored %r: %d bytes, identity=%s", receipt.filename, receipt.bytes, receipt.identity or "-")
        return receipt

    def find(self, filename: str) -> Receipt | None:
        """The receipt of the visible file; None when there is none, or when somebody else wrote it."""
        try:
            found = (self.files / filename).lstat()
        except FileNotFoundError:
            return None
        sidecar = _read(self._sidecar(filename, found))
        if sidecar is None or sidecar["modified"] != found.st_mtime_ns:
            return None
        return Receipt(**sidecar["receipt"])

    def _sidecar(self, filename: str, found: os.stat_result) -> Path:
        return self._receipts / f"{_digest(filename)}-{found.st_ino}"


def _check_deadline(offer: Offer) -> None:
    if offer.not_after is not None and datetime.now(UTC) > offer.not_after:
        raise Refusal(410, f"the request was to be served until {offer.not_after.isoformat()}, it is later")


def _write(descriptor: int, chunks: Iterable[bytes]) -> tuple[int, str]:
    length, digest = 0, hashlib.sha256()
    for chunk in chunks:
        view = memoryview(chunk)
        while view:
            view = view[os.write(descriptor, view) :]
        digest.update(chunk)
        length += len(chunk)
    os.fsync(descriptor)
    return length, digest.hexdigest()


def _write_json(path: Path, content: object) -> None:
    write_atomically(path, json.dumps(content).encode())


def _read(path: Path) -> dict | None:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
