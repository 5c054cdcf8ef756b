"""Who takes part: the floor, ourselves in several ways, and the peers with what installs them."""

from __future__ import annotations

import itertools
import json
import os
import secrets
import subprocess
import sys
import venv
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dumping.measuring import Command
from dumping.own import Order
from dumping.servers import ROOT, Postgres

HERE = Path(__file__).parent
PRIVATE = ROOT / ".egress" / "bench"
PYTHON = PRIVATE / "venv" / "bin" / "python"
FLOOR, START, ONE, TWO = "psql COPY", "egress, empty table", "egress, 1 worker", "egress, 2 workers"
OWN_PARQUET = "egress, parquet"

# Wheels only. DuckDB's extensions and sling's program are downloaded from elsewhere at run time by their newest
# releases; these are the newest that a package index holds whole.
WANTED = {
    "aws": ("awscli",),
    "dlt": ("dlt[filesystem,sql_database]", "psycopg2-binary", "pyarrow"),
    "connectorx": ("connectorx", "pyarrow"),
    "pandas": ("pandas", "sqlalchemy", "psycopg2-binary", "pyarrow"),
    "duckdb": ("duckdb==1.4.4", "duckdb-ext-postgres==1.4.4.*", "duckdb-ext-httpfs==1.4.4.*"),
    "sling": ("sling-linux-amd64==1.4.11",),
}
_SHOWN = {"aws": "awscli", "sling": "sling-linux-amd64"}  # the package whose version is told


@dataclass(frozen=True, slots=True)
class Setting:
    """One table on one server, and the sinks. `rows` is what a right dump has."""

    server: Postgres
    table: str
    rows: int
    sink: str
    evidence: str


@dataclass(frozen=True, slots=True)
class Contender:
    """`does` is the command for people. `start` names whose time is the start alone; `missing` why it can't run."""

    name: str
    does: str
    command: Callable[[Setting], Command]
    reported: bool = False
    start: str = ""
    workers: int = 0
    missing: str = ""


def field_of(peers: Sequence[Contender]) -> list[Contender]:
    """The floor and ourselves, then the peers."""
    mine = [
        Contender(FLOOR, 'psql -c "COPY t TO STDOUT (FORMAT csv)" > /dev/null', _floor),
        Contender(START, "the same call, no row", _own("csv.zst", 1, table="nothing"), True),
        Contender(ONE, "csv.zst", _own("csv.zst", 1), True, START, 1),
        Contender(TWO, "csv.zst", _own("csv.zst", 2), True, START, 2),
    ]
    mine.append(Contender(OWN_PARQUET, "parquet, 1 worker", _own("parquet", 1), True, START, 1))
    return [*mine, *peers]


def peers(wanted: str) -> list[Contender]:
    """Installs what is missing (a minute at first) and says which version each one has."""
    if wanted == "none":
        return []
    tool = [Contender("pg_dump -Fc", "pg_dump -Fc -t t > /dev/null", _shell("pg_dump -Fc -t {table}"))]
    if wanted == "fast":
        return [_piped(_installed("aws")), *tool]
    sling = "sling run --src-stream public.t --tgt-object s3://b/t.csv"
    python = {
        "sling": ("sling", sling, _sling),
        "DuckDB, csv": ("duckdb", "COPY pg.public.t TO 's3://b/t.csv'", _peer("duckdb-csv")),
        "DuckDB, parquet": ("duckdb", "COPY pg.public.t TO 's3://b/t.parquet' (zstd)", _peer("duckdb-parquet")),
        "ConnectorX": ("connectorx", "read_sql to Arrow, Arrow's CSV writer to S3", _peer("connectorx")),
        "dlt": ("dlt", "sql_table(backend=pyarrow) to filesystem, parquet", _peer("dlt")),
        "pandas": ("pandas", "read_sql in chunks, to_csv to S3", _peer("pandas")),
    }
    states = {package: _installed(package) for package, _, _ in python.values()}
    others = [
        Contender(f"{name} {states[package][0]}".rstrip(), does, command, missing=states[package][1])
        for name, (package, does, command) in python.items()
    ]
    return [_piped(_installed("aws")), *tool, *others]


def _piped(state: tuple[str, str]) -> Contender:
    line = (
        "psql -X -q -c 'COPY {table} TO STDOUT (FORMAT csv)' | gzip | {aws} s3 cp --only-show-errors - s3://{bucket}/t"
    )
    does = "psql COPY \\| gzip \\| aws s3 cp"
    return Contender(f"psql, gzip, aws {state[0]}".rstrip(), does, _shell(line), missing=state[1])


def _installed(name: str) -> tuple[str, str]:
    """(version, "") or ("", why not). What was installed for the same requirements is not asked for again."""
    note, wanted = PRIVATE / f"{name}.txt", " ".join(WANTED[name])
    if note.exists() and note.read_text().startswith(f"{wanted}\n"):
        return note.read_text().splitlines()[1], ""
    if not PYTHON.exists():
        venv.create(PRIVATE / "venv", with_pip=True)
    pip = [str(PYTHON), "-m", "pip", "--disable-pip-version-check"]
    command = [*pip, "install", "-q", "--only-binary=:all:", *WANTED[name]]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        said = [line for line in done.stderr.decode().splitlines() if line.startswith("ERROR")] or ["pip failed"]
        return "", f"could not be installed: {said[-1].removeprefix('ERROR: ')[:120]}"
    shown = subprocess.run([*pip, "show", _SHOWN.get(name, name)], capture_output=True, text=True, check=True).stdout
    version = next(line.partition(": ")[2] for line in shown.splitlines() if line.startswith("Version"))
    note.write_text(f"{wanted}\n{version}\n")
    return version, ""


# ------------------------------------------------------------------------------------------------------------- commands
_numbers = itertools.count()


def _bucket() -> str:
    return f"b{next(_numbers)}-{secrets.token_hex(3)}"


def _path(setting: Setting) -> dict[str, str]:
    return {"PATH": f"{setting.server.binaries}:{os.environ['PATH']}", **setting.server.environment}


def _aws(setting: Setting) -> dict[str, str]:
    keys = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_DEFAULT_REGION": "us-east-1"}
    return {**keys, "AWS_ENDPOINT_URL": setting.sink, "AWS_EC2_METADATA_DISABLED": "true"}


def _floor(setting: Setting) -> Command:
    statement = f"COPY {setting.table} TO STDOUT (FORMAT csv)"
    return Command(("psql", "-X", "-q", "-c", statement), _path(setting))


def _shell(line: str) -> Callable[[Setting], Command]:
    def command(setting: Setting) -> Command:
        words = line.format(table=setting.table, bucket=_bucket(), aws=PYTHON.parent / "aws")
        return Command(("bash", "-c", f"set -o pipefail; {words}"), {**_path(setting), **_aws(setting)})

    return command


def _own(form: str, workers: int, *, table: str = "") -> Callable[[Setting], Command]:
    def command(setting: Setting) -> Command:
        place = {"host": "127.0.0.1", "port": setting.server.port, "database": setting.server.environment["PGDATABASE"]}
        source = {**place, "user": "owner", "password": setting.server.password, "workers": workers}
        name, rows = (table, 0) if table else (setting.table, setting.rows)
        order = Order(source, f"public.{name}", rows, form, setting.sink, setting.evidence, _bucket())
        words = (sys.executable, "-P", str(HERE / "own.py"))
        return Command(words, {"PYTHONPATH": str(ROOT)}, json.dumps(asdict(order)).encode())

    return command


def _peer(tool: str) -> Callable[[Setting], Command]:
    def command(setting: Setting) -> Command:
        words = (str(PYTHON), "-P", str(HERE / "peer.py"), tool, setting.table, _bucket())
        quiet = {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR", "HOME": str(PRIVATE)}
        return Command(words, {**setting.server.environment, **_aws(setting), **quiet})

    return command


def _sling(setting: Setting) -> Command:
    bucket = _bucket()
    keys = {"access_key_id": "k", "secret_access_key": "s", "region": "us-east-1", "endpoint": setting.sink}
    there = {"PG": f"{setting.server.url}?sslmode=disable", "S3": json.dumps({"type": "s3", "bucket": bucket, **keys})}
    own = {"SLING_HOME_DIR": str(PRIVATE / "sling"), "SLING_DISABLE_TELEMETRY": "true"}
    (program,) = PYTHON.parents[1].glob("lib/python*/site-packages/sling_linux_amd64/bin/sling-linux-amd64")
    stream = ("--src-conn", "PG", "--src-stream", f"public.{setting.table}", "--tgt-conn", "S3")
    return Command(
        (str(program), "run", *stream, "--tgt-object", f"s3://{bucket}/{setting.table}.csv"), {**there, **own}
    )
