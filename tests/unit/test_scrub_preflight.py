"""Which settings of a server would put the keys that it is sent into its log."""

from __future__ import annotations

import pytest

from egress_assets.engine.scrub.preflight import exposures

DEFAULTS = {
    "log_statement": "none", "log_min_duration_statement": "-1", "log_min_duration_sample": "-1",
    "log_statement_sample_rate": "1", "log_transaction_sample_rate": "0", "log_parameter_max_length": "-1",
    "log_parameter_max_length_on_error": "0",
}  # fmt: skip
EXPLAIN = {"auto_explain.log_min_duration": "0", "auto_explain.sample_rate": "1"}
AUDIT = {"pgaudit.log_parameter": "on"}


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({}, ""),
        ({"log_statement": "mod"}, ""),
        ({"log_statement": "all"}, "log_statement = all; set log_parameter_max_length = 0"),
        ({"log_statement": "all", "log_parameter_max_length": "0"}, ""),
        ({"log_statement": "all", "log_parameter_max_length": "64"}, "log_statement = all"),
        ({"log_min_duration_statement": "0"}, "log_min_duration_statement = 0 ms"),
        ({"log_min_duration_statement": "500"}, "log_min_duration_statement = 500 ms"),
        ({"log_min_duration_sample": "100"}, "log_min_duration_sample"),
        ({"log_min_duration_sample": "100", "log_statement_sample_rate": "0"}, ""),
        ({"log_transaction_sample_rate": "0.01"}, "log_transaction_sample_rate above 0"),
        ({"log_parameter_max_length_on_error": "-1"}, "log_parameter_max_length_on_error"),
        (EXPLAIN, "auto_explain logs parameters"),
        ({**EXPLAIN, "log_parameter_max_length": "0"}, "auto_explain logs parameters"),
        ({**EXPLAIN, "auto_explain.log_parameter_max_length": "0"}, ""),
        ({**EXPLAIN, "auto_explain.log_min_duration": "-1"}, ""),
        ({**EXPLAIN, "auto_explain.sample_rate": "0"}, ""),
        ({"pgaudit.log": "all", "pgaudit.log_parameter": "off"}, ""),
        ({"pgaudit.log": "Read, write", **AUDIT}, "pgaudit.log_parameter is on for read"),
        ({"pgaudit.log": "all, -read,-function, -misc", **AUDIT}, ""),
        ({"pgaudit.log": "write, ddl", **AUDIT}, ""),
        ({"pgaudit.log": "all", **AUDIT}, "function, misc, read"),
    ],
)
def test_a_setting_that_logs_parameters_is_named_and_others_are_not(changed, says):
    found = list(exposures({**DEFAULTS, **changed}))
    assert len(found) == bool(says)
    assert says in "".join(found)


def test_a_server_without_the_setting_logs_parameters_always():
    assert list(exposures({"log_statement": "all"}))
    assert not list(exposures({"log_statement": "none"}))


def test_every_setting_at_fault_is_named():
    found = list(exposures({**DEFAULTS, **EXPLAIN, "log_statement": "all", "log_min_duration_statement": "0"}))
    assert len(found) == 3
