"""Catalogs that were not written with care, or not by friends: each is told whole, at once, and nothing runs (S1-2)."""

from __future__ import annotations

import json
import os
import time

GOOD = "source: db\nstart: 2026-01-01\ndump: {}\ntables:\n  public.orders: {}\n"
LAUGHS = "a: &a [lol,lol,lol,lol,lol,lol,lol,lol,lol]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


WRONG = {
    "garbage": (os.urandom(64) + b"\xff" * 8, "is not UTF-8"),
    "control": (b"\x00\x01\x02", "is not YAML"),
    "large": (b"# " + b"x" * 5_000_000, "larger than 4,000,000 bytes"),
    "empty": (b"", "is empty"),
    "laughs": (LAUGHS.encode(), "stands for more than 100,000 values"),
    "deep": (b"[" * 10_000, "nested deeper than 32"),
    "code": (b"!!python/object/apply:os.system [id]\n", "the catalog is plain data"),
    "list": (b"- a\n- b\n", "must be a mapping"),
    "twice": (GOOD.encode() + b"start: 2026-02-01\n", "start: duplicate key, first written in line 2"),
}


def test_files_that_are_no_catalog_are_all_told_at_once(hostile):
    for name, (content, _) in WRONG.items():
        (hostile.catalog / f"{name}.yaml").write_bytes(content)
    began = time.monotonic()
    said = hostile.refused(hostile.run("check"), 10, f"has {len(WRONG)} problems")
    assert time.monotonic() - began < 10
    told = {line.partition(".yaml:")[0].rpartition("/")[2]: line for line in said.err.splitlines() if ".yaml:" in line}
    assert told.keys() == WRONG.keys()
    for name, (_, word) in WRONG.items():
        assert word in told[name]


def test_files_that_are_no_files_are_told_and_never_waited_for(hostile):
    folder = hostile.catalog
    hostile.write("d", GOOD)
    (folder / "loop.yaml").symlink_to("loop.yaml")
    (folder / "nowhere.yaml").symlink_to("/nowhere")
    (folder / "endless.yaml").symlink_to("/dev/zero")
    (folder / "folder.yaml").mkdir()
    os.mkfifo(folder / "pipe.yaml")
    (folder / "endpoints.dev.yaml").symlink_to("/nowhere/else")
    (folder / "again").symlink_to(folder)
    hostile.write("a-b", GOOD)
    (folder / os.fsdecode(b"\xff.yaml")).write_text(GOOD)
    said = hostile.refused(hostile.run("check"), 10, "has 9 problems", "endpoints.dev.yaml: can't be read")
    for name in ("loop", "nowhere", "endless", "folder", "pipe"):
        assert f"{name}.yaml: is no file" in said.err
    (folder / "endpoints.yaml").unlink()
    os.mkfifo(folder / "endpoints.yaml")
    hostile.refused(hostile.run("check"), 10, "endpoints.yaml: is no file")


def test_a_folder_that_is_not_there_is_told_with_the_way_out(hostile, tmp_path):
    (tmp_path / "circle").symlink_to("circle")
    asked = ["/nowhere", "/etc/passwd", str(tmp_path / "circle"), str(tmp_path)]
    ended = hostile.at_once(*[["check"]] * 4, variables=[{"EGRESS_CATALOG": path} for path in asked])
    for said, path in zip(ended, asked, strict=True):
        hostile.refused(said, 10, path)


def test_three_hundred_mistakes_are_told_at_once_and_stop_every_verb(hostile):
    hostile.write(
        "d",
        GOOD + "".join(f"  wrong{n}: {{}}\n" for n in range(100))
        + "mirrors:\n" + "".join(f"  m{n}: {{to: nowhere{n}}}\n" for n in range(100))
        + "deliveries:\n" + "".join(f"  nobody{n}/x: {{from: public.orders, bogus: 1}}\n" for n in range(60)),
    )  # fmt: skip
    for said in hostile.at_once(["check"], ["dump", "d"], ["status"]):
        hostile.refused(said, 10)
        told = [line for line in said.err.splitlines() if line.startswith("catalog/d.yaml:")]
        assert len(told) == len(set(told)) >= 300
        assert f"has {len(told)} problems" in said.err
    document = json.loads(hostile.run("check", "--json").out)
    assert len(document["error"]["problems"]) == len(told)


def test_a_reference_that_leads_nowhere_is_told_with_its_line_when_it_is_used(hostile):
    hostile.write("d", GOOD)
    hostile.write("endpoints.dev", "# ours\n\nsources:\n  db:\n    dsn: {env: UNHEARD_OF}\n")
    assert hostile.run("check").code == 0
    said = hostile.run("dump", "d")
    hostile.refused(said, 10, "endpoints.dev.yaml:5: sources.db.dsn: environment variable UNHEARD_OF is not set")
    hostile.write("endpoints.dev", "\n\n\nsources:\n  db:\n    dsn: {file: /nowhere/dsn}\n")
    hostile.refused(hostile.run("dump", "d"), 10, "endpoints.dev.yaml:6: sources.db.dsn: file /nowhere/dsn")
    hostile.write("endpoints.dev", "sources: {db: {dsn: {env: A, file: B}}}\nstores: 5\n")
    hostile.refused(hostile.run("dump", "d"), 10, "sources.db.dsn: give exactly one of", "endpoints.dev.yaml:2: stores")


def test_no_destination_leads_out_of_its_place(hostile):
    tables = {"public.t": {"id": "keep"}}
    places = {"up": "../../", "deep": "a/../../b/", "code": "{date.__class__}/", "bend": "a\\b/", "line": "a\nb/"}
    deliveries = {f"drop/{name}": {"from": "public.t", "destination_prefix": at} for name, at in places.items()}
    hostile.dataset("d", tables, deliveries=deliveries, mirrors={"m": {"to": "ceph", "prefix": "../../x"}})
    hostile.overlay(stores={"lake": {"prefix": "a/../b"}})
    said = hostile.refused(hostile.run("check"), 10, "mirrors.m.prefix", "stores.lake.prefix")
    for name in places:
        assert f"deliveries.drop/{name}.destination_prefix" in said.err
