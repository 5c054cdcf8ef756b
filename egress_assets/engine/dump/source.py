"""How a Postgres database is reached, and a session in which equal rows are always equal bytes.

Everything that changes COPY's output (time zone, date style, float digits, bytea, money, search path) is pinned for
the session, and so are the guards: row security raises instead of filtering, and an idle transaction is not ended.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Literal

import psycopg
from psycopg.conninfo import make_conninfo
from pydantic import BaseModel, ConfigDict, Field, field_validator

from egress_assets.engine.dump.address import ca_file, parse_dsn, parse_jdbc, stricter
from egress_assets.engine.dump.sqlstate import connect_error, reworded
from egress_assets.engine.errors import CatalogError, SourceDenied, SourceError

logger = logging.getLogger(__name__)

OLDEST_SERVER = 14  # pg_inherits.inhdetachpending, which tells a partition that is being detached
_TRANSACTION_TIMEOUT_SINCE = 17
_PINNED: Mapping[str, str] = {
    "search_path": "pg_catalog",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "row_security": "off",
    "synchronize_seqscans": "off",
    "idle_in_transaction_session_timeout": "0",
}
PIN = "SELECT set_config(name, value, false) FROM unnest(%s::text[], %s::text[]) AS wanted(name, value)"
# A peer that vanished is noticed after 30 + 3 x 10 s; a leader is silent for as long as its workers read.
_KEEPALIVES = {"keepalives": 1, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}


_MOST_WORKERS = 4
"""Unless the catalog says more: each is a session of the source and a core of its server."""


def usual_workers() -> int:
    """The cores that this process may use, 4 at the most."""
    return min(len(os.sched_getaffinity(0)), _MOST_WORKERS)


class SourceSettings(BaseModel):
    """A Postgres database. Secrets are plain strings here, never in a repr; trailing newlines are stripped.

    One of `dsn`, `jdbc` and `host` says where; `user`, `password` and `database` replace what it says. Of `tls` and
    the DSN's own sslmode the stricter one holds. `ca` is a path or PEM text; empty: the system's bundle.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    name: str = ""
    dsn: str = Field(default="", repr=False)
    jdbc: str = Field(default="", repr=False)
    host: str = ""
    port: int = 5432
    database: str = ""
    user: str = ""
    password: str = Field(default="", repr=False)
    tls: Literal["disable", "prefer", "require", "verify-ca", "verify-full"] = "verify-full"
    ca: str = ""
    iam: bool = False
    region: str = ""
    workers: int = Field(default_factory=usual_workers)
    connect_timeout: int = 10  # seconds
    lock_timeout: int = 60  # seconds
    statement_timeout: int = 0  # seconds, 0 = none
    max_snapshot_seconds: int = 0  # 0 = none

    @field_validator("dsn", "jdbc", "host", "database", "user", "password", "ca", mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        """Mounted secrets end with a newline; an absent reference is None."""
        return "" if value is None else value.rstrip("\r\n") if isinstance(value, str) else value

    @field_validator("workers", mode="before")
    @classmethod
    def _usual(cls, value: Any) -> Any:
        return usual_workers() if value is None else value

    def keywords(self) -> dict[str, Any]:
        """Keywords of libpq, holding the password. Raises CatalogError for an address that can't be read."""
        place = self._place()
        place |= {k: v for k, v in (("user", self.user), ("password", self.password), ("dbname", self.database)) if v}
        place["sslmode"] = stricter(self.tls, place.get("sslmode", "disable"))
        place["sslrootcert"] = ca_file(self.ca or place.get("sslrootcert", "")) if self._verified(place) else ""
        if self.iam:
            place["password"] = self._iam_token(place)
        return place | _KEEPALIVES | {"client_encoding": "UTF8", "connect_timeout": self.connect_timeout}

    def title(self) -> str:
        """The source for people: name and address, no secret."""
        place = self._place()
        port = place.get("port", str(self.port))
        return f"source {self.name or '?'} ({place.get('host', 'local')}:{port}/{place.get('dbname', self.database)})"

    def _place(self) -> dict[str, str]:
        if self.dsn.startswith("jdbc:"):
            return parse_jdbc(self.dsn, self.name)
        if self.dsn:
            return parse_dsn(self.dsn, self.name)
        if self.jdbc:
            return parse_jdbc(self.jdbc, self.name)
        if not self.host:
            raise CatalogError(f"source {self.name} has no address", hint="Give one of `dsn`, `jdbc` and `host`.")
        return {"host": self.host, "port": str(self.port)}

    @staticmethod
    def _verified(place: Mapping[str, str]) -> bool:
        return place["sslmode"].startswith("verify")

    def _iam_token(self, place: Mapping[str, str]) -> str:
        if not self._verified(place):
            hint = "Set `tls: verify-full` and `ca` to the RDS bundle."
            raise CatalogError(f"{self.title()}: an IAM token over unverified TLS could be taken by anyone", hint=hint)
        import boto3  # 0.3 s that only RDS with IAM needs
        from botocore.exceptions import BotoCoreError

        try:
            client = boto3.client("rds", region_name=self.region or None)
            port = int(place.get("port", "5432"))
            return client.generate_db_auth_token(DBHostname=place["host"], Port=port, DBUsername=place.get("user", ""))
        except BotoCoreError as error:
            hint = "Check `region` and the AWS credentials of this process."
            raise SourceDenied(f"{self.title()}: no IAM token: {type(error).__name__}", hint=hint) from None


def connect(settings: SourceSettings, *, application_name: str) -> psycopg.Connection:
    """An autocommit session with everything pinned that changes bytes.

    Raises SourceUnavailable (retryable), SourceDenied, SourceError (server too old), CatalogError.
    """
    title = settings.title()
    try:
        conninfo = make_conninfo(**settings.keywords(), application_name=application_name[:63])
        connection = psycopg.connect(conninfo, autocommit=True, prepare_threshold=None)
    except psycopg.Error as error:
        raise connect_error(error, title) from None
    try:
        with reworded(title):
            _pin(connection, settings)
    except BaseException:
        connection.close()
        raise
    return connection


def _pin(connection: psycopg.Connection, settings: SourceSettings) -> None:
    major = connection.info.server_version // 10_000
    if major < OLDEST_SERVER:
        hint = f"Upgrade the server to PostgreSQL {OLDEST_SERVER} or newer."
        raise SourceError(f"{settings.title()} runs PostgreSQL {major}, {OLDEST_SERVER} is the oldest", hint=hint)
    wanted = pinned(settings, major)
    connection.execute(PIN, (list(wanted), list(wanted.values())))


def pinned(settings: SourceSettings, major: int) -> dict[str, str]:
    """What PIN sets in every session with a server of that version."""
    wanted = dict(_PINNED)
    wanted["lock_timeout"] = f"{settings.lock_timeout}s"
    wanted["statement_timeout"] = f"{settings.statement_timeout}s"
    if major >= _TRANSACTION_TIMEOUT_SINCE:
        wanted["transaction_timeout"] = "0"
    return wanted


def ping(settings: SourceSettings) -> str:
    """Connect and say what is there, in a line for people. Raises as `connect` does."""
    connection = connect(settings, application_name="egress ping")
    try:
        with reworded(settings.title()):
            row = connection.execute("SELECT current_user, pg_is_in_recovery()").fetchone()
        user, standby = row or ("?", False)
        version = connection.info.parameter_status("server_version")
        tls = "TLS" if connection.pgconn.ssl_in_use else "no TLS"
        return f"PostgreSQL {version}{' standby' if standby else ''} as {user}, {tls}"
    finally:
        connection.close()


def hang_up(connection: psycopg.Connection) -> None:
    """Close the session, and first cancel what it is still doing: the error or signal that ends us came in the middle.

    A server that waits for a lock looks at no socket: without the cancel it would go on waiting for a client that is
    gone, in front of everybody who wants that table. psycopg cancels for KeyboardInterrupt only.
    """
    if connection.pgconn.transaction_status == psycopg.pq.TransactionStatus.ACTIVE:
        cancel(connection)
    connection.close()


def cancel(connection: psycopg.Connection, *, seconds: float = 3.0) -> None:
    """Stop what the server does for this session, from any thread; a server that can't be asked is let be."""
    with suppress(psycopg.Error):
        connection.cancel_safe(timeout=seconds)
