"""Whether the server would write derived keys into its own log.

Keys reach the server as bind parameters of set_config, which no other session sees. A server that logs statements logs
their parameters too, unless log_parameter_max_length is 0, which only its administrator can set; auto_explain and
pgaudit have settings of their own. In the log would be sub-keys of one audience and epoch, never the master; who reads
them can test guesses against pseudonyms. Source: PostgreSQL docs, Error Reporting and Logging; auto_explain; pgaudit's
README.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

import psycopg

from egress_assets.engine.dump.snapshot import Leader
from egress_assets.engine.dump.sqlstate import reworded
from egress_assets.engine.errors import KeyExposed

logger = logging.getLogger(__name__)

# Of an extension only while the server has it loaded. Settings that a role may not see are not told to it.
_SETTINGS = (
    "log_statement", "log_min_duration_statement", "log_min_duration_sample", "log_statement_sample_rate",
    "log_transaction_sample_rate", "log_parameter_max_length", "log_parameter_max_length_on_error",
    "auto_explain.log_min_duration", "auto_explain.log_parameter_max_length", "auto_explain.sample_rate",
    "pgaudit.log", "pgaudit.log_parameter",
)  # fmt: skip
_QUERY = "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)"
_CURE = "set log_parameter_max_length = 0"
_AUDITED = frozenset({"function", "misc", "read"})
"""Classes of pgaudit that a `SELECT set_config(...)` can fall into."""


def exposures(settings: Mapping[str, str]) -> Iterator[str]:
    """What of a server's settings would write bind parameters of our sessions to its log, each with its cure. Pure.

    `log_min_duration_statement` above 0 counts too: a set_config that waits for a busy machine is logged with its
    parameters. A server without `log_parameter_max_length` (before 13) logs them always.
    """
    if settings.get("log_parameter_max_length", "-1") != "0":
        yield from (f"{what}; {_CURE}" for what in _statements(settings))
    if settings.get("log_parameter_max_length_on_error", "0") != "0":
        yield "log_parameter_max_length_on_error logs parameters of statements that fail; set it to 0"
    explained = _number(settings, "auto_explain.log_min_duration", -1) >= 0
    explained = explained and _number(settings, "auto_explain.sample_rate", 1) > 0
    if explained and settings.get("auto_explain.log_parameter_max_length", "-1") != "0":
        yield "auto_explain logs parameters; set auto_explain.log_parameter_max_length = 0"
    audited = _AUDITED & _classes(settings.get("pgaudit.log", "none"))
    if audited and settings.get("pgaudit.log_parameter", "off") == "on":
        yield f"pgaudit.log_parameter is on for {', '.join(sorted(audited))}; set it off for this role"


def _statements(settings: Mapping[str, str]) -> Iterator[str]:
    if settings.get("log_statement") == "all":
        yield "log_statement = all"
    if (shortest := _number(settings, "log_min_duration_statement", -1)) >= 0:
        yield f"log_min_duration_statement = {shortest:g} ms"
    if _number(settings, "log_min_duration_sample", -1) >= 0 and _number(settings, "log_statement_sample_rate", 1) > 0:
        yield "log_min_duration_sample with log_statement_sample_rate above 0"
    if _number(settings, "log_transaction_sample_rate", 0) > 0:
        yield "log_transaction_sample_rate above 0"


def _number(settings: Mapping[str, str], name: str, absent: float) -> float:
    return float(settings.get(name, absent))


def _classes(said: str) -> frozenset[str]:
    """pgaudit.log as it is written: `all, -read` takes away again."""
    words = [word.strip().lower() for word in said.split(",")]
    on = _AUDITED if "all" in words else frozenset(words)
    return frozenset(on) - {word[1:] for word in words if word.startswith("-")}


def settings_of(connection: psycopg.Connection, title: str) -> dict[str, str]:
    """The settings of a session that `exposures` looks at. Raises SourceError's kinds."""
    with reworded(title):
        return dict(connection.execute(_QUERY, [list(_SETTINGS)]).fetchall())


def keys_are_logged(leader: Leader, *, refuse: bool = False) -> bool:
    """Ask the leader's session before a key is sent to it, and warn when it is so.

    `refuse` raises KeyExposed instead. Raises SourceError's kinds.
    """
    found = list(exposures(settings_of(leader.connection, leader.title)))
    if found and refuse:
        raise KeyExposed(
            f"{leader.title} would write derived scrub keys to its log: {'; '.join(found)}",
            hint="Nothing was sent. Have them changed for the role (ALTER ROLE ... SET), or say `log_settings: warn`.",
        )
    if found:
        logger.warning("%s may write derived keys to its log: %s", leader.title, "; ".join(found))
    return bool(found)
