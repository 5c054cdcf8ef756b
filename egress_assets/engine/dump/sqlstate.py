"""What Postgres says, reworded: a SourceError by SQLSTATE, without the server's text.

The server's message and DETAIL quote row values (`invalid input syntax for type integer: "joe@..."`), so neither is
kept: what remains is the SQLSTATE, its name and the object that the engine itself was working on. Where libpq answers
before a session exists there is no SQLSTATE; then its English text decides, and anything unknown counts as unavailable.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import psycopg
from psycopg import errors as pg

from egress_assets.engine.errors import SourceChanged, SourceDenied, SourceError, SourceUnavailable, TableMissing


class Rule(NamedTuple):
    """What an answer means, in our words."""

    kind: type[SourceError]
    what: str
    hint: str


_LOGIN = "Check user, password and pg_hba.conf."
_AGAIN = "The dump is retried on a new snapshot; when it keeps happening, look for DDL or a lock queue on the source."
_GRANT = "Grant SELECT on the whole table (LOCK TABLE needs it too) and USAGE on its schema to the role."
_RLS = "Give the role BYPASSRLS, or dump a view: row level security would leave rows out silently."

_STATES: tuple[tuple[str, Rule], ...] = (
    ("28", Rule(SourceDenied, "the server refused the login", _LOGIN)),
    ("3D000", Rule(SourceError, "the database does not exist", "Check the database's name in the catalog.")),
    ("42501", Rule(SourceDenied, "the role may not read it", f"{_GRANT} {_RLS}")),
    ("42P01", Rule(SourceChanged, "it is gone since the snapshot", _AGAIN)),
    ("42703", Rule(SourceChanged, "a column is gone since the snapshot", _AGAIN)),
    ("3F000", Rule(SourceChanged, "its schema is gone since the snapshot", _AGAIN)),
    ("55P03", Rule(SourceChanged, "another session holds or awaits a stronger lock", _AGAIN)),
    ("40P01", Rule(SourceChanged, "a deadlock with another session", _AGAIN)),
    ("40", Rule(SourceChanged, "a conflict with recovery or another session", _AGAIN)),
    ("57P01", Rule(SourceChanged, "the session was terminated by an administrator or a standby conflict", _AGAIN)),
    ("57014", Rule(SourceError, "the query was cancelled", "Raise statement_timeout, or see who cancelled it.")),
    ("55000", Rule(SourceError, "it is not ready to be read", "Refresh the materialized view once.")),
    ("53", Rule(SourceUnavailable, "the server is out of a resource", "Free connections, disk or memory there.")),
    ("57P", Rule(SourceUnavailable, "the server is starting, stopping or has crashed", "Try again later.")),
    ("58", Rule(SourceUnavailable, "the server has a system error", "Look into the server's log.")),
    ("08", Rule(SourceUnavailable, "the connection was lost", "Look into the server's log and the network.")),
)
_LOST_SNAPSHOT = Rule(SourceChanged, "the snapshot is gone with the session that exported it", _AGAIN)
_NETWORK = "Check host, port, DNS and firewall."
_TLS = "The catalog's `tls` and `ca` decide how the server is verified; `tls: verify-full` needs its host name."

_CONNECT: tuple[tuple[str, Rule], ...] = (
    (r"server does not support SSL", Rule(SourceDenied, "the server offers no TLS", _TLS)),
    (r"does not match host name", Rule(SourceDenied, "the server's certificate is for another host name", _TLS)),
    (r"certificate verify failed", Rule(SourceDenied, "the server's certificate is not signed by the CA", _TLS)),
    (r"root certificate|certificate file|SSL error|SSL SYSCALL|sslmode", Rule(SourceDenied, "TLS failed", _TLS)),
    (r"no password supplied", Rule(SourceDenied, "the server wants a password, none is given", "Set `password`.")),
    (r"authentication failed|SASL|SCRAM", Rule(SourceDenied, "the server refused the password", _LOGIN)),
    (r"no pg_hba.conf entry|pg_hba.conf rejects", Rule(SourceDenied, "pg_hba.conf refuses this client", _LOGIN)),
    (r'role ".*" does not exist|not permitted to log in', Rule(SourceDenied, "the role may not log in", _LOGIN)),
    (r'database ".*" does not exist', dict(_STATES)["3D000"]),
    (r"permission denied for database", Rule(SourceDenied, "the role may not connect to it", "Grant CONNECT.")),
    (r"[Cc]onnection refused", Rule(SourceUnavailable, "nobody listens there", _NETWORK)),
    (r"timeout", Rule(SourceUnavailable, "no answer within connect_timeout", _NETWORK)),
    (r"resolve|translate host", Rule(SourceUnavailable, "the host name has no address", _NETWORK)),
    (r"too many|connection slots", Rule(SourceUnavailable, "it has no connection left", "Lower `workers`.")),
    (r"starting up|shutting down|recovery", dict(_STATES)["57P"]),
)


def source_error(error: psycopg.Error, what: str, *, joining: bool = False) -> SourceError:
    """`error` in our words; `what` names the object. `joining`: while a worker takes the leader's snapshot over."""
    state = error.sqlstate or ""
    rule = _LOST_SNAPSHOT if joining and state in ("22023", "42704") else _rule(state)
    if rule is None and not state:
        rule = dict(_STATES)["08"]
    if rule is None:
        hint = "The server's own text is left out because it may quote row values; see the server's log."
        return SourceError(f"{what}: Postgres answered {_name(state)} (SQLSTATE {state})", hint=hint)
    shown = f" (SQLSTATE {state})" if state else ""
    return rule.kind(f"{what}: {rule.what}{shown}", hint=rule.hint)


def connect_error(error: psycopg.Error, what: str) -> SourceError:
    """Why no session came about."""
    if error.sqlstate:
        return source_error(error, what)
    text = str(error)
    for pattern, rule in _CONNECT:
        if re.search(pattern, text):
            return rule.kind(f"{what}: {rule.what}", hint=rule.hint)
    return SourceUnavailable(f"{what}: no connection", hint="Check host, port and the server's log.")


@contextmanager
def reworded(what: str, *, joining: bool = False) -> Iterator[None]:
    """Every psycopg error of the block as a SourceError; no cause, since a traceback would print the server's text."""
    try:
        yield
    except psycopg.Error as error:
        raise source_error(error, what, joining=joining) from None


def missing(tables: list[str], where: str) -> TableMissing:
    """All of them at once, so that one run shows the whole repair."""
    found = TableMissing(
        f"not in {where}: {', '.join(tables)}",
        hint="Nothing was published. Correct the names in the catalog, or take the tables out of it; dates that were "
        "dumped with them keep them.",
    )
    found.tables = tuple(tables)
    return found


def _rule(state: str) -> Rule | None:
    return next((rule for prefix, rule in _STATES if state.startswith(prefix)), None)


def _name(state: str) -> str:
    try:
        return pg.lookup(state).__name__
    except KeyError:
        return "an error"
