"""The published JSON Schemas: of this program's own making, true to every file that is shipped, and no looser than the
models where an editor can know. EGRESS_SCHEMA=write (`make schema`) publishes them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

from egress_assets.engine import masks, transfers
from egress_assets.engine.catalog.document import Document, parse_document
from egress_assets.engine.catalog.loader import load_catalog
from egress_assets.engine.catalog.schema import KINDS, catalog_schema, file_name, text
from egress_assets.engine.errors import CatalogError

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "docs" / "schema"
SHIPPED = sorted((ROOT / "catalog").glob("*.yaml"))

DATASET = {"source": "db", "start": "2026-11-01", "scrub": {"key": {"env": "K"}}, "tables": {"a.b": {"id": "keep"}}}
ENDPOINTS = {"evidence": {"store": "e"}, "stores": {"e": {"bucket": "b"}}}
LOADED = {
    "evidence": {"store": "e"}, "sources": {"db": {"dsn": "x"}},
    "stores": {"e": {"bucket": "e", "zone": "trusted"}, "lake": {"bucket": "l", "zone": "trusted"}},
}  # fmt: skip
FILES = {"dataset": DATASET, "endpoints": LOADED}


schema = cache(catalog_schema)
printed = cache(text)


@cache
def validator(kind: str) -> Draft202012Validator:
    return Draft202012Validator(schema(kind))


def kind_of(file: Path) -> str:
    return "endpoints" if file.name.startswith("endpoints") else "dataset"


def read(yaml: str) -> Any:
    """As an editor that knows YAML 1.2 reads it; `null` is nothing there."""
    document = Document("x.yaml")
    parse_document(yaml, document)
    assert document.problems == []
    return document.data


def mistake(kind: str, data: Any) -> ValidationError | None:
    """What an editor would show first."""
    found = best_match(validator(kind).iter_errors(data))
    return found if isinstance(found, ValidationError) else None


# ------------------------------------------------------------------------------------------------------------ published
@pytest.mark.parametrize("kind", KINDS)
def test_the_published_schema_is_what_this_program_makes(kind: str) -> None:
    file = PUBLISHED / file_name(kind)
    if os.environ.get("EGRESS_SCHEMA") == "write":
        file.parent.mkdir(exist_ok=True)
        file.write_text(printed(kind) + "\n")
    assert file.read_text() == printed(kind) + "\n", "after a wanted change: make schema"


@pytest.mark.parametrize("kind", ["", *KINDS])
def test_a_schema_refers_to_nothing_outside_itself_and_has_no_part_that_nobody_uses(kind: str) -> None:
    references = set(re.findall(r'"\$ref": "([^"]+)"', printed(kind)))
    assert references == {f"#/$defs/{name}" for name in schema(kind)["$defs"]}


def test_a_new_mask_or_transfer_type_is_in_it_by_itself() -> None:
    mask = schema("dataset")["$defs"]["Mask"]
    assert mask["properties"]["mask"]["enum"] == [*masks.registry(), None]
    assert len(mask["allOf"]) == len(masks.registry())
    recipient = schema("endpoints")["$defs"]["RecipientModel"]
    assert recipient["properties"]["transfer_type"]["enum"] == list(transfers.registry())
    assert all({"sla", "audience", "env", "retry"} <= set(case["then"]["properties"]) for case in recipient["allOf"])


# -------------------------------------------------------------------------------------------------------------- shipped
@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.name)
def test_every_file_of_the_catalog_fits_and_names_its_schema(file: Path) -> None:
    body = file.read_text()
    assert mistake(kind_of(file), read(body)) is None
    assert mistake("", read(body)) is None, "one schema for both kinds says the same"
    said = re.match(r"# yaml-language-server: \$schema=(\S+)\n", body)
    assert said, "the first line tells editors the schema"
    assert (file.parent / said[1]).resolve() == PUBLISHED / file_name(kind_of(file))


@pytest.mark.parametrize("page", ["docs/catalog.md", "README.md"])
def test_every_example_of_the_pages_fits(page: str) -> None:
    """An excerpt is put where it was taken from: a dataset that has what the excerpt leaves out."""
    examples = [read(body) for body in re.findall(r"```yaml\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)]
    assert examples
    for example in examples:
        kind = "endpoints" if example.keys() & {"stores", "recipients", "sources", "notify", "triggers"} else "dataset"
        assert mistake(kind, {**(ENDPOINTS if kind == "endpoints" else DATASET), **example}) is None


# -------------------------------------------------------------------------------------------------------------- hostile
DATASETS = [
    ({"shedule": "02:15"}, "", "shedule"),
    ({"schedule": "2:15"}, "schedule", "2:15"),
    ({"schedule": "24:00"}, "schedule", "24:00"),
    ({"start": "yesterday"}, "start", "yesterday"),
    ({"grace": 36}, "grace", "36"),
    ({"grace": "36"}, "grace", "36"),
    ({"extract": "delta"}, "extract", "delta"),
    ({"limits": {"bytes": "20 gigs"}}, "limits.bytes", "20 gigs"),
    ({"limits": {"bytes": 0}}, "limits.bytes", "0"),
    ({"limits": {"rows": "many"}}, "limits.rows", "many"),
    ({"limits": {}}, "limits", ""),
    ({"scrub": {"epoch": "1"}}, "scrub", "key"),
    ({"scrub": {"key": {"env": "A", "file": "B"}}}, "scrub.key", ""),
    ({"scrub": {"key": {"vault": "A"}}}, "scrub.key", "vault"),
    ({"scrub": {"key": "k", "detectors": ["emial"]}}, "scrub.detectors.0", "emial"),
    ({"tables": {"nodot": {"id": "keep"}}}, "tables", "nodot"),
    ({"tables": {"a.b": {"id": "kepe"}}}, "tables.a.b.id", "kepe"),
    ({"tables": {"a.b": {"id": {"mask": "hsah"}}}}, "tables.a.b.id.mask", "hsah"),
    ({"tables": {"a.b": {"id": {"mask": "hash", "lenght": 24}}}}, "tables.a.b.id", "lenght"),
    ({"tables": {"a.b": {"id": {"mask": "hash", "length": 8}}}}, "tables.a.b.id.length", "8"),
    ({"tables": {"a.b": {"id": {"mask": "date_shift"}}}}, "tables.a.b.id", "by"),
    ({"tables": {"a.b": {"id": {"mask": "email", "normalise": "upper"}}}}, "tables.a.b.id.normalise", "upper"),
    ({"tables": {"a.b": {}}}, "tables.a.b", ""),
    ({"tables": {"a.b": {"window": "at", "columns": {"id": 7}}}}, "tables.a.b.columns.id", "7"),
    ({"mirrors": {"Big": {"to": "ceph"}}}, "mirrors", "Big"),
    ({"mirrors": {"m": {"to": "ceph", "from": {"store": "s"}}}}, "mirrors.m", "select"),
    ({"mirrors": {"m": {"to": "ceph", "select": "bucket"}}}, "mirrors.m.select", "partition"),
    (
        {"mirrors": {"m": {"to": "c", "release": {"basis": "authorised", "reason": "r"}}}},
        "mirrors.m.release",
        "recipients",
    ),
    ({"deliveries": {"acme/o": {"from": "a.b", "format": "orc"}}}, "deliveries.acme/o.format", "orc"),
    ({"scrub": None, "dump": {}, "tables": {"a.b": {"id": "keep"}}}, "tables.a.b", "id"),
    ({"source": None}, "", "source"),
]
ENDPOINT_FILES = [
    ({"stores": {"e": {"bucket": "b", "zone": "inside"}}}, "stores.e.zone", "inside"),
    ({"stores": {"e": {"bucket": "b", "kind": "gcs"}}}, "stores.e.kind", "gcs"),
    ({"stores": {"e": {"bucket": "b", "expire_days": {"dump": "7d"}}}}, "stores.e.expire_days.dump", "7d"),
    ({"sources": {"db": {"dsn": "x", "host": "y"}}}, "sources.db", ""),
    ({"sources": {"db": {"dsn": "x", "quiet_hours": ["8-18"]}}}, "sources.db.quiet_hours.0", "8-18"),
    ({"sources": {"db": {"dsn": "x", "throttle": {"bytes_per_second": "5mb"}}}},
     "sources.db.throttle.bytes_per_second", "5mb"),
    ({"sources": {"db": {"dsn": "x", "throttle": {"hours": ["08:00-18:00"]}}}}, "sources.db.throttle", ""),
    ({"recipients": {"a": {"transfer_type": "ftp"}}}, "recipients.a.transfer_type", "ftp"),
    ({"recipients": {"a": {"transfer_type": "folder"}}}, "recipients.a", "path"),
    ({"recipients": {"a": {"transfer_type": "folder", "path": "/x", "slo": "06:00"}}}, "recipients.a", "slo"),
    ({"recipients": {"a": {"url": "https://x"}}}, "recipients.a", "transfer_type"),
    ({"triggers": {"/x": {"start": "shop"}}}, "triggers./x", ""),
    ({"notify": {}}, "notify", ""),
    ({"notify": {"mail": {"host": "h", "from": "nobody", "to": ["a@b"]}}}, "notify.mail.from", "nobody"),
]  # fmt: skip
HOSTILE = [("dataset", *each) for each in DATASETS] + [("endpoints", *each) for each in ENDPOINT_FILES]


@pytest.mark.parametrize(("kind", "change", "place", "word"), HOSTILE, ids=lambda value: None)
def test_a_mistake_is_underlined_at_its_key(kind: str, change: dict[str, Any], place: str, word: str) -> None:
    whole = {**(DATASET if kind == "dataset" else ENDPOINTS), **change}
    error = mistake(kind, {key: value for key, value in whole.items() if value is not None})
    assert error is not None
    assert ".".join(map(str, error.absolute_path)) == place
    assert word in error.message


@pytest.mark.parametrize(("kind", "change", "place", "word"), HOSTILE, ids=lambda value: None)
def test_what_the_schema_refuses_the_loader_refuses_too(
    folder: Path, kind: str, change: dict[str, Any], place: str, word: str
) -> None:
    """An editor must not underline what would work."""
    whole = {**FILES[kind], **change}
    with pytest.raises(CatalogError):
        load(folder, FILES | {kind: {key: value for key, value in whole.items() if value is not None}})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a catalog that loads, but for the change of a test."""
    made = tmp_path_factory.mktemp("catalog")
    load(made, FILES)
    return made


def load(folder: Path, files: Mapping[str, Any]) -> None:
    for name, data in files.items():
        (folder / f"{name}.yaml").write_text(json.dumps(data))
    load_catalog(folder, "dev")


def reference(**fields: Any) -> dict[str, Any]:
    return {"recipients": {"a": {"transfer_type": "sft", "url": "https://x/", "cert": {"file": "c"}, **fields}}}


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("dataset", {"dump": None}),
        ("dataset", {"limits": {"bytes": "20GB"}, "sla": None, "grace": "7d"}),
        ("dataset", {"limits": {"bytes": 20}}),
        ("dataset", {"tables": {"a.b": {"columns": "keep", "window": "keep"}}}),
        ("dataset", {"tables": {"a.b": {"columns": {"mask": "hash"}}}}),
        ("dataset", {"tables": {"a.b": {"columns": {"columns": "keep", "x": None}}}}),
        ("dataset", {"tables": {"a.b": {"x": {"mask": None}, "y": {"mask": "null"}}}}),
        ("dataset", {"tables": {"Größe.a.b'c": {"x y": "keep"}}}),
        ("dataset", {"tables": {"a.b": {"columns": {"id": "keep"}, "where": "id > 0"}}}),
        ("dataset", {"tables": {"a.b": {"where": "keep", "select": "keep"}}}),  # columns may be called so too
        ("dataset", {"mirrors": {"m": {"to": "c", "from": {"store": "s"}, "select": "bucket", "release": None}}}),
        ("endpoints", {"sources": {"db": {"host": {"env": "H"}, "password": {"file": "/p"}, "throttle": None}}}),
        ("endpoints", {"triggers": {"/x": {"start": "shop", "open": "old CronJobs"}}}),
        ("endpoints", reference(key={"file": "k"}, ca={"file": "a"}, apikey={"env": "A"})),
        ("endpoints", reference(key={"file": "k"}, ca={"file": "a"}, headers={"X-Team": {"env": "T"}, "X": "y"})),
    ],
)
def test_what_the_models_take_the_schema_takes(kind: str, change: dict[str, Any]) -> None:
    whole = {**(DATASET if kind == "dataset" else ENDPOINTS), **change}
    assert mistake(kind, whole) is None
