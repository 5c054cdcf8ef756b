"""What operates a catalog: hours that mean something, limits that count something, schedules that can begin."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from egress_assets.engine.catalog.models import MirrorFrom
from egress_assets.engine.catalog.problems import Path, Problem
from egress_assets.engine.catalog.view import ENDPOINTS, View
from egress_assets.engine.quiet import minutes

_DAY = range(24 * 60)


def hours_have_a_length(view: View) -> Iterator[Problem]:
    for path, hours in _hours(view):
        for number, span in enumerate(hours):
            start, end = minutes(span)
            if start == end:
                text = f"{span!r} has no length; leave `hours` out of a throttle that always holds"
                yield view.problem(ENDPOINTS, *path, str(number), text=text)


def _hours(view: View) -> Iterator[tuple[Path, Sequence[str]]]:
    for name, source in view.endpoints.sources.items():
        yield ("sources", name, "quiet_hours"), source.quiet_hours
        if source.throttle:
            yield ("sources", name, "throttle", "hours"), source.throttle.hours


def sources_are_not_always_quiet(view: View) -> Iterator[Problem]:
    for name, source in view.endpoints.sources.items():
        if source.quiet_hours and all(_holds(source.quiet_hours, minute) for minute in _DAY):
            text = "the whole day is quiet, so nothing could ever be read: leave an hour or two"
            yield view.problem(ENDPOINTS, "sources", name, "quiet_hours", text=text)


def schedules_are_not_quiet(view: View) -> Iterator[Problem]:
    """By the clock alone; on the two days of the year that have other hours a run may still meet SourceQuiet."""
    for dataset, model in view.datasets.items():
        source = view.endpoints.sources.get(model.source or "")
        if source is None or model.schedule is None:
            continue
        at = minutes(f"{model.schedule}-00:00")[0]
        if quiet := [span for span in source.quiet_hours if _holds([span], at)]:
            text = f"source {model.source} is quiet {', '.join(quiet)}: no run could begin at {model.schedule}"
            yield view.problem(dataset, "schedule", text=text)


def _holds(hours: Sequence[str], minute: int) -> bool:
    spans = (minutes(span) for span in hours)
    return any(start <= minute < end if start < end else minute >= start or minute < end for start, end in spans)


def limits_count_something(view: View) -> Iterator[Problem]:
    for dataset, model in view.datasets.items():
        if model.limits and not model.source and not view.says(dataset, "source"):
            text = "counts rows that are read, but there is no `source`; what is sent a recipient's `limits` count"
            yield view.problem(dataset, "limits", text=text)


def limited_rows_are_known(view: View) -> Iterator[Problem]:
    foreign = {name for _, name, mirror in view.mirrors() if isinstance(mirror.from_, MirrorFrom)}
    for dataset, name, delivery in view.deliveries():
        to = view.endpoints.recipients.get(name.partition("/")[0])
        mirror = delivery.from_.removeprefix("mirror/")
        if to and to.limits and to.limits.rows and delivery.from_.startswith("mirror/") and mirror in foreign:
            text = (
                f"recipient {name.partition('/')[0]} has `limits` of rows, and how many rows the files of a foreign "
                "bucket have is not known: every run would be refused; limit `bytes` instead"
            )
            yield view.problem(dataset, "deliveries", name, "from", text=text)
