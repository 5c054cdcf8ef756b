"""What `egress verify` says of certificates: of one that is given as a file, and of scrubs that have none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from egress_assets.cli._output import Shown, emit, number, size
from egress_assets.cli._state import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from egress_assets.engine.certificate.check import Checked, Seen
    from egress_assets.engine.certificate.keys import PublicKey
    from egress_assets.engine.layout import Unit
    from egress_assets.engine.platform import Platform

_SHOWN = 20  # objects that are not as they should be; --json has all


def verify_certificate(state: State, path: Path, public_keys: tuple[Path, ...], objects: str | None) -> int:
    """Check a certificate file. The catalog is read only for what is not given: its keys, a store's name."""
    from egress_assets.engine.certificate.check import check, examine
    from egress_assets.engine.errors import IntegrityError

    checked = check(_bytes(path), _keys(state, public_keys))
    seen = list(examine(checked, _reader(state, objects))) if objects else []
    bad = [each for each in seen if each.status != "ok"]
    emit(state, _document(checked, seen, bad), *_lines(checked, seen, bad))
    return IntegrityError.exit_code if bad else 0


def _bytes(path: Path) -> bytes:
    from egress_assets.engine.errors import CatalogError

    try:
        return path.read_bytes()
    except OSError as error:
        raise CatalogError(f"{path} can't be read: {error.strerror}", hint="Give a file that is there.") from None


def _keys(state: State, paths: tuple[Path, ...]) -> list[PublicKey]:
    from egress_assets.engine.certificate.keys import load_public
    from egress_assets.engine.certificate.standing import trusted
    from egress_assets.engine.errors import CatalogError

    if paths:
        return [load_public(_bytes(path).decode("utf-8", "replace"), str(path)) for path in paths]
    platform = state.platform()
    if platform.catalog.endpoints.certificates is None:
        raise CatalogError("the catalog has no `certificates`", hint="Give --public-key FILE.")
    return trusted(platform)


def _reader(state: State, objects: str) -> Callable[[str], Iterable[bytes]]:
    """A folder that is there, else a store of the catalog."""
    from egress_assets.engine.certificate.check import in_folder

    if Path(objects).is_dir():
        return in_folder(Path(objects))
    return state.platform().store(objects).get


def _document(checked: Checked, seen: list[Seen], bad: list[Seen]) -> dict[str, Any]:
    said = checked.predicate
    names = ("unit", "date", "epoch", "policy_digest", "as_of", "rows")
    return {
        "ok": not bad,
        "key_id": checked.key_id,
        "fingerprint": checked.fingerprint,
        "algorithm": checked.algorithm,
        **{name: said[name] for name in names},
        "scrub_key_id": said["key_id"],
        "tables": sorted(said["tables"]),
        "objects": {"named": len(checked.subjects), "read": len(seen), "ok": len(seen) - len(bad)},
        "bad": [{"name": each.name, "status": each.status, "detail": each.detail} for each in bad],
    }


def _lines(checked: Checked, seen: list[Seen], bad: list[Seen]) -> list[str | Shown]:
    said = checked.predicate
    rows = [
        (name, number(t["rows"]), size(t["bytes"]), number(t["objects"]), ", ".join(c["name"] for c in t["checks"]))
        for name, t in sorted(said["tables"].items())
    ]
    columns = ("table", "rows", "bytes", "objects", "passed")
    shown: list[str | Shown] = [
        f"signed by key {checked.key_id} ({checked.algorithm}, fingerprint {checked.fingerprint})",
        f"{said['unit']} {said['date']}: as of {said['as_of']}, with key {said['key_id']} epoch {said['epoch']}",
        Shown(columns, rows, numbers=frozenset(columns[1:4])),
    ]
    if not seen:
        return [*shown, f"objects: {number(len(checked.subjects))} named, none read: give --objects to read them"]
    shown.append(f"objects: {number(len(seen) - len(bad))} of {number(len(seen))} are as certified")
    shown += [f"{each.status}: {each.name}: {each.detail}" for each in bad[:_SHOWN]]
    return shown


def said_of(platform: Platform, unit: Unit, date: str) -> str:
    """For a unit's line: whether a trusted key has certified it; '' for what is no scrub."""
    from egress_assets.engine.certificate.standing import standing
    from egress_assets.engine.certificate.stored import certified

    pointer = platform.evidence.pointer(unit, date) if unit.stage == "scrub" else None
    if pointer is None:
        return ""
    if platform.catalog.endpoints.certificates is None:
        return "not verified" if certified(platform.evidence, pointer) else "no certificate"
    return "verified" if standing(platform, pointer) else "no certificate"
