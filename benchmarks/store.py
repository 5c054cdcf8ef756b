"""The engine's S3 client beside boto3, in one run, against a server that costs almost nothing (tools/s3mem -null).

    .venv/bin/python benchmarks/store.py [--gib 1] [--objects 5000] [--rounds 3]

(a) one upload of --gib GiB from a stream of 1 MiB chunks, parts of 8 MiB, 4 in flight; (b) GET and PUT of --objects
objects of 4 to 64 KiB with 16 threads. Each client runs in a fresh process; the median round counts. CPU is the
client's own. Noise on a shared machine is up to 50 %: trust the ratios, not the seconds.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
SERVER = ROOT / "tools" / "bin" / "s3mem"
MIB = 2**20
THREADS = 16


def chunks(gib: float) -> Iterator[bytes]:
    block = bytes(range(256)) * (MIB // 256)
    return (block for _ in range(int(gib * 1024)))


def own(endpoint: str):
    from egress_assets.engine.stores import open_store
    from egress_assets.engine.stores.settings import StoreSettings

    return open_store(StoreSettings(bucket="b", endpoint=endpoint, access_key="access", secret_key="secret"))


def boto(endpoint: str):
    import boto3
    from botocore.config import Config

    config = Config(max_pool_connections=THREADS, s3={"addressing_style": "path"})
    keys = {"aws_access_key_id": "access", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    return boto3.client("s3", endpoint_url=endpoint, config=config, **keys)


def own_upload(endpoint: str, gib: float, objects: int) -> Callable[[], object]:
    store = own(endpoint)
    return lambda: store.upload("big", chunks(gib))


def own_small(endpoint: str, gib: float, objects: int) -> Callable[[], object]:
    store, names = own(endpoint), [listed.key for listed in own(endpoint).list("s/")][:objects]

    def move(name: str) -> None:
        found = store.read(name)
        assert found is not None
        store.put(f"copy/{name}", found[0])

    return lambda: in_threads(move, names)


class Stream(io.RawIOBase):
    """The same chunks as a file object, which is what boto3 takes."""

    def __init__(self, gib: float) -> None:
        self._chunks = chunks(gib)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        pieces, wanted = [], size
        while wanted and (self._rest or (following := next(self._chunks, b""))):
            self._rest = self._rest or memoryview(following)
            pieces.append(self._rest[:wanted])
            self._rest, wanted = self._rest[wanted:], wanted - len(pieces[-1])
        return b"".join(pieces)


def boto_upload(endpoint: str, gib: float, objects: int) -> Callable[[], object]:
    from boto3.s3.transfer import TransferConfig

    client, config = boto(endpoint), TransferConfig(multipart_chunksize=8 * MIB, max_concurrency=4)
    return lambda: client.upload_fileobj(Stream(gib), "b", "big", Config=config)


def boto_small(endpoint: str, gib: float, objects: int) -> Callable[[], object]:
    client = boto(endpoint)
    pages = client.get_paginator("list_objects_v2").paginate(Bucket="b", Prefix="s/")
    names = [entry["Key"] for page in pages for entry in page["Contents"]][:objects]

    def move(name: str) -> None:
        body = client.get_object(Bucket="b", Key=name)["Body"].read()
        client.put_object(Bucket="b", Key=f"copy/{name}", Body=body)

    return lambda: in_threads(move, names)


def in_threads(move: Callable[[str], None], names: list[str]) -> None:
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(move, names))


CLIENTS = {"own": {"upload": own_upload, "small": own_small}, "boto3": {"upload": boto_upload, "small": boto_small}}


def measure(client: str, case: str, endpoint: str, gib: float, objects: int) -> None:
    """Run in the child: one case, timed without imports; prints wall seconds, CPU seconds and peak MB."""
    work = CLIENTS[client][case](endpoint, gib, objects)
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    work()
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps((wall, cpu, after.ru_maxrss / 1024)))


def start_server(objects: int) -> tuple[subprocess.Popen, str]:
    if not SERVER.exists():
        sys.exit(f"{SERVER} is missing: (cd tools/s3mem && go build -o ../bin/s3mem .)")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    process = subprocess.Popen([SERVER, "-null", "-server", "AmazonS3", "-addr", address])
    for _ in range(100):
        time.sleep(0.05)
        try:
            seed = f"http://{address}/_ctl/seed?bucket=b&n={objects}&min=4096&max=65536&prefix=s/"
            urllib.request.urlopen(seed, timeout=30).close()
        except OSError:
            continue
        return process, f"http://{address}"
    process.kill()
    sys.exit("s3mem did not start")


def run_child(client: str, case: str, endpoint: str, options: argparse.Namespace) -> list[float]:
    command = [sys.executable, __file__, "--child", client, case, endpoint]
    command += ["--gib", str(options.gib), "--objects", str(options.objects)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    return json.loads(answer.stdout)


def compare(case: str, title: str, endpoint: str, options: argparse.Namespace) -> None:
    rounds: dict[str, list[list[float]]] = {client: [] for client in CLIENTS}
    for _ in range(options.rounds):  # alternating, so that a busy minute hits both
        for client, results in rounds.items():
            results.append(run_child(client, case, endpoint, options))
    print(f"\n{title} (median of {options.rounds})\n{'client':8}{'wall s':>9}{'CPU s':>9}{'peak MB':>9}")
    medians = {client: [statistics.median(column) for column in zip(*r, strict=True)] for client, r in rounds.items()}
    for client, (wall, cpu, peak) in medians.items():
        print(f"{client:8}{wall:9.2f}{cpu:9.2f}{peak:9.0f}")
    wall, cpu, _ = (theirs / ours for theirs, ours in zip(medians["boto3"], medians["own"], strict=True))
    print(f"boto3 / own: {wall:.1f} x wall, {cpu:.1f} x CPU")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=1.0)
    parser.add_argument("--objects", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", nargs=3, metavar=("CLIENT", "CASE", "ENDPOINT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        measure(*options.child, options.gib, options.objects)
        return
    process, endpoint = start_server(options.objects)
    try:
        compare("upload", f"upload of {options.gib:g} GiB", endpoint, options)
        compare("small", f"{options.objects} x 4-64 KiB GET + PUT, {THREADS} threads", endpoint, options)
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    main()
