"""How an address is written, and that no word of a secret is in what is said about a wrong one (S0-5)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from egress_assets.engine.dump.address import ca_file, parse_jdbc, stricter
from egress_assets.engine.dump.source import SourceSettings
from egress_assets.engine.errors import CatalogError


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("jdbc:postgresql://h:5432/db", {"host": "h", "port": "5432", "dbname": "db"}),
        ("jdbc:postgresql://h/db", {"host": "h", "dbname": "db"}),
        ("jdbc:postgresql:db", {"dbname": "db"}),
        ("jdbc:postgresql:/", {}),
        ("jdbc:postgresql://[::1]:5433/db", {"host": "::1", "port": "5433", "dbname": "db"}),
        ("jdbc:postgresql://a:1,b:2/db", {"host": "a,b", "port": "1,2", "dbname": "db"}),
        (
            "jdbc:postgresql://h/d%20b?user=u%40v&password=p%26w",
            {"host": "h", "dbname": "d b", "user": "u@v", "password": "p&w"},
        ),
        ("jdbc:postgresql://h/db?ssl=true", {"host": "h", "dbname": "db", "sslmode": "verify-full"}),
        ("jdbc:postgresql://h/db?ssl=true&sslmode=require", {"host": "h", "dbname": "db", "sslmode": "require"}),
        ("jdbc:postgresql://h/db?ssl=false&fetchsize=9&loggerLevel=OFF", {"host": "h", "dbname": "db"}),
    ],
)
def test_s0_5_a_jdbc_url_means_what_it_means_to_the_driver(url, expected):
    assert parse_jdbc(url, "s") == expected


@pytest.mark.parametrize("field", ["dsn", "jdbc"])
def test_an_address_that_cannot_be_read_is_refused_without_quoting_it(field):
    with pytest.raises(CatalogError) as caught:
        SourceSettings(name="s", **{field: "nonsense://user:hunter2@h"}).keywords()
    assert "source s" in caught.value.message
    assert "hunter2" not in f"{caught.value} {caught.value.hint}"
    assert caught.value.__cause__ is None


def test_no_address_at_all_is_a_mistake_of_the_catalog():
    with pytest.raises(CatalogError, match="no address"):
        SourceSettings(name="s").keywords()


def test_no_secret_is_in_a_repr_or_in_a_refusal():
    settings = SourceSettings(name="s", dsn="postgresql://u:hunter2@h/d", password="hunter2")
    assert "hunter2" not in repr(settings) + str(settings) + settings.title()
    with pytest.raises(ValidationError) as caught:
        SourceSettings.model_validate({"host": "h", "port": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_fields_replace_what_the_dsn_says_and_newlines_of_secrets_are_gone():
    settings = SourceSettings(dsn="postgresql://a:b@h:1/c\n", user="u\n", password="p w\r\n", database="d")
    found = settings.keywords()
    assert [found[key] for key in ("host", "port", "user", "password", "dbname")] == ["h", "1", "u", "p w", "d"]


def test_an_absent_reference_is_the_same_as_none():
    assert SourceSettings(host="h", dsn=None, password=None, ca=None).keywords()["host"] == "h"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("tls", "asked", "used"),
    [
        ("verify-full", "disable", "verify-full"),
        ("disable", "verify-full", "verify-full"),
        ("require", "", "require"),
        ("prefer", "allow", "prefer"),
        ("verify-ca", "verify-full", "verify-full"),
    ],
)
def test_the_stricter_sslmode_holds(tls, asked, used):
    dsn = "host=h" + (f" sslmode={asked}" if asked else "")
    assert SourceSettings(dsn=dsn, tls=tls).keywords()["sslmode"] == used
    assert stricter(used, asked or "disable") == used


def test_a_server_is_verified_by_default_against_some_bundle():
    keywords = SourceSettings(host="h").keywords()
    assert keywords["sslmode"] == "verify-full"
    assert keywords["sslrootcert"]


def test_a_ca_is_a_path_or_pem_text(tmp_path):
    assert ca_file(str(tmp_path / "ca.pem")) == str(tmp_path / "ca.pem")
    pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"
    assert Path(ca_file(pem)).read_text() == pem
    assert ca_file(pem) == ca_file(pem)


def test_an_iam_token_is_never_sent_over_unverified_tls():
    settings = SourceSettings(host="h", user="u", iam=True, tls="require")
    with pytest.raises(CatalogError, match="unverified TLS"):
        settings.keywords()


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (2, 2), (64, 4)])
def test_without_a_number_there_is_a_worker_for_each_core_and_four_at_the_most(monkeypatch, cores, workers):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(cores)))
    assert SourceSettings(host="h").workers == workers
    assert SourceSettings.model_validate({"host": "h", "workers": None}).workers == workers
    assert SourceSettings(host="h", workers=7).workers == 7
