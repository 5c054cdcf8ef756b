"""`egress import data-pipeline`: definitions of AWS Data Pipeline and Secrets of its mirror as a catalog.

The result is a folder that `egress check` finds right, or nothing. No secret is read into it, and what could not be
taken over is listed. Two things are for a person and never guessed: what may leave raw, and where evidence lies.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as replaced
from pathlib import Path
from typing import Any

import yaml

from egress_assets.engine.catalog.loader import load_catalog
from egress_assets.engine.catalog.writing import replace
from egress_assets.engine.errors import CatalogError
from egress_assets.engine.importing.pipeline import Definition, Export, definitions, plain, values_of
from egress_assets.engine.importing.places import Place, is_secret, places
from egress_assets.engine.importing.reading import Left, read
from egress_assets.engine.partition import now

EVIDENCE = "EGRESS_EVIDENCE_BUCKET"
_HEAD = "# Taken over from AWS Data Pipeline. Secrets are references, resolved when they are used.\n"
_WORD = re.compile(r"[A-Za-z_][\w./:-]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Imported:
    """Files by name, what is to be set before the first run, what was not taken over."""

    files: Mapping[str, str]
    needs: tuple[str, ...]
    left: tuple[Left, ...]


def import_pipelines(files: Sequence[Path], *, internal: str = "") -> Imported:
    """Read and convert; writes nothing. `internal` is the reason for which raw dumps may be mirrored inside the
    organisation; without it no mirror is made.

    Raises CatalogError for a file that can't be read, for files with nothing to take over, for a catalog that would
    be wrong.
    """
    exports, sides, left = _read(files)
    if not exports:
        hint = "; ".join(f"{each.where}: {each.why}" for each in left[:5]) or "Give pipeline definitions."
        raise CatalogError("nothing in these files is a table that is copied to S3", hint=hint)
    try:
        return _made(_Draft(exports, sides, internal, [*left]))
    except CatalogError as error:
        if not all(".publish." in problem for problem in error.problems or ("",)):
            raise
    why = "as fixed names they would not be right in a catalog: objects lie below dump/<dataset>/date=<date>/"
    plain = [replaced(each, layout="") for each in exports]
    return _made(_Draft(plain, sides, internal, [*left, Left("folders by table and time", why)]))


def _made(catalog: _Draft) -> Imported:
    documents = {"endpoints": catalog.endpoints(), **catalog.datasets()}
    texts = {f"{name}.yaml": _HEAD + _yaml(document) for name, document in documents.items()}
    _require_right(texts)
    return Imported(texts, tuple(catalog.needs), tuple(dict.fromkeys(catalog.left)))


def write(imported: Imported, folder: Path) -> None:
    """Into a folder that has none of the files. Raises CatalogError naming the one that is there."""
    for name in imported.files:
        if (folder / name).exists() or (folder / name).is_symlink():
            hint = "Nothing was written. Choose another folder with --out and move what you want by hand."
            raise CatalogError(f"{folder / name} is there already", hint=hint)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CatalogError(f"folder {folder} can't be made: {error.strerror}", hint="Choose another --out.") from None
    for name in sorted(imported.files, key=lambda name: name == "endpoints.yaml"):  # a catalog only when it is whole
        replace(folder / name, None, imported.files[name])


def _read(files: Sequence[Path]) -> tuple[list[Export], dict[str, Place], list[Left]]:
    left: list[Left] = []
    read_ = {path.name: read(path) for path in files}
    if len(read_) < len(files):
        raise CatalogError("two files have the same name", hint="Give each a name of its own: what is told names them.")
    secrets = {name: data for name, data in read_.items() if is_secret(data)}
    others = {name: data for name, data in read_.items() if name not in secrets}
    defined = {name: data for name, data in others.items() if "objects" in data}
    valued = {name: values_of(data) or data for name, data in others.items() if name not in defined}
    found: list[Definition] = [
        each for name, data in defined.items() for each in definitions(name, data, list(valued.values()))
    ]
    found += [plain(name, values) for name, values in valued.items()] if not defined else []
    exports: list[Export] = []
    for each in found:
        exports += each.exports()
        left += each.left
    sides: dict[str, Place] = {}
    for name, data in secrets.items():
        for side, place in places(name, data, left):
            if sides.setdefault(side, place) != place:
                left.append(Left(f"{name}: Secret {place.secret}", f"there is another one for {side}"))
    return exports, sides, left


class _Draft:
    """The catalog while it is put together."""

    def __init__(self, exports: Sequence[Export], sides: Mapping[str, Place], internal: str, left: list[Left]) -> None:
        self.needs = [f"the environment variable {EVIDENCE}: a bucket that nothing else uses, where nothing expires"]
        self.left, self._sides, self._internal = left, sides, internal
        self._stores: dict[tuple[str, str], str] = {}
        self._databases: dict[str, list[Export]] = {}
        for each in exports:
            self._databases.setdefault(each.jdbc, []).append(each)
            self._stores.setdefault((each.bucket, each.prefix), _numbered("lake", len(self._stores)))
        self._names = _names(list(self._databases))

    def endpoints(self) -> dict[str, Any]:
        stores: dict[str, Any] = {"evidence": {"kind": "s3", "bucket": {"env": EVIDENCE}, "zone": "trusted"}}
        stores |= {name: self._lake(*place) for place, name in self._stores.items()}
        if output := self._output():
            stores["output"] = output.store("external")
        return {
            "timezone": "UTC", "evidence": {"store": "evidence"},
            "sources": {f"{name}_db": self._source(name, jdbc) for jdbc, name in self._names.items()},
            "stores": stores,
        }  # fmt: skip

    def datasets(self) -> dict[str, dict[str, Any]]:
        return {name: self._dataset(name, self._databases[jdbc]) for jdbc, name in self._names.items()}

    def _source(self, name: str, jdbc: str) -> dict[str, Any]:
        variable = f"{name.upper()}_PASSWORD"
        self.needs.append(f"the environment variable {variable}: the password of source {name}_db")
        user = next((each.user for each in self._databases[jdbc] if each.user), "")
        return {"jdbc": jdbc, **({"user": user} if user else {}), "password": {"env": variable}}

    def _lake(self, bucket: str, prefix: str) -> dict[str, Any]:
        near = self._sides.get("input")
        if near and (near.bucket, near.prefix) == (bucket, prefix):
            self.needs.append(f"write permission on s3://{bucket}/{prefix} for the keys of Secret {near.secret}")
            return near.store("trusted")
        return {"kind": "s3", "bucket": bucket, **({"prefix": prefix} if prefix else {}), "zone": "trusted"}

    def _output(self) -> Place | None:
        output = self._sides.get("output")
        if output is None or self._internal:
            return output
        why = "raw rows would leave: say with --internal why they may, or write a `scrub` and mirror that"
        self.left.append(Left(f"Secret {output.secret}", why))
        return None

    def _dataset(self, name: str, exports: Sequence[Export]) -> dict[str, Any]:
        first = exports[0]
        store = self._stores[first.bucket, first.prefix]
        clocks = sorted({each.clock for each in exports if each.clock})
        found: dict[str, Any] = {"source": f"{name}_db", "start": now().date().isoformat(), "date_label": "run_day"}
        found |= {"schedule": clocks[0]} if clocks else {}
        if not clocks:
            self.left.append(Left(f"{name}, schedule", 'nothing there says when: write `schedule: "02:00"`'))
        for each in exports:
            if each.delimiter != first.delimiter:
                self.left.append(Left(f"{each.file}: {each.table}, delimiter", "the dataset's first table says it"))
            if (each.bucket, each.prefix) != (first.bucket, first.prefix) or each.clock not in ("", *clocks[:1]):
                self.left.append(Left(f"{each.file}: {each.table}", "the dataset's other tables say place and time"))
        gzip = all(each.is_gzip for each in exports)
        rows = {"dialect": "datapipeline", **({"delimiter": first.delimiter} if first.delimiter != "," else {})}
        found |= {"store": store, "dump": {"format": "csv.gz" if gzip else "csv", "csv": rows}}
        found["dump"] |= self._publish(store, exports)
        found["tables"] = {each.table: {} for each in exports}
        if self._output_is_used():
            release = {"basis": "internal", "reason": self._internal}
            found["mirrors"] = {name: {"to": "output", "from": "dump", "release": release}}
        return found

    def _publish(self, store: str, exports: Sequence[Export]) -> dict[str, Any]:
        """The folders that the pipelines made, in the same bucket, where all of the dataset have the same ones."""
        layouts = {each.layout for each in exports}
        if len(layouts) > 1:
            names = ", ".join(sorted(each.table for each in exports if each.layout != exports[0].layout))
            self.left.append(Left(f"{exports[0].file}, folders", f"{names} has others: one `publish` has one `path`"))
        if len(layouts) > 1 or not exports[0].layout:
            return {}
        why = "a file is called <table>.<format>: a pipeline gives each another name"
        self.left.append(Left(f"{store}, names of files", why))
        return {"publish": {"files": {"to": store, "path": exports[0].layout}}}

    def _output_is_used(self) -> bool:
        return bool(self._internal and "output" in self._sides)


def _names(urls: Sequence[str]) -> dict[str, str]:
    """A dataset's name a database: its own, as far as names go; numbered where two would be the same."""
    found: dict[str, str] = {}
    for url in urls:
        name = re.sub(r"[^a-z0-9]+", "_", url.rpartition("/")[2].lower()).strip("_")[:40] or "imported"
        name = name if name[0].isalpha() and name != "endpoints" else f"db_{name}"
        number, free = 0, name
        while free in found.values():
            number += 1
            free = _numbered(name, number)
        found[url] = free
    return found


def _numbered(name: str, number: int) -> str:
    return f"{name}_{number + 1}" if number else name


class _Dumper(yaml.SafeDumper):
    """Quotes whatever is not a plain word: YAML 1.1, which PyYAML writes, takes `1e5` for text, 1.2 for a number."""


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style=None if _WORD.fullmatch(text) else '"'
    ),
)


def _yaml(document: Mapping[str, Any]) -> str:
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10**6)


def _require_right(texts: Mapping[str, str]) -> None:
    """As `egress check` will find it. Raises CatalogError with each problem."""
    with tempfile.TemporaryDirectory(prefix="egress-import-") as folder:
        for name, text in texts.items():
            (Path(folder) / name).write_text(text, encoding="utf-8")
        load_catalog(Path(folder), env="prod")
