"""Flags in foreign buckets: when the flag object of a date appears or is replaced, its dataset's chain runs for it.

A watched pattern holds its date and nothing else that varies, so the key of each date is known: a tick asks for the
flags of the last `WINDOW` dates one by one. It never lists a foreign prefix, whose size nobody here decides.

The cursor is a digest a date of that window: bounded, exact, and without a clock. A watermark over last-modified times
would lose flags that are written in its own second, ahead of their date, or late.

What is decided is `decide`, a pure function; the sensor only looks. A store that fails fails the tick: the cursor
stays, nothing is taken for absent.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from hashlib import sha256

import dagster as dg

from egress_assets.engine.catalog.models import Catalog, WatchModel
from egress_assets.engine.errors import CatalogError
from egress_assets.engine.partition import Calendar, now
from egress_assets.engine.stores import Store, open_store
from egress_assets.schedules import Job

WINDOW = 45
"""Dates that a tick looks at, the newest first: one HEAD each, about 1 s in all at 20 ms. Older dates start by hand."""
INTERVAL = 60  # seconds between ticks
SHORT = 16  # hexadecimal digits of a digest in the cursor: 64 bits for 45 dates


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag object as the store describes it."""

    date: str
    store: str
    key: str
    etag: str
    modified: datetime


@dataclass(frozen=True, slots=True)
class Decision:
    """start: a run key by date. early: dates whose flag is there before their partition. cursor: what was seen."""

    start: Mapping[str, str]
    early: Sequence[str]
    cursor: str


def decide(cursor: str | None, flags: Iterable[Flag], calendar: Calendar, at: datetime) -> Decision:
    """Which dates to start: those whose flags differ from what the cursor remembers.

    The flags are all of the window: what the cursor remembers of other dates is dropped. A flag that comes before its
    partition exists is not remembered, so that it starts its date as soon as that is complete.
    """
    seen = parse(cursor)
    found = {day: _digest(day, own) for day, own in _by_date(flags).items()}
    known = {day: digest for day, digest in found.items() if calendar.known(day, at)}
    return Decision(
        start={day: digest for day, digest in known.items() if seen.get(day) != digest[:SHORT]},
        early=[day for day in found if day not in known],
        cursor=json.dumps({day: digest[:SHORT] for day, digest in known.items()}, sort_keys=True),
    )


def parse(cursor: str | None) -> Mapping[str, str]:
    """What a cursor remembers; one that can't be read is an empty one: run keys still stop a second start."""
    try:
        value = json.loads(cursor or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _by_date(flags: Iterable[Flag]) -> Mapping[str, list[Flag]]:
    days: dict[str, list[Flag]] = {}
    for flag in flags:
        days.setdefault(flag.date, []).append(flag)
    return dict(sorted(days.items()))


def _digest(day: str, flags: list[Flag]) -> str:
    """Run keys and tags carry digests, never object keys."""
    told = sorted([flag.store, flag.key, flag.etag, flag.modified.isoformat()] for flag in flags)
    return sha256(json.dumps([day, told]).encode()).hexdigest()


def keys(watch: WatchModel, days: Iterable[date]) -> Mapping[str, str]:
    """The flag's key by date. Raises CatalogError for a pattern that can't be filled in, or not one key a date."""
    days = list(days)
    try:
        filled = {day.isoformat(): watch.pattern.format(date=day) for day in days}
    except (ValueError, KeyError, IndexError) as error:
        hint = "Only {date:...} may stand in braces, for example in/{date:%Y-%m-%d}/done.flag."
        raise CatalogError(f"watch pattern {watch.pattern!r} is not a template: {error}", hint=hint) from None
    if len(set(filled.values())) < len(filled):
        hint = "Let it hold year, month and day, for example {date:%Y-%m-%d}."
        raise CatalogError(f"watch pattern {watch.pattern!r} is the same for two dates", hint=hint)
    return filled


def window(calendar: Calendar, at: datetime) -> list[date]:
    """The dates to look at, from the newest back: today's too, whose flag may come before its partition."""
    today = at.astimezone(calendar.zone).date()
    days = [today - timedelta(days=back) for back in range(WINDOW)]
    return [day for day in days if day >= calendar.start]


def flags(watch: WatchModel, store: Store, days: Iterable[date]) -> Iterator[Flag]:
    """The flags that are there now. Raises StoreError when the store can't say: that is not absence."""
    for day, key in keys(watch, days).items():
        head = store.head(key)
        if head is not None:
            yield Flag(day, watch.store, key, head.etag, head.modified)


def sensors(catalog: Catalog, jobs: Mapping[str, Job]) -> Iterator[dg.SensorDefinition]:
    """One sensor for each dataset that watches something; `jobs` by dataset."""
    for dataset, model in catalog.datasets.items():
        if model.watch:
            for watch in model.watch:
                keys(watch, (model.start + timedelta(days=n) for n in range(800)))
            yield sensor(catalog, dataset, jobs[dataset])


def sensor(catalog: Catalog, dataset: str, job: Job) -> dg.SensorDefinition:
    """Starts the dataset's job for each date whose flag is new: one request a date and tick, never one a file."""
    watches, calendar = catalog.dataset(dataset).watch, catalog.calendar(dataset)
    resources: Set[str] = {f"store_{watch.store}" for watch in watches}

    @dg.sensor(
        name=f"{dataset}_arrivals",
        job=job,
        minimum_interval_seconds=INTERVAL,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys=set(resources),
        description=f"Flags that start {dataset}: {', '.join(f'`{watch.pattern}`' for watch in watches)}.",
    )
    def arrivals(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        at = now()
        days = window(calendar, at)
        found = [f for w in watches for f in flags(w, _store(context, w.store), days)]
        decision = decide(context.cursor, found, calendar, at)
        for day in decision.early:
            context.log.warning("a flag of %s for %s is there before the date is complete", dataset, day)
        requests = [_request(day, digest) for day, digest in decision.start.items()]
        return dg.SensorResult(run_requests=requests, cursor=decision.cursor)

    return arrivals


def _request(day: str, digest: str) -> dg.RunRequest:
    """The run key stops a second start for the same bytes also when the cursor was lost."""
    return dg.RunRequest(run_key=digest, partition_key=day, tags={"egress/arrival": digest[:SHORT]})


def _store(context: dg.SensorEvaluationContext, name: str) -> Store:
    return open_store(getattr(context.resources, f"store_{name}").settings())
