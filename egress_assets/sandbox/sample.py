"""Sample data: a shop with made-up people (242,800 rows) and a site's events by day. Deterministic, loaded once.

A load is one transaction with its marker, so it is there whole or not at all. The marker lies in a schema of its own
that the reading role can't see.
"""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from egress_assets.sandbox.errors import SandboxUnavailable
from egress_assets.sandbox.model import DATABASES, Sandbox

if TYPE_CHECKING:
    import psycopg

logger = logging.getLogger(__name__)

VERSION = 1  # raise it when a file sample_*.sql changes: loaded databases are then made again
EVENT_DAYS = 14
PAGE_VIEWS, CLICKS = 1500, 500  # a day
_LOCK = 0x65677265  # one loader at a time in a database

_ONE_DAY = """
INSERT INTO page_views
SELECT d * 10000 + i, %(day)s::timestamp AT TIME ZONE 'UTC' + m %% 86400000 * interval '1 millisecond',
       CASE WHEN i %% 10 <> 0 THEN 1 + m %% 5000 END,
       (ARRAY['/', '/shop', '/shop/lamps', '/café', '/search?q=a,b', '/basket', '/help'])[1 + m %% 7],
       CASE i %% 4 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE 'https://www.example.com/' || m %% 40 END, 20 + m %% 3000
FROM generate_series(1, %(page_views)s) AS i, (SELECT %(day)s::date - date '2000-01-01') AS n(d),
     LATERAL (SELECT ((d * 7919 + i) * 2654435761) %% 4294967296 >> 4) AS mixed(m);
INSERT INTO clicks
SELECT d * 10000 + i, %(day)s::timestamp AT TIME ZONE 'UTC' + m %% 86400000 * interval '1 millisecond',
       CASE WHEN i %% 10 <> 0 THEN 1 + m %% 5000 END,
       (ARRAY['buy', 'menu', 'logo', 'close "x"', 'más'])[1 + m %% 5], m %% 1920, m %% 1080
FROM generate_series(1, %(clicks)s) AS i, (SELECT %(day)s::date - date '2000-01-01') AS n(d),
     LATERAL (SELECT ((d * 104729 + i) * 2654435761) %% 4294967296 >> 4) AS mixed(m);
INSERT INTO egress_sandbox.event_days VALUES (%(day)s);
"""


def load(sandbox: Sandbox) -> None:
    """Fill both databases unless they hold this version (2.5 s; 0.05 s when loaded), events up to yesterday, UTC."""
    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(_load_database, sandbox, database) for database in DATABASES]:
            done.result()
    ensure_events(sandbox, datetime.now(UTC).date() - timedelta(days=1))


def _load_database(sandbox: Sandbox, database: str) -> None:
    began = time.monotonic()
    script = Path(__file__).with_name(f"sample_{database}.sql").read_bytes()
    with _session(sandbox, database) as session:
        with session.transaction():
            session.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            if _loaded(session):
                return
            session.execute(script)
            session.execute("DELETE FROM egress_sandbox.sample")
            session.execute("INSERT INTO egress_sandbox.sample VALUES (%s)", (VERSION,))
        session.execute("VACUUM (ANALYZE)")  # else the first reader writes the hint bits of every row
    logger.info("loaded sample data: %s in %.1f s", database, time.monotonic() - began)


def _loaded(session: psycopg.Connection) -> bool:
    session.execute("CREATE SCHEMA IF NOT EXISTS egress_sandbox")
    session.execute("CREATE TABLE IF NOT EXISTS egress_sandbox.sample (version integer NOT NULL)")
    return session.execute("SELECT 1 FROM egress_sandbox.sample WHERE version = %s", (VERSION,)).fetchone() is not None


def ensure_events(sandbox: Sandbox, until: date) -> None:
    """Make the events of `until` and the 13 days before it where they are missing: 2,000 rows a UTC day.

    A day's rows follow from its date, and a day that has been made is never changed.
    """
    wanted = [until - timedelta(days=back) for back in range(EVENT_DAYS)]
    with _session(sandbox, "events") as session, session.transaction():
        session.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        made = {day for (day,) in session.execute("SELECT day FROM egress_sandbox.event_days")}
        for day in sorted(set(wanted) - made):
            _make_day(session, day)


def _make_day(session: psycopg.Connection, day: date) -> None:
    from psycopg import ClientCursor  # binds on this side: several statements with parameters in one round trip

    with ClientCursor(session) as cursor:
        cursor.execute(_ONE_DAY, {"day": day, "page_views": PAGE_VIEWS, "clicks": CLICKS})


def _session(sandbox: Sandbox, database: str) -> psycopg.Connection:
    import psycopg

    try:
        return psycopg.connect(sandbox.admin_dsn(database).conninfo, autocommit=True)
    except psycopg.OperationalError as error:
        raise SandboxUnavailable(
            f"the sandbox's database {database} takes no connection (SQLSTATE {error.sqlstate or 'none'})",
            hint="See it with `egress sandbox status`; `egress sandbox stop` and the next command start it anew.",
        ) from None
