"""Places: who writes where.

Two writers never share a prefix, nobody watches or mirrors what we write, nothing that somebody still has to fetch
expires.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from egress_assets.engine.catalog.layouts import layout_of
from egress_assets.engine.catalog.models import DatasetModel, MirrorFrom, Published, StoreModel
from egress_assets.engine.catalog.problems import Path, Problem, choices
from egress_assets.engine.catalog.view import ENDPOINTS, View, mirrored_unit
from egress_assets.engine.layout import STAGES, delivery_unit, dump_unit, scrub_unit

RETRIES = timedelta(hours=48)  # a run of 24 h that is started again once; also the reader limit of the sweep
_QUARANTINE = "quarantine of"


@dataclass(frozen=True, slots=True, order=True)
class Area:
    """All keys that begin with `prefix` in a bucket, and who writes them."""

    bucket: str
    prefix: str
    writer: str
    place: Path  # document, then keys

    def meets(self, other: Area) -> bool:
        alike = self.prefix.startswith(other.prefix) or other.prefix.startswith(self.prefix)
        return self.bucket == other.bucket and alike


NO_FOLDER = re.compile(r"[\x00-\x1f\x7f\\]|^/|//|(?:^|/)\.{1,2}(?:/|$)")
"""What some stores and proxies resolve or normalise: bytes would lie elsewhere than it is read."""


def prefixes_are_plain(view: View) -> Iterator[Problem]:
    prefixes = [((ENDPOINTS, "stores", name, "prefix"), s.prefix) for name, s in view.endpoints.stores.items()]
    prefixes += [((dataset, "mirrors", name, "prefix"), mirror.prefix) for dataset, name, mirror in view.mirrors()]
    for path, prefix in prefixes:
        if NO_FOLDER.search(prefix):
            text = "is no plain folder: without `.`, `..`, `//`, `/` at its start, backslashes and control characters"
            yield view.problem(*path, text=text)


def places_do_not_overlap(view: View) -> Iterator[Problem]:
    open_areas: list[Area] = []
    for area in sorted(areas(view)):
        open_areas = [each for each in open_areas if each.meets(area)]
        for other in open_areas:
            if other.writer != area.writer:
                yield _overlap(view, *sorted((other, area), key=lambda each: (each.place[0] != ENDPOINTS, each.place)))
        open_areas.append(area)


def _overlap(view: View, first: Area, second: Area) -> Problem:
    text = f"{second.writer} writes where {first.writer} does: give each its own bucket or prefix"
    return view.problem(*second.place, text=text)


def areas(view: View) -> Iterator[Area]:
    """Everything that Egress writes, buckets and prefixes; but fixed names, which rules/publishes.py compares."""
    evidence = view.endpoints.evidence.store
    if evidence in view.endpoints.stores:
        yield _area(view, evidence, "", "the evidence", (ENDPOINTS, "evidence", "store"))
    for dataset, model in view.datasets.items():
        for store, prefix, writer, path in _stage_areas(dataset, model):
            if store in view.endpoints.stores:
                yield _area(view, store, prefix, writer, (dataset, *path))
    for dataset, name, mirror in view.mirrors():
        if mirror.to in view.endpoints.stores and not isinstance(mirror, Published):
            unit = mirrored_unit(dataset, view.datasets[dataset], mirror)
            prefix = folder(mirror.prefix) + (f"{unit}/" if unit else "")
            yield _area(view, mirror.to, prefix, f"mirror/{name}", (dataset, "mirrors", name))


def _written(view: View) -> Iterator[Area]:
    """Those and the folders of fixed names."""
    yield from areas(view)
    for dataset, name, mirror in view.mirrors():
        if isinstance(mirror, Published) and mirror.to in view.endpoints.stores:
            head = layout_of(dataset, view.datasets[dataset], mirror).head
            yield _area(view, mirror.to, head, f"mirror/{name}", (dataset, "mirrors", name))


def _stage_areas(dataset: str, model: DatasetModel) -> Iterator[tuple[str, str, str, Path]]:
    if model.dump:
        unit = dump_unit(dataset)
        yield model.dump.store or model.store, f"{unit}/", unit.title, ("dump",)
    if model.scrub:
        unit = scrub_unit(dataset, model.scrub.audience)
        yield model.scrub.store or model.store, f"{unit}/", unit.title, ("scrub",)
        if model.scrub.quarantine:
            yield model.scrub.quarantine, f"{unit}/", f"{_QUARANTINE} {unit.title}", ("scrub", "quarantine")
    for name in model.deliveries:
        unit = delivery_unit(*name.partition("/")[::2])
        yield model.store, f"{unit}/", unit.title, ("deliveries", name)


def _area(view: View, store: str, prefix: str, writer: str, place: Path) -> Area:
    model = view.endpoints.stores[store]
    return Area(bucket_of(model), folder(model.prefix) + prefix, writer, place)


def bucket_of(store: StoreModel) -> str:
    """Equal for two names of one bucket, as far as literals and references tell."""
    return f"{store.endpoint!r} {store.bucket!r}"


def folder(prefix: str) -> str:
    return f"{prefix.rstrip('/')}/" if prefix else ""


def mirrors_do_not_copy_what_we_write(view: View) -> Iterator[Problem]:
    written = list(_written(view))
    for dataset, name, mirror in view.mirrors():
        if isinstance(mirror.from_, MirrorFrom) and mirror.from_.store in view.endpoints.stores:
            path = (dataset, "mirrors", name, "from")
            source = _foreign(view, mirror.from_.store, mirror.from_.prefix, path)
            for area in filter(source.meets, written):
                yield view.problem(*path, text=f"{area.writer} writes there: a bucket to mirror must be foreign")


def watched_prefixes_are_foreign(view: View) -> Iterator[Problem]:
    written = list(_written(view))
    for dataset, model in view.datasets.items():
        for number, watch in enumerate(model.watch):
            if watch.store in view.endpoints.stores:
                path = (dataset, "watch", str(number), "pattern")
                watched = _foreign(view, watch.store, watch.pattern.partition("{")[0], path)
                for area in filter(watched.meets, written):
                    text = f"{area.writer} writes there: only foreign prefixes can be watched"
                    yield view.problem(*path, text=text)


def _foreign(view: View, store: str, prefix: str, place: Path) -> Area:
    model = view.endpoints.stores[store]
    return Area(bucket_of(model), folder(model.prefix) + prefix, "", place)


def nothing_expires_too_early(view: View) -> Iterator[Problem]:
    for name, store in view.endpoints.stores.items():
        for stage, days in store.expire_days.items():
            path = (ENDPOINTS, "stores", name, "expire_days", stage)
            if stage not in STAGES:
                yield view.problem(*path, text=f"{stage!r} is not a stage; {choices(stage, STAGES)}")
            elif name == view.endpoints.evidence.store:
                yield view.problem(*path, text="evidence never expires: take this out")
            else:
                yield from _too_early(view, path, name, days)


def _too_early(view: View, path: Path, store: str, days: int) -> Iterator[Problem]:
    stage = path[-1]
    waits = [(RETRIES, "a run and its retries")]
    for dataset, name, delivery in view.deliveries():
        model = view.datasets[dataset]
        recipient = view.endpoints.recipients.get(name.partition("/")[0])
        if recipient and _read_from(model, delivery.from_) == (stage, store):
            waits.append((_until_sla(model.schedule, recipient.sla) + RETRIES, f"the SLA of {name} and its retries"))
    longest, why = max(waits)
    if timedelta(days=days) < longest:
        need = math.ceil(longest / timedelta(days=1))
        yield view.problem(*path, text=f"{days} d is shorter than {why}: at least {need} d")


def _read_from(model: DatasetModel, source: str) -> tuple[str, str]:
    """(stage, store) whose bytes a delivery sends; a mirror's lie elsewhere."""
    stage = source.partition("/")[0] if "/" in source else "scrub"
    settings = model.dump if stage == "dump" else model.scrub if stage == "scrub" else None
    return stage, (settings.store if settings else None) or model.store


def _until_sla(schedule: str | None, sla: str | None) -> timedelta:
    """From the start of the run to the hour by which the recipient has it; a whole day when either isn't said."""
    if not (schedule and sla):
        return timedelta(days=1)
    start, end = (datetime.strptime(clock, "%H:%M") for clock in (schedule, sla))  # noqa: DTZ007 - a clock on the wall
    return (end - start) % timedelta(days=1)
