"""Roles and databases of the embedded Postgres: an administrator, and a reader who can only read what it was given."""

from __future__ import annotations

import psycopg
from psycopg import sql

from egress_assets.sandbox.model import DATABASES, READER_ROLE, Sandbox
from egress_assets.sandbox.state import State


def connect(state: State, database: str) -> psycopg.Connection:
    """A session of the administrator, in autocommit."""
    return psycopg.connect(Sandbox(state).admin_dsn(database).conninfo, autocommit=True)


def make_roles(state: State) -> None:
    """Idempotent: what exists is left as it is."""
    with connect(state, "postgres") as session:
        if not _exists(session, "SELECT 1 FROM pg_roles WHERE rolname = %s", READER_ROLE):
            _make_reader(session, state.secrets["postgres_reader"])
        for database in DATABASES:
            if not _exists(session, "SELECT 1 FROM pg_database WHERE datname = %s", database):
                _make_database(session, database)


def _exists(session: psycopg.Connection, query: str, name: str) -> bool:
    return session.execute(query.encode(), (name,)).fetchone() is not None


def _make_reader(session: psycopg.Connection, password: str) -> None:
    # The verifier is computed here, so that the password reaches neither the server's log nor pg_stat_activity.
    verifier = session.pgconn.encrypt_password(password.encode(), READER_ROLE.encode(), b"scram-sha-256").decode()
    role = sql.Identifier(READER_ROLE)
    session.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(verifier)))
    session.execute(sql.SQL("ALTER ROLE {} SET default_transaction_read_only = on").format(role))
    session.execute("REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC")


def _make_database(session: psycopg.Connection, database: str) -> None:
    name, reader = sql.Identifier(database), sql.Identifier(READER_ROLE)
    session.execute(sql.SQL("CREATE DATABASE {}").format(name))
    session.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name))
    session.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(name, reader))
