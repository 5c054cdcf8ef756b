"""What the catalog bounds of an extract: how much it may come to, how fast it may read, when it may begin."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo

from egress_assets.engine.dump.throttle import Throttling, throttling_of
from egress_assets.engine.errors import SourceQuiet
from egress_assets.engine.layout import Unit
from egress_assets.engine.limits import Ceiling, ceiling_of
from egress_assets.engine.partition import now
from egress_assets.engine.platform import Platform
from egress_assets.engine.quiet import quiet_until
from egress_assets.engine.result import PlanLine

logger = logging.getLogger(__name__)

Quiet = Literal["keep", "ignore"]


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of one try of one run."""

    ceiling: Ceiling | None = None
    throttling: Throttling | None = None

    @staticmethod
    def of(platform: Platform, unit: Unit, date: str, tables: tuple[str, ...]) -> Bounds:
        """`unit` is a dump or scrub. Reads evidence when the run is over a part of the dataset's tables."""
        source = platform.catalog.dataset(unit.names[0]).source or ""
        return Bounds(ceiling_of(platform, unit, date, tables), throttling_of(platform, source))


def require_awake(platform: Platform, unit: Unit, date: str, quiet_hours: Quiet) -> dict[str, Any]:
    """Refuse to begin within the source's quiet hours; facts for the manifest where they are ignored.

    Asked once a run: a run under way goes on. Raises SourceQuiet.
    """
    dataset = unit.names[0]
    source = platform.catalog.dataset(dataset).source or ""
    until = quiet_now(platform, source)
    if until is None:
        return {}
    shown = f"{until.astimezone(ZoneInfo(platform.catalog.endpoints.timezone)):%Y-%m-%d %H:%M %Z}"
    if quiet_hours == "ignore":
        logger.warning("%s %s reads source %s in its quiet hours, which end at %s", unit.title, date, source, shown)
        return {"quiet_hours": "ignored"}
    command = f"egress {unit.stage} {dataset} --date {date} --quiet-hours ignore"
    raise SourceQuiet(
        f"{unit.title} {date} was about to begin in the quiet hours of source {source}, which end at {shown}",
        hint=f"Run it after that, or now by `{command}`; the hours are `quiet_hours` at "
        f"{platform.catalog.place(f'endpoints.sources.{source}.quiet_hours') or 'the source'}.",
    )


def refused_now(platform: Platform, unit: Unit, date: str) -> list[PlanLine]:
    """A plan's line when a run could not begin at this moment."""
    try:
        require_awake(platform, unit, date, "keep")
    except SourceQuiet as error:
        return [PlanLine("!", unit.title, f"{error.message}. {error.hint}")]
    return []


def quiet_now(platform: Platform, source: str) -> datetime | None:
    """When the quiet hours end that the source is in at this moment, in UTC; None when it may be read."""
    model = platform.catalog.endpoints.sources.get(source)
    if model is None or not model.quiet_hours:
        return None
    return quiet_until(model.quiet_hours, now(), ZoneInfo(platform.catalog.endpoints.timezone))
