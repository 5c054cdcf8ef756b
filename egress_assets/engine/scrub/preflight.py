"""Whether the server would write derived keys into its own log.

Keys reach the server as bind parameters of set_config, which no other session sees. A server that logs every
statement logs parameters too, unless log_parameter_max_length is 0, which only its administrator can set. In the log
would be sub-keys of one audience and epoch, never the master; who reads them can test guesses against pseudonyms.
"""

from __future__ import annotations

import logging

from egress_assets.engine.dump.snapshot import Leader
from egress_assets.engine.dump.sqlstate import reworded

logger = logging.getLogger(__name__)

_SETTINGS = """
SELECT current_setting('log_statement') = 'all' OR current_setting('log_min_duration_statement') = '0'
       OR current_setting('log_min_duration_sample') = '0'
          AND current_setting('log_statement_sample_rate')::float8 > 0
       OR current_setting('log_transaction_sample_rate')::float8 > 0,
       current_setting('log_parameter_max_length') <> '0'
"""


def keys_are_logged(leader: Leader) -> bool:
    """Ask the leader's session, and warn when it is so. Raises SourceError's kinds."""
    with reworded(leader.title):
        statements, parameters = leader.connection.execute(_SETTINGS).fetchone() or (False, False)
    if statements and parameters:
        logger.warning(
            "%s logs every statement with its parameters: derived keys will be in the server's log; "
            "set log_parameter_max_length = 0 there",
            leader.title,
        )
    return bool(statements and parameters)
