"""`egress certificate`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from egress_assets.cli._options import dataset_argument, date_of, date_option, json_option
from egress_assets.cli._output import emit, write
from egress_assets.cli._state import State

if TYPE_CHECKING:
    from egress_assets.engine.certificate.standing import Certificate
    from egress_assets.engine.platform import Platform


@click.command("certificate")
@dataset_argument
@date_option
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write it to this file instead.")
@click.option("--public-key", is_flag=True, help="Give the public key that verifies it, in PEM, instead of it.")
@json_option
@click.pass_obj
def command(state: State, dataset: str, date: str | None, out: Path | None, public_key: bool) -> None:
    """Give the certificate of a dataset's scrub: what was released, and what its gate found, signed.

    Whoever has the public key verifies it with `egress verify --certificate`, or with a few lines of their own.
    """
    from egress_assets.engine.certificate.keys import public_pem

    platform = state.platform()
    found = _certificate(platform, dataset, date_of(platform.catalog, dataset, date))
    pem = public_pem(found.signed_by)
    text = pem if public_key else found.body.decode() + "\n"
    if out is not None:
        _write(out, text)
    document: dict[str, Any] = {"key": found.key, "sha256": found.digest, "key_id": found.key_id, "public_key": pem}
    document |= {"certificate": found.body.decode()}
    if out is None and not state.json:
        write(text.rstrip("\n"))
        return
    what = f"the public key {found.key_id}" if public_key else f"{found.key} (sha256 {found.digest})"
    emit(state, document, f"{out}: {what}")


def _certificate(platform: Platform, dataset: str, date: str) -> Certificate:
    """Made now where a killed run left it out. Raises CatalogError, ObjectMissing with the reason."""
    from egress_assets.engine.catalog.units import require_dataset
    from egress_assets.engine.certificate.standing import ensure
    from egress_assets.engine.certificate.statement import lacking
    from egress_assets.engine.errors import CatalogError, ObjectMissing
    from egress_assets.engine.layout import scrub_unit

    model = require_dataset(platform.catalog, dataset)
    if model.scrub is None:
        raise CatalogError(f"{dataset} has no scrub", hint=f"Add `scrub: {{key: ...}}` to {dataset}.yaml.")
    if platform.catalog.endpoints.certificates is None:
        hint = "Add `certificates: {key: {file: ...}}` to endpoints.yaml; docs/audit.md tells how the key is made."
        raise CatalogError("no certificates are made here", hint=hint)
    unit = scrub_unit(dataset, model.scrub.audience)
    if found := ensure(platform, unit, date):
        return found
    pointer = platform.evidence.pointer(unit, date)
    if pointer is None:
        raise ObjectMissing(f"{unit.title} has no data of {date}", hint="Scrub that date first.")
    why = lacking(pointer, platform.evidence.tables(pointer), frozenset(model.tables))
    hint = "Scrub all tables of the date in one run: only a consistent whole is certified."
    raise ObjectMissing(f"{unit.title} {date} has no certificate: {why}", hint=hint)


def _write(path: Path, text: str) -> None:
    from egress_assets.engine.errors import CatalogError

    try:
        path.write_text(text)
    except OSError as error:
        raise CatalogError(f"{path} can't be written: {error.strerror}", hint="Give another --out.") from None
