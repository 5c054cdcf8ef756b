"""Names: what the database, Dagster and the stores can take, and that no two things have the same one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from egress_assets.engine.catalog.problems import Problem
from egress_assets.engine.catalog.view import View

LONGEST_IDENTIFIER = 63  # bytes; Postgres cuts longer ones off silently
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_OWNER = re.compile(r"team:[A-Za-z0-9_]+|[^@\s]+@[^@\s]+\.[^@\s]+")  # what Dagster takes


JOBS = ("housekeeping", "bucket_policy")
"""Dagster's jobs that are no dataset's. A dataset's job is called as the dataset is, that of its ranges `_range`."""


def datasets_leave_the_names_of_jobs(view: View) -> Iterator[Problem]:
    for dataset in view.datasets:
        of = dataset.removesuffix("_range")
        if dataset in JOBS:
            yield view.problem(dataset, text=f"no dataset can be called {dataset}: a job of Egress is")
        elif of != dataset and of in view.datasets:
            yield view.problem(dataset, text=f"no dataset can be called {dataset}: the job of {of}'s ranges is")


def names_are_usable(view: View) -> Iterator[Problem]:
    for dataset, model in view.datasets.items():
        if model.owner and not _OWNER.fullmatch(model.owner):
            text = f"{model.owner!r} is not an owner: write team:<name> or an e-mail address"
            yield view.problem(dataset, "owner", text=text)
        for name in view.documents[dataset].names("deliveries"):
            recipient, slash, pipeline = name.partition("/")
            if not (recipient and slash and pipeline) or "/" in pipeline or _CONTROL.search(name) or len(name) > 200:
                text = "is not <recipient>/<pipeline name>, for example acme/orders"
                yield view.problem(dataset, "deliveries", name, text=text)


def tables_are_nameable(view: View) -> Iterator[Problem]:
    for dataset, model in view.datasets.items():
        for table, rules in model.tables.items():
            named = [*([rules.window] if rules.window else []), *(rules.select or ())]
            identifiers = [*table.split(".", 1), *rules.columns, *named]
            for wrong in filter(None, map(_identifier, identifiers)):
                yield view.problem(dataset, "tables", table, text=wrong)


def _identifier(name: str) -> str:
    if not name or _CONTROL.search(name):
        return f"{name!r} can't be a name in Postgres: empty, or with control characters"
    if (length := len(name.encode())) > LONGEST_IDENTIFIER:
        return f"{name!r} has {length} bytes, Postgres cuts names off at {LONGEST_IDENTIFIER}"
    return ""


def mirrors_are_unique(view: View) -> Iterator[Problem]:
    yield from _unique(view, "mirrors", ((dataset, name) for dataset, name, _ in view.mirrors()))


def deliveries_are_unique(view: View) -> Iterator[Problem]:
    yield from _unique(view, "deliveries", ((dataset, name) for dataset, name, _ in view.deliveries()))


def _unique(view: View, section: str, used: Iterable[tuple[str, str]]) -> Iterator[Problem]:
    """Within a file a repeated name is a duplicate key; across files it is found here."""
    first: dict[str, str] = {}
    for dataset, name in used:
        if name in first:
            file, line = view.documents[first[name]].place((section, name))
            text = f"this name is taken by {file}:{line}: it is unique in the whole catalog"
            yield view.problem(dataset, section, name, text=text)
        first.setdefault(name, dataset)
