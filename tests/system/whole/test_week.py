"""A week of schedules, sensors and automation at given times, over real servers, without a hand that helps.

    Monday      as it should be
    Tuesday     the scheduler is down at the hour and comes back in the morning
    Wednesday   the source lets nobody in at the hour, and does so again later
    Thursday    the machine is off until a full extract of the day is not possible any more
    Friday      off as well, but back before that
    Saturday    twice: by the schedule and by hand; its hour does not exist, the clocks go forward
    Sunday      scrubbed by the command before the hour

Afterwards every date is in evidence once and in Dagster, or is called missed with its reason (S0-9, invariant 7).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg  # noqa: TID251 - what is tested is the platform with its scheduler
import psycopg
import pytest
from dagster._utils.schedules import schedule_execution_time_iterator  # noqa: TID251

from egress_assets.automation import WHOLE
from egress_assets.definitions import accepted, build
from egress_assets.engine.catalog.loader import load_catalog
from egress_assets.engine.catalog.units import units_of
from egress_assets.engine.platform import Platform
from egress_assets.engine.status import status
from egress_assets.sandbox import start
from egress_assets.sandbox.provider import SandboxProvider
from egress_assets.stages import engine
from resources.endpoints import resources
from tests.system.whole.conftest import private_sandbox

ENDPOINTS = """
timezone: Europe/London
evidence: {store: evidence}
sources: {shop_db: {dsn: {env: NOWHERE}, workers: 1}}
stores:
  evidence: {kind: s3, bucket: evidence, zone: trusted}
  lake: {kind: s3, bucket: lake, zone: trusted}
  ceph: {kind: ceph, bucket: mirror, zone: external}
recipients:
  acme: {transfer_type: sft, url: "https://acme.example/DA", cert: {file: /c}, key: {file: /k}, ca: {file: /a}}
"""
DESK = """
source: shop_db
start: 2026-03-23
schedule: "01:30"
scrub: {key: {env: NOWHERE}}
tables: {week.notes: {id: keep, who: email}}
mirrors: {desk: {to: ceph}}
deliveries: {acme/notes: {from: week.notes, destination_prefix: "in/{date:%Y-%m-%d}/"}}
"""
CLICKS = """
source: shop_db
start: 2026-03-23
schedule: "01:30"
extract: window
dump: {}
tables: {week.clicks: {window: at}}
mirrors: {clicks: {to: ceph, release: {basis: internal, reason: counts}}}
"""
TABLES = """
CREATE SCHEMA week;
CREATE TABLE week.notes (id int PRIMARY KEY, who text);
CREATE TABLE week.clicks (id int PRIMARY KEY, at timestamptz NOT NULL);
INSERT INTO week.notes SELECT g, 'p' || g || '@example.com' FROM generate_series(1, 50) g;
INSERT INTO week.clicks SELECT g, '2026-03-23T00:30:00Z'::timestamptz + g * interval '1 hour'
FROM generate_series(0, 167) g;
GRANT USAGE ON SCHEMA week TO egress_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA week TO egress_reader;
"""
MON, TUE, WED, THU, FRI, SAT, SUN = WEEK = [f"2026-03-{day}" for day in range(23, 30)]


@dataclass(slots=True)
class Week:
    """A daemon at given times: `sleep` passes time without it, `wake` lets it tick. `runs` are all that it started."""

    defs: dg.Definitions
    instance: dg.DagsterInstance
    platform: Platform
    patch: pytest.MonkeyPatch
    at: datetime
    cursors: dict[str, str | None] = field(default_factory=dict)
    keys: set[tuple[str, str, str | None]] = field(default_factory=set)
    conditions: Any = None
    runs: list[tuple[str, str, str, bool]] = field(default_factory=list)  # by whom, dataset, date, success

    def sleep(self, moment: str) -> None:
        self.at = datetime.fromisoformat(moment).replace(tzinfo=UTC)
        self.patch.setenv("EGRESS_NOW", self.at.isoformat())

    def schedules(self, moment: str) -> None:
        """Live on until then, and make the schedules' ticks on the way."""
        last = datetime.fromisoformat(moment).replace(tzinfo=UTC)
        for dataset in ("desk", "clicks"):
            schedule = self.defs.resolve_schedule_def(f"{dataset}_daily")
            ticks = schedule_execution_time_iterator(
                self.at.timestamp(), str(schedule.cron_schedule), schedule.execution_timezone
            )
            for tick in iter(lambda ticks=ticks: next(ticks), None):
                if tick > last:
                    break
                self.patch.setenv("EGRESS_NOW", tick.astimezone(UTC).isoformat())
                context = dg.build_schedule_context(
                    instance=self.instance, scheduled_execution_time=tick, repository_def=self.defs.get_repository_def()
                )
                for request in schedule.evaluate_tick(context).run_requests or []:
                    self._request("schedule", dataset, request)
        self.sleep(moment)

    def wake(self, *minutes: int) -> None:
        """Sensors and conditions tick, each so many minutes after the time before."""
        for later in minutes:
            self.sleep((self.at + timedelta(minutes=later)).replace(tzinfo=None).isoformat())
            self._sensor("evidence")
            self._automation()
            self._sensor("reconcile")

    def by_hand(self, dataset: str, date: str) -> None:
        self._run("hand", dataset, date, {WHOLE: "yes"}, None)

    def _sensor(self, name: str) -> None:
        sensor = self.defs.resolve_sensor_def(name)
        with dg.build_sensor_context(
            instance=self.instance, cursor=self.cursors.get(name), sensor_name=name,
            repository_def=self.defs.get_repository_def(), resources=resources(self.platform.catalog, "sandbox"),
        ) as context:  # fmt: skip
            data = sensor.evaluate_tick(context)
        self.cursors[name] = data.cursor or self.cursors.get(name)
        for event in data.asset_events:
            self.instance.report_runless_asset_event(event)
        for request in data.run_requests or []:
            self._request(name, request.job_name or "", request)

    def _automation(self) -> None:
        found = dg.evaluate_automation_conditions(
            self.defs, instance=self.instance, cursor=self.conditions, evaluation_time=self.at
        )
        self.conditions = found.cursor
        wanted: dict[tuple[str, str], list[dg.AssetKey]] = {}
        nodes = self.defs.resolve_asset_graph()
        for key in nodes.materializable_asset_keys:
            for date in found.get_requested_partitions(key):
                wanted.setdefault((nodes.get(key).group_name, str(date)), []).append(key)
        for (dataset, date), keys in wanted.items():
            self._run("automation", dataset, date, {}, keys)

    def _request(self, who: str, dataset: str, request: dg.RunRequest) -> None:
        """A run key starts once, as in the daemon; a whole job is tagged by the queue."""
        if (who, dataset, request.run_key) in self.keys:
            return
        self.keys |= {(who, dataset, request.run_key)} if request.run_key else set()
        keys = [key for key in request.asset_selection or [] if isinstance(key, dg.AssetKey)]
        tags = {**request.tags, **({} if keys else {WHOLE: "yes"})}
        self._run(who, dataset, request.partition_key or "", tags, keys or None)

    def _run(self, who: str, dataset: str, date: str, tags: Mapping[str, str], keys: list[dg.AssetKey] | None) -> None:
        result = self.defs.resolve_job_def(dataset).execute_in_process(
            partition_key=date, asset_selection=keys, instance=self.instance, tags=dict(tags), raise_on_error=False
        )
        self.runs.append((who, dataset, date, result.success))

    def ran(self, dataset: str, date: str) -> list[tuple[str, bool]]:
        return [(who, success) for who, own, day, success in self.runs if (own, day) == (dataset, date)]

    def generations(self, dataset: str) -> dict[str, set[int]]:
        """Of all pointers of the dataset, by date."""
        found: dict[str, set[int]] = {}
        for unit in units_of(self.platform.catalog, dataset):
            for date in WEEK:
                pointer = self.platform.evidence.pointer(unit, date)
                if pointer is not None:
                    found.setdefault(date, set()).add(pointer.generation)
        return found

    def in_dagster(self, dataset: str) -> dict[str, list[str]]:
        """Dates by asset."""
        nodes = self.defs.resolve_asset_graph()
        keys = [key for key in nodes.materializable_asset_keys if nodes.get(key).group_name == dataset]
        return {key.to_user_string(): sorted(self.instance.get_materialized_partitions(key)) for key in keys}


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Week]:
    folder = tmp_path_factory.mktemp("week")
    for name, text in (("endpoints", ENDPOINTS), ("desk", DESK), ("clicks", CLICKS)):
        (folder / f"{name}.yaml").write_text(text)
    with private_sandbox(), pytest.MonkeyPatch.context() as patch:  # in this order: patches end first
        patch.setenv("EGRESS_CATALOG", str(folder))
        sandbox = start()
        with psycopg.connect(**sandbox.admin_dsn("shop").settings, autocommit=True) as session:
            session.execute(TABLES.encode())
            catalog = load_catalog(folder)
            with accepted(), dg.DagsterInstance.ephemeral() as instance:
                made = Week(
                    build(catalog), instance, Platform(catalog, SandboxProvider(catalog)), patch,
                    datetime(2026, 3, 23, 12, tzinfo=UTC),
                )  # fmt: skip
                live_through(made, session)
                yield made


def live_through(week: Week, source: Any) -> None:
    week.sleep("2026-03-24T01:00")
    week.wake(1)
    week.schedules("2026-03-24T01:40")  # Monday's
    week.wake(5, 3)
    week.sleep("2026-03-25T09:00")  # Tuesday's hour has passed unseen
    week.wake(1, 3)
    source.execute("ALTER ROLE egress_reader CONNECTION LIMIT 0")
    week.sleep("2026-03-26T01:00")
    week.schedules("2026-03-26T01:31")  # Wednesday's
    source.execute("ALTER ROLE egress_reader CONNECTION LIMIT -1")
    week.wake(2, 3, 7)
    week.sleep("2026-03-28T13:00")  # Thursday's and Friday's hours have passed unseen
    week.wake(1, 3)
    week.sleep("2026-03-29T00:30")
    week.schedules("2026-03-29T01:31")  # Saturday's: 01:30 is left out on this night
    for dataset in ("desk", "clicks"):
        week.by_hand(dataset, SAT)
    week.wake(5, 3)
    week.sleep("2026-03-30T00:10")
    engine("scrub")(week.platform, "desk", SUN)
    week.wake(1)
    week.schedules("2026-03-30T00:40")  # Sunday's
    week.wake(5, 3)


def test_every_date_is_in_evidence_once(week: Week):
    assert week.generations("clicks") == {date: {1} for date in WEEK}
    assert week.generations("desk") == {date: {1} for date in WEEK if date != THU}
    receipts = Counter(r.order[0] for date in WEEK for r in week.platform.evidence.receipts(date))
    assert receipts == {date: 1 for date in WEEK if date != THU}
    assert week.platform.evidence.verify_ledger().unbroken


def test_dagster_shows_what_evidence_holds(week: Week):
    """Also what the command did on Sunday."""
    assert set(map(tuple, week.in_dagster("clicks").values())) == {tuple(WEEK)}
    assert set(map(tuple, week.in_dagster("desk").values())) == {tuple(date for date in WEEK if date != THU)}


def test_a_date_that_can_not_be_made_any_more_is_missed_with_its_reason(week: Week):
    assert week.ran("desk", THU) == []
    rows = {
        (str(row.unit), row.date): row
        for row in status(week.platform.catalog, week.platform.evidence, days=7, at=week.at)
    }
    scrub = rows["scrub/desk/shared", THU]
    assert scrub.state == "missed"
    assert "36 h after the day" in scrub.detail
    assert {rows[unit, THU].state for unit in ("mirror/desk", "delivery/acme/notes")} == {"missed"}


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        (MON, [("schedule", True)]),
        (TUE, [("reconcile", True)]),
        (WED, [("schedule", False), ("reconcile", True)]),
        (FRI, [("reconcile", True)]),
        (SAT, [("schedule", True), ("hand", True)]),
    ],
)
def test_each_situation_ends_in_one_run(week: Week, date: str, expected: list[tuple[str, bool]]):
    assert week.ran("desk", date) == expected
    assert week.ran("clicks", date) == expected


def test_what_the_command_scrubbed_is_carried_on_and_the_schedule_finds_nothing_to_do(week: Week):
    assert [success for _, success in week.ran("desk", SUN)] == [True] * len(week.ran("desk", SUN))
    assert week.ran("desk", SUN) == [("automation", True), ("schedule", True)]


def test_a_week_that_is_done_asks_for_nothing(week: Week):
    before = len(week.runs)
    with accepted():
        week.wake(3, 10, 60, 360)
    assert week.runs[before:] == []
