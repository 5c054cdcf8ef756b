"""`egress key`"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from egress_assets.cli._options import dataset_argument, json_option, optional_dataset_argument
from egress_assets.cli._output import Shown, emit, number
from egress_assets.cli._state import State

if TYPE_CHECKING:
    from egress_assets.engine.errors import EgressError
    from egress_assets.engine.platform import Platform
    from egress_assets.engine.scrub.rotation import KeyUse, Rotation


@click.group("key")
def command() -> None:
    """Look at scrub keys, and begin a new epoch with a new one."""


# ---------------------------------------------------------------------------------------------------------------- check
@command.command("check")
@optional_dataset_argument
@json_option
@click.pass_obj
def check(state: State, dataset: str | None) -> int:
    """Resolve the scrub key of DATASET (default: of all) and say which dates stand under which key.

    Without DATASET also the signing key of certificates. No key is shown: a key id is the head of an HMAC.
    """
    from egress_assets.engine.errors import EgressError
    from egress_assets.engine.scrub.rotation import key_use

    platform = state.platform()
    names = [dataset] if dataset else [n for n, m in platform.catalog.datasets.items() if m.scrub and m.source]
    uses, failed = [], {}
    for name in names:
        try:
            uses.append(key_use(platform, name))
        except EgressError as error:
            failed[name] = error
    signing, lost = (None, None) if dataset else _signing(platform)
    if lost:
        failed["certificates"] = lost
    emit(state, _document(uses, failed, signing), *_told(uses, failed, signing))
    return next((error.exit_code for error in failed.values()), 0)


def _signing(platform: Platform) -> tuple[dict[str, Any] | None, EgressError | None]:
    from egress_assets.engine.certificate.keys import algorithm, fingerprint
    from egress_assets.engine.certificate.standing import signer_of, trusted
    from egress_assets.engine.errors import EgressError

    try:
        signer = signer_of(platform)
        if signer is None:
            return None, None
        others = [fingerprint(key) for key in trusted(platform)[1:]]
    except EgressError as error:
        return None, error
    told = {"key_id": signer.key_id, "fingerprint": fingerprint(signer.public), "algorithm": algorithm(signer.public)}
    return told | {"trusted": others}, None


def _document(uses: list[KeyUse], failed: Mapping[str, EgressError], signing: Any) -> dict[str, Any]:
    return {
        "ok": not failed,
        "keys": [_said(use) for use in uses],
        "certificates": signing,
        "failed": {name: {"code": e.code, "message": e.message, "hint": e.hint} for name, e in failed.items()},
    }


def _said(use: KeyUse) -> dict[str, Any]:
    others = [{"key_id": k, "epoch": epoch, "dates": list(dates)} for (k, epoch), dates in use.others.items()]
    return {
        "dataset": use.dataset, "audience": use.audience, "epoch": use.epoch, "from": use.reference,
        "key_id": use.key_id, "bytes": use.bytes, "dates": list(use.current), "others": others,
    }  # fmt: skip


def _told(uses: list[KeyUse], failed: Mapping[str, EgressError], signing: Any) -> list[str | Shown]:
    columns = ("dataset", "key id", "bytes", "from", "epoch", "audience", "dates", "under others")
    rows = [
        (
            use.dataset, use.key_id, number(use.bytes), use.reference, use.epoch, use.audience,
            number(len(use.current)), number(sum(map(len, use.others.values()))),
        )
        for use in uses
    ]  # fmt: skip
    shown: list[str | Shown] = [Shown(columns, rows, numbers=frozenset({"bytes", "dates", "under others"}))]
    for use in uses:
        for (key_id, epoch), dates in use.others.items():
            shown.append(f"{use.dataset}: under key {key_id} epoch {epoch}: {_span(dates)}")
        if use.reference == "literal":
            shown.append(f"{use.dataset}: the key stands in the catalog itself: name a variable or a file instead")
    if signing:
        others = f", trusted besides: {', '.join(signing['trusted'])}" if signing["trusted"] else ""
        shown.append(f"certificates: signed by {signing['key_id']} ({signing['algorithm']}){others}")
    return [*shown, *(f"! {name}: {error.message}. {error.hint}".rstrip() for name, error in failed.items())]


def _span(dates: tuple[str, ...]) -> str:
    return dates[0] if len(dates) == 1 else f"{len(dates)} dates, {dates[0]} to {dates[-1]}"


# --------------------------------------------------------------------------------------------------------------- rotate
@command.command("rotate")
@dataset_argument
@click.option("--epoch", default="", help="Its name. Default: the one after 2026Q4, or after a number.")
@click.option("--out", type=click.Path(path_type=Path), help="Make a new key, in this new file of mode 0600.")
@json_option
@click.pass_obj
def rotate(state: State, dataset: str, epoch: str, out: Path | None) -> None:
    """Begin a new epoch of DATASET: say what changes in the catalog, what is made again, and which joins are lost.

    The key is written to --out and shown nowhere. The catalog is yours to change; until then nothing is different.
    """
    from egress_assets.engine.scrub.keys import MasterKey
    from egress_assets.engine.scrub.rotation import new_secret, plan_rotation

    plan = plan_rotation(state.platform(), dataset, epoch)
    made = ""
    if out is not None:
        secret = new_secret()
        _keep(out, secret)
        made = MasterKey.parse(secret).key_id
    emit(state, _plan(plan, out, made), *_meaning(plan, out, made))


def _keep(path: Path, secret: str) -> None:
    """A new file that nobody else can read, on the disk before anybody is told of it. Raises CatalogError."""
    from egress_assets.engine.errors import CatalogError

    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{secret}\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        hint = "Give the path of a file that is not there yet, in a folder that you may write to."
        raise CatalogError(f"{path} can't be made: {error.strerror}", hint=hint) from None


def _plan(plan: Rotation, out: Path | None, made: str) -> dict[str, Any]:
    return {
        "dataset": plan.use.dataset, "was": {"key_id": plan.use.key_id, "epoch": plan.use.epoch},
        "now": {"key_id": made, "epoch": plan.epoch, "file": str(out) if out else ""}, "place": plan.place,
        "again": list(plan.again), "never": list(plan.never), "ways_out": list(plan.ways_out),
        "joined": list(plan.joined),
    }  # fmt: skip


def _meaning(plan: Rotation, out: Path | None, made: str) -> list[str]:
    use = plan.use
    key = f"{{file: {out}}}" if out else "{file: PATH}"
    lines = [f"wrote a new key to {out}, mode 0600, key id {made}" if out else "no key made: give --out FILE"]
    lines += [f"change at {plan.place or use.dataset}:", f"  scrub: {{key: {key}, epoch: {plan.epoch}, ...}}"]
    lines += [
        f"from then on {use.dataset} is scrubbed for {use.audience} in epoch {plan.epoch}; before: key {use.key_id}"
    ]
    if plan.again:
        lines.append(
            f"to be made again while the source can: {_span(plan.again)} (`egress scrub {use.dataset} --date`)"
        )
    if plan.again and plan.ways_out:
        lines.append(f"what gets these dates once more: {', '.join(plan.ways_out)}")
    if plan.never:
        lines.append(f"stay under the old key for good: {_span(plan.never)}")
    lines.append(f"lost: pseudonyms of epoch {plan.epoch} join with none of {use.epoch}, not even of the same person")
    if plan.joined:
        lines.append(f"lost as well, unless they change in the same hour: joins with {', '.join(plan.joined)}")
    return [*lines, "keep the old key while anybody has to tell what an old pseudonym stands for"]
