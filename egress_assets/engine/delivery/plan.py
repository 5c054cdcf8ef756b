"""What a delivery would do, found out without claiming, sealing or sending anything."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from egress_assets.engine.delivery.allowance import refuse_above
from egress_assets.engine.delivery.files import is_as_stored, of_sealed, of_stored, released_parent
from egress_assets.engine.delivery.seal import stands
from egress_assets.engine.delivery.send import Dispatch, standing
from egress_assets.engine.delivery.spec import Spec, find_delivery, require_environment
from egress_assets.engine.errors import DeliveryRefused, PolicyError
from egress_assets.engine.platform import Platform
from egress_assets.engine.progress import silent
from egress_assets.engine.release import read_truth
from egress_assets.engine.result import PlanLine
from egress_assets.engine.transfers import open_transfer

LINES = 10_000  # of a foreign mirror with more objects the rest is summed up in one line


def plan(platform: Platform, recipient: str, pipeline: str, date: str) -> list[PlanLine]:
    """A line a file: `>` to be sent, `=` has its receipt; `+` is sealed first; `!` refused, with the reason.

    A claim of another run is not looked for: it may be gone when this one runs. Raises CatalogError, ObjectMissing.
    """
    try:
        spec = find_delivery(platform, recipient, pipeline)
        require_environment(platform, spec)
        spec.watch(platform).require_none()
        return _lines(platform, spec, date)
    except (PolicyError, DeliveryRefused) as error:
        return [PlanLine("!", f"delivery/{recipient}/{pipeline}", f"{error.message}. {error.hint}")]


def _lines(platform: Platform, spec: Spec, date: str) -> list[PlanLine]:
    truth, release = released_parent(platform, spec, date)
    if not spec.table or is_as_stored(spec, truth.contents[spec.table]):
        goods = of_stored(platform, spec, date, truth, release)
    else:
        own = read_truth(platform, spec.unit, date)
        if own is None or not stands(spec, own, truth, release):
            to_seal = PlanLine("+", str(spec.unit), f"{spec.table} as {spec.model.format}")
            return [to_seal, PlanLine(">", spec.destination(date), f"to {spec.recipient}")]
        goods = of_sealed(platform, spec, date, own)
    settings = platform.provider.recipient(spec.recipient)
    transfer = open_transfer(spec.to.transfer_type, settings, recipient=spec.recipient)
    watch = spec.watch(platform)

    def files() -> Iterator[Dispatch]:
        return (Dispatch(platform, spec, transfer, goods, file, silent, watch) for file in goods.files)

    refuse_above(platform, spec, date, files)
    waiting = files()
    lines = [_line(dispatch) for dispatch in islice(waiting, LINES)]
    more = sum(1 for _ in waiting)
    return [*lines, PlanLine(">", f"{more} more files")] if more else lines


def _line(dispatch: Dispatch) -> PlanLine:
    file = dispatch.file
    dispatch.transfer.admit(file.destination)
    found, identity = standing(dispatch)
    if found == "superseded":
        return PlanLine("!", file.destination, "a newer release has this destination")
    if found == "delivered":
        return PlanLine("=", file.destination, f"receipt {identity[:12]}")
    return PlanLine(">", file.destination, f"{file.item.bytes} bytes to {dispatch.spec.recipient}")
