"""One table by another tool's own interface, in the private virtualenv: `peer.py TOOL TABLE BUCKET`.

Where from and where to come by PGHOST, ..., AWS_ENDPOINT_URL, so that no password is an argument. Each takes the way
its documentation shows for bulk, and the options under which it is fastest.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable


def url(scheme: str = "postgresql") -> str:
    place = {name: os.environ[f"PG{name}"] for name in ("USER", "PASSWORD", "HOST", "PORT", "DATABASE")}
    return scheme + "://{USER}:{PASSWORD}@{HOST}:{PORT}/{DATABASE}".format(**place)


def file_system():
    from pyarrow import fs

    endpoint = os.environ["AWS_ENDPOINT_URL"].removeprefix("http://")
    return fs.S3FileSystem(
        access_key="k", secret_key="s", endpoint_override=endpoint, scheme="http", region="us-east-1"
    )


def connectorx(table: str, bucket: str) -> None:
    import connectorx
    from pyarrow import csv

    found = connectorx.read_sql(url(), f"SELECT * FROM {table}", return_type="arrow")
    columns = [
        found.column(name) if not _is_list(found, name) else _as_text(found, name) for name in found.column_names
    ]
    with file_system().open_output_stream(f"{bucket}/{table}.csv") as sink:
        csv.write_csv(found.from_arrays(columns, found.column_names), sink)


def _is_list(found, name: str) -> bool:
    import pyarrow

    return pyarrow.types.is_nested(found.schema.field(name).type)


def _as_text(found, name: str):
    import pyarrow

    return pyarrow.array(map(str, found.column(name).to_pylist()))  # arrow's CSV writer refuses lists


def pandas(table: str, bucket: str) -> None:
    import pandas  # noqa: TID251  # a peer, in an environment of its own
    import sqlalchemy

    # server-side cursor and chunks: without them pandas holds the table twice
    engine = sqlalchemy.create_engine(url("postgresql+psycopg2")).connect()
    chunks = pandas.read_sql(f"SELECT * FROM {table}", engine.execution_options(stream_results=True), chunksize=50_000)
    with file_system().open_output_stream(f"{bucket}/{table}.csv") as sink:
        for number, chunk in enumerate(chunks):
            chunk.to_csv(sink, index=False, header=number == 0)


def dlt(table: str, bucket: str) -> None:
    import dlt
    from dlt.destinations import filesystem
    from dlt.sources.sql_database import sql_table

    keys = {"aws_access_key_id": "k", "aws_secret_access_key": "s", "endpoint_url": os.environ["AWS_ENDPOINT_URL"]}
    with tempfile.TemporaryDirectory() as folder:
        target = filesystem(bucket_url=f"s3://{bucket}", credentials={**keys, "region_name": "us-east-1"})
        pipeline = dlt.pipeline(bucket, pipelines_dir=folder, destination=target, dataset_name="bench")
        source = sql_table(
            url("postgresql+psycopg2"), table=table, schema="public", backend="pyarrow", chunk_size=100_000
        )
        pipeline.run(source, loader_file_format="parquet").raise_on_failed_jobs()


def duckdb(table: str, bucket: str, form: str) -> None:
    import duckdb
    import duckdb_ext

    endpoint = os.environ["AWS_ENDPOINT_URL"].removeprefix("http://")
    with duckdb.connect(config={"extension_directory": f"{duckdb_ext.__path__[0]}/extensions"}) as session:
        session.execute("LOAD postgres_scanner; LOAD httpfs")
        secret = f"KEY_ID 'k', SECRET 's', REGION 'us-east-1', ENDPOINT '{endpoint}', URL_STYLE 'path', USE_SSL false"
        session.execute(f"CREATE SECRET (TYPE s3, {secret})")
        session.execute("ATTACH '' AS pg (TYPE postgres, READ_ONLY)")  # by libpq's environment
        options = {"csv": "FORMAT csv", "parquet": "FORMAT parquet, COMPRESSION zstd"}[form]
        session.execute(f"COPY pg.public.{table} TO 's3://{bucket}/{table}.{form}' ({options})")


TOOLS: dict[str, Callable[[str, str], None]] = {
    "connectorx": connectorx,
    "pandas": pandas,
    "dlt": dlt,
    "duckdb-csv": lambda table, bucket: duckdb(table, bucket, "csv"),
    "duckdb-parquet": lambda table, bucket: duckdb(table, bucket, "parquet"),
}

if __name__ == "__main__":
    TOOLS[sys.argv[1]](*sys.argv[2:])
