"""What the server says becomes ours: by SQLSTATE, with the way out, without a value (design, errors)."""

from __future__ import annotations

import psycopg
import pytest

from egress_assets.engine import errors
from egress_assets.engine.dump.sqlstate import connect_error, reworded, source_error
from egress_assets.engine.workers import rebuilt

VALUE = 'invalid input syntax for type integer: "joe@example.com"'


def answer(state):
    """psycopg's error of a SQLSTATE with a message that quotes a row."""
    try:
        kind = psycopg.errors.lookup(state)
    except KeyError:
        kind = type("Unknown", (psycopg.DatabaseError,), {"sqlstate": state})
    return kind(VALUE)


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("28P01", errors.SourceDenied),
        ("28000", errors.SourceDenied),
        ("42501", errors.SourceDenied),
        ("3D000", errors.SourceError),
        ("42P01", errors.SourceChanged),
        ("42703", errors.SourceChanged),
        ("55P03", errors.SourceChanged),
        ("40P01", errors.SourceChanged),
        ("40001", errors.SourceChanged),
        ("57P01", errors.SourceChanged),
        ("57P03", errors.SourceUnavailable),
        ("53300", errors.SourceUnavailable),
        ("08006", errors.SourceUnavailable),
        ("57014", errors.SourceError),
        ("22P02", errors.SourceError),
        ("XX001", errors.SourceError),
        ("ZZ999", errors.SourceError),
    ],
)
def test_each_sqlstate_is_one_kind_and_names_the_object_but_no_value(state, kind):
    error = source_error(answer(state), "table public.t")
    assert type(error) is kind
    assert error.message.startswith("table public.t: ")
    assert state in error.message
    assert error.hint
    assert "joe@example" not in f"{error.message} {error.hint}"


@pytest.mark.parametrize("state", ["22023", "42704"])
def test_a_lost_snapshot_is_known_only_where_one_is_taken_over(state):
    assert type(source_error(answer(state), "t", joining=True)) is errors.SourceChanged
    assert type(source_error(answer(state), "t")) is errors.SourceError


def test_a_connection_that_breaks_has_no_sqlstate_and_is_unavailable():
    error = source_error(psycopg.OperationalError("server closed the connection unexpectedly"), "table t")
    assert (type(error), error.retryable) == (errors.SourceUnavailable, True)


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ('FATAL:  password authentication failed for user "u"', errors.SourceDenied, "refused the password"),
        ("fe_sendauth: no password supplied", errors.SourceDenied, "wants a password"),
        ('FATAL:  no pg_hba.conf entry for host "1.2.3.4", user "u"', errors.SourceDenied, "pg_hba.conf"),
        ('FATAL:  role "u" does not exist', errors.SourceDenied, "may not log in"),
        ('FATAL:  database "d" does not exist', errors.SourceError, "database does not exist"),
        ("Connection refused", errors.SourceUnavailable, "nobody listens"),
        ("timeout expired", errors.SourceUnavailable, "connect_timeout"),
        ("FATAL:  sorry, too many clients already", errors.SourceUnavailable, "no connection left"),
        ("FATAL:  the database system is starting up", errors.SourceUnavailable, "starting"),
        ("server does not support SSL, but SSL was required", errors.SourceDenied, "no TLS"),
        ("SSL error: certificate verify failed", errors.SourceDenied, "not signed by the CA"),
        ('server certificate for "a" does not match host name "b"', errors.SourceDenied, "another host name"),
        ('root certificate file "/x" does not exist', errors.SourceDenied, "TLS failed"),
        ("something that nobody has seen", errors.SourceUnavailable, "no connection"),
    ],
)
def test_why_no_session_came_about(text, kind, words):
    error = connect_error(psycopg.OperationalError(f"connection failed: {text}"), "source s")
    assert type(error) is kind
    assert words in error.message
    assert error.hint


def test_the_server_s_text_is_not_even_in_a_traceback():
    with pytest.raises(errors.SourceError) as caught, reworded("table t"):
        raise answer("22P02")
    assert caught.value.__suppress_context__
    assert caught.value.__cause__ is None


def test_an_error_crosses_the_process_border_with_its_class():
    error = rebuilt({"code": "source_changed", "message": "m", "hint": "h"})
    assert (type(error), error.message, error.hint) == (errors.SourceChanged, "m", "h")
    assert type(rebuilt({"code": "catalog", "message": "m", "hint": ""})) is errors.CatalogError
    assert type(rebuilt({"code": "of a later version", "message": "m", "hint": ""})) is errors.EgressError
