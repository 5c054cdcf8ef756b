"""Tell a pooler that gives each transaction another server session, and refuse it.

Behind one, the session's settings reach strangers, cancel requests may hit them, and a snapshot outlives nothing.
A pooler in session mode is fine.
"""

from __future__ import annotations

import psycopg

from egress_assets.engine.dump.source import SourceSettings, connect
from egress_assets.engine.errors import SourceError

_ROUNDS = 3  # an idle pooler hands out the last session used first, so one round already meets it


def refuse_transaction_pooler(connection: psycopg.Connection, settings: SourceSettings) -> None:
    """Costs one query when nothing stands between; else two sessions are watched for sharing a server process.

    The pid in the protocol's BackendKeyData is the server's own only where nobody relays the start of the session.
    A busy pooler may go unnoticed: then the import of the snapshot, or the leader's final check, fails instead.
    """
    if _pid(connection) == connection.pgconn.backend_pid:
        return
    other = connect(settings, application_name="egress probe")
    try:
        mine, theirs = set(), set()
        for _ in range(_ROUNDS):
            mine.add(_pid(connection))
            theirs.add(_pid(other))
    finally:
        other.close()
    if len(mine) > 1 or len(theirs) > 1 or mine & theirs:
        hint = "Point the catalog at the server itself, or at a pooler in session mode."
        raise SourceError(f"{settings.title()} is behind a transaction pooler: sessions share a server", hint=hint)


def _pid(connection: psycopg.Connection) -> int:
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    return row[0] if row else 0
