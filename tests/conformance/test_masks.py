"""Every mask of the registry against the embedded Postgres: SQL and Python reference give the same bytes.

A new mask needs no line here: the suite runs each of its examples on each type of column that its check accepts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import sql

from egress_assets.engine import masks
from egress_assets.engine.dump.source import SourceSettings, connect
from egress_assets.engine.dump.tasks import ColumnInfo
from egress_assets.engine.masks.seam import TEXT_TYPES, Mask, Site
from egress_assets.engine.scrub.keys import AudienceKeys, MasterKey
from egress_assets.sandbox import start

KEYS = MasterKey(bytes(range(32))).audience("shared", "1")
OTHER_KEYS = MasterKey(bytes(32)).audience("shared", "1")
HOSTILE = [
    "", " ", "  both  ", "a\\b", "\\N", "\\x41", "'", "''; DROP TABLE x; --", '"q"', "a,b", "line\nline\r\n",
    "\t", "%s %%", "😀👨‍👩‍👧", "‏שלום", "الطرد", "ﬁ", "e\u0301", "É", "İ", "ß", "\ufeff", "\U0010ffff",
    "\x01\x1f\x7f", "null", "NULL", "{}", "$1",
]  # fmt: skip
VALUES: Mapping[str, list[str]] = {
    "text": [*HOSTILE, "x" * 1_000_000, "Ann@Example.ORG"],
    "varchar": ["Ann@Example.ORG", "a\\b", "😀"],
    "bpchar": ["GB", "a 'b'"],
    "uuid": ["00000000-0000-0000-0000-000000000000", "c0ffee00-1234-4abc-8def-0123456789ab"],
    "int4": ["0", "-1", "2147483647"],
    "int8": ["9223372036854775807"],
    "numeric": ["0.10", "NaN", "12345678901234567890.5"],
    "bool": ["true", "false"],
    "date": ["2024-02-29", "0001-12-31", "9000-01-01", "infinity"],
    "timestamp": ["2026-11-20 02:15:00", "1999-12-31 23:59:59.99", "-infinity"],
    "timestamptz": ["2026-10-25 00:30:00+00", "2026-11-20 02:15:00.000001+00", "infinity"],
    "jsonb": ['{"a": [1, null]}'],
    "inet": ["8.8.8.8"],
    "bytea": ["\\x00ff"],
    "_text": ['{a,"b,c",NULL}'],
}
TYPES = {
    "varchar": "character varying(70)", "bpchar": "character(70)", "int4": "integer", "int8": "bigint",
    "bool": "boolean", "timestamp": "timestamp without time zone", "timestamptz": "timestamp with time zone",
    "_text": "text[]",
}  # fmt: skip
SENTINELS = {"infinity", "-infinity"}


@dataclass(frozen=True, slots=True)
class Case:
    mask: Mask
    params: Mapping[str, Any]
    base: str

    def __str__(self) -> str:
        return f"{self.mask.name}-{self.base}-{','.join(f'{k}={v}' for k, v in self.params.items())}"

    @property
    def site(self) -> Site:
        column = ColumnInfo("c", TYPES.get(self.base, self.base), self.base, nullable=True)
        return Site(column, {"id": ColumnInfo("id", "bigint", "int8", nullable=False), "c": column})

    @property
    def parsed(self) -> Any:
        return masks.parse_params(self.mask, self.params)


def cases() -> Iterator[Case]:
    for mask in masks.registry().values():
        for params in mask.examples:
            for base in VALUES:
                case = Case(mask, params, base)
                if not mask.check(case.site, case.parsed):
                    yield case


CASES = list(cases())
every_case = pytest.mark.parametrize("case", CASES, ids=str)


@pytest.fixture(scope="module")
def session() -> Iterator[psycopg.Connection]:
    """A session pinned as a dump's, with a table of rows for every type."""
    settings_ = SourceSettings(name="masks", dsn=start().admin_dsn().conninfo, tls="disable")
    with connect(settings_, application_name="masks") as connection:
        for base, values in VALUES.items():
            name, type_ = sql.Identifier(f"rows_{base}"), sql.SQL(TYPES.get(base, base))  # type: ignore[arg-type]
            connection.execute(sql.SQL("CREATE TEMP TABLE {} (id bigint, c {})").format(name, type_))
            with connection.cursor() as cursor:
                rows = [(n, value) for n, value in enumerate([*values, None])]
                cursor.executemany(sql.SQL("INSERT INTO {} VALUES (%s, %s)").format(name), rows)
        yield connection


def masked(session: psycopg.Connection, case: Case, keys: AudienceKeys = KEYS) -> list[tuple[str, str | None, Any]]:
    """(id, the column as text, the mask's output as COPY writes it) of every row."""
    for name, value in keys.session(case.mask.domains(case.parsed)).items():
        session.execute("SELECT set_config(%s, %s, false)", (name, value))
    expression = case.mask.compile(case.site, case.parsed, keys)
    query = sql.SQL("SELECT id::text, c::text, ({})::text FROM {} ORDER BY id")
    return session.execute(query.format(expression, sql.Identifier(f"rows_{case.base}"))).fetchall()


def expected(case: Case, row_id: str, value: str | None, keys: AudienceKeys = KEYS) -> str | None:
    return case.mask.reference(value, case.parsed, keys, row={"id": row_id, "c": value})


def test_every_mask_is_run_on_some_column_and_says_what_it_is():
    assert {case.mask.name for case in CASES} == set(masks.registry())
    for name, mask in masks.registry().items():
        assert (mask.name, mask.version >= 1) == (name, True)
        assert {str(p) for p in mask.examples} == {str(c.params) for c in CASES if c.mask is mask}, name


@every_case
def test_sql_and_reference_give_the_same_bytes(case, session):
    rows = masked(session, case)
    assert [out for _, _, out in rows] == [expected(case, n, value) for n, value, _ in rows]


@every_case
def test_null_stays_null_s0_10(case, session):
    assert [out for _, value, out in masked(session, case) if value is None] == [None]


@every_case
def test_no_value_is_passed_on_by_a_mask_that_removes(case, session):
    if case.mask.removes:
        assert not [
            value for _, value, out in masked(session, case) if out == value is not None and value not in SENTINELS
        ]


@every_case
def test_the_same_key_gives_the_same_output_and_another_key_another(case, session):
    first = masked(session, case)
    assert masked(session, case) == first
    if case.mask.domains(case.parsed):
        changed = [
            a != b
            for a, b in zip(first, masked(session, case, OTHER_KEYS), strict=True)
            if a[1] not in (None, *SENTINELS)
        ]
        assert any(changed)


@every_case
def test_the_output_is_a_value_of_the_columns_type(case, session):
    type_ = sql.SQL(case.site.column.type)  # type: ignore[arg-type]
    for _, _, out in masked(session, case):
        if out is not None and case.base not in TEXT_TYPES:
            session.execute(sql.SQL("SELECT CAST({} AS {})").format(sql.Literal(out), type_))
        if out is not None and case.site.limit:
            assert len(out) <= case.site.limit


@pytest.mark.parametrize("mask", masks.registry().values(), ids=lambda m: m.name)
def test_a_text_column_is_taken_only_when_the_longest_output_fits(mask, session):
    """The check's own border: one character less is refused, and at the border every output fits."""
    for params in mask.examples:
        parsed = masks.parse_params(mask, params)
        widths = [w for w in range(1, 200) if not mask.check(_varchar(w), parsed)]
        if mask.name in ("keep", "null") or not widths:
            continue
        outputs = [mask.reference(str(n), parsed, KEYS, row={"id": str(n), "c": str(n)}) for n in range(500)]
        assert max(len(out or "") for out in outputs) <= widths[0]


def _varchar(width: int) -> Site:
    column = ColumnInfo("c", f"character varying({width})", "varchar", nullable=True)
    return Site(column, {"id": ColumnInfo("id", "bigint", "int8", nullable=False), "c": column})


TEXT_CASES = [case for case in CASES if case.base == "text" and case.mask.domains(case.parsed)]
postgres_text = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))


@pytest.mark.parametrize("case", TEXT_CASES, ids=str)
@settings(max_examples=25, deadline=None)
@given(texts=st.lists(postgres_text, min_size=1, max_size=60))
def test_any_text_gives_the_same_bytes_in_sql_and_python(case, session, texts):
    expression = case.mask.compile(case.site, case.parsed, KEYS)
    query = sql.SQL("SELECT c, ({})::text FROM unnest(%s::text[]) WITH ORDINALITY AS t(c, id) ORDER BY id")
    for name, value in KEYS.session(case.mask.domains(case.parsed)).items():
        session.execute("SELECT set_config(%s, %s, false)", (name, value))
    rows = session.execute(query.format(expression), (texts,)).fetchall()
    assert rows == [(text, expected(case, str(n + 1), text)) for n, text in enumerate(texts)]


@settings(max_examples=25, deadline=None)
@given(
    days=st.lists(st.dates(date(12, 1, 1), date(9988, 1, 1)), min_size=1, max_size=40),
    microseconds=st.integers(0, 86_400_000_000 - 1),
    reach=st.integers(1, 3650),
)
def test_any_moment_moves_alike_in_sql_and_python(session, days, microseconds, reach):
    moments = [datetime(d.year, d.month, d.day) + timedelta(microseconds=microseconds) for d in days]  # noqa: DTZ001
    for base, given_ in (("date", days), ("timestamp", moments), ("timestamptz", moments)):
        case = Case(masks.find("date_shift"), {"by": "id", "days": reach}, base)
        type_ = sql.SQL(case.site.column.type)  # type: ignore[arg-type]
        query = sql.SQL(
            "SELECT id::text, c::text, ({})::text FROM unnest(%s::text[]::{}[]) WITH ORDINALITY AS t(c, id)"
        )
        for name, value in KEYS.session(case.mask.domains(case.parsed)).items():
            session.execute("SELECT set_config(%s, %s, false)", (name, value))
        expression = case.mask.compile(case.site, case.parsed, KEYS)
        rows = session.execute(query.format(expression, type_), ([str(each) for each in given_],)).fetchall()
        assert [out for _, _, out in rows] == [expected(case, n, value) for n, value, _ in rows]


def test_a_constant_that_the_type_refuses_stops_the_statement_before_any_row(session):
    case = Case(masks.find("constant"), {"value": "{not json"}, "jsonb")
    expression = case.mask.compile(case.site, case.parsed, KEYS)
    with pytest.raises(psycopg.errors.InvalidTextRepresentation):
        session.execute(sql.SQL("SELECT {} FROM rows_jsonb WHERE false").format(expression))


def test_keys_are_read_once_a_statement_and_the_statement_names_none(session):
    case = Case(masks.find("email"), {}, "text")
    session.execute("SELECT set_config('egress.i_email', '00', false), set_config('egress.o_email', '00', false)")
    expression = case.mask.compile(case.site, case.parsed, KEYS)
    plan = session.execute(sql.SQL("EXPLAIN VERBOSE SELECT {} FROM rows_text").format(expression)).fetchall()
    text = "\n".join(line for (line,) in plan)
    assert text.count("InitPlan") >= 2
    assert "SubPlan" not in text
