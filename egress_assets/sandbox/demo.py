"""`egress demo`: the whole chain on embedded servers for one date, through Dagster, and what came of it.

What is printed is what a new user wants to see: that it runs, what lies where, what proves it, and how long it took.
Anything off (a failed asset, an object that does not verify, a receipt outside the ledger) makes the exit code 1.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape as quoted

from egress_assets.engine.endpoints import open_platform
from egress_assets.engine.evidence.records import Manifest
from egress_assets.engine.layout import STAGES, Unit
from egress_assets.engine.partition import now
from egress_assets.engine.platform import Platform
from egress_assets.sandbox import Sandbox, start

DATASETS = ("shop", "events")


@dataclass(slots=True)
class Seen:
    """What the chain told, by unit: seconds, rows, bytes, bytes sent by this run."""

    units: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    ended: dict[str, float] = field(default_factory=dict)

    def asset(self, key: str, facts: dict[str, Any]) -> None:
        stage, *rest = key.split("/")
        if stage not in STAGES:
            return
        depth = {"dump": 1, "scrub": 2, "mirror": 1}.get(stage, 2)
        unit = "/".join((stage, *rest[:depth]))
        found = self.units.setdefault(unit, {"rows": 0, "bytes": 0, "objects": 0, "tables": 0})
        found["tables"] += 1
        for name in ("rows", "bytes", "objects"):
            found[name] += facts.get(name, 0)
        found |= {"seconds": facts.get("seconds", 0.0), "sent": facts.get("sent_bytes", 0)}

    @property
    def sent(self) -> int:
        return sum(unit["sent"] for unit in self.units.values())


def demo(console: Console) -> int:
    """Run it; 0 when everything is as it should be."""
    began = time.monotonic()
    sandbox = start()
    platform = open_platform()
    platform.store("lake").ping()  # sample data is loaded by the first use
    date = min(platform.catalog.calendar(name).last_complete(now()) for name in DATASETS)
    ready = time.monotonic() - began
    console.print(f"[bold]Egress demo[/]  {' and '.join(DATASETS)} for {date}\n")
    console.print(f"sandbox ready in {ready:.1f} s: {_servers(sandbox)}")
    console.print("running source -> dump / scrub -> mirror -> delivery through Dagster")
    seen = _chain(console, date)
    if seen.failed or set(seen.ended) != set(DATASETS):
        for line in seen.failed:
            console.print(f"[red]failed[/] {quoted(line)}")
        console.print("[red]the chain did not end well[/]")
        return 1
    problems = _show(console, platform, sandbox, date)
    _timings(console, seen, ready, time.monotonic() - began)
    _verdict(console, seen, problems)
    return 1 if problems else 0


def _servers(sandbox: Sandbox) -> str:
    return ", ".join(f"{name} {where}" for name, where in sandbox.endpoints().items())


def _chain(console: Console, date: str) -> Seen:
    """The jobs of both datasets in one Dagster process, told line by line as they run."""
    seen = Seen()
    command = [sys.executable, "-m", "egress_assets.launch", date, *DATASETS]
    root = Path(__file__).resolve().parent.parent.parent
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        for event in _events(process):
            match event["event"]:
                case "log":
                    console.print(f"  {time.strftime('%H:%M:%S')}  {quoted(event['text'])}", highlight=False)
                case "asset":
                    seen.asset(event["key"], event["facts"])
                case "failed":
                    seen.failed.append(f"{event['step']}: {event['text']}")
                case "end" if event["success"]:
                    seen.ended[event["dataset"]] = event["seconds"]
        if process.wait() and not seen.failed:
            errors.seek(0)
            seen.failed.append(f"Dagster's process ended with code {process.returncode}: {errors.read()[-2000:]}")
    return seen


def _events(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    """JSON lines; other output of the process is not for this page."""
    for line in process.stdout or ():
        if line.startswith('{"event"'):
            yield json.loads(line)


# ---------------------------------------------------------------------------------------------------- what came of it
def _show(console: Console, platform: Platform, sandbox: Sandbox, date: str) -> list[str]:
    """The objects, one manifest, one receipt; then everything is read again. Returns what is off."""
    console.print("\n[bold]What lies where[/]")
    for name in ("lake", "ceph"):
        _tree(console, f"{name} (zone {platform.store(name).zone})", _objects(platform, name, date))
    inbox = {str(p.relative_to(sandbox.receiver.inbox)): p.stat().st_size for p in _files(sandbox.receiver.inbox)}
    _tree(console, "recipient acme, over HTTPS with a client certificate", inbox)
    _manifest(console, platform, date)
    _receipt(console, platform, date)
    return _verify(console, date)


def _objects(platform: Platform, store: str, date: str) -> dict[str, int]:
    """What the pointers of the date name in a store, with lengths; leftovers of older attempts are not shown."""
    listed = platform.store(store).list("")
    return {each.key: each.bytes for each in listed if date in each.key and not each.key.endswith("_manifest.json")}


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and not any(part.startswith(".") for part in p.parts))


def _tree(console: Console, title: str, objects: dict[str, int]) -> None:
    console.print(f"  {title}: {len(objects)} objects, {_size(sum(objects.values()))}")
    above = ""
    for key, length in sorted(objects.items()):
        folder, _, name = key.rpartition("/")
        head, _, table = folder.rpartition("/") if "/a=" in folder else (folder, "", "")
        if head != above and head:
            console.print(f"    {quoted(head)}/", highlight=False)
            above = head
        shown = f"{table}/{name}" if table else name
        console.print(f"      {quoted(shown):<58} {_size(length):>9}", highlight=False)


def _manifest(console: Console, platform: Platform, date: str) -> None:
    """The scrubbed shop's, shortened to its customers."""
    unit = Unit("scrub", ("shop", "shared"))
    pointer = platform.evidence.pointer(unit, date)
    if pointer is None:
        return
    table = "public.customers"
    manifest, _ = platform.evidence.tables(pointer)[table]
    console.print(f"\n[bold]One manifest[/]  manifests/{unit}/date={date}/{manifest.attempt}")
    console.print_json(json.dumps(_short(manifest, table)), indent=2)


def _short(manifest: Manifest, table: str) -> dict[str, Any]:
    told = manifest.to_json()
    shown = {k: told[k] for k in ("unit", "date", "attempt", "as_of", "position", "key_id", "audience")}
    of = told["tables"][table]
    columns = {c["name"]: c["mask"] for c in of["columns"]}
    kept = {k: of[k] for k in ("rows", "objects", "content_digest", "policy_digest")}
    checks = {c["name"]: "passed" if c["passed"] else "failed" for c in of["checks"]}
    rest = f"and {len(told['tables']) - 1} more tables"
    return shown | {"tables": {table: kept | {"masks": columns, "checks": checks}, "...": rest}}


def _receipt(console: Console, platform: Platform, date: str) -> None:
    receipts = sorted(platform.evidence.receipts(date), key=lambda r: r.identity)
    if receipts:
        console.print(f"\n[bold]One receipt[/]  receipts/{date}/{receipts[-1].identity}")
        console.print_json(json.dumps(receipts[-1].to_json()), indent=2)


def _verify(console: Console, date: str) -> list[str]:
    """The real command, as a person would run it: every object of the date is read again, the ledger is walked."""
    command = [sys.executable, "-m", "egress_assets.cli", "verify", "--date", date]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    console.print(f"\n[bold]egress verify --date {date}[/]")
    for line in done.stdout.splitlines():
        console.print(f"  {quoted(line.rstrip())}", highlight=False, soft_wrap=True)
    return [] if done.returncode == 0 else [f"egress verify ended with code {done.returncode}: {done.stderr.strip()}"]


def _timings(console: Console, seen: Seen, ready: float, total: float) -> None:
    console.print("\n[bold]Timings[/]")
    console.print(f"  {'sandbox, sample data':<28} {ready:6.1f} s")
    for unit, told in seen.units.items():
        rows = f"{told['rows']:>9,} rows" if told["rows"] else " " * 14
        console.print(
            f"  {quoted(unit):<28} {told['seconds']:6.1f} s {rows} {_size(told['bytes']):>10}"
            f"  sent {_size(told['sent'])}", highlight=False,
        )  # fmt: skip
    console.print(f"  {'all, with Dagster itself':<28} {total:6.1f} s")


def _verdict(console: Console, seen: Seen, problems: list[str]) -> None:
    for problem in problems:
        console.print(f"[red]off[/] {quoted(problem)}")
    if problems:
        return
    if seen.sent:
        sent = f"{_size(seen.sent)} were written and sent"
        console.print(f"\n[green]everything is whole[/]: {sent}. Run it once more: nothing will be.")
    else:
        console.print("\n[green]everything is whole[/]: nothing was transferred, all of it was there already.")


def _size(length: float) -> str:
    for unit in ("B", "kB", "MB"):
        if length < 1000:
            return f"{length:.0f} {unit}" if unit == "B" else f"{length:.1f} {unit}"
        length /= 1000
    return f"{length:.1f} GB"
