"""Peak memory of the command while a table of MB megabytes passes every stage: `python benchmarks/memory.py [MB]`.

Starts a sandbox of its own, makes a table of that size (as CSV), dumps, scrubs, mirrors and delivers it with the real
command and prints each process's peak RSS. Exits 1 above 200 MB for the command itself; workers are listed apart.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg

LIMIT_MB = 200
DATE, NOW = "2026-11-19", "2026-11-20T03:00:00+00:00"
ENDPOINTS = """
timezone: UTC
evidence: {store: evidence}
sources: {shop_db: {dsn: {env: NOWHERE}, workers: 2}}
stores:
  evidence: {kind: s3, bucket: evidence, zone: trusted}
  lake: {kind: s3, bucket: lake, zone: trusted}
  ceph: {kind: ceph, bucket: mirror, zone: external}
recipients:
  acme: {transfer_type: sft, url: "https://acme.example/DA", cert: {file: /c}, key: {file: /k}, ca: {file: /a}}
"""
DATASET = """
source: shop_db
start: 2026-11-01
dump: {}
scrub: {key: {env: NOWHERE}}
tables:
  big.rows: {id: keep, email: email, filler: keep}
mirrors: {big: {to: ceph}}
deliveries:
  acme/rows: {from: big.rows, format: csv.gz}
"""
ROW = 250  # bytes of a row as CSV, about
STAGES = (["dump", "big"], ["scrub", "big"], ["mirror", "big"], ["deliver", "acme/rows"], ["verify"])


def main() -> int:
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    home = Path(tempfile.mkdtemp(prefix="egress-m-", dir="/var/tmp"))
    home.chmod(0o711)
    os.environ |= {"EGRESS_SANDBOX_DIR": str(home / "s"), "EGRESS_NOW": NOW, "EGRESS_CATALOG": str(home / "catalog")}
    from egress_assets.sandbox import remove, start

    try:
        sandbox = start()
        make_table(sandbox.admin_dsn("shop").settings, megabytes * 10**6 // ROW)
        write_catalog(home / "catalog")
        return run_stages(megabytes)
    finally:
        remove()
        shutil.rmtree(home, ignore_errors=True)


def make_table(settings: dict[str, str], rows: int) -> None:
    began = time.monotonic()
    with psycopg.connect(**settings, autocommit=True) as session:
        session.execute("CREATE SCHEMA big; GRANT USAGE ON SCHEMA big TO egress_reader")
        session.execute("CREATE UNLOGGED TABLE big.rows (id int, email text, filler text)")
        session.execute(
            b"INSERT INTO big.rows SELECT g, 'p' || g || '@example.com',"
            b" repeat(md5(g::text), 6) || chr(97 + g %% 26) FROM generate_series(1, %d) g" % rows
        )
        session.execute("GRANT SELECT ON big.rows TO egress_reader")
    print(f"made {rows:,} rows in {time.monotonic() - began:.0f} s", flush=True)


def write_catalog(folder: Path) -> None:
    folder.mkdir()
    (folder / "endpoints.yaml").write_text(ENDPOINTS)
    (folder / "big.yaml").write_text(DATASET)


def run_stages(megabytes: int) -> int:
    print(f"{'egress ...':<24} {'seconds':>8} {'command MB':>11} {'workers MB':>11}   table of {megabytes} MB")
    worst = 0.0
    for verb in STAGES:
        began = time.monotonic()
        options = ["--date", DATE] if verb[0] != "verify" else []
        process = subprocess.Popen(
            [sys.executable, "-m", "egress_assets.cli", *verb, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        own, workers = watch(process)
        said = process.stdout.read().decode() if process.stdout else ""
        if process.returncode:
            print(said)
            return 1
        worst = max(worst, own)
        print(f"{' '.join(verb):<24} {time.monotonic() - began:8.1f} {own:11.1f} {workers:11.1f}", flush=True)
    print(f"worst {worst:.0f} MB, {LIMIT_MB} are allowed")
    return 0 if worst < LIMIT_MB else 1


def watch(process: subprocess.Popen[bytes]) -> tuple[float, float]:
    """Peak RSS of the process and of the largest of its children, MB, sampled by VmHWM (which only grows)."""
    own, workers = 0.0, 0.0
    while process.poll() is None:
        own = max(own, peak(process.pid))
        for child in children(process.pid):
            workers = max(workers, peak(child))
        time.sleep(0.05)
    return own, workers


def peak(pid: int) -> float:
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1000
    except OSError:
        pass
    return 0.0


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


if __name__ == "__main__":
    sys.exit(main())
