"""Fixed names: no two things may ever be written under one, for any two dates, and none leads out of its store."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from egress_assets.engine.catalog.layouts import Layout, layout_of
from egress_assets.engine.catalog.models import Published, published_name
from egress_assets.engine.catalog.problems import Path, Problem
from egress_assets.engine.catalog.rules.places import NO_FOLDER, areas, bucket_of, folder
from egress_assets.engine.catalog.view import View
from egress_assets.engine.path_template import DIGIT, PathTemplate, begins, meet

LONGEST_KEY = 1024  # bytes, in S3
_DIGITS = re.compile(rf"[{DIGIT}0-9]")
_EXTENSIONS = (".csv", ".csv.gz", ".csv.zst", ".parquet")


def publishes_have_names_of_their_own(view: View) -> Iterator[Problem]:
    """As mirrors: `files` of shop is the mirror shop_files."""
    for dataset, document in view.documents.items():
        first: dict[str, str] = {}
        for stage in ("dump", "scrub"):
            for name in sorted(document.names(stage, "publish")):
                mirror = published_name(dataset, name)
                if ("mirrors", mirror) in document.places:
                    text = f"is the mirror {mirror}, and one of that name is written under `mirrors`: rename one"
                    yield view.problem(dataset, stage, "publish", name, text=text)
                elif name in first:
                    text = f"is the mirror {mirror}, and so is that of {first[name]}: rename one"
                    yield view.problem(dataset, stage, "publish", name, text=text)
                first.setdefault(name, stage)


def paths_tell_tables_apart(view: View) -> Iterator[Problem]:
    for place, layout in _layouts(view):
        for key, template in (("path", layout.path), ("schema", layout.of_schema)):
            if template and (text := _same_name(layout, key, template)):
                yield view.problem(*place, key, text=text)


def _same_name(layout: Layout, key: str, template: PathTemplate) -> str:
    shapes = [(shape, table) for shape, of, table in layout.shapes() if of == key]
    pairs = ((first, second) for (one, first), (other, second) in combinations(shapes, 2) if meet(one, other))
    found = next(pairs, None)
    if found is None:
        return ""
    lacks = [field for field in ("table", "schema") if field not in template.fields]
    way = f"write {{{lacks[0]}}} into it" if lacks else "put something between its fields"
    return f"{found[0]} and {found[1]} would have one name: {way}"


def paths_stay_in_their_store(view: View) -> Iterator[Problem]:
    for place, layout in _layouts(view):
        prefix = folder(view.endpoints.stores[layout.publish.to].prefix)
        for shape, key, table in layout.shapes():
            if text := _misplaced(shape.replace(DIGIT, "0"), prefix):
                yield view.problem(*place, key, text=f"{text}{f', with the name of {table}' if table else ''}")
                break


def _misplaced(key: str, prefix: str) -> str:
    if NO_FOLDER.search(key) or key.endswith("/"):
        return (
            f"{key!r} is no plain key: without `.`, `..`, `//`, `/` at its start or end, backslashes and control "
            "characters"
        )
    if (length := len(f"{prefix}{key}".encode())) > LONGEST_KEY:
        return f"{key[:60]!r}... has {length} bytes with the store's prefix, a key may have {LONGEST_KEY}"
    return ""


def only_text_is_formed(view: View) -> Iterator[Problem]:
    for place, layout in _layouts(view):
        for key, text in unformed(layout):
            yield view.problem(*place, key, text=text)


def unformed(layout: Layout) -> Iterator[tuple[str, str]]:
    """(key, problem) of what can't be done to parts that are no text."""
    if layout.is_text:
        return
    if layout.is_joined:
        yield "path", f"parts of {layout.stored} can't be joined: write {{part}} into it"
    if layout.publish.format not in (None, layout.stored):
        yield "format", f"{layout.stored} is published as it is stored: leave `format` out"
    if layout.publish.header:
        yield "header", f"{layout.stored} has no header line: leave `header` out"


def paths_say_their_format(view: View) -> Iterator[Problem]:
    """A reader goes by the ending; one that lies is found out only over there."""
    for place, layout in _layouts(view):
        ends = re.search(rf"({'|'.join(map(re.escape, sorted(_EXTENSIONS, key=len, reverse=True)))})$", _path(layout))
        if ends and ends[1] != f".{layout.format}":
            text = f"ends in {ends[1]}, what is published is {layout.format}: say `format`, or write {{ext}}"
            yield view.problem(*place, "path", text=text)


def _path(layout: Layout) -> str:
    return layout.publish.path


@dataclass(frozen=True, slots=True)
class _Written:
    """All keys of one shape in a bucket, the store's prefix included."""

    bucket: str
    shape: str
    writer: str
    place: Path


def published_names_do_not_meet(view: View) -> Iterator[Problem]:
    """Neither each other, nor what else is written. Grouped by the shape with every digit open: few are compared."""
    written = [each for place, layout in _layouts(view) for each in _written(view, place, layout)]
    alike: dict[tuple[str, str], list[_Written]] = defaultdict(list)
    for each in written:
        alike[each.bucket, _DIGITS.sub(DIGIT, each.shape)].append(each)
    for group in alike.values():
        for one, other in combinations(group, 2):
            if (one.writer, one.place) != (other.writer, other.place) and meet(one.shape, other.shape):
                text = f"is a name that {one.writer} writes too: give each its own folder"
                yield view.problem(*other.place, text=text)
    yield from _in_areas(view, written)


def _in_areas(view: View, written: list[_Written]) -> Iterator[Problem]:
    found = list(areas(view)) if written else []
    for each in written:
        for area in found:
            if area.bucket == each.bucket and begins(each.shape, area.prefix):
                text = f"lies where {area.writer} writes: give it another folder"
                yield view.problem(*each.place, text=text)


def _written(view: View, place: Path, layout: Layout) -> Iterator[_Written]:
    store = view.endpoints.stores[layout.publish.to]
    for shape, key, _ in layout.shapes():
        yield _Written(bucket_of(store), folder(store.prefix) + shape, f"mirror/{place[-1]}", (*place, key))


def _layouts(view: View) -> Iterator[tuple[Path, Layout]]:
    """((dataset, `mirrors`, name), layout) of each whose store is there."""
    for dataset, name, mirror in view.mirrors():
        if isinstance(mirror, Published) and mirror.to in view.endpoints.stores:
            yield (dataset, "mirrors", name), layout_of(dataset, view.datasets[dataset], mirror)
