"""`egress verify`"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from egress_assets.cli._certificate import said_of, verify_certificate
from egress_assets.cli._options import date_option, json_option, unit_argument
from egress_assets.cli._output import Shown, emit, number, size
from egress_assets.cli._progress import progress
from egress_assets.cli._state import State

if TYPE_CHECKING:
    from egress_assets.engine.evidence.verify import Verified
    from egress_assets.engine.layout import Unit
    from egress_assets.engine.platform import Platform
    from egress_assets.engine.progress import Listener

_BAD = ("missing", "corrupt")
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("verify")
@unit_argument
@date_option
@click.option("--certificate", type=_FILE, help="Check this certificate instead, offline.")
@click.option(
    "--public-key", "keys", type=_FILE, multiple=True, help="PEM of a key that may have signed it; repeatable."
)
@click.option("--objects", metavar="WHERE", help="Also read the objects it names: a folder, or a store of the catalog.")
@click.option("--deep", is_flag=True, help="Also compare the checksum of the rows, where there is one.")
@json_option
@click.pass_obj
def command(
    state: State, units: tuple[str, ...], date: str | None, *, certificate: Path | None, keys: tuple[Path, ...],
    objects: str | None, deep: bool,
) -> int:  # fmt: skip
    """Read every object again that a pointer names and compare its digest; walk the ledger.

    A UNIT is written as in `egress status`, for example scrub/shop/shared. Default: all units and dates.
    """
    if certificate is not None:
        if units or date or deep:
            raise click.UsageError("--certificate checks a file: leave out units, --date and --deep")
        return verify_certificate(state, certificate, keys, objects)
    if keys or objects:
        raise click.UsageError("--public-key and --objects belong to --certificate")
    return _verify(state, units, date, deep=deep)


def _verify(state: State, units: tuple[str, ...], date: str | None, *, deep: bool) -> int:
    from egress_assets.engine.errors import IntegrityError

    platform = state.platform()
    with progress() as listener:
        results = [_verified(platform, unit, day, listener, deep=deep) for unit, day in _asked(platform, units, date)]
    ledger = platform.evidence.verify_ledger()
    bad = [each for result in results for each in result["bad"]]
    broken = [str(problem) for problem in ledger.problems]
    document = {
        "ok": not (bad or broken),
        "verified": results,
        "ledger": {
            "entries": ledger.entries,
            "covered": ledger.covered,
            "pending": len(ledger.pending),
            "problems": broken,
        },
    }
    cells = [_cells(result, deep=deep) for result in results]
    columns = ("unit", "date", "ok", "expired", "missing", "corrupt", "bytes", *(("rows equal",) if deep else ()))
    shown: list[Any] = [Shown((*columns, "certificate"), cells, numbers=frozenset(columns[2:]))]
    shown += [f"{each['status']}: {each['key']}: {each['detail']}" for each in bad]
    shown += [f"ledger: entries {number(ledger.entries)}, receipts pending {number(len(ledger.pending))}"]
    shown += [f"ledger: {problem}" for problem in broken]
    emit(state, document, *shown)
    return IntegrityError.exit_code if bad or broken else 0


def _asked(platform: Platform, names: tuple[str, ...], date: str | None) -> Iterator[tuple[Unit, str]]:
    from egress_assets.engine.catalog.units import dataset_of
    from egress_assets.engine.errors import ObjectMissing
    from egress_assets.engine.layout import Unit
    from egress_assets.engine.partition import parse_date

    if date:
        parse_date(date)
    if not names:
        yield from (found for found in platform.evidence.pointers() if date in (None, found[1]))
    for name in names:
        stage, *parts = name.split("/")
        unit = Unit(stage, tuple(parts))
        dataset_of(platform.catalog, unit)
        found = [each for each in platform.evidence.pointers(unit) if date in (None, each[1])]
        if not found:
            raise ObjectMissing(f"{name} has no data{f' of {date}' if date else ''}", hint="Materialise it first.")
        yield from found


def _verified(platform: Platform, unit: Unit, date: str, on: Listener, *, deep: bool) -> dict[str, Any]:
    """Counts by status, and what is bad. `rows`: tables by what the checksum of their rows came to."""
    counts: Counter[str] = Counter()
    rows: Counter[str] = Counter()
    bad: list[dict[str, str]] = []
    total = 0
    for each in _read(platform, unit, date, on, deep=deep):
        (rows if each.what == "rows" else counts)[each.status] += 1
        total += each.bytes
        if each.status in _BAD:
            bad.append({"table": each.table, "key": each.key, "status": each.status, "detail": each.detail})
    told: dict[str, Any] = {"unit": unit.title, "date": date, "objects": dict(counts), "bytes": total, "bad": bad}
    signed = said_of(platform, unit, date)
    return {**told, "certificate": signed, **({"rows": dict(rows)} if deep else {})}


def _read(platform: Platform, unit: Unit, date: str, on: Listener, *, deep: bool) -> Iterator[Verified]:
    """Each table from the store that its manifest names: the catalog's may have changed since."""
    pointer = platform.evidence.pointer(unit, date)
    tables = platform.evidence.tables(pointer) if pointer else {}
    store_of = {table: manifest.draft.store for table, (manifest, _) in tables.items()}
    for store in sorted(set(store_of.values())):
        data = platform.store(store)
        days = platform.catalog.endpoints.stores[store].expire_days.get(unit.stage)
        for each in platform.evidence.verify(unit, date, data, expire_days=days, deep=deep, listener=on):
            if store_of.get(each.table, store) == store:
                yield each


def _cells(result: dict[str, Any], *, deep: bool) -> tuple[str, ...]:
    counts = result["objects"]
    rows = (number(result["rows"].get("ok", 0)),) if deep else ()
    return (
        result["unit"], result["date"], *(number(counts.get(s, 0)) for s in ("ok", "expired", *_BAD)),
        size(result["bytes"]), *rows, result["certificate"],
    )  # fmt: skip
