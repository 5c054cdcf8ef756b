"""Options and arguments that several verbs have, completed from the catalog."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from egress_assets.cli._state import State

if TYPE_CHECKING:
    from egress_assets.engine.catalog.models import Catalog

_Command = TypeVar("_Command", bound=Callable[..., Any])


def json_option(command: _Command) -> _Command:
    """`--json`, before anything can fail, so that errors are JSON too."""

    def note(ctx: click.Context, _param: click.Parameter, value: bool) -> bool:
        ctx.ensure_object(State).json = value
        return value

    text = "Print one JSON document on stdout; progress stays on stderr."
    return click.option("--json", is_flag=True, expose_value=False, is_eager=True, callback=note, help=text)(command)


def _complete(choose: Callable[[Catalog], Iterable[str]]) -> Callable[..., list[str]]:
    def complete(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
        from egress_assets.engine.catalog.loader import load_catalog
        from egress_assets.engine.errors import EgressError

        try:
            return [name for name in choose(load_catalog()) if name.startswith(incomplete)]
        except EgressError:
            return []

    return complete


def _dates(catalog: Catalog) -> list[str]:
    """The last fortnight of any dataset, the newest first."""
    from egress_assets.engine.partition import now

    last = {catalog.calendar(name) for name in catalog.datasets}
    days = {day for c in last for day in c.dates(c.start.isoformat(), c.last_complete(now()))[-14:]}
    return sorted(days, reverse=True)


def _units(catalog: Catalog) -> list[str]:
    from egress_assets.engine.catalog.units import units_of

    return [unit.title for name in catalog.datasets for unit in units_of(catalog, name)]


def _held(catalog: Catalog) -> list[str]:
    """What can be held."""
    return ["recipient", "dataset", *catalog.endpoints.recipients, *catalog.datasets]


dataset_argument = click.argument("dataset", shell_complete=_complete(lambda catalog: catalog.datasets))
optional_dataset_argument = click.argument(
    "dataset", required=False, shell_complete=_complete(lambda catalog: catalog.datasets)
)
mirror_argument = click.argument(
    "name", shell_complete=_complete(lambda catalog: [m for d in catalog.datasets.values() for m in d.mirrors])
)
delivery_argument = click.argument(
    "delivery",
    metavar="RECIPIENT/PIPELINE",
    shell_complete=_complete(lambda catalog: [name for d in catalog.datasets.values() for name in d.deliveries]),
)
unit_argument = click.argument("units", nargs=-1, metavar="[UNIT]...", shell_complete=_complete(_units))
stores_argument = click.argument(
    "stores", nargs=-1, metavar="[STORE]...", shell_complete=_complete(lambda catalog: catalog.endpoints.stores)
)
date_option = click.option(
    "--date", metavar="YYYY-MM-DD", help="The date. Default: the last complete one.", shell_complete=_complete(_dates)
)
again_option = click.option("--again", is_flag=True, help="Do the work even if the truth stands for just that already.")
relabel_option = click.option(
    "--relabel", is_flag=True, help="Take the present state for a past date; the evidence says so."
)


def _units_and_dates(catalog: Catalog) -> list[str]:
    """What can be written without knowing a key."""
    return [*_units(catalog), *_dates(catalog)]


def explained_argument(command: _Command) -> _Command:
    """`OBJECT`, or `UNIT DATE`."""

    def two(_ctx: click.Context, _param: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(value) > 2 or not all(value):
            raise click.BadParameter("write one OBJECT, or a unit and a date: scrub/shop/shared 2026-11-19")
        return value

    complete = _complete(_units_and_dates)
    argument = click.argument("words", nargs=-1, required=True, metavar="OBJECT", callback=two, shell_complete=complete)
    return argument(command)


def held_argument(metavar: str, *, required: bool = False) -> Callable[[_Command], _Command]:
    """`NAME`, or `recipient NAME`, or `dataset NAME`; usage errors for more."""

    def two(_ctx: click.Context, _param: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(value) > 2:
            raise click.BadParameter(f"{len(value)} words: write NAME, `recipient NAME` or `dataset NAME`")
        return value

    complete = _complete(_held)
    return click.argument("words", nargs=-1, required=required, metavar=metavar, callback=two, shell_complete=complete)


quiet_hours_option = click.option(
    "--quiet-hours",
    type=click.Choice(["keep", "ignore"]),
    default="keep",
    show_default=True,
    help="Whether to begin within the source's quiet hours; the evidence says so.",
)

accept_drift_option = click.option(
    "--accept-drift", is_flag=True, help="Go on where the catalog's `drift` says fail, this once; the evidence says so."
)


def tables_option(command: _Command) -> _Command:
    def split(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[str, ...] | None:
        if value is None:
            return None
        if not (names := tuple(filter(None, map(str.strip, value.split(","))))):
            raise click.BadParameter("names no table; leave the option out to take all")
        return names

    text = "Only these, as schema.table,schema.table. Default: all."
    return click.option("--tables", callback=split, metavar="A,B", help=text)(command)


def date_of(catalog: Catalog, dataset: str, date: str | None) -> str:
    """The date asked for, or the dataset's last complete one. Raises CatalogError for what is no day of the dataset."""
    from egress_assets.engine.catalog.units import require_dataset
    from egress_assets.engine.partition import now

    require_dataset(catalog, dataset)
    calendar = catalog.calendar(dataset)
    day = calendar.last_complete(now()) if date is None else date  # an empty variable of a script is no default
    calendar.require_known(day, now())
    return day
