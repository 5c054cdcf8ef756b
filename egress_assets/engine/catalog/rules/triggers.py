"""Triggers: a path starts what the catalog has."""

from __future__ import annotations

import re
from collections.abc import Iterator

from egress_assets.engine.catalog.problems import Problem, choices
from egress_assets.engine.catalog.view import ENDPOINTS, View

_PATH = re.compile(r"/[A-Za-z0-9._~/-]{0,200}")  # what stands in a URL as it is


def triggers_start_something(view: View) -> Iterator[Problem]:
    datasets = set(view.documents) - {ENDPOINTS}
    mirrors = {name for each in datasets for name in view.documents[each].names("mirrors")}
    for path, trigger in view.endpoints.triggers.items():
        kind, slash, name = trigger.start.partition("/")
        if slash and kind == "mirror":
            text = "" if name in mirrors else f"{name!r} is not a mirror; {choices(name, mirrors)}"
        else:
            text = (
                ""
                if trigger.start in datasets
                else f"{trigger.start!r} is not a dataset; {_valid(view, trigger.start)}"
            )
        if text:
            yield view.problem(ENDPOINTS, "triggers", path, "start", text=text)


def _valid(view: View, said: str) -> str:
    return choices(said, set(view.documents) - {ENDPOINTS}) + "; a mirror is written `mirror/<name>`"


def triggers_have_a_plain_path(view: View) -> Iterator[Problem]:
    for path in view.endpoints.triggers:
        if not _PATH.fullmatch(path):
            text = f"{path!r} is not a path: write letters, digits and `/` after a `/`, for example /mirror/shop"
            yield view.problem(ENDPOINTS, "triggers", path, text=text)
